"""Opening the ledger as one recording process."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from infra.database import create_engine
from infra.ledger import Ledger
from infra.settings import Settings


def _recorder(role: str) -> str:
    """Names this process in the ledger: its own sequence starts with it."""
    return f"{role}@{socket.gethostname()}/{os.getpid()}/{datetime.now(UTC):%Y%m%dT%H%M%S}"


@asynccontextmanager
async def open_ledger(settings: Settings, role: str) -> AsyncIterator[tuple[AsyncEngine, Ledger]]:
    """The database's engine and the ledger over it, as the Floor Hub; closed in order."""
    engine = create_engine(settings.database_writer_url)
    try:
        async with Ledger(engine, _recorder(role), settings.floor_hub_id) as ledger:
            yield engine, ledger
    finally:
        await engine.dispose()
