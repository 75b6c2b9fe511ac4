"""Trained ensembles, weights included, and the sets they were trained on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields

import numpy as np
from sqlalchemy import Connection, delete, insert, select

from al_engine.errors import StateError
from al_engine.records import TrainedModel, TrainingFrame
from db.rows import get_records, put_records
from db.schema import GenerationRow, ModelRow, TrainingFrameRow, TrainingStateRow

_FIELDS = [item.name for item in fields(TrainedModel) if item.name != "training_set"]


def put(connection: Connection, campaign_id: int, generation_id: int, model: TrainedModel) -> None:
    """Store an ensemble with its training set, in place of the state of its training.

    Raises:
        StateError: A frame has another fold than it had in an earlier generation.
    """
    known = folds(connection, campaign_id)
    for item in model.training_set:
        if known.get(item.frame_id, item.fold) != item.fold:
            raise StateError(f"fold of frame {item.frame_id} is {known[item.frame_id]}, not {item.fold}")
    row = {name: getattr(model, name) for name in _FIELDS} | {
        "generation_id": generation_id,
        "weights_sha256": hashlib.sha256(model.weights).hexdigest(),
        "scales": np.array(model.scales, dtype=np.float64),
        "scale_errors": np.array(model.scale_errors, dtype=np.float64),
        "log_columns": json.dumps(model.log_columns),
    }
    connection.execute(delete(TrainingStateRow).where(TrainingStateRow.generation_id == generation_id))
    connection.execute(insert(ModelRow), row)
    put_records(connection, TrainingFrameRow, model.training_set, generation_id=generation_id)


def get(connection: Connection, generation_id: int) -> TrainedModel | None:
    """Return the ensemble of a generation, its training set by frame id."""
    query = select(*(getattr(ModelRow, name) for name in _FIELDS))
    row = connection.execute(query.where(ModelRow.generation_id == generation_id)).first()
    if row is None:
        return None
    values = dict(zip(_FIELDS, row, strict=True))
    values["log_columns"] = json.loads(values["log_columns"])
    values["training_set"] = get_records(connection, TrainingFrameRow, TrainingFrame, generation_id)
    for name in ("scales", "scale_errors"):
        values[name] = values[name].tolist()
    tuples = ("scales", "scale_errors", "log_columns", "training_set")
    return TrainedModel(**values | {name: tuple(values[name]) for name in tuples})


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
