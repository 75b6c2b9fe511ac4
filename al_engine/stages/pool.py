"""The pool of a campaign: the frames of a file."""

from __future__ import annotations

import logging
from pathlib import Path

from al_engine.config import CampaignConfig
from al_engine.errors import InputError
from al_engine.frames import Frame
from al_engine.samplers import Pool
from al_engine.stages.files import held_back
from al_engine.structures import read_frames

_log = logging.getLogger(__name__)


def pool_of(config: CampaignConfig) -> Pool | None:
    """Return the section of the campaign's pool, if it has one."""
    return next((s for s in config.exploration.samplers if isinstance(s, Pool)), None)


def pool_frames(config: CampaignConfig, pool: Pool) -> list[Frame]:
    """Read the frames of a pool, each once, without those of the test set; bad ones are logged.

    Raises:
        InputError: The file cannot be read, or has no usable frame.
    """
    frames: dict[str, Frame] = {}
    for index, content in enumerate(read_frames(pool.file)):
        if isinstance(content, str):
            _log.warning("%s, frame %d is left out: %s", Path(pool.file).name, index, content)
        else:
            frames.setdefault(content.frame_id, content)
    for frame_id in held_back(config):
        frames.pop(frame_id, None)
    if not frames:
        raise InputError(f"{pool.file}: no usable frame")
    return list(frames.values())
