"""A line of the register and a node that are asked much, on a server that wants short runs: nothing is lost between."""

from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from infra.settings import Settings
from infra.temporal import connect
from schemas import names
from schemas.equipment_register import ReturnToService, TakeOutOfService
from tests.workflows.eager import EagerTemporal
from tests.workflows.register import Station, calibrated
from tests.workflows.shop import MemoryLedger, Shop, check_histories, main_worker


@pytest_asyncio.fixture
async def shop(eager: EagerTemporal, tmp_path: Path) -> AsyncIterator[Shop]:
    client = await connect(Settings(temporal_address=eager.address))
    with closing(Shop(WorkflowEnvironment.from_client(client), MemoryLedger(), tmp_path)) as shop:
        shop.ledger.register.register(f"T-{shop.name}", shop.node)
        async with main_worker(shop):
            yield shop
            await check_histories(shop)


@pytest.fixture
def station(shop: Shop, tmp_path: Path) -> Iterator[Station]:
    with closing(Station(shop.client, shop.node, tmp_path)) as station:
        yield station


async def run_of(client: Client, workflow_id: str) -> str:
    return (await client.get_workflow_handle(workflow_id).describe()).run_id


async def test_a_line_that_is_asked_much_ends_and_begins_anew(shop: Shop) -> None:
    """Each is answered, whether its run was about to end or not."""
    name, runs = f"T-{shop.name}", set()
    for number in range(8):
        for update, kind in ((names.TAKE_OUT_OF_SERVICE, TakeOutOfService), (names.RETURN_TO_SERVICE, ReturnToService)):
            assert (await shop.desk.ask(name, update, kind(reason=f"the {number}th time"))).changed
            runs.add(await run_of(shop.client, names.equipment_workflow_id(name)))
    assert len(runs) > 1
    assert len(shop.entries("take_out_of_service", name)) == len(shop.entries("return_to_service", name)) == 8
    assert shop.ledger.register.lines[name].out_of_service is None
    shop.workflow_ids |= {names.equipment_workflow_id(name)}


async def test_a_node_with_much_to_tell_is_heard_over_many_runs(shop: Shop, station: Station) -> None:
    """Every report once and in order; and whatever one run was not asked any more, the next one is."""
    async with station.online():
        await shop.node_syncs.reported(shop.node)
        await station.handle.result()
    for number in range(20):
        record = calibrated(f"T-{shop.name}", f"C-{number}", on="2026-05-01")
        station.maintenance.record_calibration(record, "ines")
    told = station.waiting
    async with station.online():
        await shop.node_syncs.reported(shop.node)
        first = await run_of(shop.client, station.handle.id)
        await station.handle.result()
    assert await run_of(shop.client, station.handle.id) != first
    prefix = f"{station.handle.id}:"
    numbers = [key.removeprefix(prefix) for key in shop.ledger.entries if key.startswith(prefix)]
    assert numbers == [str(number) for number in range(1, told + 1)]
    assert station.waiting == 0
    shop.workflow_ids |= {station.handle.id}
