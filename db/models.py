"""Trained ensembles, weights included, and the sets they were trained on."""

from __future__ import annotations

import hashlib
import json

import numpy as np
from sqlalchemy import Connection, insert, select

from al_engine.errors import StateError
from al_engine.records import TrainedModel, TrainingFrame
from db.rows import get_records, put_records
from db.schema import GenerationRow, ModelRow, TrainingFrameRow


def put(connection: Connection, campaign_id: int, generation_id: int, model: TrainedModel) -> None:
    """Store an ensemble with its training set.

    Raises:
        StateError: A frame has another fold than it had in an earlier generation.
    """
    known = folds(connection, campaign_id)
    for item in model.training_set:
        if known.get(item.frame_id, item.fold) != item.fold:
            raise StateError(f"fold of frame {item.frame_id} is {known[item.frame_id]}, not {item.fold}")
    connection.execute(
        insert(ModelRow),
        {
            "generation_id": generation_id,
            "weights": model.weights,
            "weights_sha256": hashlib.sha256(model.weights).hexdigest(),
            "n_members": model.n_members,
            "seed": model.seed,
            "scales": np.array(model.scales, dtype=np.float64),
            "scale_errors": np.array(model.scale_errors, dtype=np.float64),
            "calibration": model.calibration,
            "log": model.log,
            "log_columns": json.dumps(model.log_columns),
        },
    )
    put_records(connection, TrainingFrameRow, model.training_set, generation_id=generation_id)


def get(connection: Connection, generation_id: int) -> TrainedModel | None:
    """Return the ensemble of a generation, its training set by frame id."""
    row = connection.execute(
        select(
            ModelRow.weights, ModelRow.n_members, ModelRow.seed, ModelRow.scales, ModelRow.scale_errors,
            ModelRow.calibration, ModelRow.log, ModelRow.log_columns,
        ).where(ModelRow.generation_id == generation_id)
    ).first()  # fmt: skip
    if row is None:
        return None
    weights, n_members, seed, scales, scale_errors, calibration, log, log_columns = row
    frames = get_records(connection, TrainingFrameRow, TrainingFrame, generation_id)
    s, t, e = scales.tolist()
    ds, dt, de = scale_errors.tolist()
    return TrainedModel(
        weights, n_members, seed, (s, t, e), (ds, dt, de), calibration, log, tuple(json.loads(log_columns)),
        tuple(frames),
    )  # fmt: skip


def folds(connection: Connection, campaign_id: int) -> dict[str, int]:
    """Return every fold that a frame of the campaign was ever given."""
    rows = connection.execute(
        select(TrainingFrameRow.frame_id, TrainingFrameRow.fold)
        .join(GenerationRow, GenerationRow.id == TrainingFrameRow.generation_id)
        .where(GenerationRow.campaign_id == campaign_id)
        .distinct()
        .order_by(TrainingFrameRow.frame_id)
    )
    return {row[0]: row[1] for row in rows}
