"""What the stages promise: who is trained on what, what is judged by whom, what is refused before compute."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from al_engine.config import CampaignConfig, Exits, Stop, System
from al_engine.convergence import look_size, promoted
from al_engine.errors import AlEngineError, InputError
from al_engine.exploration.rattle import rattled
from al_engine.extxyz import to_extxyz
from al_engine.frames import Frame
from al_engine.labeling import level_of_theory
from al_engine.lifecycle import CandidateState
from al_engine.model.ensemble import Ensemble
from al_engine.records import ExitReason, Label, LabeledFrame, Origin, StopDecision, TrainedModel
from al_engine.stages.backtest import worse_blocks
from al_engine.stages.ceiling import newest_audit, sd_ceilings
from al_engine.stages.close import close_stage
from al_engine.stages.explore import explore_stage
from al_engine.stages.initial import initial_stage, isolated_atom
from al_engine.stages.prepare import changed_config, prepare, stored_config
from al_engine.stages.select import select_stage
from al_engine.stages.train import atomic_energies, train_stage

SMALL = {
    "reference": {"kind": "ase", "calculator": "ase.calculators.emt.EMT"},
    "initial": {"n_frames": 8},
    "model": {"n_members": 2, "n_channels": 4, "n_layers": 1, "n_radial": 4, "r_max_ang": 4.0},
    "training": {"n_steps": 30, "batch_size": 4},
    "exploration": {"sampler": {"n_walkers": 4, "n_steps": 20, "stride": 5, "temperatures_k": [300]}},
    "selection": {"n_frames": 3},
    "audit": {"n_frames": 4},
    "device": "cpu",
    "n_threads": 1,
}


TWO = (System(structure="water.xyz"),) * 2
MANY = SMALL["model"] | {"n_members": 4}


def config(**changes: object) -> CampaignConfig:
    values = {"name": "test", "systems": (System(structure="water.xyz"),)} | SMALL | changes
    return CampaignConfig.model_validate(values)


def water(seed: int = 0) -> Frame:
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=seed)
    return Frame.from_ase(atoms)


def labeled(
    frame: Frame, generation: int = 0, origin: Origin = Origin.INITIAL, group: str = ""
) -> LabeledFrame:
    atoms = frame.to_ase()
    atoms.calc = EMT()
    label = Label(frame.frame_id, "EMT", atoms.get_potential_energy(), atoms.get_forces())
    return LabeledFrame(frame, label, generation, origin, group or frame.frame_id)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    molecule("H2O").write(tmp_path / "water.xyz")
    return tmp_path


@pytest.fixture(scope="module")
def initial() -> list[LabeledFrame]:
    return [*(labeled(water(k)) for k in range(8)), *(labeled(isolated_atom(z)) for z in (1, 8))]


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


def test_initial_frames_are_distinct_and_hold_each_isolated_atom():
    result = initial_stage(config(), [water()])
    assert len(set(result.frames)) == len(result.frames) == 8 + 1 + 2
    assert [f.formula for f in result.frames if f.n_atoms == 1] == ["H", "O"]


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        ({"initial": {"n_frames": 1}, "model": MANY}, ("initial", "n_frames"), "too few for 4 members"),
        ({"budget": {"labels": 5}}, ("budget", "labels"), "generation 0 alone needs 11 labels"),
        ({"model": SMALL["model"] | {"r_max_ang": 1.0}}, ("model", "r_max_ang"), "1.32 Å"),
        ({"test_set": "no.xyz"}, ("test_set",), "is not a file"),
        (
            {"exploration": {"extra_samplers": [{"kind": "rattle"}, {"kind": "npt"}]}},
            ("exploration", "extra_samplers", 1, "kind"),
            "no fixed atom; not so H2O",
        ),
        (
            {"exploration": {"sampler": {"kind": "reaction_path"}}},
            ("exploration", "sampler", "ends"),
            "two different ones of the 1 systems",
        ),
        (
            {
                "systems": ({"structure": "water.xyz"}, {"structure": "water.xyz", "charge": 2}),
                "exploration": {"extra_samplers": [{"kind": "reaction_path"}]},
            },
            ("exploration", "extra_samplers", 0, "ends"),
            "must have the same atoms",
        ),
        ({"test_set": "water.xyz"}, ("test_set",), "no labeled frame"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_before_any_compute(
    folder: Path, changes: dict[str, object], key: tuple[str, ...], message: str
):
    with pytest.raises(InputError, match=message) as caught:
        prepare(config(**changes), folder)
    assert caught.value.key == key


def test_a_resumed_campaign_takes_some_changes_and_refuses_others(folder: Path):
    prepared = prepare(config(), folder)
    campaign, starts = prepared.campaign, prepared.starts
    assert campaign.level_of_theory == level_of_theory(stored_config(campaign).reference)

    def changed(*, is_open: bool = False, **changes: object) -> CampaignConfig:
        return changed_config(campaign, config(**changes), folder, starts=starts, is_open=is_open)

    assert changed(max_generations=7, is_open=True).max_generations == 7
    assert changed(budget={"labels": 50}, is_open=True).budget.labels == 50
    hot = {"sampler": SMALL["exploration"]["sampler"] | {"temperatures_k": [900]}}
    assert changed(exploration=hot).exploration.sampler.temperatures_k == (900,)
    with pytest.raises(InputError, match="a generation is open"):
        changed(exploration=hot, is_open=True)
    for key, value in (("seed", 5), ("model", SMALL["model"] | {"n_members": 3})):
        with pytest.raises(InputError, match="cannot change"):
            changed(**{key: value})
    with pytest.raises(InputError, match="no CUDA device"):
        changed(device="cuda")
    molecule("NH3").write(folder / "water.xyz")
    with pytest.raises(InputError, match="not the one that the campaign was created with"):
        changed()
    (folder / "water.xyz").unlink()
    assert changed(max_generations=7).max_generations == 7
