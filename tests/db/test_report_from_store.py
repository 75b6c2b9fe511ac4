"""What a report takes from a database, on SQLite and on PostgreSQL with a password."""

from dataclasses import replace
from pathlib import Path

from reported import CONFIG, read
from stored_campaign import LEVEL, NAME, campaign_of, frame_of, label_of, run_generation

from al_engine.records import FailureReason
from db.failures import failures
from db.store import Store
from flows.cli import execute


def test_failures_are_those_that_still_have_no_label(whole: Store):
    found = failures(whole, NAME)
    assert [number for number, _ in found] == [0, 1]
    assert {(f.reason, f.message, f.attempts, f.seconds) for _, f in found} == {
        (FailureReason.SCF, "no convergence", 2, 0.5)
    }
    first = found[0][1]
    assert first.level_of_theory == LEVEL
    (frame,) = whole.frames([first.frame_id])
    whole.import_labels(NAME, [(frame, label_of(frame))])
    assert failures(whole, NAME) == found[1:]


def test_the_initial_generation_with_a_failure_is_reported_and_the_password_is_not(url: str, tmp_path: Path):
    starts = [frame_of(1)]
    with Store.open(url) as store:
        store.create_campaign(replace(campaign_of(starts), config=CONFIG.model_dump_json()), starts)
        store.open_generation(NAME, 0)
        run_generation(store, 0)
    file = tmp_path / "report.html"
    assert execute(["report", NAME, "-o", str(file), "--database", url]) == 0
    text = file.read_text(encoding="utf-8")
    root = read(text)
    (rows,) = (t.rows() for t in root.all("table") if "gave no label" in t.all("caption")[0].words)
    assert rows[1:] == [["scf", "1", "0", "2", "no convergence"]]
    assert "Generations: 1. Labels: 3. Calculations without a label: 1." in text
    assert "s3cret" not in text
    assert url not in text
