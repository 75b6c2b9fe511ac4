"""Candidates know the frame of the training set that is nearest to them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; it is NULL in rows that are there already."""
    op.add_column("candidates", sa.Column("nearest_frame_id", sa.LargeBinary(32), nullable=True))
