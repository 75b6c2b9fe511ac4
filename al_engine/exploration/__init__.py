"""Dynamics that finds frames worth labeling: a batch of walkers, each with its own end."""
