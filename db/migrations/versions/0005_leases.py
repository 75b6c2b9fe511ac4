"""A campaign has one driver at a time: who, until when, and the how manieth."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the table."""
    campaign = sa.ForeignKey("campaigns.id")
    op.create_table(
        "leases",
        sa.Column("campaign_id", sa.Integer(), campaign, primary_key=True, autoincrement=False),
        sa.Column("token", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
    )
