"""Molecular-dynamics programs that run the ensemble."""
