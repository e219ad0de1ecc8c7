"""Runs the migrations on the connection that `infra.database.migrate` hands over; one process at a time."""

from alembic import context
from sqlalchemy import text

from infra.tables import metadata

_LOCK = 0x5F_4D_49_47  # any number, the same in all processes

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.get_bind().execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    context.run_migrations()
