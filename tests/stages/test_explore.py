"""What is visited, audited and stopped where."""

import numpy as np
import pytest
from ase.build import bulk
from small_campaign import SMALL, TWO, config, labeled, water

from al_engine.config import Exits, Stop, System
from al_engine.convergence import look_size
from al_engine.exploration.rattle import rattled
from al_engine.frames import Frame
from al_engine.lifecycle import CandidateState
from al_engine.model.ensemble import Ensemble
from al_engine.records import ExitReason, Label, LabeledFrame, Origin
from al_engine.stages.ceiling import newest_audit, sd_ceilings
from al_engine.stages.explore import explore_stage
from al_engine.stages.select import select_stage
from al_engine.stages.train import train_stage


def test_walkers_of_an_ion_start_from_the_ion(initial: list[LabeledFrame]):
    ion = Frame(water().numbers, water().positions, charge=1, multiplicity=2)
    model = train_stage(config(), 1, [*initial, labeled(ion)], {}).model
    result = explore_stage(config(systems=TWO), 1, model, initial, starts=[water(), ion])
    starts = [walker.start_frame_id for walker in result.walkers][:4]
    assert starts == [water().frame_id, ion.frame_id] * 2


def test_systems_have_starts_and_temperatures_of_their_own(initial: list[LabeledFrame]):
    model = train_stage(config(), 1, initial, {}).model
    systems = (System(structure="a.xyz"), System(structure="b.xyz", temperatures_k=(900, 1200)))
    walks = SMALL["exploration"]["sampler"] | {"n_walkers": 8, "temperatures_k": [300, 400]}
    two = config(systems=systems, exploration={"sampler": walks})
    heavy = Frame(np.array([8, 8]), np.array([[0, 0, 0], [1.3, 0, 0]]))
    audit = [labeled(water(70 + k), 1, Origin.AUDIT) for k in range(30)]
    found = explore_stage(two, 2, model, [*initial, *audit], starts=[water(), heavy])
    assert [w.temperature for w in found.walkers[:8]] == [300, 900, 400, 1200] * 2
    starts = [w.start_frame_id for w in found.walkers[:8]]
    assert set(starts[1::2]) == {heavy.frame_id}
    assert len(set(starts[::2])) > 1
    assert set(starts[::2]) <= {water().frame_id, *(item.frame.frame_id for item in audit)}


def test_several_samplers_search_together_and_only_unbiased_steps_are_audited(initial: list[LabeledFrame]):
    model = train_stage(config(), 1, initial, {}).model
    rattle, modes = {"kind": "rattle", "n_frames": 5}, {"kind": "normal_modes", "n_frames": 6}
    walks = SMALL["exploration"]["sampler"]
    exploration = {"sampler": rattle, "extra_samplers": [walks, modes, walks | {"kind": "nve", "n_steps": 6}]}
    searched = config(exploration=exploration, audit={"n_frames": 80})
    found = explore_stage(searched, 1, model, initial, starts=[water()])
    planned = {w.index: w.n_planned for w in found.walkers}
    assert [planned[index] for index in (0, 1, 2, 3)] == [20] * 4
    assert [planned[index] for index in (16, 17, 18, 19)] == [6] * 4  # 4 to 15 follow the first four
    assert len({w.index for w in found.walkers}) == len(found.walkers)
    assert {draw.walker for draw in found.draws} <= {0, 1, 2, 3, 16, 17, 18, 19}
    assert {draw.walker for draw in found.draws} > {0, 1, 2, 3}
    still = [c for c in found.candidates if c.walker is None]
    assert len(still) == 5 + 6
    assert all(c.state is CandidateState.VISITED for c in still)
    alone = config(exploration={"sampler": rattle})
    assert explore_stage(alone, 1, model, initial, starts=[water()]).draws == ()


def test_the_confirming_audit_is_drawn_before_the_walk_and_takes_no_part_in_selection(
    initial: list[LabeledFrame],
):
    model = train_stage(config(), 1, initial, {}).model
    found = explore_stage(config(), 1, model, initial, starts=[water()])
    assert len({(d.walker, d.step) for d in found.draws}) == 4 + look_size(1, Stop())
    states = {c.frame_id: c.state for c in found.candidates}
    for k, draw in enumerate(found.draws):
        if draw.frame_id is not None:
            assert states[draw.frame_id] is (CandidateState.AUDIT if k < 4 else CandidateState.VISITED)
    others = [c for c in found.candidates if c.origin is not Origin.AUDIT]
    small = [c for c in found.candidates if c.state is CandidateState.AUDIT]
    chosen = select_stage(config(), 1, found.candidates, 0)
    assert chosen == select_stage(config(), 1, [*others, *small], 0)
    assert {c.frame_id for c in chosen} == {c.frame_id for c in others}
    # no second audit without steps for all of it, without a first one, or where that is a look itself
    walks = SMALL["exploration"]["sampler"] | {"n_walkers": 2}
    short = config(exploration={"sampler": walks})
    assert len(explore_stage(short, 1, model, initial, starts=[water()]).draws) == 4
    for n in (0, 60):
        other = config(audit={"n_frames": n})
        assert len(explore_stage(other, 1, model, initial, starts=[water()]).draws) == n
    second = explore_stage(config(), 1, model, initial, starts=[water()], n_looks=1)
    assert len(second.draws) == 4  # 82 steps more than 80 are not there


def audited(ensemble: Ensemble, frames: list[Frame], error: float) -> list[LabeledFrame]:
    """Audit labels that are the ensemble's own forces but one component, wrong by `error` eV/Å."""
    found = []
    for frame in frames:
        p = ensemble.predict([frame])
        forces = p.forces.copy()
        forces[0, 0] += error
        label = Label(frame.frame_id, "EMT", float(p.energy[0]), forces)
        found.append(LabeledFrame(frame, label, 1, Origin.AUDIT, frame.frame_id))
    return found


def test_the_ceiling_is_the_wished_error_over_what_errors_are_in_sds(initial: list[LabeledFrame]):
    model = train_stage(config(), 2, initial, {}).model
    ensemble = Ensemble.from_bytes(model.weights, device="cpu")
    frames = [water(200 + k) for k in range(9)]
    audit = audited(ensemble, frames, 0.3)
    sds = [ensemble.predict([frame]).total.force_sd.max() for frame in frames]
    wish = Exits(force_error_ev_per_ang=0.9)
    # of nine frames, the one that is most wrong in its sds is the quantile at 90 %
    (ceiling,) = sd_ceilings(wish, ensemble, audit, [water()])
    assert ceiling == pytest.approx(0.9 * min(sds) / 0.3)
    assert sd_ceilings(wish, ensemble, audit[:8], [water()]) == [0.9]  # too few: an sd is an error
    assert sd_ceilings(wish, ensemble, [], [water()]) == [0.9]
    assert sd_ceilings(Exits(force_sd_ev_per_ang=2.0), ensemble, audit, [water()]) == [2.0]
    # a system with frames of its own has a ceiling of its own, another takes that of all of them
    ion = Frame(water().numbers, water().positions, charge=1, multiplicity=2)
    ions = [Frame(f.numbers, f.positions, charge=1, multiplicity=2) for f in frames]
    worse = audited(ensemble, ions, 3.0)
    own, of_ion = sd_ceilings(wish, ensemble, [*audit, *worse], [water(), ion])
    assert own == pytest.approx(ceiling)
    assert of_ion < 0.2 * own
    few, all_of_them = sd_ceilings(wish, ensemble, [*audit, *worse[:1]], [water(), ion])
    assert few == pytest.approx(ceiling)
    assert all_of_them <= few


def test_walkers_stop_at_the_ceiling_that_the_audit_gives_and_it_is_stored(initial: list[LabeledFrame]):
    walks = {"sampler": SMALL["exploration"]["sampler"], "exits": {"force_error_ev_per_ang": 50.0}}
    free = config(exploration=walks)
    model = train_stage(free, 2, initial, {}).model
    ensemble = Ensemble.from_bytes(model.weights, device="cpu")
    audit = audited(ensemble, [water(200 + k) for k in range(9)], 50.0)
    without = explore_stage(free, 2, model, initial, starts=[water()])
    assert ExitReason.UNCERTAINTY not in {w.exit_reason for w in without.walkers}
    assert [m.value for m in without.metrics] == [50.0]
    found = explore_stage(free, 2, model, [*initial, *audit], starts=[water()])
    (metric,) = found.metrics
    assert (metric.split, metric.quantity, metric.name) == (
        "exploration", "forces.system_0", "sd_ceiling_ev_per_ang",
    )  # fmt: skip
    assert metric.value == sd_ceilings(free.exploration.exits, ensemble, audit, [water()])[0]
    uncertain = [w for w in found.walkers if w.exit_reason is ExitReason.UNCERTAINTY]
    assert len(uncertain) >= 4
    assert all(w.exit_value > metric.value for w in uncertain)
    # labels that a member was trained on say nothing
    seen = [LabeledFrame(i.frame, i.label, 1, Origin.AUDIT, i.group) for i in initial[:8]]
    assert newest_audit(model, [*seen, *audit], 2) == audit
    assert newest_audit(model, audit, 3) == []


def test_a_reaction_path_between_two_systems_is_searched_beside_dynamics(initial: list[LabeledFrame]):
    model = train_stage(config(), 1, initial, {}).model
    path = {"kind": "reaction_path", "n_images": 3, "n_steps": 4, "stride": 2}
    never = {"force_sd_ev_per_ang": 1e6, "energy_drift_ev_per_atom": 1e6}
    walks = SMALL["exploration"]["sampler"]
    exploration = {"sampler": walks, "extra_samplers": [path], "exits": never}
    search = config(systems=TWO, exploration=exploration)
    found = explore_stage(search, 1, model, initial, starts=[water(), water(300)])
    (band,) = [w for w in found.walkers if w.index == 16]
    assert (band.n_planned, band.start_frame_id) == (4, water().frame_id)
    steps = sorted(c.step for c in found.candidates if c.walker == 16)
    assert steps == [0] * 4 + [2] * 3 + [4] * 3
    assert {draw.walker for draw in found.draws} <= {0, 1, 2, 3}


def test_walkers_at_constant_pressure_change_their_cells_and_start_from_audited_ones():
    crystals = [Frame.from_ase(bulk("Cu", cubic=True))]
    crystals += [rattled(crystals[0], 0.1, np.random.default_rng(k)) for k in range(8)]
    items = [labeled(frame) for frame in crystals]
    model = train_stage(config(), 1, items, {}).model
    walks = SMALL["exploration"]["sampler"] | {"kind": "npt", "n_steps": 40}
    search = config(exploration={"sampler": walks})
    first = explore_stage(search, 1, model, items, starts=crystals[:1])
    cells = {frame.cell.tobytes() for frame in first.frames}
    assert len(cells) > 10
    audited = {d.frame_id for d in first.draws if d.frame_id is not None}
    items += [labeled(f, 1, Origin.AUDIT) for f in first.frames if f.frame_id in audited]
    second = explore_stage(search, 2, model, items, starts=crystals[:1])
    starts = {w.start_frame_id for w in second.walkers}
    assert starts & audited
    assert starts <= audited | {crystals[0].frame_id}
