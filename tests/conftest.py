"""Real servers for the tests: each is started once in a test process, by the first test that asks for it."""

import faulthandler
import gc
import os
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from threading import Timer
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from _pytest.faulthandler import fault_handler_stderr_fd_key
from temporalio.client import Client
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from infra.database import migrate
from infra.embedded.broker import Broker
from infra.embedded.postgres import WRITER, Postgres
from infra.embedded.shop import EmbeddedServers
from infra.embedded.temporal import Temporal
from infra.settings import Settings
from infra.temporal import connect

TEMPLATE = "smartfloor_template"

GRACE = 120.0
"""Seconds that a test has beyond its own timeout until its fixtures are down."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What may take longest begins first: nobody waits for it at the end."""
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


def pytest_collection_finish() -> None:
    """What is loaded by now stays: a collection of garbage need not look through it, and takes no workflow's time.

    It took half a second, in whichever thread it came upon, also a workflow's, which has two.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test that hangs ends its process, and shows where: pytest-timeout stops counting once the test has failed.

    What hangs then is a fixture that waits for what the test left behind.
    """

    def end() -> None:
        errors = item.config.stash[fault_handler_stderr_fd_key]
        os.write(errors, f"\n{item.nodeid} hangs:\n".encode())
        faulthandler.dump_traceback(errors)
        os._exit(1)

    marker = item.get_closest_marker("timeout")
    limit = float(marker.args[0] if marker else item.config.getini("timeout"))
    timer = Timer(limit + GRACE, end)
    timer.daemon = True
    timer.start()
    try:
        return (yield)
    finally:
        timer.cancel()


@pytest.fixture(scope="session", autouse=True)
def prepared_once() -> Iterator[None]:
    """A worker that begins tries out each of its workflows; of all workers of a test process, the first one alone.

    It is half of the time that a test of a workflow takes.
    """
    prepare = SandboxedWorkflowRunner.prepare_workflow
    prepared = set()

    def prepare_once(runner: SandboxedWorkflowRunner, workflow: Any) -> None:
        if workflow.cls not in prepared:
            prepare(runner, workflow)
            prepared.add(workflow.cls)

    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(SandboxedWorkflowRunner, "prepare_workflow", prepare_once)
        yield


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedServers:
    """None of them runs yet."""
    return EmbeddedServers(tmp_path_factory.mktemp("servers"), durable=False, headless=True)


@pytest_asyncio.fixture(scope="session")
async def postgres(embedded: EmbeddedServers) -> AsyncIterator[Postgres]:
    """PostgreSQL, with a migrated template database."""
    postgres = embedded.postgres
    await postgres.start()
    await _administer(postgres, f"CREATE DATABASE {TEMPLATE}")
    await migrate(postgres.url(database=TEMPLATE), postgres.url(database=TEMPLATE, user=WRITER))
    yield postgres
    await postgres.stop()


@pytest_asyncio.fixture(scope="session")
async def broker(embedded: EmbeddedServers) -> AsyncIterator[Broker]:
    await embedded.broker.start()
    yield embedded.broker
    await embedded.broker.stop()


@pytest_asyncio.fixture(scope="session")
async def temporal(embedded: EmbeddedServers) -> AsyncIterator[Temporal]:
    await embedded.temporal.start()
    yield embedded.temporal
    await embedded.temporal.stop()


@pytest.fixture(scope="session")
def servers(embedded: EmbeddedServers, postgres: Postgres, broker: Broker, temporal: Temporal) -> EmbeddedServers:
    """All three. A test that kills one starts it again; Temporal then has forgotten everything."""
    return embedded


@pytest_asyncio.fixture
async def database(embedded: EmbeddedServers, postgres: Postgres, tmp_path: Path) -> AsyncIterator[Settings]:
    """A database of the test's own, dropped afterwards: settings that name it and a fresh state folder.

    Of the servers' addresses only the database's is right; `settings` has all of them.
    """
    name = f"test_{uuid4().hex}"
    await _administer(postgres, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield Settings(
        state_dir=tmp_path,
        database_url=postgres.url(database=name),
        database_writer_url=postgres.url(database=name, user=WRITER),
    )
    await _administer(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def settings(servers: EmbeddedServers, database: Settings) -> Settings:
    """Of a shop whose database is the test's own; Temporal and the broker are shared within the test process."""
    own = database.model_dump(include={"state_dir", "database_url", "database_writer_url"})
    return servers.settings.model_copy(update=own)


@pytest_asyncio.fixture
async def client(embedded: EmbeddedServers, temporal: Temporal) -> Client:
    """With the search attributes registered."""
    return await connect(embedded.settings)


async def _administer(postgres: Postgres, statement: str) -> None:
    connection = await asyncpg.connect(postgres.url(database="postgres"))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
