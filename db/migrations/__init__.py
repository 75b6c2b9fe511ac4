"""Alembic's revisions; each is written once and never edited after its release."""
