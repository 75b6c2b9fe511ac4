"""Labeled files as the stages use them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from al_engine.config import CampaignConfig
from al_engine.errors import InputError
from al_engine.frames import Frame
from al_engine.records import Label, LabeledFrame
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


def without_test_set(config: CampaignConfig, labeled: Sequence[LabeledFrame]) -> list[LabeledFrame]:
    """Leave out what the campaign's test set holds: it is never trained on."""
    if config.test_set is None:
        return list(labeled)
    held_back = {frame.frame_id for frame, _ in labeled_frames(Path(config.test_set), "test set")}
    kept = [item for item in labeled if item.frame.frame_id not in held_back]
    if len(kept) < len(labeled):
        _log.warning("%d labeled frames are in the test set and not trained on", len(labeled) - len(kept))
    return kept
