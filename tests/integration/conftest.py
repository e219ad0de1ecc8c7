"""The parts of the real house that a test opens in its own process."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from unittest.mock import patch
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine

from api.app import create_app
from infra.bearer import LocalKey
from infra.database import create_engine
from infra.ledger import Ledger
from infra.settings import Settings
from schemas import names
from schemas.permission import Role
from tests.integration.hubs import Hubs
from tests.integration.lab import Lab, open_lab
from tests.workflows.eager import EagerTemporal


@pytest.fixture(autouse=True)
def own_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """All tests of a process have one Temporal: the workers of one do not go on with what another left open there."""
    monkeypatch.setattr(names, "MAIN_QUEUE", f"smartfloor-{uuid4().hex}")


@pytest_asyncio.fixture
async def engine(database: Settings) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(database.database_writer_url)
    yield engine
    await engine.dispose()


@pytest_asyncio.fixture
async def ledger(engine: AsyncEngine) -> AsyncIterator[Ledger]:
    async with Ledger(engine, recorder="worker", smart_id="FLOOR-HUB-01") as ledger:
        yield ledger


@pytest_asyncio.fixture
async def api(settings: Settings) -> AsyncIterator[FastAPI]:
    """Its house is open."""
    with patch("api.app.Settings", return_value=settings):
        app = create_app()
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
def caller(api: FastAPI, settings: Settings) -> Callable[..., httpx.AsyncClient]:
    """A client for somebody of this role."""

    def of(role: Role, user_id: str) -> httpx.AsyncClient:
        token = LocalKey(settings).token(role, user_id, timedelta(hours=1))
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(api, raise_app_exceptions=False),
            base_url="http://smartfloor",
            headers={"Authorization": f"Bearer {token}"},
        )

    return of


@pytest_asyncio.fixture(scope="module")
async def eager(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EagerTemporal]:
    server = EagerTemporal(tmp_path_factory.mktemp("eager"), report=lambda _: None, durable=False, headless=True)
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture
async def lab(api: FastAPI, settings: Settings, caller: Callable[..., httpx.AsyncClient]) -> AsyncIterator[Lab]:
    async with open_lab(api, settings, caller) as lab:
        yield lab


@pytest_asyncio.fixture
async def hubs(api: FastAPI, settings: Settings, caller: Callable[..., httpx.AsyncClient]) -> AsyncIterator[Hubs]:
    async with caller(Role.SERVICE, "transfer") as sender, caller(Role.QUALITY_MANAGER, "quentin") as quality:
        yield Hubs(api, settings, sender, quality)
