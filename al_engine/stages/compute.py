"""How this process computes: device, threads, determinism. Decided once, stored with the campaign."""

from __future__ import annotations

import os

import torch

from al_engine.config import CampaignConfig
from al_engine.cores import n_cores
from al_engine.model.ensemble import resolve_device

SMALL = 50
"""Atoms; batches of smaller frames gain nothing from a second thread and suffer where cores are shared."""


def resolve_compute(config: CampaignConfig, n_atoms: int) -> CampaignConfig:
    """Fix what `auto` and the defaults mean on this machine for frames of up to `n_atoms` atoms.

    Raises:
        InputError: CUDA is asked for and not there.
    """
    threads = config.n_threads or (1 if n_atoms < SMALL else min(4, n_cores()))
    device = resolve_device(config.device).type
    return config.model_copy(update={"n_threads": threads, "device": device})


def configure(config: CampaignConfig) -> None:
    """Make this process compute as the campaign says: the thread count decides the last bits of sums."""
    if config.n_threads is not None:
        torch.set_num_threads(config.n_threads)
    if config.device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(mode=True)
        torch.backends.cuda.matmul.allow_tf32 = False
