"""A generation knows when a person approved its frames; it is NULL where nobody did or had to."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column."""
    op.add_column("generations", sa.Column("approved_at", sa.Text(), nullable=True))
