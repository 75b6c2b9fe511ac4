"""Each campaign file of configs/ loads as it is, and runs at reduced size."""

from pathlib import Path

import pytest
from running import CONFIGS, reduced

from al_engine import load_config
from al_engine.stages.plan import End
from al_engine.template import campaign_text
from flows.assembly import assemble, register
from flows.driver import drive

NAMES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_a_config_loads_and_its_structures_are_there(name: str):
    config = load_config(CONFIGS / f"{name}.yaml")
    assert all((CONFIGS / system.structure).is_file() for system in config.systems)


@pytest.mark.parametrize("name", NAMES)
def test_a_reduced_config_runs(name: str, tmp_path: Path):
    file, url = reduced(name, tmp_path), f"sqlite:///{tmp_path}/al_engine.db"
    config = load_config(file)
    register(config, file, url)
    assert drive(config.name, url) is End.MAX_GENERATIONS
    with assemble(config.name, url) as run:
        assert [g.n_failed for g in run.store.generations(config.name)] == [0, 0]


def test_the_template_holds_the_defaults(tmp_path: Path):
    file = tmp_path / "a.yaml"
    file.write_text(campaign_text("a", "a.xyz"))
    (tmp_path / "b.yaml").write_text("name: a\nsystems: [{structure: a.xyz, multiplicity: 1}]\n")
    assert load_config(file) == load_config(tmp_path / "b.yaml")
    assert max(map(len, file.read_text().splitlines())) <= 110


def test_the_template_of_a_periodic_structure_names_a_calculator(tmp_path: Path):
    (tmp_path / "a.yaml").write_text(campaign_text("1e3", "a: b.xyz", periodic=True))
    config = load_config(tmp_path / "a.yaml")
    assert (config.name, config.systems[0].structure) == ("1e3", "a: b.xyz")
    assert config.reference.kind == "ase"
