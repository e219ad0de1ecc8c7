"""A worker that dies in the middle of a deployment: it goes on where it stood, and is recorded once."""

from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from tests.workflows.contracts import ContractLedger, Contracts
from tests.workflows.shop import Shop, main_worker
from tests.workflows.test_equipment_killed import Killed
from workflows import steps


@pytest_asyncio.fixture
async def contracts(environment: WorkflowEnvironment, tmp_path: Path) -> AsyncIterator[Contracts]:
    """Whose failed workflow tasks are the test's own."""
    ledger = ContractLedger()
    shop = Shop(environment, ledger, tmp_path)
    with closing(Contracts(shop, ledger, tmp_path)) as contracts:
        async with main_worker(shop, more=contracts.activities()):
            yield contracts


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Killed:
    killed = Killed(steps.regular_step)
    monkeypatch.setattr(steps, "regular_step", killed)
    return killed


async def test_a_version_that_was_recorded_as_deployed_stays_so(killed: Killed, contracts: Contracts) -> None:
    version = await contracts.create()
    killed.before = "send_orders"
    async with contracts.online():
        await version.deploy()
        await version.is_("monitoring")
    assert killed.before is None
    assert version.deployments == ["acknowledged", "acknowledged"]
    assert len(version.entries("deploy_contract")) == 1
    assert version.entries("keep_contract") == []
