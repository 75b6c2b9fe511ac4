"""Why a frame was chosen or not, and how wrong the ensemble was that judged it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from ase.data import chemical_symbols

from al_engine.evaluation import Json, plain
from al_engine.frames import Frame
from al_engine.lifecycle import CandidateState
from al_engine.model.ensemble import Ensemble
from al_engine.prediction import Prediction
from al_engine.records import Candidate, Label, LabelFailure, TrainedModel, Uncertainty
from al_engine.residuals import Residuals
from al_engine.selection.score import uncertainties


@dataclass(frozen=True)
class Judge:
    """The ensemble that judged the frame: that of the generation which visited it."""

    generation: int
    n_members: int
    n_training_frames: int
    calibration: str


@dataclass(frozen=True)
class Sd:
    """A standard deviation and its parts; each part of forces is the largest over the atoms."""

    total: float
    aleatoric: float
    epistemic: float


@dataclass(frozen=True)
class Atom:
    """An atom: its place in the frame, counted from 0, and its element."""

    index: int
    element: str


@dataclass(frozen=True)
class UncertainAtom(Atom):
    """The atom whose force is known least."""

    force_sd_ev_per_ang: float


@dataclass(frozen=True)
class TrueError:
    """Label minus prediction, and the same in predicted standard deviations (total).

    `atom` has the largest error of a force component.
    """

    energy_mev_per_atom: float
    energy_in_sd: float
    max_force_ev_per_ang: float
    max_force_in_sd: float
    atom: Atom


@dataclass(frozen=True)
class Explanation:
    """All that is known of a candidate.

    Attributes:
        judge: None where no ensemble had seen it: initial and imported frames; then there is no
            uncertainty, worst atom or true error.
        nearest_frame_id: The nearest frame of the training set, by the descriptors of the selection.
        distance: Its distance there.
        label_energy_ev: None where it has no label.
        failure: Why it has none, where it was tried, or why it was withdrawn.
    """

    generation: int
    frame_id: str
    formula: str
    origin: str
    walker: int | None
    step: int | None
    temperature_k: float | None
    judge: Judge | None
    energy_sd_ev: Sd | None
    force_sd_max_ev_per_ang: Sd | None
    worst_atom: UncertainAtom | None
    status: str
    rank: int | None
    score: float | None
    reason: str
    nearest_frame_id: str | None
    distance: float | None
    label_energy_ev: float | None
    failure: str | None
    true_error: TrueError | None

    def to_json(self) -> dict[str, Json]:
        """Return what `explain --json` prints; a number that is not finite becomes None."""
        return {name: plain(value) for name, value in asdict(self).items()}


def explain(
    generation: int,
    candidate: Candidate,
    frame: Frame,
    model: TrainedModel | None,
    result: Label | LabelFailure | None,
    *,
    withdrawn: str = "",
) -> Explanation:
    """Put together why a candidate was chosen or not and what became of it.

    Args:
        generation: Number of the one that it was a candidate of.
        candidate: As stored; what it lacks of its uncertainty is predicted again.
        frame: Its atoms.
        model: The ensemble that explored in that generation, if there was one.
        result: Its label, or why it has none.
        withdrawn: Why its label was withdrawn, if it was.
    """
    label = result if isinstance(result, Label) else None
    judge = worst = error = None
    sds = candidate.uncertainty
    if model is not None:
        judge = Judge(generation, model.n_members, len(model.training_set), model.calibration)
        prediction = Ensemble.from_bytes(model.weights, device="cpu").predict([frame])
        worst = _worst(prediction, frame)
        sds = sds or uncertainties(prediction)[0]
        error = _error(prediction, frame, label) if label else None
    energy_sd, force_sd = _split(sds) if sds else (None, None)
    return Explanation(
        generation=generation,
        frame_id=candidate.frame_id,
        formula=frame.formula,
        origin=candidate.origin,
        walker=candidate.walker,
        step=candidate.step,
        temperature_k=candidate.temperature,
        judge=judge,
        energy_sd_ev=energy_sd,
        force_sd_max_ev_per_ang=force_sd,
        worst_atom=worst,
        status="withdrawn" if withdrawn and candidate.state is CandidateState.LABELED else candidate.state,
        rank=candidate.rank,
        score=candidate.score,
        reason=candidate.reason,
        nearest_frame_id=candidate.nearest,
        distance=candidate.distance,
        label_energy_ev=label.energy if label else None,
        failure=f"{result.reason.value}: {result.message}"
        if isinstance(result, LabelFailure)
        else withdrawn or None,
        true_error=error,
    )


def _split(u: Uncertainty) -> tuple[Sd, Sd]:
    """Return the deviations of the energy (eV) and of the forces (eV/Å)."""
    return (
        Sd(u.energy_sd, u.energy_sd_aleatoric, u.energy_sd_epistemic),
        Sd(u.force_sd_max, u.force_sd_max_aleatoric, u.force_sd_max_epistemic),
    )


def _worst(prediction: Prediction, frame: Frame) -> UncertainAtom:
    sds = prediction.total.force_sd
    index = int(sds.argmax())
    return UncertainAtom(index, _element(frame, index), float(sds[index]))


def _error(prediction: Prediction, frame: Frame, label: Label) -> TrueError:
    """Compare the prediction of a frame with its label."""
    residuals = Residuals.of(prediction, [label.energy], label.forces)
    energy, total = float(residuals.energy[0]), prediction.total
    atom, axis = np.unravel_index(np.abs(residuals.forces).argmax(), residuals.forces.shape)
    force = float(residuals.forces[atom, axis])
    return TrueError(
        energy_mev_per_atom=1000 * energy / frame.n_atoms,
        energy_in_sd=energy / float(total.energy_sd[0]),
        max_force_ev_per_ang=abs(force),
        max_force_in_sd=abs(force) / float(total.component_sd[atom, axis]),
        atom=Atom(int(atom), _element(frame, int(atom))),
    )


def _element(frame: Frame, index: int) -> str:
    return str(chemical_symbols[frame.numbers[index]])
