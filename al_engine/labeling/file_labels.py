"""A reference that computes nothing: the labels of a file, each hidden until its frame is asked for."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from al_engine.config import FileLabels
from al_engine.errors import CalculatorUnavailableError
from al_engine.frames import Frame
from al_engine.labeling.base import Computed, Failed
from al_engine.records import FailureReason


def level_of_file(reference: FileLabels) -> str:
    """Return the level of theory of a file's labels: its name and its content.

    Raises:
        CalculatorUnavailableError: The file cannot be read.
    """
    path = Path(reference.file)
    try:
        with path.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise CalculatorUnavailableError(f"the labels of {path} cannot be read ({error.strerror})") from None
    return f"labels of {path.name} (SHA-256 {digest[:16]})"


def look_up(reference: FileLabels, frame: Frame) -> Computed | Failed:
    """Return the label that the file has for a frame; the first one where it has several."""
    found = _labels(reference.file, Path(reference.file).stat().st_mtime_ns).get(frame.frame_id)
    if found is None:
        return Failed(FailureReason.EXCEPTION, f"{Path(reference.file).name} has no label of this frame")
    return found


@lru_cache(maxsize=1)
def _labels(file: str, _changed: int) -> dict[str, Computed]:
    """Read all labels of a file, by frame id; frames that are not labeled are left out."""
    from al_engine.structures import read_labeled  # here, as it knows this package

    found: dict[str, Computed] = {}
    for entry in read_labeled(file, "labels of a file"):
        if not isinstance(entry.content, str):
            frame, label = entry.content
            found.setdefault(frame.frame_id, Computed(label.energy, label.forces, label.stress))
    return found
