"""The page of a real campaign, opened in a real browser without a network."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from reported import read
from running import Finished

from al_engine.config import stored_config
from db.store import Store
from flows.cli import execute

Capture = pytest.CaptureFixture[str]

CLIPPED = """() => [...document.querySelectorAll("figure svg")].flatMap((svg) => {
  const box = svg.getBoundingClientRect();
  const texts = [...svg.querySelectorAll("text")].map((t) => [t.textContent, t.getBoundingClientRect()]);
  const outside = texts.filter(([, r]) =>
    r.left < box.left - 1 || r.right > box.right + 1 || r.top < box.top - 1 || r.bottom > box.bottom + 1);
  const apart = (a, b) =>
    a.right <= b.left + 1 || b.right <= a.left + 1 || a.bottom <= b.top + 1 || b.bottom <= a.top + 1;
  const over = svg.matches(".structure") ? [] : texts.filter(([, a], i) =>
    texts.some(([, b], j) => j < i && !apart(a, b)));
  return [...outside, ...over].map(([text]) => text);
})"""
"""Texts of pictures that are cut off or lie over another."""


@pytest.fixture(scope="module")
def file(smoke: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert execute(["report", "-o", str(path), "--database", smoke.url]) == 0
    return path


@pytest.fixture
def shown(file: Path, page: Any) -> Any:
    """The page in a browser that is offline; whatever it complains of or asks for ends the test."""
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda request: troubles.append(request.url) if request.url[:5] == "http:" else None)
    page.context.set_offline(True)
    page.goto(file.as_uri())
    yield page
    assert not troubles


def test_the_page_tells_what_status_and_query_tell(file: Path, smoke: Finished, capsys: Capture):
    assert execute(["status", "smoke", "--database", smoke.url]) == 0
    status = capsys.readouterr().out
    root = read(file.read_text(encoding="utf-8"))
    said = [p.words for p in root.all("section", aria_labelledby="summary")[0].all("p")]
    assert len(said) == 3
    assert all(sentence in status for sentence in said[1:])
    assert execute(["query", "--campaign", "smoke", "--format", "csv", "--database", smoke.url]) == 0
    ids = sorted(line.split(",")[2][:12] for line in capsys.readouterr().out.splitlines()[1:])
    assert sorted(row[1] for row in root.all("table", class_="sortable")[0].rows()[1:]) == ids
    assert str(smoke.folder) not in file.read_text(encoding="utf-8")


def test_the_only_campaign_needs_no_name_and_one_of_two_does(
    smoke: Finished, tmp_path: Path, capsys: Capture
):
    copy = tmp_path / "two.db"
    shutil.copy(smoke.folder / "al_engine.db", copy)
    url, out = f"sqlite:///{copy}", tmp_path / "report.html"
    with Store.open(url) as store:
        one = store.campaign("smoke")
        assert one is not None
        config = stored_config(one).model_copy(update={"name": "other"})
        other = type(one)("other", config.model_dump_json(), one.level_of_theory, one.environment, ())
        store.create_campaign(other, [])
    assert execute(["report", "-o", str(out), "--database", url]) == 2
    assert "the database has smoke, other" in capsys.readouterr().err
    assert not out.exists()
    assert execute(["report", "other", "-o", str(out), "--database", url]) == 0
    assert "Generations: 0. Labels: 0." in out.read_text(encoding="utf-8")
    assert execute(["report", "none", "-o", str(out), "--database", url]) == 2
    assert "campaign = 'none'" in capsys.readouterr().err


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_window_and_can_be_read_by_everybody(scheme: str, shown: Any):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    shown.emulate_media(color_scheme=scheme)
    for width in (1400, 800):
        shown.set_viewport_size({"width": width, "height": 1000})
        root = shown.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert root[0] <= root[1] == width
        assert shown.evaluate(CLIPPED) == []
        found = axe.run(shown)
        assert not found.response["violations"], found.generate_report()
    paper = {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 24, 27)"}[scheme]
    assert shown.evaluate("getComputedStyle(document.body).backgroundColor") == paper


@pytest.mark.browser
def test_the_labels_are_sorted_by_the_buttons_in_their_header(shown: Any):
    def column(n: int) -> list[str]:
        cells = shown.locator(f"table.sortable tbody tr > :nth-child({n + 1})")
        return list(cells.all_text_contents())

    before = sorted(column(1))
    heads = shown.locator("table.sortable thead th")
    energies = heads.filter(has_text="energy eV")
    energies.get_by_role("button").click()
    assert energies.get_attribute("aria-sort") == "descending"
    values = [float(text) for text in column(3)]
    assert values == sorted(values, reverse=True) != sorted(values)
    energies.get_by_role("button").press("Enter")
    assert energies.get_attribute("aria-sort") == "ascending"
    assert [float(text) for text in column(3)] == sorted(values)
    formulas = heads.filter(has_text="formula")
    formulas.get_by_role("button").click()
    assert energies.get_attribute("aria-sort") is None
    assert column(2) == sorted(column(2), reverse=True)
    heads.filter(has_text="force sd").get_by_role("button").click()
    unknown = [text == "-" for text in column(6)]
    assert unknown == sorted(unknown)
    assert sorted(column(1)) == before


@pytest.mark.browser
def test_a_structure_is_turned_by_keys_mouse_and_finger(shown: Any):
    svg = shown.locator("svg.structure").first

    def places() -> list[tuple[str, str]]:
        script = "svg => [...svg.querySelectorAll('.atom')].map(g => [g.querySelector('title').textContent, "
        return sorted(map(tuple, svg.evaluate(script + "g.getAttribute('transform')])")))

    def order() -> list[str]:
        return list(svg.locator("title").all_text_contents())

    home, front = places(), order()
    svg.focus()
    for key, back in (("ArrowLeft", "ArrowRight"), ("ArrowUp", "ArrowDown")):
        shown.keyboard.press(key)
        assert places() != home
        shown.keyboard.press(back)
        assert places() == home
    for _ in range(21):  # of 0.15 rad: half a turn
        shown.keyboard.press("ArrowLeft")
    assert order() == front[::-1]
    shown.keyboard.press("Home")
    assert places() == home
    svg.scroll_into_view_if_needed()
    box = svg.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    shown.mouse.move(x, y)
    shown.mouse.move(x + 60, y + 40)
    assert places() == home
    shown.mouse.down()
    shown.mouse.move(x + 120, y + 80)
    shown.mouse.up()
    dragged = places()
    assert dragged != home
    shown.mouse.move(x, y)
    assert places() == dragged
    touch = shown.context.new_cdp_session(shown)
    for kind, dx in (("touchStart", 0), ("touchMove", 30), ("touchMove", 60), ("touchEnd", None)):
        fingers = [] if dx is None else [{"x": x + dx, "y": y}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})
    shown.wait_for_timeout(50)
    assert places() != dragged
