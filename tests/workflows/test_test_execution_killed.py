"""A worker that dies while a test begins: what its node answered is recorded once."""

from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from tests.workflows.shop import WITHOUT_TRANSFERS, MemoryLedger, Shop, main_worker
from tests.workflows.test_equipment_killed import Killed, once_recorded
from tests.workflows.test_test_execution import linked, one, released
from workflows import steps


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Killed:
    killed = Killed(steps.step)
    monkeypatch.setattr(steps, "step", killed)
    return killed


@pytest_asyncio.fixture
async def shop(environment: WorkflowEnvironment, tmp_path: Path, killed: Killed) -> AsyncIterator[Shop]:
    """Whose failed workflow tasks are the test's own."""
    with closing(Shop(environment, MemoryLedger(), tmp_path)) as shop:
        async with main_worker(shop, WITHOUT_TRANSFERS):
            yield shop


async def test_what_changes_once_the_gates_answer_is_recorded_does_not_change_the_answer(
    shop: Shop, killed: Killed
) -> None:
    tested = await released(shop, one("T-1", equipment=("LAMP-1",)))
    shop.equip("LAMP-1")

    def changed() -> None:
        shop.ledger.register.goes_out_of_service("LAMP-1", shop.maintenance)
        killed.before = "record"

    once_recorded(shop.ledger, "link_contracts", changed)
    async with shop.node_online():
        await tested.start("ivan", "LAMP-1")
        await tested.is_("running")
    assert killed.before is None
    assert shop.ledger.conflicts == []
    assert len(linked(shop)) == 1
