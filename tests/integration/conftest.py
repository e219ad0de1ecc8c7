"""The database of a test, open for a process that may write into the ledger."""

from collections.abc import AsyncIterator

import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.database import create_engine
from infra.ledger import Ledger
from infra.settings import Settings


@pytest_asyncio.fixture
async def engine(database: Settings) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(database.database_writer_url)
    yield engine
    await engine.dispose()


@pytest_asyncio.fixture
async def ledger(engine: AsyncEngine) -> AsyncIterator[Ledger]:
    async with Ledger(engine, recorder="worker", smart_id="FLOOR-HUB-01") as ledger:
        yield ledger
