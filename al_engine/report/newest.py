"""The frames that a generation is about to label: in a picture and in a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from al_engine.frames import Frame
from al_engine.model.ensemble import Ensemble
from al_engine.records import Candidate, TrainedModel
from al_engine.report.gallery import gallery
from al_engine.report.picture import picture
from al_engine.report.text import Row, number

N_DRAWN = 12
"""Frames in the picture; the table has all."""


def newest_frames(
    candidates: Sequence[Candidate], frames: Sequence[Frame], model: TrainedModel | None, device: str
) -> tuple[bytes, list[Row]]:
    """Draw the first of these candidates and list all of them.

    Args:
        candidates: At least one, in the order to be shown.
        frames: Theirs.
        model: The ensemble that chose them and says the colors; None in generation 0.
        device: Where it predicts.

    Returns:
        A PNG file's bytes, and a row each.
    """
    shown = list(frames[:N_DRAWN])
    if model is None:
        sds, largest = [np.zeros(frame.n_atoms) for frame in shown], None
    else:
        prediction = Ensemble.from_bytes(model.weights, device=device).predict(shown)
        force_sd = prediction.total.force_sd
        sds = [force_sd[prediction.frame_index == k] for k in range(len(shown))]
        largest = float(force_sd.max())
    pictures = [
        (f"{c.origin.value}: {frame.formula}\n{frame.frame_id[:12]}", picture(frame, sd, sd, largest or 1.0))
        for c, frame, sd in zip(candidates, shown, sds, strict=False)
    ]
    rows = [_row(c, frame) for c, frame in zip(candidates, frames, strict=True)]
    return gallery(pictures, largest), rows


def _row(candidate: Candidate, frame: Frame) -> Row:
    source = candidate.origin.value
    if candidate.walker is not None:
        source += f", walker {candidate.walker} at {number(candidate.temperature)} K, step {candidate.step}"
    sds = candidate.uncertainty
    return {
        "frame": f"{frame.formula} {frame.frame_id[:12]}",
        "from": source,
        "force sd (eV/Å)": number(sds.force_sd_max if sds else None),
        "why": candidate.reason,
    }
