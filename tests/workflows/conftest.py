"""A shop on the time-skipping server: the real workflows, the real node's disk, and a ledger in memory.

After each test, no workflow of it may have had a failed workflow task: such a workflow is stuck. And each of their
histories is replayed, so that every test is a test of determinism as well.
"""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from infra.temporal import DUE, NODE, ORDER, PART, STATUS
from tests.workflows.shop import MemoryLedger, Shop, check_histories, main_worker


@pytest_asyncio.fixture
async def environment() -> AsyncIterator[WorkflowEnvironment]:
    """A server of the test's own: whatever another one left pending would keep its time from passing."""
    async with await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=str(Path(sys.executable).parent / "temporal-test-server"),
        data_converter=pydantic_data_converter,
    ) as environment:
        await environment.client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=environment.client.namespace, search_attributes=search_attributes())
        )
        yield environment


def search_attributes() -> dict[str, IndexedValueType.ValueType]:
    """This server cannot list which it has, so it is not asked."""
    return {key.name: IndexedValueType.ValueType(key.indexed_value_type) for key in (STATUS, PART, NODE, ORDER, DUE)}


@pytest_asyncio.fixture
async def shop(environment: WorkflowEnvironment, tmp_path: Path) -> AsyncIterator[Shop]:
    shop = Shop(environment, MemoryLedger(), tmp_path)
    async with main_worker(shop):
        yield shop
        await check_histories(shop)
