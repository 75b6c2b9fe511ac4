"""Which visited frames are worth a label: uncertain, varied, and not yet known."""
