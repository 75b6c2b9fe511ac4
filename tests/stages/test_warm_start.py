"""A warm start goes on from the networks of the generation before, and no member learns from its fold."""

from dataclasses import replace

import pytest
import torch
from ase.build import molecule
from small_campaign import SMALL, config, labeled, water

from al_engine.frames import Frame
from al_engine.model.ensemble import Ensemble
from al_engine.records import Label, LabeledFrame, TrainedModel
from al_engine.stages.initial import isolated_atom
from al_engine.stages.train import WARM_STEPS, train_stage

ATOMS = [labeled(isolated_atom(z)) for z in (1, 8)]
FIRST, MORE = [labeled(water(k)) for k in range(8)], [labeled(water(k), 1) for k in range(20, 28)]


def folds_of(model: TrainedModel) -> dict[str, int]:
    return {entry.frame_id: entry.fold for entry in model.training_set}


def two_generations(
    first: list[LabeledFrame], more: list[LabeledFrame], **training: object
) -> tuple[TrainedModel, TrainedModel]:
    settings = config(training=SMALL["training"] | {"start": "warm"} | training)
    one = train_stage(settings, 1, [*ATOMS, *first], {}).model
    return one, train_stage(settings, 2, [*ATOMS, *first, *more], folds_of(one), previous=one).model


def weights(model: TrainedModel) -> dict[str, torch.Tensor]:
    """All but those of the noise, which is set anew when the likelihood begins."""
    net = Ensemble.from_bytes(model.weights, device="cpu").net
    return {k: v for k, v in net.state_dict().items() if "noise" not in k and "log_" not in k}


def test_it_begins_with_the_weights_there_are_and_takes_fewer_steps():
    one, two = two_generations(FIRST, MORE, learning_rate=1e-12)
    for name, value in weights(one).items():
        torch.testing.assert_close(weights(two)[name], value, rtol=1e-5, atol=1e-7)
    assert one.log[-1, 0] == 30
    assert two.log[-1, 0] == 30 * WARM_STEPS
    before, after = (Ensemble.from_bytes(m.weights, device="cpu") for m in (one, two))
    assert after.net.arch == before.net.arch  # also its scales
    assert after.provenance.atomic_energies == before.provenance.atomic_energies
    assert after.provenance.data_hash != before.provenance.data_hash


@pytest.mark.parametrize("member", [0, 1])
def test_a_member_has_not_learned_from_its_fold_in_any_generation(member: int):
    """Forces of the fold turned round: they keep their size, which all members know, and nothing else."""
    one_step = {"objective": "mse", "n_steps": 1}  # a longer one asks all folds which weights to keep
    plain = two_generations(FIRST, MORE, **one_step)
    folds = folds_of(plain[1])

    def turned(item: LabeledFrame) -> LabeledFrame:
        if folds[item.frame.frame_id] != member:
            return item
        label = Label(item.frame.frame_id, "EMT", item.label.energy, -item.label.forces)
        return replace(item, label=label)

    other = two_generations([turned(i) for i in FIRST], [turned(i) for i in MORE], **one_step)
    for a, b in zip(map(weights, plain), map(weights, other), strict=True):
        stacked = [name for name, value in a.items() if value.dim() > 1 and len(value) == 2]
        assert all(torch.equal(a[name][member], b[name][member]) for name in stacked)
        assert not all(torch.equal(a[name][1 - member], b[name][1 - member]) for name in stacked)


def test_an_element_more_or_nothing_before_is_a_fresh_start():
    warm, fresh = (config(training=SMALL["training"] | {"start": start}) for start in ("warm", "fresh"))
    one = train_stage(warm, 1, [*ATOMS, *FIRST], {}).model
    assert one.weights == train_stage(fresh, 1, [*ATOMS, *FIRST], {}).model.weights
    arguments = (2, [*ATOMS, *FIRST, *MORE], folds_of(one))
    starts = [Frame.from_ase(molecule("NH3"))]
    two = train_stage(warm, *arguments, starts=starts, previous=one).model
    assert two.weights == train_stage(fresh, *arguments, starts=starts).model.weights
    assert two.log[-1, 0] == 30
