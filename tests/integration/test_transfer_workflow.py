"""What only a real server shows of a transfer: other workers, continue-as-new, search attributes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from infra.settings import Settings
from infra.temporal import STATUS, connect
from schemas.transfer import Destination
from tests.hubs import Reply, Request, hub_server, taken
from tests.workflows.eager import EagerTemporal
from tests.workflows.shop import MemoryLedger, Shop, check_histories, main_worker
from tests.workflows.transfers import Transfer

VAULT, NEXT_NODE = Destination.VAULT, Destination.NEXT_NODE


@pytest_asyncio.fixture
async def transfer(eager: EagerTemporal, tmp_path: Path) -> AsyncIterator[Transfer]:
    """Without a worker."""
    client = await connect(Settings(temporal_address=eager.address))
    with closing(Shop(WorkflowEnvironment.from_client(client), MemoryLedger(), tmp_path)) as shop:
        async with hub_server() as hubs:
            yield Transfer(shop, hubs)
            await check_histories(shop)


def down(_: Request) -> Reply:
    return 503, {"detail": "down"}


async def test_legs_go_on_where_they_were_when_their_worker_is_another_one(transfer: Transfer) -> None:
    transfer.hubs.answers[NEXT_NODE] = down
    async with transfer.activities() as activities, main_worker(transfer.shop, more=activities):
        await transfer.start()
        await transfer.is_(vault_status="complete", next_node_status="waiting")
    transfer.hubs.answers[NEXT_NODE] = taken
    await transfer.retry(NEXT_NODE)
    async with transfer.activities() as activities, main_worker(transfer.shop, more=activities):
        await transfer.is_(next_node_status="complete")
        assert (await transfer.handle.result())["status"] == "fully_complete"
    assert (transfer.sent(VAULT), transfer.packer.packed.count(VAULT)) == (1, 1)


async def test_nothing_is_forgotten_by_a_transfer_that_continues_as_new(transfer: Transfer) -> None:
    transfer.hubs.answers[NEXT_NODE] = down
    async with transfer.activities() as activities, main_worker(transfer.shop, more=activities):
        await transfer.start()
        first = (await transfer.handle.describe()).run_id
        await transfer.is_(vault_status="complete", next_node_status="waiting")
        await transfer.retry(NEXT_NODE)
        await transfer.is_(next_node_status="waiting", next_node_attempts=8)
        transfer.hubs.answers[NEXT_NODE] = taken
        await transfer.retry(NEXT_NODE)
        await transfer.is_(next_node_status="complete", next_node_attempts=9)
        assert (await transfer.handle.result())["status"] == "fully_complete"
    assert (await transfer.handle.describe()).run_id != first
    assert (transfer.sent(VAULT), transfer.packer.packed.count(NEXT_NODE)) == (1, 1)


async def test_a_leg_that_waits_for_a_person_makes_it_a_working_list(transfer: Transfer) -> None:
    transfer.hubs.answers[VAULT] = down
    async with transfer.activities() as activities, main_worker(transfer.shop, more=activities):
        await transfer.start()
        await transfer.is_(vault_status="waiting", next_node_status="complete")
        async with asyncio.timeout(10):
            while (await transfer.handle.describe()).typed_search_attributes.get(STATUS) != "retry_pending":
                await asyncio.sleep(0.05)
        transfer.hubs.answers[VAULT] = taken
        await transfer.retry(VAULT)
        await transfer.handle.result()
        assert (await transfer.handle.describe()).typed_search_attributes.get(STATUS) == "fully_complete"
