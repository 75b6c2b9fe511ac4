"""GFN2-xTB labels of frames, as the engine makes them."""

from __future__ import annotations

from collections.abc import Sequence

from al_engine.config import XTB, Labeling
from al_engine.frames import Frame
from al_engine.labeling import Labeler, level_of_theory, resolve_backend
from al_engine.records import Label, LabeledFrame, Origin


def labeled(frames: Sequence[Frame]) -> list[LabeledFrame]:
    """Label what can be labeled; sorted by frame id."""
    reference = resolve_backend(XTB())
    by_id = {frame.frame_id: frame for frame in frames}
    results = Labeler(reference, Labeling(), level_of_theory(reference)).label_all(frames)
    found = [
        LabeledFrame(by_id[r.frame_id], r, 0, Origin.INITIAL, r.frame_id)
        for r in results
        if isinstance(r, Label)
    ]
    return sorted(found, key=lambda item: item.frame.frame_id)
