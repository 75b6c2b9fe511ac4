"""Wiring: the campaign as Prefect flows, the command line, and the local Prefect server."""
