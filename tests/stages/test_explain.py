"""What is told of a frame: by hand from a label that is wrong by a known number of deviations."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from networks import ensemble, ethanol

from al_engine.lifecycle import CandidateState
from al_engine.model.ensemble import Ensemble
from al_engine.records import (
    Candidate,
    FailureReason,
    Label,
    LabelFailure,
    Origin,
    TrainedModel,
    TrainingFrame,
    Uncertainty,
)
from al_engine.report.explanation import explanation_lines
from al_engine.stages.explain import Atom, Judge, Sd, explain

FRAME = ethanol(3)
CANDIDATE = Candidate(
    FRAME.frame_id, Origin.SELECTED, CandidateState.LABELED, walker=5, step=40, temperature=600.0,
    uncertainty=Uncertainty(0.5, 0.3, 0.4, 0.25, 0.15, 0.2, 0.1, 3.0), distance=2.5, nearest="ab" * 32,
    score=7.5, rank=0, reason="rank 0: information 3 nats, 2.5 from the nearest known frame",
)  # fmt: skip


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    weights, log = ensemble().to_bytes(), np.zeros((0, 0))
    trained = (TrainingFrame("ab" * 32, 0), TrainingFrame("cd" * 32, 1))
    return TrainedModel(weights, 3, 0, (1, 1, 1), (0, 0, 0), "audit", log, (), trained)


def test_the_true_error_is_in_the_deviations_of_the_ensemble_that_judged(model: TrainedModel):
    prediction = Ensemble.from_bytes(model.weights, device="cpu").predict([FRAME])
    energy_sd, force_sd = prediction.total.energy_sd[0], prediction.total.component_sd
    forces = prediction.forces.copy()
    forces[4, 1] -= 3 * force_sd.max()  # atom 4 is a hydrogen; the largest error, and downward
    forces[0, 2] += 2 * force_sd.max()
    label = Label(FRAME.frame_id, "made up", prediction.energy[0] - 2 * energy_sd, forces)
    told = explain(4, CANDIDATE, FRAME, model, label)
    assert told.true_error is not None
    assert told.true_error.atom == Atom(4, "H")
    assert told.true_error.energy_in_sd == pytest.approx(-2, rel=1e-6)
    assert told.true_error.energy_mev_per_atom == pytest.approx(-2 * energy_sd / 9 * 1000, rel=1e-6)
    assert told.true_error.max_force_ev_per_ang == pytest.approx(3 * force_sd.max(), rel=1e-6)
    assert told.true_error.max_force_in_sd == pytest.approx(3 * force_sd.max() / force_sd[4, 1], rel=1e-6)
    assert told.judge == Judge(4, 3, 2, "audit")
    withdrawn = explain(4, CANDIDATE, FRAME, model, label, withdrawn="wrong spin")
    assert "status: withdrawn, wrong spin, energy" in "\n".join(explanation_lines(withdrawn))
    # what the selection saw is told as it is stored
    assert told.energy_sd_ev == Sd(0.5, 0.3, 0.4)
    assert told.force_sd_max_ev_per_ang == Sd(0.25, 0.15, 0.2)
    assert told.worst_atom is not None
    sds = prediction.total.force_sd
    assert told.worst_atom.index == sds.argmax()
    assert told.worst_atom.element == FRAME.to_ase().symbols[int(sds.argmax())]
    assert told.worst_atom.force_sd_ev_per_ang == sds.max()
    text = "\n".join(explanation_lines(told))
    for words in (
        "from: selected, walker 5 at 600 K, step 40",
        "model of generation 4, 3 members, 2 training frames, calibration: audit",
        "energy sd: 0.5 eV (aleatoric 0.3, epistemic 0.4)",
        "force sd: 0.25 eV/Å (aleatoric 0.15, epistemic 0.2), largest over atoms; worst atom",
        "decision: rank 0: information 3 nats, 2.5 from the nearest known frame (score 7.5)",
        "nearest training frame: abababababab, 2.5 away",
        "status: labeled, energy ",
        " meV/atom (-2 sd), largest force component ",
        "on atom 4 (H)",
    ):
        assert words in text
    assert len(text.splitlines()) <= 8


def test_what_is_not_stored_is_predicted_again(model: TrainedModel):
    told = explain(1, replace(CANDIDATE, uncertainty=None), FRAME, model, None)
    assert told.energy_sd_ev is not None
    assert told.force_sd_max_ev_per_ang is not None
    assert told.worst_atom is not None
    sd = told.energy_sd_ev
    assert sd.total == pytest.approx(math.hypot(sd.aleatoric, sd.epistemic))
    assert told.force_sd_max_ev_per_ang.total == told.worst_atom.force_sd_ev_per_ang
    assert told.true_error is told.label_energy_ev is None


def test_without_a_model_or_a_label_nothing_is_made_up():
    failure = LabelFailure(FRAME.frame_id, "made up", FailureReason.SCF, "no convergence")
    initial = Candidate(FRAME.frame_id, Origin.INITIAL, CandidateState.FAILED, reason="rattled by 0.1 Å")
    told = explain(0, initial, FRAME, None, failure)
    assert told.judge is told.energy_sd_ev is told.worst_atom is told.true_error is None
    assert explanation_lines(told) == [
        "from: initial, no walker",
        "judged by: no model",
        "decision: rattled by 0.1 Å",
        "status: failed, scf: no convergence",
    ]
    bare = explain(0, replace(initial, distance=math.inf), FRAME, None, None)
    assert json.loads(json.dumps(bare.to_json(), allow_nan=False))["distance"] is None
