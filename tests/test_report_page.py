"""The page of a campaign, from records alone."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import ethanol
from reported import CONFIG, Element, crystals, failure, generation, labels, read, record

from al_engine.frames import Frame
from al_engine.records import Criterion, FailureReason, Origin, StopDecision
from al_engine.report.judged import judge
from al_engine.report.page import page
from al_engine.report.picture import MAX_ATOMS, Picture, color_of, picture
from al_engine.report.text import failure_rows
from al_engine.report.worst import N_WORST

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>\"'><b>javascript:alert(3)\x00\u202e\ud800&amp;"
)
SHOWN = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>\"'><b>javascript:alert(3)\ufffd\ufffd\ufffd&amp;"
)


@pytest.fixture(scope="module")
def text() -> str:
    return page(record())


@pytest.fixture(scope="module")
def whole(text: str) -> Element:
    return read(text)


def section(root: Element, name: str) -> Element:
    return root.all("section", aria_labelledby=name)[0]


def table(root: Element, caption: str) -> list[list[str]]:
    return next(t for t in root.all("table") if t.all("caption")[0].words.startswith(caption)).rows()


def luminance(color: str) -> float:
    digits = color[1:] if len(color) == 7 else "".join(2 * c for c in color[1:])
    rgb = np.array([int(digits[k : k + 2], 16) for k in (0, 2, 4)]) / 255
    return float(
        np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
    )


def points(drawn: Picture) -> np.ndarray:
    return np.array([[a.x, a.y, a.z] for a in drawn.atoms])


def test_the_numbers_of_the_records_stand_in_the_page(whole: Element):
    assert "Not converged: 1 of 12 audit steps fails." in section(whole, "summary").words
    assert "forces within 0.9 eV/Å, 0.3 eV/Å are wanted" in section(whole, "summary").words
    assert table(whole, "Stop criteria")[1] == ["failing_share_upper_bound", "0.25", "<= 0.05", "no"]
    assert [row[3] for row in table(whole, "Generations")[1:]] == ["–", "0.5", "0.25"]
    assert ["forces rmse_ev_per_ang", "0.25", "0.375"] in table(whole, "Errors of generation 2")
    assert table(whole, "Calibration")[1][2] == "1.25"
    costs = table(whole, "Wall time")
    assert costs[0] == ["generation", "labeling (s)", "closing (s)", "total (s)", "devices"]
    assert costs[-1] == ["all", "7.5", "0.8", "8.2", "cpu"]
    where = dict(map(tuple, table(whole, "Where")[1:]))
    assert (where["seed"], where["seed of the newest training"], where["torch"]) == ("7", "4242", "2.13.0")
    assert json.loads(whole.all("pre")[0].words) == json.loads(CONFIG.model_dump_json())
    assert "al-engine query --campaign ethanol" in section(whole, "labels").words
    (selected,) = (e for e in whole.all("div", role="img") if "selected frames" in e.attributes["aria-label"])
    assert "audit frames, eV/Å: 1: 0.5, 2: 0.25." in selected.attributes["aria-label"]


def test_the_worst_structure_is_the_one_with_the_largest_error_colored_by_its_uncertainty(whole: Element):
    judged = judge(record())
    assert judged is not None
    assert {item.generation for item in judged.items} == {2}
    errors = [
        np.abs(item.label.forces - judged.residuals.prediction.forces[9 * k : 9 * k + 9]).max()
        for k, item in enumerate(judged.items)
    ]
    figures = section(whole, "structures").all("figure")
    assert len(figures) == min(N_WORST, 4)
    for figure, k in zip(figures, np.argsort(errors)[::-1], strict=True):
        assert figure.all("h3")[0].words == f"C2H6O, {judged.items[k].frame.frame_id[:12]}"
        assert f"force error {errors[k]:.3g} eV/Å" in figure.words
        sd = judged.residuals.prediction.total.force_sd[9 * k : 9 * k + 9]
        for n, atom in enumerate(
            sorted(figure.all("g", class_="atom"), key=lambda e: int(e.words.split()[1][:-1]))
        ):
            assert f" {n + 1}: force sd {sd[n]:.3g}," in atom.words
            shown = atom.all("circle")[0].attributes["fill"]
            assert shown == color_of(sd[n] / judged.max_force_sds[judged.worst(N_WORST)].max())


def test_the_page_is_sound_and_can_be_heard(whole: Element):
    ids = [e.attributes["id"] for e in whole.all("*") if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    headings = [int(e.tag[1]) for e in whole.all("*") if re.fullmatch("h[1-6]", e.tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(headings))
    assert [len(whole.all(tag)) for tag in ("header", "nav", "main", "footer")] == [1, 1, 1, 1]
    assert all(e.attributes["aria-label"] for e in whole.all("*", role="img"))
    for found in whole.all("table"):
        assert len(found.all("caption")) == 1
        assert all(e.attributes["scope"] in ("col", "row") for e in found.all("th"))
    for svg in whole.all("svg"):
        assert svg.attributes.get("role") == "img" or svg.attributes["aria-hidden"] == "true"


def test_nothing_is_loaded_from_anywhere(whole: Element, text: str):
    for element in whole.all("*"):
        for name in ("src", "href", "xlink:href", "action", "data", "poster"):
            assert re.match(r"#|data:image/png;base64,|$", element.attributes.get(name, ""))
        assert not [name for name in element.attributes if name.startswith("on")]
    assert not re.search(r"@import|url\((?!#)", text)
    assert not whole.all("link")


def test_hostile_text_is_shown_and_nothing_else():
    honest = record()
    stop = StopDecision(False, (Criterion(HOSTILE, 1.0, HOSTILE, True),), HOSTILE)
    config = json.loads(honest.campaign.config) | {"systems": [{"structure": HOSTILE.replace("\ud800", "")}]}
    text = page(
        replace(
            honest,
            campaign=replace(
                honest.campaign,
                name=HOSTILE,
                config=json.dumps(config),
                level_of_theory=HOSTILE,
                environment=json.dumps({HOSTILE: HOSTILE}),
            ),
            decisions={2: stop},
            failures=[(1, failure(HOSTILE))],
            table=[{HOSTILE: HOSTILE, "b": HOSTILE}],
            costs={0: [replace(honest.costs[0][0], stage=HOSTILE, device=HOSTILE)]},
        )
    )
    root = read(text)
    assert "\x00" not in text
    assert text.encode()
    assert len(root.all("script")) == 1
    assert not root.all("img") + root.all("b")
    assert root.all("h1")[0].words == f"Campaign {SHOWN}"
    for name in ("summary", "labels", "failures", "provenance", "costs"):
        assert SHOWN in section(root, name).words
    assert [row[4] for row in table(root, "Reference calculations")[1:]] == [SHOWN]


def test_only_the_script_of_the_page_may_run(whole: Element):
    (policy,) = whole.all("meta", http_equiv="Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(whole.all("script")[0].text.encode()).digest()).decode()
    assert policy.attributes["content"].startswith("default-src 'none'; ")
    assert f"script-src 'sha256-{digest}'" in policy.attributes["content"]


def test_the_same_records_give_the_same_page(text: str):
    assert page(record()) == text


@pytest.mark.parametrize("n", [0, 1])
def test_a_campaign_without_an_ensemble_says_so(n: int):
    root = read(page(record(n)))
    assert "no audit yet" in section(root, "errors").words
    assert len(root.all("div", role="img")) == 1
    assert not root.all("svg", class_="structure")
    assert f"Generations: {n}. Labels: {4 * n}." in section(root, "summary").words


def test_failures_are_counted_by_reason():
    some = [
        (1, failure("no convergence")),
        (2, failure("none either")),
        (0, failure("late", FailureReason.TIMEOUT)),
    ]
    rows = table(read(page(replace(record(1), failures=some))), "Reference calculations")
    assert rows[1:] == [
        ["scf", "2", "1, 2", "4", "none either"],
        ["timeout", "1", "0", "2", "late"],
    ]
    (long,) = failure_rows([(0, failure(5000 * "x"))])
    assert len(long["newest message"]) < 400


def test_a_periodic_system_is_drawn_with_its_cell():
    root = read(page(record(2, crystals())))
    shown = root.all("svg", class_="structure")
    assert [len(svg.all("line", class_="edge")) for svg in shown] == 4 * [12]
    assert all(len(svg.all("g", class_="atom")) == 8 for svg in shown)


def test_an_open_generation_is_said_to_be_open():
    honest = record()
    newest = replace(generation(3), closed_at=None, force_rmse_ev_per_ang=None)
    root = read(page(replace(honest, generations=[*honest.generations, newest])))
    assert "Generation 3 is not closed yet" in section(root, "summary").words


def test_a_large_campaign_is_a_small_page():
    few = labels(9, [ethanol(k) for k in range(50)])
    many = [replace(item, generation=k // 1000) for k in range(9000) for item in [few[k % 50]]]
    judged = [
        replace(few[0], frame=ethanol(k), origin=Origin.AUDIT if k % 5 else Origin.SELECTED)
        for k in range(1000)
    ]
    row = dict.fromkeys("abcdefgh", "0.123456789012")
    big = replace(record(10), labeled=[*many, *judged], table=200 * [row])
    text = page(big)
    assert len(text.encode()) < 3_000_000
    assert "Generations: 10. Labels: 10000." in text


def frames() -> st.SearchStrategy[Frame]:
    return st.builds(
        lambda seed, n: Frame(
            np.random.default_rng(seed).choice([1, 6, 8], n), np.random.default_rng(seed).normal(size=(n, 3))
        ),
        st.integers(0, 2**32 - 1),
        st.integers(1, 12),
    )


@settings(max_examples=50, deadline=None)
@given(frame=frames())
def test_a_picture_is_the_frame_turned_never_mirrored_and_never_leaves_its_square(frame: Frame):
    drawn = picture(frame, np.full(frame.n_atoms, 0.1), np.zeros(frame.n_atoms), 0.2)
    order = [int(a.title.split()[1][:-1]) - 1 for a in drawn.atoms]
    assert sorted(order) == list(range(frame.n_atoms))
    seen, real = points(drawn), frame.positions[order]
    assert (np.linalg.norm(seen, axis=1) + [a.radius for a in drawn.atoms]).max() <= 99
    assert (np.diff(seen[:, 2]) >= 0).all()
    if frame.n_atoms > 3:
        seen, real = seen - seen[0], real - real[0]
        scale = np.linalg.norm(seen) / np.linalg.norm(real)
        np.testing.assert_allclose(seen @ seen.T, scale**2 * real @ real.T, atol=60)  # of up to 200²
        volume = np.linalg.det(scale * real[1:4])
        if abs(volume) > 1e5:
            assert np.linalg.det(seen[1:4]) * volume < 0  # y points downwards on a screen


def test_a_lone_atom_and_a_flat_molecule_have_a_picture():
    lone = picture(Frame(np.array([6]), np.ones((1, 3))), np.ones(1), np.ones(1), 1.0)
    assert [(a.x, a.y, a.z) for a in lone.atoms] == [(0, 0, 0)]
    pair = picture(Frame(np.array([1, 1]), np.array([[0, 0, 0], [0, 0, 0.74]])), np.ones(2), np.ones(2), 1.0)
    assert len(pair.bonds) == 1
    apart = picture(Frame(np.array([1, 1]), np.array([[0, 0, 0], [0, 0, 1.5]])), np.ones(2), np.ones(2), 1.0)
    assert not apart.bonds


def test_of_a_large_frame_the_surroundings_of_the_worst_atom_are_drawn():
    line = np.zeros((1000, 3))
    line[:, 0] = 1.5 * np.arange(1000)
    error = np.zeros(1000)
    error[0] = 1.0
    drawn = picture(Frame(np.full(1000, 6), line), np.ones(1000), error, 1.0)
    assert drawn.is_part
    assert {int(a.title.split()[1][:-1]) for a in drawn.atoms} == set(range(1, MAX_ATOMS + 1))


def test_each_symbol_is_read_on_its_color():
    alone = Frame(np.array([8]), np.zeros((1, 3)))
    for share in np.linspace(0, 1, 256):
        (atom,) = picture(alone, np.array([share]), np.zeros(1), 1.0).atoms
        light, dark = sorted((luminance(atom.color), luminance(atom.ink)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5
