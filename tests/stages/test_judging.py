"""What is judged by whom, and which model is the campaign's."""

from dataclasses import replace

import numpy as np
from small_campaign import SMALL, config, labeled, water

from al_engine.convergence import promoted
from al_engine.model.ensemble import Ensemble
from al_engine.records import AuditDraw, LabeledFrame, Origin, StopDecision
from al_engine.stages.backtest import worse_blocks
from al_engine.stages.close import close_stage, confirm_stage
from al_engine.stages.train import train_stage


def test_a_model_that_got_worse_on_an_earlier_audit_is_found(initial: list[LabeledFrame]):
    audit = [labeled(water(50 + k), 1, Origin.AUDIT, f"g1w{k}") for k in range(8)]
    good = train_stage(config(training=SMALL["training"] | {"n_steps": 200}), 1, initial, {}).model
    bad = train_stage(config(training=SMALL["training"] | {"learning_rate": 0.5}), 2, initial, {}).model
    assert worse_blocks(bad, good, [*initial, *audit], "cpu") == [("audit of generation 1", True)]
    assert worse_blocks(good, bad, [*initial, *audit], "cpu") == [("audit of generation 1", False)]
    assert worse_blocks(good, None, [*initial, *audit], "cpu") == []


def test_a_poisoned_generation_is_not_promoted(initial: list[LabeledFrame]):
    long = config(training=SMALL["training"] | {"n_steps": 200})
    clean = [labeled(water(50 + k), 1, Origin.AUDIT, f"g1w{k}") for k in range(8)]
    more = [labeled(water(150 + k), 2, Origin.SELECTED, f"g2w{k}") for k in range(8)]
    before = train_stage(long, 2, [*initial, *clean], {}).model

    def closed(selected: list[LabeledFrame]) -> StopDecision:
        items = [*initial, *clean, *selected]
        model = train_stage(long, 3, items, {}).model
        return close_stage(
            long, 3, model, items, previous=before, draws=[], rejected=(), earlier=[]
        ).stop  # fmt: skip

    poison = [
        replace(item, label=replace(item.label, forces=-3 * item.label.forces, energy=item.label.energy + 5))
        for item in more
    ]
    good, bad = closed(more), closed(poison)
    assert promoted({2: good, 3: bad}) == 2
    assert promoted({2: good, 3: good}) == 3
    assert "not promoted" in bad.sentence
    assert "audit of generation 1" in bad.sentence


def test_a_confirming_audit_is_paid_from_a_budget_that_withdrawn_labels_were_paid_from(
    initial: list[LabeledFrame],
):
    audit = [labeled(water(50 + k), 1, Origin.AUDIT, f"g1w{k}") for k in range(4)]
    draws = [AuditDraw(k, 0, k, item.frame.frame_id) for k, item in enumerate(audit * 2)]
    model, items = train_stage(config(), 1, initial, {}).model, [*initial, *audit]
    tight = config(budget={"labels": len(items) + 4})
    for n_withdrawn, is_short in ((0, False), (1, True)):
        n_labels = len(items) + n_withdrawn
        against = confirm_stage(tight, 1, model, items, previous=None, draws=draws, n_labels=n_labels)
        assert ("than the budget has" in against) is is_short


def test_trained_frames_are_judged_by_the_member_that_left_them_out(initial: list[LabeledFrame]):
    audit = [labeled(water(50 + k), 1, Origin.AUDIT, f"g1w{k}") for k in range(4)]
    model = train_stage(config(), 3, [*initial, *audit], {}).model
    folds = {entry.frame_id: entry.fold for entry in model.training_set}
    ensemble = Ensemble.from_bytes(model.weights, device="cpu")
    from al_engine.stages.backtest import _errors

    got = _errors(ensemble, audit, folds)
    for item, error in zip(audit, got, strict=True):
        member = ensemble.predict([item.frame]).member_forces[folds[item.frame.frame_id]]
        assert error == np.abs(member - item.label.forces).max()
