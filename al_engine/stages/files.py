"""Labeled files as the stages use them."""

from __future__ import annotations

import logging
from pathlib import Path

from al_engine.errors import InputError
from al_engine.frames import Frame
from al_engine.records import Label
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
