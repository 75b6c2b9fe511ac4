"""Batches of walkers: each one alone in its fate, exits, snapshots and audit."""

from dataclasses import replace

import numpy as np
import pytest
from analytic import NEVER, LennardJonesDimers, Wells, row
from hypothesis import given, settings
from hypothesis import strategies as st

from al_engine.exploration.walkers import MAX_RESTARTS, Start, Walk, walk
from al_engine.frames import Frame
from al_engine.records import ExitReason
from al_engine.samplers import Langevin

RUN = Langevin(timestep_fs=0.5, friction_per_fs=0.05, n_steps=150, stride=1)
SHAPES = ([1], [1, 6], [8, 1, 1], [1], [6, 1, 1, 1, 1])
STARTS = [
    Start(row(z).moved_to(row(z).positions + 0.01 * k), 300.0 + 100 * k, 11 * k) for k, z in enumerate(SHAPES)
]


def assert_same(one: Walk, other: Walk) -> None:
    assert (one.n_steps, one.exit_reason) == (other.n_steps, other.exit_reason)
    np.testing.assert_array_equal(one.exit_value, other.exit_value)
    np.testing.assert_array_equal(one.trace, other.trace)
    assert one.snapshots == other.snapshots
    assert one.audit == other.audit


def test_a_batch_of_walkers_does_what_each_of_them_does_alone_bit_by_bit():
    together = walk(Wells(), STARTS, RUN, NEVER)
    for walker, start in zip(together, STARTS, strict=True):
        assert walker.exit_reason is ExitReason.STEP_LIMIT
        assert np.isnan(walker.exit_value)
        assert [step for step, _ in walker.snapshots] == list(range(1, 151))
        assert walker.trace.shape == (151, 5)
        (alone,) = walk(Wells(), [start], RUN, NEVER)
        assert_same(walker, alone)


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not():
    first, second = (walk(Wells(), STARTS, RUN, NEVER) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert_same(one, other)
    (changed,) = walk(Wells(), [replace(STARTS[1], seed=12)], RUN, NEVER)
    assert changed.snapshots[0] != first[1].snapshots[0]


def test_no_starts_give_no_walks():
    assert walk(Wells(), [], RUN, NEVER) == []


@pytest.mark.parametrize(
    ("reason", "column", "limit"),
    [
        (ExitReason.UNCERTAINTY, 4, {"force_sd_ev_per_ang": 0.16}),
        (ExitReason.ENERGY_DRIFT, 1, {"energy_drift_ev_per_atom": 0.06}),
        (ExitReason.TEMPERATURE, 2, {"temperature_factor": 2.2}),
    ],
)
def test_a_walker_stops_at_the_first_step_that_crosses_its_limit(reason, column, limit):
    free = walk(Wells(), STARTS, RUN, NEVER)
    stopped = walk(Wells(), STARTS, RUN, NEVER.model_copy(update=limit))
    (value,) = limit.values()
    early = 0
    for start, one, other in zip(STARTS, stopped, free, strict=True):
        scale = {ExitReason.TEMPERATURE: start.temperature, ExitReason.ENERGY_DRIFT: start.frame.n_atoms}
        measured = np.abs(other.trace[:, column] - (other.trace[0, 1] if column == 1 else 0))
        crossing = np.flatnonzero(measured > value * scale.get(reason, 1))
        if len(crossing) == 0:
            assert_same(one, other)
            continue
        early += 1
        step = int(crossing[0])
        assert (one.exit_reason, one.n_steps) == (reason, max(step - 1, 0))
        in_unit = start.frame.n_atoms if reason is ExitReason.ENERGY_DRIFT else 1
        assert one.exit_value == pytest.approx(measured[step] / in_unit, rel=1e-5)
        np.testing.assert_array_equal(one.trace, other.trace[: step + 1])
        if step > 1:
            assert one.snapshots == other.snapshots[: step - 1]
    assert 0 < early < len(STARTS)  # some leave, some stay: both were tested


def test_two_atoms_that_come_too_close_are_a_clash_and_the_frame_before_is_kept():
    near = Frame(np.array([18, 18], dtype=np.int32), np.array([[0, 0, 0], [3.6, 0, 0]]))
    exits = NEVER.model_copy(update={"min_distance_ang": 3.3})
    hot = walk(LennardJonesDimers(), [Start(near, 400.0, k) for k in range(8)], RUN, exits)
    clashed = [w for w in hot if w.exit_reason is ExitReason.CLASH]
    assert clashed
    for w in clashed:
        assert 3.2 < w.exit_value < 3.3
        step, frame = w.snapshots[-1]
        assert step == w.n_steps
        assert np.linalg.norm(frame.positions[1] - frame.positions[0]) >= 3.3


def test_a_start_beyond_its_limit_is_kept_itself():
    (w,) = walk(
        Wells(), [Start(row([1, 1]), 300.0, 0)], RUN, NEVER.model_copy(update={"min_distance_ang": 3.1})
    )
    assert (w.exit_reason, w.exit_value, w.n_steps) == (ExitReason.CLASH, 3.0, 0)
    assert w.snapshots == ((0, row([1, 1])),)
    assert w.trace[:, 0].tolist() == [0]


def test_a_bond_breaks_only_where_that_is_allowed():
    tied = row([8, 8]).moved_to([[0, 0, 0], [1.4, 0, 0]])  # 1.4 Å, twice the radius is 1.32 Å
    starts = [Start(tied, 50.0, k) for k in range(4)]  # the wells are 3 Å apart
    free = walk(Wells(), starts, RUN, NEVER)
    assert all(w.exit_reason is ExitReason.STEP_LIMIT for w in free)
    held = walk(Wells(), starts, RUN, NEVER.model_copy(update={"bond_stretch": 1.5}))
    for w in held:
        assert w.exit_reason is ExitReason.BOND
        assert 1.5 < w.exit_value < 1.6
        length = np.linalg.norm(np.subtract(*w.snapshots[-1][1].positions))
        assert length < 1.5 * 1.32


def test_a_walker_that_falls_into_a_hole_of_the_potential_stops():
    exits = NEVER.model_copy(update={"energy_drift_ev_per_atom": 0.5})
    high = Start(row([1]).moved_to([[0.4, 0, 0]]), 10.0, 0)  # 0.8 eV above its well
    (w,) = walk(Wells(), [high], RUN, exits)
    assert w.exit_reason is ExitReason.ENERGY_DRIFT
    assert w.trace[-1, 1] < 0.3


SOON = NEVER.model_copy(update={"force_sd_ev_per_ang": 0.16})


def again(walker: int, n_before: int) -> Start:
    return replace(STARTS[walker], seed=1000 * n_before + walker)


def test_others_take_the_places_of_walkers_that_stopped_for_the_steps_that_are_left():
    audit = [(walker, step) for walker in range(len(STARTS)) for step in (40, 80, 120)]
    plain = walk(Wells(), STARTS, RUN, SOON, audit)
    walks = walk(Wells(), STARTS, RUN, SOON, audit, restart=again)
    for one, other in zip(walks, plain, strict=False):
        assert_same(one, other)  # the first ones, and so the audit, are as without followers
    followers, begun = walks[len(STARTS) :], {w.index: 0 for w in plain}
    left = sum(w.exit_reason is ExitReason.UNCERTAINTY for w in plain)
    assert len(followers) > left > 0  # some are followed twice
    for w in followers:
        (place,) = [k for k, start in enumerate(STARTS) if start.frame == w.start.frame]
        n_before = w.start.seed // 1000
        assert 1 <= n_before <= MAX_RESTARTS
        before = [v for v in walks if v.start.frame == w.start.frame and v.index < w.index]
        assert len(before) == n_before
        assert w.start == again(place, n_before)
        begun[w.index] = begun[before[-1].index] + before[-1].n_steps + 1
        assert w.n_planned == RUN.n_steps - begun[w.index]
        (alone,) = walk(Wells(), [w.start], RUN.model_copy(update={"n_steps": w.n_planned}), SOON)
        assert_same(w, alone)
        assert not w.audit
    assert [w.index for w in walks] == list(range(len(walks)))
    for start in STARTS:
        in_its_place = [w.n_steps for w in walks if w.start.frame == start.frame]
        assert sum(in_its_place) <= RUN.n_steps


def test_a_walker_that_stops_at_once_is_followed_a_few_times_only():
    exits = NEVER.model_copy(update={"min_distance_ang": 3.1})
    start = Start(row([1, 1]), 300.0, 0)
    walks = walk(Wells(), [start], RUN, exits, restart=lambda _walker, n: replace(start, seed=n))
    assert [w.n_steps for w in walks] == [0] * (1 + MAX_RESTARTS)
    assert {w.exit_reason for w in walks} == {ExitReason.CLASH}


def test_a_walker_that_explodes_or_turns_nan_leaves_the_others_as_they_were():
    field = Wells(quartic={2: -1e4}, broken_beyond=np.inf)  # helium falls out of its well
    starts = [*STARTS[:2], Start(row([1, 2, 1]), 900.0, 3), *STARTS[2:]]
    endless = dict.fromkeys(type(NEVER).model_fields, 1e300) | {"min_distance_ang": 1e-9}
    walks = walk(field, starts, RUN, NEVER.model_copy(update=endless))
    assert walks[2].exit_reason is ExitReason.NOT_FINITE
    assert np.isnan(walks[2].exit_value)
    assert all(np.isfinite(frame.positions).all() for _, frame in walks[2].snapshots)
    for one, other in zip([*walks[:2], *walks[3:]], walk(Wells(), STARTS, RUN, NEVER), strict=True):
        assert_same(one, other)


@pytest.mark.parametrize(
    "added", [(np.nan, 0.0), (np.inf, 0.0), (-np.inf, 0.0), (0.0, np.nan), (0.0, np.inf)]
)
def test_an_energy_or_force_that_is_not_finite_stops_its_walker_at_once(added):
    free = walk(Wells(), STARTS, RUN, NEVER)
    broken = walk(Wells(broken_beyond=0.2, broken=added), STARTS, RUN, NEVER)
    early = 0
    for one, other in zip(broken, free, strict=True):
        crossing = np.flatnonzero(other.trace[:, 4] > 0.2)  # the sd is the distance from the anchor
        assert one.n_steps == (crossing[0] - 1 if len(crossing) else RUN.n_steps)
        early += one.exit_reason is ExitReason.NOT_FINITE
    assert 0 < early < len(STARTS)


def test_fixed_atoms_stay_where_they_are_and_the_others_move():
    fixed = np.array([False, True, False, True])
    start = row([1, 1, 6, 6], fixed=fixed).moved_to(row([1] * 4).positions + 0.05)
    (w,) = walk(Wells(), [Start(start, 500.0, 1)], RUN, NEVER)
    moved = np.stack([frame.positions for _, frame in w.snapshots]) != start.positions
    assert not moved[:, fixed].any()
    assert moved[:, ~fixed].all()
    assert (w.snapshots[-1][1].fixed_mask == fixed).all()


def test_the_temperature_is_that_of_the_atoms_that_move():
    start = row([1] * 40, fixed=np.arange(40) % 2 == 0)
    walks = walk(Wells(), [Start(start, 500.0, seed) for seed in range(8)], RUN, NEVER)
    kelvin = np.mean([w.trace[50:, 2] for w in walks])
    assert kelvin == pytest.approx(500, rel=0.15)  # 480 components, at least once independent: 6.5 % and less


@settings(max_examples=15, deadline=None)
@given(data=st.data(), stride=st.integers(1, 40))
def test_audited_steps_have_the_frames_visited_there_and_none_after_an_early_exit(data, stride):
    exits = NEVER.model_copy(update={"force_sd_ev_per_ang": 0.16})
    pair = st.tuples(st.integers(0, len(STARTS) - 1), st.integers(1, RUN.n_steps))
    audit = data.draw(st.lists(pair, unique=True, max_size=40))
    everything = walk(Wells(), STARTS, RUN, exits)
    audited = walk(Wells(), STARTS, RUN.model_copy(update={"stride": stride}), exits, audit)
    assert any(w.exit_reason is ExitReason.UNCERTAINTY for w in audited)
    for w, all_of_it in zip(audited, everything, strict=True):
        visited = dict(all_of_it.snapshots)
        assert w.n_steps == all_of_it.n_steps
        steps = {step for walker, step in audit if walker == w.index}
        assert dict(w.audit) == {step: visited[step] for step in steps if step <= w.n_steps}
        wanted = set(range(stride, w.n_steps + 1, stride))
        if w.exit_reason is not ExitReason.STEP_LIMIT:
            wanted.add(w.n_steps)
        assert dict(w.snapshots) == {step: visited[step] for step in wanted - steps}
        np.testing.assert_array_equal(
            w.trace[:-1, 0], np.arange(0, w.n_steps + 1, stride)[: len(w.trace) - 1]
        )


def test_progress_tells_the_steps_and_who_left():
    told = []
    exits = NEVER.model_copy(update={"force_sd_ev_per_ang": 0.16})
    walks = walk(Wells(), STARTS, RUN, exits, progress=lambda *news: told.append(news))
    left = sum(w.exit_reason is ExitReason.UNCERTAINTY for w in walks)
    assert sum("stopped at step" in news and "uncertainty (0.1" in news for _, _, news in told) == left
    assert told[-1] == (150, 150, f"{len(STARTS) - left} of {len(STARTS)} walkers")
