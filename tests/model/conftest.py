"""Networks and frames that laws are tried on."""

import pytest
from networks import carbon_crystal, ensemble, ethanol, trained

from al_engine.frames import Frame
from al_engine.model.ensemble import Ensemble

CRYSTALS = {"crystal": carbon_crystal(), "cell smaller than r_max": carbon_crystal(cubic=False)}
FRAMES = {"molecule": ethanol()} | CRYSTALS


@pytest.fixture(scope="module", params=["random", "trained"])
def model(request: pytest.FixtureRequest) -> Ensemble:
    return ensemble() if request.param == "random" else trained()


@pytest.fixture(params=FRAMES.values(), ids=FRAMES)
def frame(request: pytest.FixtureRequest) -> Frame:
    return request.param


@pytest.fixture(params=CRYSTALS.values(), ids=CRYSTALS)
def crystal(request: pytest.FixtureRequest) -> Frame:
    return request.param
