"""Reference calculations: which there are, whether they can be used, and labels from isolated processes."""

from al_engine.labeling.labeler import Labeler
from al_engine.labeling.reference import check_reference, level_of_theory, resolve_backend
from al_engine.labeling.xtb import ground_state_multiplicity

__all__ = ["Labeler", "check_reference", "ground_state_multiplicity", "level_of_theory", "resolve_backend"]
