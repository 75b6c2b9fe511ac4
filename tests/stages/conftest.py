"""What the tests of the stages start from."""

from pathlib import Path

import pytest
from ase.build import molecule
from small_campaign import labeled, water

from al_engine.records import LabeledFrame
from al_engine.stages.initial import isolated_atom


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    molecule("H2O").write(tmp_path / "water.xyz")
    return tmp_path


@pytest.fixture(scope="session")
def initial() -> list[LabeledFrame]:
    return [*(labeled(water(k)) for k in range(8)), *(labeled(isolated_atom(z)) for z in (1, 8))]
