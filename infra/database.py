"""The database's engine, how rows are read, and the migrations."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncpg
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Executable, Select, event, func, make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

Row = dict[str, Any]
"""By the names of its columns."""

CONNECT_TIMEOUT = 3.0
COMMAND_TIMEOUT = 60.0
_DRIVER = "postgresql+asyncpg"
# Classes of SQLSTATE that say nothing about what was asked: connection, rolled back by another transaction, resources,
# object in use, operator intervention, system error, internal error.
_AWAY = {"08", "40", "53", "55", "57", "58", "XX"}
_one_migration = asyncio.Lock()  # Alembic keeps its context in module globals


def create_engine(url: str, *, pool_size: int = 5) -> AsyncEngine:
    """The engine of one process.

    Connecting is given up after 3 s and one command after 60 s (`TimeoutError`). A connection that the server
    closed while it lay in the pool is replaced when it is taken out, without a round trip to ask.
    """
    engine = create_async_engine(
        make_url(url).set(drivername=_DRIVER),
        pool_size=pool_size,
        max_overflow=pool_size,
        connect_args={"timeout": CONNECT_TIMEOUT, "command_timeout": COMMAND_TIMEOUT},
    )

    @event.listens_for(engine.sync_engine, "checkout")
    def replace_closed(connection: Any, *_: Any) -> None:
        if connection.driver_connection.is_closed():
            raise DisconnectionError("the server closed this connection")

    return engine


async def one(engine: AsyncEngine, query: Select[*tuple[Any, ...]]) -> Row | None:
    """The first row; None where there is none."""
    found = await many(engine, query.limit(1))
    return found[0] if found else None


async def many(engine: AsyncEngine, query: Select[*tuple[Any, ...]]) -> list[Row]:
    """All rows."""
    async with engine.connect() as connection:
        return await rows(connection, query)


async def rows(connection: AsyncConnection, query: Executable, terms: Mapping[str, Any] | None = None) -> list[Row]:
    """All rows, where something else is read on the same connection."""
    return [dict(row) for row in (await connection.execute(query, terms)).mappings()]


async def page(
    engine: AsyncEngine, query: Select[*tuple[Any, ...]], *, limit: int, offset: int
) -> tuple[int, list[Row]]:
    """How many rows there are in all, and one page of them."""
    count = query.with_only_columns(func.count(), maintain_column_froms=True).order_by(None)
    async with engine.connect() as connection:
        total = await connection.scalar(count)
        return total or 0, await rows(connection, query.limit(limit).offset(offset))


def is_away(error: BaseException) -> bool:
    """Whether the database is at fault and not what it was asked: the same may succeed once it is back."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or _sqlstate(error.orig) in _AWAY
    # The driver's own names come from connecting and from COPY, which go past SQLAlchemy.
    return isinstance(error, OSError | PoolTimeout | asyncpg.InterfaceError) or _sqlstate(error) in _AWAY


def _sqlstate(error: BaseException | None) -> str:
    """The class of it; empty where there is none."""
    return (getattr(error, "sqlstate", None) or "")[:2]


async def migrate(owner_url: str, writer_url: str, revision: str = "head") -> None:
    """Brings the schema up to a revision, the newest by default, and creates the writer's role where it is missing.

    Several processes may do this at the same time. Raises `ValueError` when owner and writer are one role: an owner
    can always change the ledger.
    """
    owner, writer = make_url(owner_url), make_url(writer_url)
    if not writer.username or writer.username == owner.username:
        raise ValueError("the ledger's writer must be a role of its own, other than the owner of the schema")
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["writer"] = writer.username
    config.attributes["writer_password"] = writer.password

    def upgrade(connection: Connection) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    engine = create_engine(owner_url, pool_size=1)
    try:
        async with _one_migration, engine.connect() as connection:
            await connection.run_sync(upgrade)
    finally:
        await engine.dispose()
