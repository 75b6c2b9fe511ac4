"""Run by alembic: migrate over the connection that `db.migrate` hands in, inside its transaction."""

from alembic import context

from db.migrate import VERSION_TABLE
from db.schema import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
