"""What is asked of a line of the register: by update as from the API, and by signal, whose senders can say anything."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from schemas import names
from schemas.alert import cause_of
from schemas.equipment import CalibrationRecord, EquipmentItem
from schemas.equipment_register import (
    REQUESTS,
    AmendEquipment,
    CheckOut,
    LineAnswer,
    RecordCalibration,
    RegisterEquipment,
    ReturnToService,
    ScheduleCalibration,
    TakeOutOfService,
    calibration_row,
)
from schemas.expiry import expiry_causes
from schemas.ledger import LedgerEntry
from schemas.reverse_trace import TraceStart
from tests.workflows.register import ELSEWHERE, MemoryRegister, Station, calibrated, point
from tests.workflows.shop import WITHOUT_TRACES, MemoryLedger, Shop, check_histories, main_worker, until
from workflows.equipment import LINGER

GOOD, BAD = point("100.1", "100.0"), point("101.0", "101.0")


@pytest_asyncio.fixture
async def shop(environment: WorkflowEnvironment, tmp_path: Path) -> AsyncIterator[Shop]:
    with closing(Shop(environment, MemoryLedger(), tmp_path)) as shop:
        async with main_worker(shop, WITHOUT_TRACES):
            yield shop
            await check_histories(shop)


class Thermometer:
    """An instrument of the test's node."""

    def __init__(self, shop: Shop, station: Station) -> None:
        self.shop = shop
        self.station = station
        self.name = f"T-{shop.name}"
        self.register: MemoryRegister = shop.ledger.register
        self.register.register(self.name, shop.node)
        self.handle: WorkflowHandle[Any, Any] = shop.client.get_workflow_handle(names.equipment_workflow_id(self.name))

    @property
    def line(self) -> EquipmentItem:
        return self.register.lines[self.name]

    async def ask(self, request: Any, *, key: str | None = None) -> LineAnswer:
        """By update, as the API does; `key` makes the same again the same."""
        update = next(update for update, kind in REQUESTS.items() if isinstance(request, kind))
        self.shop.workflow_ids.add(self.handle.id)
        answer = await self.shop.desk.ask(self.name, update, request, update_id=key)
        if answer.changed:
            self.shop.workflow_ids.add(self.station.handle.id)
        return answer

    async def refusal(self, request: Any) -> str:
        """Why it is refused; fails where it is not."""
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await self.ask(request)
        assert isinstance(refused.value.cause, ApplicationError)
        return refused.value.cause.message

    def calibration(self, number: str = "C-1", **fields: Any) -> RecordCalibration:
        record = calibrated(self.name, number, **fields)
        return RecordCalibration(**record.model_dump(), user_id="mia")

    async def calibrate(self, number: str = "C-1", **fields: Any) -> LineAnswer:
        return await self.ask(self.calibration(number, **fields))

    async def ended(self) -> None:
        """Its workflow, which nobody asks anything for so long."""
        await self.shop.pass_time(LINGER + timedelta(seconds=1))
        await self.handle.result()

    def entries(self, action: str) -> list[LedgerEntry]:
        return self.shop.entries(action, self.name)


@pytest_asyncio.fixture
async def thermometer(shop: Shop, tmp_path: Path) -> AsyncIterator[Thermometer]:
    """Its node is there, and has its line."""
    shop.ledger.register.zones[shop.node] = "Pacific/Kiritimati"  # the day begins there 14 hours before UTC
    with closing(Station(shop.client, shop.node, tmp_path)) as station:
        async with station.online():
            yield Thermometer(shop, station)


class TestACalibration:
    async def test_is_recorded_as_the_specification_has_it(self, thermometer: Thermometer) -> None:
        await thermometer.calibrate("C-1", on="2025-01-15")
        await thermometer.calibrate("C-2", on="2026-01-15")
        entry = thermometer.entries("record_calibration")[1]
        said = {name: value for name, value in entry.metadata.items() if name != "calibration"}
        assert said == {
            "success": True,
            "equipment_id": thermometer.name,
            "previous_calibration": "2025-01-15",
            "new_calibration": "2026-01-15",
            "certificate": "C-2",
            "next_due": "2026-07-14",
        }
        assert (entry.action_type, entry.user_id) == ("maintenance", "mia")
        assert entry.metadata["calibration"]["technician"] == "t.lab"

    async def test_is_known_to_its_node_soon(self, thermometer: Thermometer) -> None:
        await thermometer.calibrate()

        def there() -> bool:
            known = thermometer.station.maintenance.known([thermometer.name]).get(thermometer.name)
            return bool(known and known.last and known.last.certificate_number == "C-1")

        await until(there, lambda: "the node has it")

    async def test_under_the_same_certificate_again_changes_nothing(self, thermometer: Thermometer) -> None:
        assert (await thermometer.calibrate()).changed
        assert not (await thermometer.calibrate()).changed
        assert len(thermometer.entries("record_calibration")) == 1

    async def test_under_the_same_certificate_at_the_same_time_is_recorded_once(self, thermometer: Thermometer) -> None:
        answers = await asyncio.gather(*(thermometer.calibrate() for _ in range(5)))
        assert sorted(answer.changed for answer in answers) == [False, False, False, False, True]
        assert len(thermometer.entries("record_calibration")) == 1

    async def test_under_the_same_certificate_with_other_content_is_refused(self, thermometer: Thermometer) -> None:
        await thermometer.calibrate()
        assert "other content" in await thermometer.refusal(thermometer.calibration(on="2026-01-16"))
        assert len(thermometer.entries("record_calibration")) == 1

    async def test_that_comes_of_two_with_other_content_at_once_is_alerted(
        self, shop: Shop, thermometer: Thermometer
    ) -> None:
        """The node's is recorded between the look at the register and the record."""
        other = calibrated(thermometer.name, on="2026-01-14")
        looked = shop.ledger.register.line

        async def look_late(asked: Any) -> Any:
            found = await looked(asked)
            shop.ledger.register.change(calibration_row(other, shop.node))
            return found

        shop.ledger.register.line = look_late  # type: ignore[method-assign]
        assert "a moment ago" in await thermometer.refusal(thermometer.calibration())
        (alert,) = shop.alerts("calibration_conflict")
        assert "twice with different content" in alert.text
        assert thermometer.register.calibrations[(thermometer.name, "C-1")] == other

    async def test_dated_in_the_future_of_its_node_is_refused(self, shop: Shop, thermometer: Thermometer) -> None:
        there = (await shop.now() + timedelta(hours=14)).date()
        tomorrow = str(there + timedelta(days=1))
        assert "not yet" in await thermometer.refusal(thermometer.calibration(on=tomorrow))
        assert (await thermometer.calibrate(on=str(there))).changed

    async def test_for_another_instrument_is_refused(self, thermometer: Thermometer) -> None:
        assert "is for T-OTHER" in await thermometer.refusal(thermometer.calibration(certificate_for="T-OTHER"))

    async def test_without_a_number_is_refused_by_signal_too(self, shop: Shop, thermometer: Thermometer) -> None:
        await thermometer.calibrate()
        nameless = calibrated(thermometer.name).model_dump(mode="json") | {"certificate_number": " "}
        await thermometer.handle.signal("record_calibration", nameless)
        refused = await shop.recorded("refuse_request")
        assert "certificate_number" in refused.details

    async def test_by_signal_is_recorded_as_of_nobody_known(self, shop: Shop, thermometer: Thermometer) -> None:
        await thermometer.calibrate("C-1", on="2025-01-15")
        record = thermometer.calibration("C-2").model_dump(mode="json")
        await thermometer.handle.signal("record_calibration", record)
        await until(lambda: len(thermometer.entries("record_calibration")) == 2, lambda: str(shop))
        assert thermometer.entries("record_calibration")[1].user_id == "unidentified"

    async def test_of_an_instrument_that_is_not_registered_is_refused(self, shop: Shop) -> None:
        record = RecordCalibration(**calibrated("T-NEW").model_dump())
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await shop.desk.ask("T-NEW", names.RECORD_CALIBRATION, record)
        assert "register it first" in str(refused.value.cause)

    async def test_of_another_instrument_than_the_workflows_is_refused(self, thermometer: Thermometer) -> None:
        other = RecordCalibration(**calibrated("T-OTHER").model_dump())
        assert f"this is {thermometer.name}" in await thermometer.refusal(other)

    async def test_that_passed_ends_the_alerts_about_the_last_one(self, shop: Shop, thermometer: Thermometer) -> None:
        await thermometer.calibrate("C-1", result="failed")
        (alert,) = shop.open_alerts("calibration_failed")
        shop.ledger.open |= dict.fromkeys(expiry_causes(thermometer.name), alert)
        await thermometer.calibrate("C-2", on=str((await shop.now()).date()))
        assert shop.ledger.open == {}

    async def test_that_corrects_a_failed_one_ends_its_alert(self, shop: Shop, thermometer: Thermometer) -> None:
        today = (await shop.now()).date()
        await thermometer.calibrate("C-1", on=str(today), result="failed")
        await thermometer.calibrate("C-2", on=str(today - timedelta(days=1)), corrects="C-1")
        assert shop.open_alerts("calibration_failed") == []

    async def test_that_corrects_what_nobody_recorded_is_refused(self, thermometer: Thermometer) -> None:
        refusal = await thermometer.refusal(thermometer.calibration("C-2", corrects="C-1"))
        assert "no certificate C-1 is recorded that it could correct: look at its number" in refusal

    async def test_that_has_expired_already_ends_no_alert(self, shop: Shop, thermometer: Thermometer) -> None:
        await thermometer.calibrate("C-1", on="2024-01-15", result="failed")
        await thermometer.calibrate("C-2", on="2025-01-15")
        assert len(shop.open_alerts("calibration_failed")) == 1

    async def test_that_is_recorded_already_has_its_trace_started_all_the_same(
        self, shop: Shop, thermometer: Thermometer
    ) -> None:
        """Whoever recorded it may not have come to it."""
        bad = thermometer.calibration("C-1", points=[point("101.0", "100.0")])
        shop.ledger.register.change(calibration_row(bad.calibration, shop.node))
        assert not (await thermometer.ask(bad)).changed
        assert len(await traces(shop, thermometer, "C-1")) == 1

    async def test_that_is_older_than_the_newest_ends_no_alert(self, shop: Shop, thermometer: Thermometer) -> None:
        await thermometer.calibrate("C-2", on="2026-01-16", result="failed")
        await thermometer.calibrate("C-1", on="2026-01-15")
        assert len(shop.open_alerts("calibration_failed")) == 1


class TestAFailedCalibration:
    async def test_is_recorded_and_alerted_with_what_it_is_about(self, shop: Shop, thermometer: Thermometer) -> None:
        await thermometer.calibrate(result="failed")
        assert thermometer.entries("record_calibration")[0].metadata["success"] is False
        assert thermometer.entries("record_calibration")[0].metadata["next_due"] is None
        (alert,) = shop.open_alerts("calibration_failed")
        assert alert.cause == cause_of("calibration_failed", thermometer.name)
        assert alert.issue is not None
        assert (alert.issue.equipment_id, alert.issue.node_id) == (thermometer.name, shop.node)

    async def test_has_its_alert_in_the_ledger_as_at_a_node(self, thermometer: Thermometer) -> None:
        """The words are those of specification 4, `generate_maintenance_alert`."""
        await thermometer.calibrate("C-2", on="2026-01-16", result="failed")
        await thermometer.calibrate("C-1", on="2026-01-15", result="failed")  # history: it alerts nobody
        (entry,) = thermometer.entries("generate_alert")
        assert (entry.action_type, entry.user_id) == ("maintenance", "mia")
        assert entry.details == "Maintenance alert: calibration_failed"
        about = {"node_id": thermometer.shop.node, "equipment_id": thermometer.name, "station_type": "LP"}
        said = {"alert_type": "calibration_failed", "severity": "high", "requires_action": True}
        assert entry.metadata.items() >= (about | said).items()
        assert entry.metadata["data"] == {"certificate": "C-2", "as_found": "not_given"}

    async def test_that_does_not_say_how_it_was_found_starts_a_trace(
        self, shop: Shop, thermometer: Thermometer
    ) -> None:
        await thermometer.calibrate(result="failed")
        (alert,) = shop.open_alerts("calibration_failed")
        assert "as found not given" in alert.text
        assert len(await traces(shop, thermometer, "C-1")) == 1

    async def test_within_tolerance_as_found_starts_no_trace(self, shop: Shop, thermometer: Thermometer) -> None:
        await thermometer.calibrate(result="failed", points=[GOOD])
        assert await traces(shop, thermometer, "C-1") == []

    @pytest.mark.parametrize(("result", "left"), [("failed", "101.0"), ("passed", "100.0")])
    async def test_found_out_of_tolerance_starts_a_trace_since_the_last_good_one(
        self, shop: Shop, thermometer: Thermometer, result: str, left: str
    ) -> None:
        """Also where it is adjusted now. The one before found it bad and left it good: what is older is its trace's."""
        await thermometer.calibrate("C-1", on="2025-01-15", points=[GOOD])
        await thermometer.calibrate("C-2", on="2025-06-15", points=[point("101.0", "100.0")])
        await thermometer.calibrate("C-3", on="2026-01-15", result=result, points=[point("101.0", left)])
        (start,) = await traces(shop, thermometer, "C-3")
        assert (start.certificate_number, str(start.since)) == ("C-3", "2025-06-15")

    async def test_without_a_good_one_before_starts_a_trace_of_everything(
        self, shop: Shop, thermometer: Thermometer
    ) -> None:
        await thermometer.calibrate(result="failed", points=[BAD])
        (start,) = await traces(shop, thermometer, "C-1")
        assert start.since is None


async def traces(shop: Shop, thermometer: Thermometer, number: str) -> list[TraceStart]:
    """Those that a calibration started: a trace is started before whoever asked is told."""
    record = thermometer.register.calibrations[(thermometer.name, number)]
    start = TraceStart.of(record, None, await shop.now())
    handle = shop.client.get_workflow_handle(names.reverse_trace_id(start.trace_id))
    try:
        history = await handle.fetch_history()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return []
    payloads = history.events[0].workflow_execution_started_event_attributes.input.payloads
    return [TraceStart.model_validate_json(payload.data) for payload in payloads]


class TestAnInstrument:
    async def test_that_is_new_is_registered_once(self, shop: Shop, thermometer: Thermometer) -> None:
        new = RegisterEquipment(
            equipment_id=f"N-{shop.name}",
            equipment_type="thermometer",
            description="New",
            node_id=shop.node,
            user_id="mia",
        )
        assert (await shop.desk.ask(new.equipment_id, names.REGISTER, new)).changed
        assert not (await shop.desk.ask(new.equipment_id, names.REGISTER, new)).changed
        (entry,) = shop.entries("register_equipment")
        assert (entry.user_id, entry.metadata["home_node"]) == ("mia", shop.node)
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await shop.desk.ask(new.equipment_id, names.REGISTER, new.model_copy(update={"description": "Old"}))
        assert "registered already" in str(refused.value.cause)

    async def test_of_an_unknown_node_is_not_registered(self, shop: Shop) -> None:
        new = RegisterEquipment(
            equipment_id=f"N-{shop.name}", equipment_type="t", description="New", node_id="NODE-UNKNOWN"
        )
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await shop.desk.ask(new.equipment_id, names.REGISTER, new)
        assert "not in the registry" in str(refused.value.cause)

    async def test_goes_out_of_service_and_comes_back_with_its_work_center(
        self, shop: Shop, thermometer: Thermometer
    ) -> None:
        thermometer.register.lines[thermometer.name] = thermometer.line.model_copy(update={"work_center": "WC-7"})
        await thermometer.ask(TakeOutOfService(reason="dropped", user_id="mia"))
        assert thermometer.line.out_of_service == "dropped"
        (entry,) = thermometer.entries("take_out_of_service")
        assert entry.metadata == {"reason": "dropped", "node_id": shop.node, "work_center": "WC-7"}
        assert "already: dropped" in await thermometer.refusal(TakeOutOfService(reason="again"))
        await thermometer.ask(ReturnToService(reason="it is whole", user_id="mia"))
        assert thermometer.line.out_of_service is None
        (entry,) = thermometer.entries("return_to_service")
        assert entry.metadata == {"reason": "it is whole", "node_id": shop.node, "work_center": "WC-7"}
        assert "not out of service" in await thermometer.refusal(ReturnToService(reason="again"))
        happened = [(event.event, event.work_center) for event in thermometer.register.events]
        assert happened == [("out_of_service", "WC-7"), ("returned", "WC-7")]

    @pytest.mark.parametrize("other", ["WC-8", None])
    async def test_keeps_its_work_center_while_it_is_out_of_service(
        self, thermometer: Thermometer, other: str | None
    ) -> None:
        """Else what was closed would never be opened."""
        await thermometer.ask(AmendEquipment(work_center="WC-7", reason="mistyped"))
        await thermometer.ask(TakeOutOfService(reason="dropped"))
        amendment = AmendEquipment(work_center=other, description="Thermometer 7", reason="mistyped")
        assert "return it first" in await thermometer.refusal(amendment)
        same = AmendEquipment(work_center="WC-7", description="Thermometer 7", reason="mistyped")
        assert (await thermometer.ask(same)).changed
        await thermometer.ask(ReturnToService(reason="it is whole"))
        assert (await thermometer.ask(amendment)).changed

    async def test_goes_out_of_service_as_often_as_it_happens(self, thermometer: Thermometer) -> None:
        for _ in range(2):
            await thermometer.ask(TakeOutOfService(reason="dropped"))
            await thermometer.ask(ReturnToService(reason="it is whole"))
        assert len(thermometer.entries("take_out_of_service")) == 2

    async def test_goes_out_of_service_once_for_one_key_also_after_its_workflow_has_ended(
        self, thermometer: Thermometer
    ) -> None:
        request = TakeOutOfService(reason="dropped", user_id="mia")
        await thermometer.ask(request, key="K-1")
        await thermometer.ended()
        await thermometer.ask(ReturnToService(reason="it is whole"))
        await thermometer.ended()
        assert (await thermometer.ask(request, key="K-1")).changed, "answered as it was"
        assert thermometer.line.out_of_service is None
        assert len(thermometer.entries("take_out_of_service")) == 1

    async def test_that_was_registered_wrongly_is_corrected(self, shop: Shop, thermometer: Thermometer) -> None:
        """What is left out stays, and what it says already is not written down again."""
        terms = {"description": "Thermometer 7", "calibration_interval_days": None, "work_center": "WC-7"}
        request = AmendEquipment(**terms, reason="mistyped", user_id="mia")
        assert (await thermometer.ask(request)).changed
        assert not (await thermometer.ask(request)).changed
        line = thermometer.line
        assert (line.description, line.calibration_interval_days, line.work_center) == ("Thermometer 7", None, "WC-7")
        assert line.warning_days == 30
        (entry,) = thermometer.entries("amend_equipment")
        before = {"description": "Digital thermometer", "calibration_interval_days": 180, "work_center": None}
        assert (entry.metadata["before"], entry.metadata["after"]) == (before, terms)
        assert (entry.user_id, entry.metadata["reason"]) == ("mia", "mistyped")
        assert [event.event for event in thermometer.register.events] == ["amended"]

    async def test_has_its_next_calibration_arranged(self, shop: Shop, thermometer: Thermometer) -> None:
        there = (await shop.now() + timedelta(hours=14)).date()
        await thermometer.ask(ScheduleCalibration(on=there, reason="due", user_id="mia"))
        assert thermometer.line.calibration_scheduled_on == there
        passed = ScheduleCalibration(on=there - timedelta(days=1), reason="due")
        assert "has passed" in await thermometer.refusal(passed)

    async def test_moves_to_another_node_and_both_are_told(self, shop: Shop, thermometer: Thermometer) -> None:
        shop.workflow_ids.add(names.node_sync_id(ELSEWHERE))
        await thermometer.ask(CheckOut(to_node=ELSEWHERE, reason="lent", user_id="mia"))
        assert (thermometer.line.node_id, thermometer.line.home_node) == (ELSEWHERE, shop.node)
        (entry,) = thermometer.entries("check_out_equipment")
        assert (entry.metadata["from_node"], entry.metadata["to_node"]) == (shop.node, ELSEWHERE)
        for node_id in (shop.node, ELSEWHERE):
            await shop.client.get_workflow_handle(names.node_sync_id(node_id)).describe()

    async def test_does_not_move_while_a_test_measures_with_it(self, thermometer: Thermometer) -> None:
        thermometer.register.measuring = ("SC-7",)
        refused = await thermometer.refusal(CheckOut(to_node=ELSEWHERE, reason="lent"))
        assert "SC-7 measures with it" in refused
        assert thermometer.line.node_id != ELSEWHERE

    async def test_does_not_move_to_where_it_is_or_nobody_knows(self, shop: Shop, thermometer: Thermometer) -> None:
        assert "already" in await thermometer.refusal(CheckOut(to_node=shop.node, reason="lent"))
        assert "not in the registry" in await thermometer.refusal(CheckOut(to_node="NODE-UNKNOWN", reason="lent"))


class TestItsWorkflow:
    async def test_ends_when_nothing_is_left_and_begins_anew(self, shop: Shop, thermometer: Thermometer) -> None:
        await thermometer.ask(TakeOutOfService(reason="dropped"))
        await thermometer.ended()
        await thermometer.ask(ReturnToService(reason="it is whole"))
        assert thermometer.line.out_of_service is None

    async def test_finishes_what_was_asked_where_temporal_cancels_it(
        self, shop: Shop, thermometer: Thermometer
    ) -> None:
        shop.ledger.away = True
        asked = asyncio.create_task(thermometer.calibrate())
        await until(lambda: shop.ledger.attempts > 0, lambda: "the record is tried")
        await thermometer.handle.cancel()
        shop.ledger.away = False
        assert (await asked).changed
        await thermometer.ended()
        assert (await thermometer.handle.describe()).status is WorkflowExecutionStatus.COMPLETED

    async def test_refuses_what_nobody_can_read(self, shop: Shop, thermometer: Thermometer) -> None:
        await thermometer.ask(TakeOutOfService(reason="dropped"))
        await thermometer.handle.signal("explode")
        assert "no signal of that name" in (await shop.recorded("refuse_request", target=thermometer.name)).details


def test_a_calibration_says_the_same_in_both_forms() -> None:
    record = calibrated("T-1", points=[GOOD])
    assert RecordCalibration(**record.model_dump(), user_id="mia").calibration == record
    assert isinstance(record, CalibrationRecord)
