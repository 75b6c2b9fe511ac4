"""A training that is under way keeps its state, so that it can be gone on with."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the table."""
    generation = sa.ForeignKey("generations.id")
    op.create_table(
        "training_states",
        sa.Column("generation_id", sa.Integer(), generation, primary_key=True, autoincrement=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
    )
