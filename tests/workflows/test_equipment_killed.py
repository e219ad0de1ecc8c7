"""A worker that dies in the middle of what is asked of a line by signal: what follows happens all the same, once."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from schemas import names
from schemas.changes.equipment import EquipmentChanged
from schemas.equipment_register import EquipmentStart
from schemas.ledger import Receipt
from schemas.record import Record
from tests.workflows.register import Station, point
from tests.workflows.shop import WITHOUT_TRACES, MemoryLedger, Shop, main_worker
from tests.workflows.test_equipment import Thermometer, traces
from workflows import steps

Step = Callable[..., Awaitable[Any]]


class Killed:
    """Loses the workflow task that is about to take this step, once."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self.before: str | None = None

    async def __call__(self, activity: Callable[..., Any], argument: Any, *, summary: str) -> Any:
        if activity.__name__ == self.before:
            self.before = None
            raise RuntimeError("killed: nothing of this workflow task is kept")
        return await self._step(activity, argument, summary=summary)


def once_recorded(ledger: MemoryLedger, action: str, then: Callable[[], None]) -> None:
    """Something happens as soon as the first entry of this action is committed, before its workflow can know."""
    record = ledger.record

    async def recorded(request: Record) -> Receipt:
        receipt = await record(request)
        if request.entry.action == action:
            del ledger.record
            then()
        return receipt

    ledger.record = recorded  # type: ignore[method-assign, assignment]


@pytest_asyncio.fixture
async def killed(monkeypatch: pytest.MonkeyPatch) -> Killed:
    killed = Killed(steps.step)
    monkeypatch.setattr(steps, "step", killed)
    return killed


@pytest_asyncio.fixture
async def thermometer(environment: WorkflowEnvironment, tmp_path: Path, killed: Killed) -> AsyncIterator[Thermometer]:
    shop = Shop(environment, MemoryLedger(), tmp_path)
    with closing(shop), closing(Station(shop.client, shop.node, tmp_path)) as station:
        async with main_worker(shop, WITHOUT_TRACES), station.online():
            yield Thermometer(shop, station)


async def signalled(thermometer: Thermometer, signal: str, payload: Any) -> None:
    """Asks by signal, and waits until the line and its node have nothing left to do."""
    await thermometer.shop.client.start_workflow(
        "EquipmentWorkflow",
        EquipmentStart(equipment_id=thermometer.name),
        id=thermometer.handle.id,
        task_queue=names.MAIN_QUEUE,
        start_signal=signal,
        start_signal_args=[payload],
    )
    await thermometer.ended()
    await thermometer.station.handle.result()


async def test_its_node_is_told_that_it_is_out_of_service(thermometer: Thermometer, killed: Killed) -> None:
    killed.before = "refresh_node"
    await signalled(thermometer, names.TAKE_OUT_OF_SERVICE, {"reason": "dropped"})
    assert killed.before is None
    assert len(thermometer.entries("take_out_of_service")) == 1
    assert thermometer.entries("refuse_request") == []
    known = thermometer.station.maintenance.known([thermometer.name])[thermometer.name]
    assert known.item.out_of_service == "dropped"


async def test_what_a_failed_calibration_leads_to_is_traced(thermometer: Thermometer, killed: Killed) -> None:
    killed.before = "look_up_calibration"
    bad = thermometer.calibration("C-1", result="failed", points=[point("101.0", "101.0")])
    await signalled(thermometer, names.RECORD_CALIBRATION, bad.model_dump(mode="json"))
    assert killed.before is None
    assert len(await traces(thermometer.shop, thermometer, "C-1")) == 1
    known = thermometer.station.maintenance.known([thermometer.name])[thermometer.name]
    assert known.last is not None


async def test_what_was_refused_because_of_the_register_stays_refused(thermometer: Thermometer, killed: Killed) -> None:
    """What the register says changes meanwhile: looked up again, it would be refused for another reason, or done."""

    def changed() -> None:
        thermometer.register.change(EquipmentChanged(equipment_id=thermometer.name, out_of_service="dropped"))
        killed.before = "look_up_line"

    once_recorded(thermometer.shop.ledger, "refuse_request", changed)
    await thermometer.shop.client.start_workflow(
        "EquipmentWorkflow",
        EquipmentStart(equipment_id=thermometer.name),
        id=thermometer.handle.id,
        task_queue=names.MAIN_QUEUE,
        start_signal=names.RETURN_TO_SERVICE,
        start_signal_args=[{"reason": "repaired"}],
    )
    await thermometer.handle.signal(names.CHECK_OUT, {"to_node": "NODE-UNKNOWN", "reason": "lent"})
    await thermometer.handle.result()
    assert killed.before is None
    assert [entry.metadata["signal"] for entry in thermometer.entries("refuse_request")] == [
        names.RETURN_TO_SERVICE,
        names.CHECK_OUT,
    ]
    assert thermometer.entries("return_to_service") == []
