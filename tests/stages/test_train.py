"""Who is trained on what."""

from pathlib import Path

import numpy as np
import pytest
from small_campaign import SMALL, config, labeled, water

from al_engine.errors import AlEngineError
from al_engine.extxyz import to_extxyz
from al_engine.frames import Frame
from al_engine.records import Label, LabeledFrame, Origin, TrainedModel
from al_engine.stages.explore import explore_stage
from al_engine.stages.initial import isolated_atom
from al_engine.stages.train import atomic_energies, train_stage


def trained_ids(model: TrainedModel) -> set[str]:
    return {entry.frame_id for entry in model.training_set}


def test_the_newest_audit_calibrates_and_is_trained_on_one_generation_later(initial: list[LabeledFrame]):
    audit = [labeled(water(100 + k), 1, Origin.AUDIT, f"g1w{k}") for k in range(4)]
    ids = {item.frame.frame_id for item in audit}
    second = train_stage(config(), 2, [*initial, *audit], {}).model
    assert not trained_ids(second) & ids
    assert second.calibration == "audit"
    third = train_stage(config(), 3, [*initial, *audit], {}).model
    assert trained_ids(third) >= ids
    assert third.calibration == "uncalibrated"
    first = train_stage(config(), 1, initial, {}).model
    assert first.calibration == "uncalibrated"
    assert first.scales[2] == 1.0


def test_the_test_set_is_never_trained_on(initial: list[LabeledFrame], tmp_path: Path):
    file = tmp_path / "test.extxyz"
    held_back = initial[:3]
    file.write_text("".join(to_extxyz(item.frame, item.label) for item in held_back))
    model = train_stage(config(test_set=str(file)), 1, initial, {}).model
    assert trained_ids(model) == {i.frame.frame_id for i in initial[3:] if i.frame.n_atoms > 1}


def test_the_same_stage_gives_the_same_bits(initial: list[LabeledFrame]):
    one, two = (train_stage(config(), 1, initial, {}).model for _ in range(2))
    assert one.weights == two.weights
    walks = [explore_stage(config(), 1, one, initial, starts=[water()]) for _ in range(2)]
    assert walks[0].frames == walks[1].frames
    assert [c.uncertainty for c in walks[0].candidates] == [c.uncertainty for c in walks[1].candidates]
    audits = [c for c in walks[0].candidates if c.origin is Origin.AUDIT]
    assert {c.frame_id for c in audits} == {d.frame_id for d in walks[0].draws} - {None}


def test_a_training_that_diverges_is_an_error_and_no_model(initial: list[LabeledFrame]):
    wild = SMALL["training"] | {"learning_rate": 1e30}
    with pytest.raises(AlEngineError, match=r"the training diverged.*learning_rate"):
        train_stage(config(training=wild), 1, initial, {})


def test_isolated_atoms_give_the_zero_and_the_ground_state_wins():
    low, high = labeled(isolated_atom(8)), labeled(Frame(np.array([8]), np.zeros((1, 3)), multiplicity=1))
    high = LabeledFrame(high.frame, Label(high.frame.frame_id, "EMT", low.label.energy + 2, np.zeros((1, 3))),
                        0, Origin.INITIAL, "x")  # fmt: skip
    for items in ([low, high], [high, low]):
        assert atomic_energies(items, (8,)) == {8: low.label.energy}


def test_without_isolated_atoms_the_zero_is_the_least_squares_composition():
    items = [labeled(water(k)) for k in range(3)]
    energies = atomic_energies(items, (1, 8))
    assert 2 * energies[1] + energies[8] == pytest.approx(np.mean([i.label.energy for i in items]))
