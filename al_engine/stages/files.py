"""Labeled files as the stages use them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from al_engine.config import CampaignConfig, FileLabels
from al_engine.errors import InputError, blaming
from al_engine.frames import Frame
from al_engine.records import Label, LabeledFrame
from al_engine.samplers import Pool, Sampler
from al_engine.structures import read_labeled

_log = logging.getLogger(__name__)


def labeled_frames(file: Path, level_of_theory: str) -> list[tuple[Frame, Label]]:
    """Read the labeled frames of a file; a bad one is logged with its index and left out.

    Raises:
        InputError: The file cannot be read, or no frame of it is labeled.
    """
    pairs = []
    for entry in read_labeled(file, level_of_theory):
        if isinstance(entry.content, str):
            _log.warning("%s, frame %d is left out: %s", file.name, entry.index, entry.content)
        else:
            pairs.append(entry.content)
    if not pairs:
        raise InputError(f"{file}: no labeled frame")
    return pairs


def held_back(config: CampaignConfig) -> set[str]:
    """Return the ids of the frames of the campaign's test set."""
    if config.test_set is None:
        return set()
    return {frame.frame_id for frame, _ in labeled_frames(Path(config.test_set), "test set")}


def without_test_set(config: CampaignConfig, labeled: Sequence[LabeledFrame]) -> list[LabeledFrame]:
    """Leave out what the campaign's test set holds: it is never trained on."""
    test_ids = held_back(config)
    kept = [item for item in labeled if item.frame.frame_id not in test_ids]
    if len(kept) < len(labeled):
        _log.warning("%d labeled frames are in the test set and not trained on", len(labeled) - len(kept))
    return kept


def with_absolute_files(config: CampaignConfig, folder: Path) -> CampaignConfig:
    """Return the configuration with the files of pools and labels as absolute paths.

    Raises:
        InputError: One is not there.
    """
    reference, exploration = config.reference, config.exploration
    if isinstance(reference, FileLabels):
        with blaming("reference", "file"):
            reference = reference.model_copy(update={"file": _absolute(folder, reference.file)})
    samplers = [_with_absolute_file(s, folder, number) for number, s in enumerate(exploration.samplers)]
    first, *others = samplers
    exploration = exploration.model_copy(update={"sampler": first, "extra_samplers": tuple(others)})
    return config.model_copy(update={"reference": reference, "exploration": exploration})


def _with_absolute_file(sampler: Sampler, folder: Path, number: int) -> Sampler:
    if not isinstance(sampler, Pool):
        return sampler
    with blaming("exploration", *sampler_key(number), "file"):
        return sampler.model_copy(update={"file": _absolute(folder, sampler.file)})


def sampler_key(number: int) -> tuple[str | int, ...]:
    """Return where the campaign file has a sampler, below `exploration`."""
    return ("sampler",) if number == 0 else ("extra_samplers", number - 1)


def _absolute(folder: Path, name: str) -> str:
    file = (folder / name).resolve()
    if not file.is_file():
        raise InputError(f"{file} is not a file")
    return str(file)
