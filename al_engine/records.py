"""Frozen records: what one stage hands to the next and what the database keeps. No behavior here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from al_engine.frames import Frame
from al_engine.lifecycle import CandidateState, GenerationState


class Origin(StrEnum):
    """Why a frame was labeled (column `reason` of the view `labeled_structures`)."""

    INITIAL = "initial"
    SELECTED = "selected"
    AUDIT = "audit"
    IMPORTED = "imported"


class ExitReason(StrEnum):
    """Why a walker stopped."""

    STEP_LIMIT = "step_limit"
    UNCERTAINTY = "uncertainty"
    CLASH = "clash"
    BOND = "bond"
    ENERGY_DRIFT = "energy_drift"
    TEMPERATURE = "temperature"
    NOT_FINITE = "not_finite"


class FailureReason(StrEnum):
    """Why a reference calculation gave no label."""

    SCF = "scf"
    TIMEOUT = "timeout"
    CRASH = "crash"
    NOT_FINITE = "not_finite"
    WRONG_SHAPE = "wrong_shape"
    TOO_CLOSE = "too_close"
    FORCE_TOO_LARGE = "force_too_large"
    EXCEPTION = "exception"


@dataclass(frozen=True)
class Label:
    """One finished reference calculation.

    Attributes:
        frame_id: The frame it belongs to.
        level_of_theory: Method, parameters and version, as one line of text.
        energy: eV.
        forces: Shape (n_atoms, 3), eV/Å.
        stress: Shape (3, 3), eV/Å³, positive in tension; None where not computed.
        seconds: Wall time.
    """

    frame_id: str
    level_of_theory: str
    energy: float
    forces: NDArray[np.float64]
    stress: NDArray[np.float64] | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class LabelFailure:
    """A reference calculation that gave no label: an expected result, kept like a label."""

    frame_id: str
    level_of_theory: str
    reason: FailureReason
    message: str
    attempts: int = 1
    seconds: float = 0.0


@dataclass(frozen=True)
class LabeledFrame:
    """A frame with its label, and how it came into the campaign.

    `group` is the same for frames that must not be split over folds: those of one walker.
    """

    frame: Frame
    label: Label
    generation: int
    origin: Origin
    group: str


@dataclass(frozen=True)
class Uncertainty:
    """What the ensemble said of its own error of a frame, recalibrated (math 4).

    Energies in eV, forces in eV/Å. `force_sd` of an atom is sqrt(trace / 3) of its 3x3 block;
    `max` and `mean` are over the atoms of the frame; `information` is in nats.
    """

    energy_sd: float
    energy_sd_aleatoric: float
    energy_sd_epistemic: float
    force_sd_max: float
    force_sd_max_aleatoric: float
    force_sd_max_epistemic: float
    force_sd_mean: float
    information: float


@dataclass(frozen=True)
class Candidate:
    """A frame that may be labeled, with everything its choice rests on.

    Attributes:
        frame_id: The frame.
        origin: Where it comes from.
        state: Where it is in its life cycle.
        walker: Number of the walker that visited it; None where no walker did.
        step: Step of that walker.
        temperature: Set temperature of that walker, K.
        uncertainty: As predicted by the exploring ensemble; None without a model.
        features: Whitened descriptor of the frame, shape (n_features,), float32.
        distance: Distance in `features` to the nearest frame of the training set.
        nearest: That frame's id.
        score: What the selection ranked it by, when it was chosen or passed over.
        rank: 0 for the first chosen; None for those not chosen.
        reason: In words, why it was chosen or not.
    """

    frame_id: str
    origin: Origin
    state: CandidateState
    walker: int | None = None
    step: int | None = None
    temperature: float | None = None
    uncertainty: Uncertainty | None = None
    features: NDArray[np.float32] | None = None
    distance: float | None = None
    nearest: str | None = None
    score: float | None = None
    rank: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class Walker:
    """One trajectory of a generation and how it ended.

    Attributes:
        index: Number within the generation.
        start_frame_id: The frame it started from.
        temperature: Set temperature, K.
        n_planned: Steps it should have done.
        n_steps: Steps it did.
        exit_reason: Why it stopped.
        exit_value: The number that crossed its limit (by reason: eV/Å, Å, eV/atom, K, a ratio); NaN else.
        trace: One row each recorded step, shape (n_rows, 5), float32: step, potential energy (eV),
            temperature (K), energy sd (eV), largest atomic force sd (eV/Å).
    """

    index: int
    start_frame_id: str
    temperature: float
    n_planned: int
    n_steps: int
    exit_reason: ExitReason
    exit_value: float
    trace: NDArray[np.float32]


@dataclass(frozen=True)
class AuditDraw:
    """One (walker, step) pair drawn uniformly from all planned steps (math 10).

    `frame_id` is None where the walker had left before that step: a failure that needs no label.
    """

    index: int
    walker: int
    step: int
    frame_id: str | None


@dataclass(frozen=True)
class TrainingFrame:
    """A labeled frame in a training set; member m's loss leaves out the frames of fold m."""

    frame_id: str
    fold: int


@dataclass(frozen=True)
class TrainedModel:
    """The trained ensemble of a generation as it is kept.

    Attributes:
        weights: Bytes of a safetensors file, metadata included; `Ensemble.from_bytes` reads them.
        n_members: Number of networks.
        seed: Seed of the training.
        scales: (s, t, e): factors on aleatoric energy variance, force noise and epistemic variance.
        scale_errors: Their standard errors (of the logarithm).
        calibration: "uncalibrated", "out-of-fold" or "audit": what the scales rest on.
        log: Training log, shape (n_rows, n_columns), float64, columns in `log_columns`.
        log_columns: Names of the columns.
        training_set: The frames trained on, with folds.
    """

    weights: bytes
    n_members: int
    seed: int
    scales: tuple[float, float, float]
    scale_errors: tuple[float, float, float]
    calibration: str
    log: NDArray[np.float64]
    log_columns: tuple[str, ...]
    training_set: tuple[TrainingFrame, ...]


@dataclass(frozen=True)
class Metric:
    """One measured number of a generation: (split, quantity, name) say which."""

    split: str
    quantity: str
    name: str
    value: float


@dataclass(frozen=True)
class Cost:
    """What a stage cost: one row of the ledger."""

    stage: str
    seconds: float
    device: str
    n_labels: int = 0


@dataclass(frozen=True)
class Campaign:
    """A campaign as stored.

    Attributes:
        name: Its name, unique in a database.
        config: The resolved configuration as JSON.
        level_of_theory: Resolved once, when the campaign was created.
        environment: Versions of packages, device, threads, as JSON.
        start_frame_ids: The given structures, in the order of the config.
    """

    name: str
    config: str
    level_of_theory: str
    environment: str
    start_frame_ids: tuple[str, ...]


@dataclass(frozen=True)
class Generation:
    """A generation as stored; counts and errors as in the view `generation_summary`."""

    campaign: str
    number: int
    state: GenerationState
    n_walkers: int
    n_candidates: int
    n_selected: int
    n_labeled: int
    n_failed: int
    energy_rmse_ev_per_atom: float | None
    force_rmse_ev_per_ang: float | None
    force_mean_z2: float | None
    seconds_training: float
    seconds_exploring: float
    seconds_labeling: float
    started_at: str
    closed_at: str | None


@dataclass(frozen=True)
class Criterion:
    """One condition of the stop rule: what was measured, what is wanted, whether it is met."""

    name: str
    value: float
    wanted: str
    met: bool


@dataclass(frozen=True)
class StopDecision:
    """Whether a campaign may be called converged, and what speaks against it."""

    converged: bool
    criteria: tuple[Criterion, ...]
    sentence: str
