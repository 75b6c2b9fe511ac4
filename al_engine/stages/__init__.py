"""The stages of a generation: the only place where the parts of the science meet."""
