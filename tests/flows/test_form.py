"""The form of the deployment: what it asks, what comes of it, and what a wrong value costs."""

from pathlib import Path
from typing import Any

import pytest
from running import CONFIGS

from al_engine.config import stored_config
from al_engine.errors import InputError
from al_engine.form import Form
from db.store import Store
from flows.assembly import register
from flows.campaign import _stored, campaign, database_of_run
from flows.labels import label
from flows.registration import read_file

COPPER = str(CONFIGS / "smoke.xyz")


def stored(url: str, name: str) -> Any:
    with Store.open(url) as store:
        found = store.campaign(name)
    assert found is not None
    return stored_config(found)


@pytest.mark.parametrize("flow", [campaign, label], ids=lambda flow: flow.name)
def test_every_field_says_what_it_is_and_none_is_a_choice_of_types(flow: Any):
    properties = flow.parameters.model_dump_for_openapi()["properties"]
    assert list(properties)[-1] == "database_url"
    for name, field in properties.items():
        assert field["title"] == name
        assert len(field["description"]) > 15
        assert field["type"] in ("string", "integer", "number", "array")
        assert not {"anyOf", "oneOf", "allOf", "$ref"} & set(field)


def test_a_form_is_the_campaign_that_a_file_says(tmp_path: Path):
    form = Form(
        structure=COPPER, method="EMT", temperatures_k=(250.0, 400.0), preset="accurate",
        tolerance_ev_per_ang=0.1, budget_labels=200,
    )  # fmt: skip
    url, other = f"sqlite:///{tmp_path}/form.db", f"sqlite:///{tmp_path}/file.db"
    assert _stored("", form, 5, url) == "Cu5"
    file = tmp_path / "a.yaml"
    file.write_text(
        f"name: Cu5\nsystems: [{{structure: {COPPER}, multiplicity: 2}}]\npreset: accurate\n"
        "reference: {kind: ase, calculator: ase.calculators.emt.EMT}\n"
        "exploration: {sampler: {kind: langevin, temperatures_k: [250, 400]}}\n"
        "stop: {tolerance_ev_per_ang: 0.1}\nbudget: {labels: 200}\nmax_generations: 5\n"
    )
    register(read_file(file), file, other)
    assert stored(url, "Cu5") == stored(other, "Cu5")
    assert _stored("", form, 5, url) == "Cu5"  # the same form again goes on
    assert _stored("", Form(name="Cu5"), 7, url) == "Cu5"
    assert stored(url, "Cu5").max_generations == 7
    assert stored(url, "Cu5").stop.tolerance_ev_per_ang == 0.1


WRONG = {
    "nothing": ({}, "structure: give a structure file, a SMILES string, or a campaign file"),
    "no such file": ({"structure": "/no/a.xyz"}, "structure file '/no/a.xyz' does not exist"),
    "relative": ({"structure": "a.xyz"}, "structure = 'a.xyz': give the whole path"),
    "two": ({"structure": COPPER, "smiles": "CCO"}, "smiles = 'CCO': give a structure file or a SMILES"),
    "element": ({"structure": "URANIUM"}, "method = 'GFN2-xTB': GFN2-xTB does not know U"),
    "electrons": ({"structure": COPPER, "multiplicity": 1}, "multiplicity = 1: "),
    "temperature": ({"structure": COPPER, "temperatures_k": (-3.0,)}, "temperatures_k"),
    "tolerance": ({"structure": COPPER, "tolerance_ev_per_ang": 0.0}, "tolerance_ev_per_ang = 0.0: "),
    "budget": ({"structure": COPPER, "method": "EMT", "budget_labels": 3}, "budget_labels = 3: generation 0"),
    "name": ({"structure": COPPER, "name": "a b"}, "name = 'a b': "),
    "unknown campaign": ({"name": "no"}, "campaign = 'no': the database has no such campaign"),
}


@pytest.mark.parametrize("case", WRONG, ids=str)
def test_a_wrong_value_costs_one_line_and_nothing_is_stored(case: str, tmp_path: Path):
    values, said = WRONG[case]
    if values.get("structure") == "URANIUM":
        (tmp_path / "u.xyz").write_text("1\n\nU 0 0 0\n")
        values = {"structure": str(tmp_path / "u.xyz")}
    url = f"sqlite:///{tmp_path}/al_engine.db"
    with Store.open(url), pytest.raises(InputError) as raised:
        _stored("", Form(**values), None, url)
    message = str(raised.value)
    assert message.startswith(said)
    assert "\n" not in message
    with Store.open(url) as store:
        assert store.campaign_names() == []


def test_a_campaign_file_says_everything_and_paths_are_whole():
    file = str(CONFIGS / "smoke.yaml")
    with pytest.raises(InputError, match=r"^preset = 'accurate': the campaign file says it"):
        _stored(file, Form(preset="accurate"), None, None)
    with pytest.raises(InputError, match=r"^config_file = 'smoke.yaml': give the whole path"):
        _stored("smoke.yaml", Form(), None, None)
    with pytest.raises(InputError, match=r"^database_url = 'sqlite:///a.db': give the whole path"):
        database_of_run("sqlite:///a.db")
    assert database_of_run("sqlite:////a.db") == "sqlite:////a.db"
