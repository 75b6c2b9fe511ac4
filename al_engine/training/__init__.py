"""Training of the stacked ensemble: folds, losses, optimizer, loop."""
