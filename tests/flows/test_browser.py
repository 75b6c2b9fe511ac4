"""The campaign in the Prefect UI, in a real browser that reaches nothing outside."""

from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.settings import PREFECT_API_URL, temporary_settings
from running import Finished

pytestmark = pytest.mark.browser
WAIT_MS = 30_000


def run_id(api: str, name: str) -> str:
    with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
        return str(next(run.id for run in client.read_flow_runs() if run.name == name))


def test_the_run_page_shows_the_generations_and_the_artifacts(
    smoke: Finished, prefect_api: str, page: Any, tmp_path: Path
):
    ui = prefect_api.removesuffix("/api")
    page.goto(f"{ui}/v2/runs/flow-run/{run_id(prefect_api, 'smoke')}", wait_until="domcontentloaded")
    page.get_by_text("GenerationsDone").first.wait_for(timeout=WAIT_MS)
    page.screenshot(path=tmp_path / "campaign.png")
    generation = run_id(prefect_api, "smoke, generation 2")
    page.goto(f"{ui}/v2/runs/flow-run/{generation}", wait_until="domcontentloaded")
    page.get_by_text("6 Task runs").first.wait_for(timeout=WAIT_MS)
    page.screenshot(path=tmp_path / "generation.png")
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("smoke-errors").first.click()
    page.get_by_role("heading", name="smoke, generation 2").wait_for(timeout=WAIT_MS)
    page.get_by_role("columnheader", name="force RMSE (eV/Å)").first.wait_for(timeout=WAIT_MS)
    page.screenshot(path=tmp_path / "errors.png", full_page=True)
    page.go_back()
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("smoke-plot").first.click()
    page.locator("img[src^='data:image/png']").first.wait_for(timeout=WAIT_MS)
    page.screenshot(path=tmp_path / "plot.png", full_page=True)


FITS = """() => {
  const image = document.querySelector("main img[src^='data:']"), main = image?.closest("main");
  return main && image.complete && image.naturalWidth > 0 && main.scrollWidth <= main.clientWidth;
}"""
"""Whether the picture is there and nothing is wider than the page."""


@pytest.mark.parametrize("part", ["newest", "worst", "walkers"])
def test_pictures_and_tables_fit_a_wide_and_a_narrow_window(
    part: str, smoke: Finished, prefect_api: str, page: Any, tmp_path: Path
):
    filters = ArtifactFilter(key=ArtifactFilterKey(any_=[f"smoke-{part}"]))
    with temporary_settings({PREFECT_API_URL: prefect_api}), get_client(sync_client=True) as client:
        newest = max(client.read_artifacts(artifact_filter=filters), key=lambda found: found.created)
    assert newest.description == "smoke, generation 2"
    for width in (1400, 800):
        page.set_viewport_size({"width": width, "height": 1000})
        address = f"{prefect_api.removesuffix('/api')}/v2/artifacts/artifact/{newest.id}"
        page.goto(address, wait_until="domcontentloaded")
        page.wait_for_function(FITS, timeout=WAIT_MS)
        page.screenshot(path=tmp_path / f"{part}-{width}.png", full_page=True)
