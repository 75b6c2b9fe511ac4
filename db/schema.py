"""The tables. Attributes are named as the fields of the records; a column's name has its unit."""

from __future__ import annotations

from typing import Any, ClassVar

from numpy.typing import NDArray
from sqlalchemy import BigInteger, Enum, ForeignKey, MetaData, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from al_engine.lifecycle import CandidateState, GenerationState
from al_engine.records import ExitReason, FailureReason, Origin
from db.columns import Array, ContentId, Real, RealOrNan, Whole


def _choice(kind: type[Any]) -> Enum:
    return Enum(kind, native_enum=False, length=16, values_callable=lambda e: [m.value for m in e])


class Base(DeclarativeBase):
    """Base of the tables: text and double precision everywhere, constraints with stable names."""

    metadata = MetaData(
        naming_convention={"pk": "pk_%(table_name)s"}
        | {kind: f"{kind}_%(table_name)s_%(column_0_N_name)s" for kind in ("ix", "uq", "fk")}
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        **{str: Text(), int: Whole(), float: Real(), NDArray[Any]: Array()},
        **{k: _choice(k) for k in (GenerationState, CandidateState, Origin, ExitReason, FailureReason)},
    }

    def __init_subclass__(cls, table: str, **options: Any) -> None:
        cls.__tablename__ = table
        super().__init_subclass__(**options)


class LevelRow(Base, table="levels"):
    """A level of theory: method, parameters and version as one line."""

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)


class FrameRow(Base, table="frames"):
    """A frame; cell and fixed atoms only where it has them. Never changed or deleted (trigger)."""

    id: Mapped[str] = mapped_column(ContentId, primary_key=True)
    formula: Mapped[str] = mapped_column(index=True)
    n_atoms: Mapped[int]
    charge: Mapped[int]
    multiplicity: Mapped[int]
    pbc: Mapped[str] = mapped_column(String(3))
    numbers: Mapped[NDArray[Any]]
    positions: Mapped[NDArray[Any]]
    cell: Mapped[NDArray[Any] | None]
    fixed: Mapped[NDArray[Any] | None]


class FormulaElementRow(Base, table="formula_elements"):
    """How often an element occurs in a formula; frames share it, so it stays small."""

    formula: Mapped[str] = mapped_column(primary_key=True)
    z: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    count: Mapped[int]


class LabelRow(Base, table="labels"):
    """A finished reference calculation; one per frame and level. Never changed or deleted (trigger)."""

    __table_args__ = (UniqueConstraint("frame_id", "level_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    frame_id: Mapped[str] = mapped_column(ContentId, ForeignKey("frames.id"))
    level_id: Mapped[int] = mapped_column(ForeignKey("levels.id"))
    energy_ev: Mapped[float]
    max_force_ev_per_ang: Mapped[float]
    forces: Mapped[NDArray[Any]]
    stress: Mapped[NDArray[Any] | None]
    seconds: Mapped[float]
    created_at: Mapped[str]


class LabelConflictRow(Base, table="label_conflicts"):
    """A later calculation of a labeled frame with another result: kept here, the first label stands."""

    label_id: Mapped[int] = mapped_column(ForeignKey("labels.id"), primary_key=True)
    digest: Mapped[str] = mapped_column(ContentId, primary_key=True)
    energy_ev: Mapped[float]
    forces: Mapped[NDArray[Any]]
    stress: Mapped[NDArray[Any] | None]
    created_at: Mapped[str]


class LabelWithdrawalRow(Base, table="label_withdrawals"):
    """A label that turned out wrong, and is used no more. Never changed or deleted (trigger)."""

    label_id: Mapped[int] = mapped_column(ForeignKey("labels.id"), primary_key=True, autoincrement=False)
    reason: Mapped[str]
    created_at: Mapped[str]


class CampaignRow(Base, table="campaigns"):
    """A campaign; its configuration as it is now."""

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    level_id: Mapped[int] = mapped_column(ForeignKey("levels.id"))
    config: Mapped[str]
    environment: Mapped[str]
    created_at: Mapped[str]


class LeaseRow(Base, table="leases"):
    """Who drives a campaign; `expires_at` in seconds since 1970 by the database's clock (`db.leases`)."""

    campaign_id: Mapped[int] = mapped_column(
        ForeignKey("campaigns.id"), primary_key=True, autoincrement=False
    )
    token: Mapped[int]
    holder: Mapped[str]
    expires_at: Mapped[float]


class ConfigChangeRow(Base, table="config_changes"):
    """A configuration that was replaced."""

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id"), index=True)
    config: Mapped[str]
    replaced_at: Mapped[str]


class CampaignStartRow(Base, table="campaign_starts"):
    """One of the given structures."""

    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    frame_id: Mapped[str] = mapped_column(ContentId, ForeignKey("frames.id"))


class GenerationRow(Base, table="generations"):
    """A generation; its counts are written at close, and then the row is never changed (trigger)."""

    __table_args__ = (UniqueConstraint("campaign_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    campaign_id: Mapped[int] = mapped_column(ForeignKey("campaigns.id"))
    number: Mapped[int]
    state: Mapped[GenerationState]
    n_walkers: Mapped[int | None]
    n_candidates: Mapped[int | None]
    n_selected: Mapped[int | None]
    n_labeled: Mapped[int | None]
    n_failed: Mapped[int | None]
    abort_reason: Mapped[str | None]
    approved_at: Mapped[str | None]
    started_at: Mapped[str]
    closed_at: Mapped[str | None]


class CandidateRow(Base, table="candidates"):
    """A frame that may be labeled in a generation; a campaign's candidate is one frame once."""

    __table_args__ = (UniqueConstraint("generation_id", "frame_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    generation_id: Mapped[int] = mapped_column(ForeignKey("generations.id"))
    frame_id: Mapped[str] = mapped_column(ContentId, ForeignKey("frames.id"), index=True)
    origin: Mapped[Origin]
    state: Mapped[CandidateState]
    walker: Mapped[int | None]
    step: Mapped[int | None]
    temperature: Mapped[float | None] = mapped_column("temperature_k")
    energy_sd: Mapped[float | None] = mapped_column("energy_sd_ev")
    energy_sd_aleatoric: Mapped[float | None] = mapped_column("energy_sd_aleatoric_ev")
    energy_sd_epistemic: Mapped[float | None] = mapped_column("energy_sd_epistemic_ev")
    force_sd_max: Mapped[float | None] = mapped_column("force_sd_max_ev_per_ang")
    force_sd_max_aleatoric: Mapped[float | None] = mapped_column("force_sd_max_aleatoric_ev_per_ang")
    force_sd_max_epistemic: Mapped[float | None] = mapped_column("force_sd_max_epistemic_ev_per_ang")
    force_sd_mean: Mapped[float | None] = mapped_column("force_sd_mean_ev_per_ang")
    information: Mapped[float | None] = mapped_column("information_nats")
    features: Mapped[NDArray[Any] | None]
    distance: Mapped[float | None]
    nearest: Mapped[str | None] = mapped_column("nearest_frame_id", ContentId)
    score: Mapped[float | None]
    rank: Mapped[int | None]
    reason: Mapped[str]


class LabelFailureRow(Base, table="label_failures"):
    """A reference calculation of a candidate that gave no label; it stays when a retry succeeds."""

    candidate_id: Mapped[int] = mapped_column(ForeignKey("candidates.id"), primary_key=True)
    level_id: Mapped[int] = mapped_column(ForeignKey("levels.id"))
    reason: Mapped[FailureReason]
    message: Mapped[str]
    attempts: Mapped[int]
    seconds: Mapped[float]
    last_attempt_at: Mapped[str]


class WalkerRow(Base, table="walkers"):
    """A trajectory; `exit_value` is NULL where it is not a number."""

    generation_id: Mapped[int] = mapped_column(ForeignKey("generations.id"), primary_key=True)
    index: Mapped[int] = mapped_column("number", primary_key=True, autoincrement=False)
    start_frame_id: Mapped[str] = mapped_column(ContentId, ForeignKey("frames.id"))
    temperature: Mapped[float] = mapped_column("temperature_k")
    n_planned: Mapped[int]
    n_steps: Mapped[int]
    exit_reason: Mapped[ExitReason]
    exit_value: Mapped[float] = mapped_column(RealOrNan, nullable=True)
    trace: Mapped[NDArray[Any]]


class AuditDrawRow(Base, table="audit_draws"):
    """One (walker, step) pair of the audit; no frame where the walker had left before."""

    generation_id: Mapped[int] = mapped_column(ForeignKey("generations.id"), primary_key=True)
    index: Mapped[int] = mapped_column("number", primary_key=True, autoincrement=False)
    walker: Mapped[int]
    step: Mapped[int]
    frame_id: Mapped[str | None] = mapped_column(ContentId, ForeignKey("frames.id"))


class ModelRow(Base, table="models"):
    """The ensemble of a generation, weights as safetensors bytes. Never changed or deleted (trigger)."""

    generation_id: Mapped[int] = mapped_column(ForeignKey("generations.id"), primary_key=True)
    weights: Mapped[bytes]
    weights_sha256: Mapped[str] = mapped_column(ContentId)
    n_members: Mapped[int]
    seed: Mapped[int] = mapped_column(BigInteger)
    scales: Mapped[NDArray[Any]]
    scale_errors: Mapped[NDArray[Any]]
    calibration: Mapped[str]
    log: Mapped[NDArray[Any]]
    log_columns: Mapped[str]


class TrainingStateRow(Base, table="training_states"):
    """The state of the training of an open generation, overwritten as it goes on and deleted at its end."""

    generation_id: Mapped[int] = mapped_column(ForeignKey("generations.id"), primary_key=True)
    state: Mapped[bytes]


class TrainingFrameRow(Base, table="training_sets"):
    """A frame in a generation's training set, with its fold."""

    generation_id: Mapped[int] = mapped_column(ForeignKey("generations.id"), primary_key=True)
    frame_id: Mapped[str] = mapped_column(ContentId, ForeignKey("frames.id"), primary_key=True)
    fold: Mapped[int]


class MetricRow(Base, table="metrics"):
    """A measured number; NULL where it is not a number."""

    generation_id: Mapped[int] = mapped_column(ForeignKey("generations.id"), primary_key=True)
    split: Mapped[str] = mapped_column(primary_key=True)
    quantity: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float] = mapped_column(RealOrNan, nullable=True)


class LedgerRow(Base, table="ledger"):
    """What a stage cost, and the state of the generation that it reached."""

    id: Mapped[int] = mapped_column(primary_key=True)
    generation_id: Mapped[int] = mapped_column(ForeignKey("generations.id"), index=True)
    state: Mapped[GenerationState]
    stage: Mapped[str]
    seconds: Mapped[float]
    device: Mapped[str]
    n_labels: Mapped[int]
    created_at: Mapped[str]


class StopDecisionRow(Base, table="stop_decisions"):
    """Whether the campaign may be called converged after a generation."""

    generation_id: Mapped[int] = mapped_column(ForeignKey("generations.id"), primary_key=True)
    converged: Mapped[bool]
    sentence: Mapped[str]


class StopCriterionRow(Base, table="stop_criteria"):
    """One condition of a stop decision; `value` is NULL where it is not a number."""

    generation_id: Mapped[int] = mapped_column(ForeignKey("stop_decisions.generation_id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]
    value: Mapped[float] = mapped_column(RealOrNan, nullable=True)
    wanted: Mapped[str]
    met: Mapped[bool]
