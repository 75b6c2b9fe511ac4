"""The flows `report` and `audit`, on a campaign that is done, by a real server."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from running import Finished

from al_engine.convergence import promoted
from al_engine.evaluation import max_force_errors
from al_engine.model.ensemble import Ensemble
from al_engine.records import Origin, TrainingFrame
from al_engine.stages.backtest import judged_audits
from db.store import Store
from flows.locks import home
from flows.reports import audit, report


def artifact(client: SyncPrefectClient, key: str) -> str:
    """Text of the newest artifact."""
    found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
    return str(max(found, key=lambda a: a.created).data)


@pytest.mark.parametrize("is_named", [True, False])
def test_a_report_is_written_and_said_where(
    is_named: bool, smoke: Finished, client: SyncPrefectClient, tmp_path: Path
):
    file = tmp_path / "smoke.html" if is_named else home("reports") / "smoke.html"
    state: Any = report("smoke", str(file) if is_named else "", smoke.url, return_state=True)
    assert (state.name, state.message) == ("Completed", f"wrote {file}")
    assert "Campaign smoke" in file.read_text(encoding="utf-8")
    assert f"`{file}`" in artifact(client, "smoke-report")


@pytest.mark.parametrize("output", ["report.html", "/no/such/folder/report.html"])
def test_a_report_that_cannot_be_written_fails_with_one_line(
    output: str, smoke: Finished, client: SyncPrefectClient
):
    state: Any = report("smoke", output, smoke.url, return_state=True)
    assert state.is_failed()
    assert state.message.startswith(f"output = '{output}': ")


def test_an_audit_judges_the_promoted_model_by_all_audits(smoke: Finished, client: SyncPrefectClient):
    state: Any = audit("smoke", smoke.url, return_state=True)
    with Store.open(smoke.url) as store:
        best = promoted(store.stop_decisions("smoke"))
        model, labeled = store.model("smoke", best), store.labeled("smoke")
    rows = [line.split(" | ") for line in artifact(client, "smoke-audits").splitlines() if line[:3] == "| 1"]
    unseen = [i for i in labeled if i.generation == best and i.origin is Origin.AUDIT]
    prediction = Ensemble.from_bytes(model.weights).predict([i.frame for i in unseen])
    errors = max_force_errors(prediction, np.concatenate([i.label.forces for i in unseen]))
    found = {item.generation: item for item in judged_audits(model, labeled, "cpu")}
    assert list(found) == [1, 2]
    assert found[best].n_learned == 0
    np.testing.assert_allclose(found[best].max_force_errors, errors, rtol=1e-4)
    assert rows[0][1:3] == [str(len(found[1].max_force_errors)), str(found[1].n_learned)]
    n_failing = sum(int((item.max_force_errors > 0.02).sum()) for item in found.values())
    n_frames = sum(len(item.max_force_errors) for item in found.values())
    assert state.message == f"{n_failing} of {n_frames} frames of 2 audits fail"


def test_a_frame_that_was_learned_is_judged_by_the_member_that_left_it_out(smoke: Finished):
    with Store.open(smoke.url) as store:
        model, labeled = store.model("smoke", 1), store.labeled("smoke")
    item = next(i for i in labeled if i.generation == 1 and i.origin is Origin.AUDIT)
    learned = replace(model, training_set=(TrainingFrame(item.frame.frame_id, 1),))
    (judged,) = judged_audits(learned, [item], "cpu")
    assert judged.n_learned == 1
    forces = Ensemble.from_bytes(model.weights).predict([item.frame]).member_forces[1]
    assert judged.max_force_errors[0] == np.abs(forces - item.label.forces).max()


def test_an_audit_of_a_campaign_without_a_model_fails_with_one_line(
    smoke: Finished, client: SyncPrefectClient
):
    state: Any = audit("other", smoke.url, return_state=True)
    assert state.is_failed()
    assert state.message.startswith("campaign = 'other': the database has no such campaign")
