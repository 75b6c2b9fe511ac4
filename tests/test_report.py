import io
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from networks import ensemble, ethanol, labeled
from reported import failure, model, record
from synthetic import labels_of, prediction_of

from al_engine.evaluation import Evaluation, evaluate
from al_engine.frames import Frame
from al_engine.lifecycle import CandidateState, GenerationState
from al_engine.records import (
    Candidate,
    ExitReason,
    Generation,
    Metric,
    Origin,
    TrainedModel,
    Uncertainty,
    Walker,
)
from al_engine.report.figures import coverage, error_by_sd, generation_figure, png, walker_traces
from al_engine.report.generation import generation_markdown
from al_engine.report.newest import N_DRAWN, newest_frames
from al_engine.report.text import calibration_rows, error_rows, number, size_rows, table


@pytest.fixture
def scores() -> Evaluation:
    rng = np.random.default_rng(1)
    prediction = prediction_of(rng, [4, 6] * 20)
    return evaluate(prediction, *labels_of(prediction, rng))


def generation(k: int) -> Generation:
    errors = (None, None, None) if k == 0 else (0.01, 0.5 / k, 1.1)
    return Generation("ethanol", k, GenerationState.CLOSED, 4, 9, 5, 10, 0, *errors, 1.0, 1.0, 1.0, "", None)


def all_drawn_in(png: bytes, rows: int) -> bool:
    """Whether each panel of a figure of two columns has something in color: data, not axes only."""
    image = imread(io.BytesIO(png))[..., :3]
    parts = [part for row in np.array_split(image, rows) for part in np.array_split(row, 2, axis=1)]
    return all((np.ptp(part, axis=2) > 0.3).sum() > 50 for part in parts)


def test_every_part_and_quantity_has_its_row(scores: Evaluation):
    rows = calibration_rows(scores.metrics("audit"))
    assert len(rows) == 3 * 3 + 2 + 3  # the epistemic part alone has no exact joint covariance
    first = rows[0]
    assert (first["quantity"], first["part"]) == ("energy", "total")
    assert first["mean z²"] == number(scores.energy.mean_z2)
    assert first["CRPS"] == number(scores.energy.crps_ev)
    label = next(row for row in rows if row["quantity"].startswith("label, as"))
    assert label["NLL"] == number(scores.parts.total.joint_blocks.nll_per_label)
    assert label["Spearman"] == "–"


def test_errors_stand_beside_each_other_by_split(scores: Evaluation):
    metrics = [*scores.metrics("audit"), Metric("fold", "energy", "rmse_ev_per_atom", 0.25)]
    rows = {row["error"]: row for row in error_rows(metrics)}
    assert len(rows) == 7
    assert rows["energy rmse_ev_per_atom"]["fold"] == "0.25"
    assert rows["forces rmse_ev_per_ang"] == {
        "error": "forces rmse_ev_per_ang", "audit": number(scores.forces.rmse_ev_per_ang), "fold": "–",
    }  # fmt: skip


def test_sizes_are_shown_where_they_differ(scores: Evaluation):
    assert [row["atoms"] for row in size_rows(scores.by_size)] == ["4 to 4", "6 to 6"]
    assert [row["frames"] for row in size_rows(scores.by_size)] == ["20", "20"]


def test_markdown_has_one_table_of_calibration_for_each_split(scores: Evaluation):
    metrics = [*scores.metrics("audit"), *scores.metrics("test")]
    text = generation_markdown(replace(record(2), metrics={1: metrics}), [])
    assert text.count("## Calibration, ") == 2
    for line in text.splitlines():
        if line.startswith("|---"):
            width = line.count("|")
        elif line.startswith("| label"):
            assert line.count("|") == width


def test_markdown_tells_of_failures_and_costs_and_a_cell_is_one_line():
    failed = [(1, failure("first line\nsecond | <b>line</b>"))]
    text = generation_markdown(replace(record(2), failures=failed), [])
    assert "| scf | 1 | 1 | 2 | first line second \\| <b>line</b> |" in text
    assert "| labeling | 2.5 | 5.0 | 0 |" in text


def calibration_figure(scores: Evaluation) -> bytes:
    figure = Figure(figsize=(10, 4.4), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    coverage(left, scores)
    error_by_sd(right, scores)
    return png(figure)


def test_calibration_is_drawn_in_two_panels_also_of_one_frame(scores: Evaluation):
    assert all_drawn_in(calibration_figure(scores), 1)
    rng = np.random.default_rng(2)
    prediction = replace(prediction_of(rng, [3]), epistemic_scale=0.0)
    alone = evaluate(prediction, *labels_of(prediction, rng))
    assert all_drawn_in(calibration_figure(alone), 1)
    nothing = evaluate(prediction, [np.nan], np.full((3, 3), np.nan))
    assert calibration_figure(nothing)


def test_a_generation_with_an_audit_is_drawn_in_four_panels_and_one_without_in_two():
    weights = ensemble().to_bytes()
    model = TrainedModel(weights, 3, 0, (1, 1, 1), (0, 0, 0), "audit", np.zeros((0, 1)), ("step",), ())
    items = [replace(labeled(ethanol(k)), origin=Origin.AUDIT, generation=1) for k in range(3)]
    picture = generation_figure(1, model, items, [generation(0), generation(1)])
    assert all_drawn_in(picture, 2)
    first = generation_figure(0, None, [replace(i, generation=0) for i in items], [generation(0)])
    assert imread(io.BytesIO(first)).shape[0] < imread(io.BytesIO(picture)).shape[0]
    assert not all_drawn_in(first, 1)  # there is no learning curve yet


def drawn_columns(png: bytes, share: float = 1.0) -> list[bool]:
    """Whether there is something in color in each quarter of the share of the width for structures."""
    image = imread(io.BytesIO(png))[..., :3]
    parts = np.array_split(image[:, : int(share * image.shape[1])], 4, axis=1)
    return [(np.ptp(part, axis=2) > 0.3).sum() > 200 for part in parts]


def candidate(frame: Frame, rank: int | None, walker: int | None) -> Candidate:
    sds = Uncertainty(0.1, 0.1, 0.1, 0.25, 0.2, 0.15, 0.1, 1.0) if walker is not None else None
    return Candidate(
        frame.frame_id, Origin.SELECTED, CandidateState.SELECTED, walker, 40, 300.0, sds, rank=rank,
        reason="a | b",
    )  # fmt: skip


def test_the_newest_structures_are_drawn_and_listed_with_and_without_a_model():
    frames = [ethanol(0), ethanol(1)]
    chosen = [candidate(frame, k, 3) for k, frame in enumerate(frames)]
    image, rows = newest_frames(chosen, frames, model(), "cpu")
    assert drawn_columns(image, 0.89) == [True, True, False, False]
    assert rows[1] == {
        "frame": f"C2H6O {frames[1].frame_id[:12]}",
        "from": "selected, walker 3 at 300 K, step 40",
        "force sd (eV/Å)": "0.25",
        "why": "a | b",
    }
    assert table(rows).splitlines()[-1].count("|") == 6  # five of the table, and one that is escaped
    image, rows = newest_frames([candidate(frames[0], 0, None)], frames[:1], None, "cpu")
    assert drawn_columns(image) == [True, False, False, False]
    assert (rows[0]["from"], rows[0]["force sd (eV/Å)"]) == ("selected", "–")


def test_of_many_structures_the_first_are_drawn_and_all_are_listed():
    frames = [ethanol(k) for k in range(N_DRAWN + 2)]
    chosen = [candidate(frame, k, 3) for k, frame in enumerate(frames)]
    image, rows = newest_frames(chosen, frames, model(), "cpu")
    fewer, _ = newest_frames(chosen[:N_DRAWN], frames[:N_DRAWN], model(), "cpu")
    assert len(rows) == len(frames)
    assert image == fewer


def walker(k: int, *rows: tuple[float, ...], exit_reason: ExitReason = ExitReason.STEP_LIMIT) -> Walker:
    trace = np.array(rows, dtype=np.float32)
    n_steps = int(trace[-1, 0]) - (exit_reason is not ExitReason.STEP_LIMIT)
    return Walker(k, "0" * 64, 300.0 * (k + 1), 20, n_steps, exit_reason, np.nan, trace)


def test_traces_are_drawn_also_of_a_walker_that_exploded_or_never_started():
    whole = walker(0, (0, -1, 310, 0.1, 0.2), (10, -1, 280, 0.1, 0.3), (20, -1, 300, 0.1, 0.4))
    infinite = np.float32(np.inf)
    exploded = walker(
        1, (0, -1, 610, 0.1, 0.2), (7, infinite, infinite, 0.1, 9.0), exit_reason=ExitReason.NOT_FINITE
    )
    at_once = walker(2, (0, -1, 900, 0.1, 2.0), exit_reason=ExitReason.UNCERTAINTY)
    assert all_drawn_in(walker_traces([whole]), 1)
    assert all_drawn_in(walker_traces([whole, exploded, at_once]), 1)
    assert walker_traces([exploded]) != walker_traces([at_once])
