"""Active learning of machine-learned potentials: the science, without database or orchestrator."""

from typing import TYPE_CHECKING

from al_engine.frames import Frame

if TYPE_CHECKING:
    from al_engine.config_file import load_config
    from al_engine.model.ensemble import Ensemble

__all__ = ["Ensemble", "Frame", "load_config"]


def __getattr__(name: str) -> object:
    """Import the heavy names (torch, pydantic) only where they are used."""
    if name == "Ensemble":
        from al_engine.model.ensemble import Ensemble

        return Ensemble
    if name == "load_config":
        from al_engine.config_file import load_config

        return load_config
    raise AttributeError(f"module 'al_engine' has no attribute {name!r}")
