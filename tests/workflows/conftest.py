"""A shop on the time-skipping server: the real workflows, the real node's disk, and a ledger in memory.

After each test, no workflow of it may have had a failed workflow task: such a workflow is stuck. And each of their
histories is replayed, so that every test is a test of determinism as well.
"""

from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from tests.workflows.contracts import ContractLedger, Contracts
from tests.workflows.shop import MemoryLedger, Shop, check_histories, main_worker
from tests.workflows.skipping import time_skipping_server


@pytest_asyncio.fixture
async def environment() -> AsyncIterator[WorkflowEnvironment]:
    """A server of the test's own: whatever another one left pending would keep its time from passing."""
    async with time_skipping_server() as environment:
        yield environment


@pytest_asyncio.fixture
async def shop(environment: WorkflowEnvironment, tmp_path: Path) -> AsyncIterator[Shop]:
    with closing(Shop(environment, MemoryLedger(), tmp_path)) as shop:
        async with main_worker(shop):
            yield shop
            await check_histories(shop)


@pytest_asyncio.fixture
async def contracts(environment: WorkflowEnvironment, tmp_path: Path) -> AsyncIterator[Contracts]:
    ledger = ContractLedger()
    shop = Shop(environment, ledger, tmp_path)
    with closing(Contracts(shop, ledger, tmp_path)) as contracts:
        async with main_worker(shop, more=contracts.activities()):
            yield contracts
            shop.workflow_ids |= contracts.played()
            await check_histories(shop)
