"""The equipment register on a real database: what its rows say, and how it begins."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio
import yaml
from sqlalchemy.ext.asyncio import AsyncEngine

from infra import equipment_register
from infra.alerts import Alerts
from infra.equipment_document import CannotRead, begin_register
from infra.equipment_register import EquipmentRegister
from infra.ledger import Ledger
from infra.registry import Registry
from infra.settings import Settings
from schemas.alert import Alert, Severity
from schemas.changes.alert import AlertRaised, AlertResolved
from schemas.changes.equipment import EquipmentChanged
from schemas.changes.maintenance import ContractChanged, ContractCreated, DeploymentChanged, DeploymentOpened
from schemas.changes.test_execution import TestChanged, TestOpened
from schemas.equipment import CalibrationRecord, CalibrationResult
from schemas.equipment_register import (
    CalibrationAsked,
    LineAsked,
    NewEquipment,
    calibration_row,
    recording,
    registration,
)
from schemas.expiry import expiry_causes
from schemas.ledger import LedgerEntry
from schemas.maintenance import MaintenanceContract
from schemas.maintenance_orders import DeployedContract, HeldContracts
from schemas.node import Node
from schemas.node_report import as_newest, calibration_failed
from schemas.record import Change, Record
from schemas.test_results import Begun, Instrument
from tests.workflows.register import calibrated, point

HERE, THERE = "NODE-1", "NODE-2"
ZONE = "Europe/Berlin"
NOW = datetime(2026, 6, 1, 22, 30, tzinfo=UTC)


class House:
    """The register with what writes it."""

    def __init__(self, engine: AsyncEngine, ledger: Ledger) -> None:
        self.ledger = ledger
        nodes = (
            Node(node_id=HERE, station_type="LP", name="Cell 1", time_zone=ZONE),
            Node(node_id=THERE, station_type="LP", name="Cell 2"),
        )
        self.register = EquipmentRegister(engine, Registry(nodes=nodes))
        self._entries = 0

    async def write(self, *changes: Change, at: datetime | None = None) -> int:
        """Commits changes under an entry of what happened then; answers with its number."""
        self._entries += 1
        about = dict.fromkeys(("action_type", "action", "target", "details"), "test")
        entry = LedgerEntry(idempotency_key=f"test:{self._entries}", occurred_at=at, **about)
        return (await self.ledger.record(Record(entry=entry, changes=changes))).seq

    async def add(self, name: str, node: str = HERE) -> int:
        new = NewEquipment(
            equipment_id=name,
            equipment_type="thermometer",
            description="Thermometer",
            node_id=node,
            calibration_interval_days=180,
        )
        return (await self.ledger.record(registration(new, "mia"))).seq

    async def calibrate(self, record: CalibrationRecord, at: datetime | None = None) -> int:
        return await self.write(calibration_row(record, HERE), at=at)

    async def line(self, name: str, **asked: Any) -> Any:
        return await self.register.line(LineAsked(equipment_id=name, at=NOW, **asked))


@pytest_asyncio.fixture
async def house(engine: AsyncEngine, ledger: Ledger) -> House:
    house = House(engine, ledger)
    await house.add("T-1")
    return house


class TestALine:
    async def test_says_the_day_of_its_node(self, house: House) -> None:
        assert (await house.line("T-1")).day == date(2026, 6, 2)
        assert (await house.line("T-0")).day == date(2026, 6, 1)

    async def test_has_the_newest_calibration_however_late_another_came(self, house: House) -> None:
        await house.calibrate(calibrated("T-1", "C-2", on="2026-02-01"))
        first = calibrated("T-1", "C-1", on="2026-01-01")
        await house.calibrate(first)
        found = await house.line("T-1", calibration=first)
        assert (found.last.certificate_number, found.recorded.certificate_number) == ("C-2", "C-1")

    async def test_has_of_one_day_the_one_that_was_recorded_last_however_late_another_came(self, house: House) -> None:
        """A node was away when it recorded the first."""
        for hour, number, result in ((9, "C-0", "passed"), (14, "LAB", "failed"), (10, "SHOP", "passed")):
            at = datetime(2026, 2, 1, hour, tzinfo=UTC)
            await house.calibrate(calibrated("T-1", number, on="2026-02-01", result=result), at)
        (line,) = (await house.register.page(0)).items
        assert line.last_calibration == (await house.line("T-1")).last
        assert line.last_calibration is not None
        assert (line.last_calibration.certificate_number, line.last_recorded_at) == ("LAB", at.replace(hour=14))
        record = await house.register.get("T-1")
        assert record is not None
        assert [row["certificate_number"] for row in record.calibrations] == ["LAB", "SHOP", "C-0"]

    async def test_is_found_also_for_a_certificate_of_the_last_day_that_there_is(self, house: House) -> None:
        assert not (await house.line("T-1", calibration=calibrated("T-1", "C-1", on="9999-12-31"))).counts

    async def test_has_the_one_before_where_the_newest_is_corrected(self, house: House) -> None:
        await house.calibrate(calibrated("T-1", "C-1", on="2026-02-01"))
        await house.calibrate(calibrated("T-1", "WRONG", on="2026-05-01"))
        correction = calibrated("T-1", "C-2", on="2026-01-05", corrects="WRONG")
        about_to = await house.line("T-1", calibration=correction)
        assert (about_to.last.certificate_number, about_to.corrects_known) == ("C-1", True)
        await house.calibrate(correction)
        assert (await house.line("T-1")).last.certificate_number == "C-1"
        (line,) = (await house.register.page(0)).items
        assert line.last_calibration == about_to.last
        record = await house.register.get("T-1")
        assert record is not None
        assert [row["certificate_number"] for row in record.calibrations] == ["WRONG", "C-1", "C-2"]

    async def test_knows_whether_there_is_what_is_corrected(self, house: House) -> None:
        await house.add("T-2")
        await house.calibrate(calibrated("T-2", "C-9"))
        for name, known in (("T-1", False), ("T-2", True)):
            asked = calibrated(name, "C-10", corrects="C-9")
            assert (await house.line(name, calibration=asked)).corrects_known == known

    async def test_is_calibrated_by_what_has_not_expired_at_its_node(self, house: House) -> None:
        last_day = calibrated("T-1", "C-1", on="2025-12-04")  # 180 days before the day that it is there
        assert (await house.line("T-1", calibration=last_day)).counts
        too_old = last_day.model_copy(update={"calibrated_on": date(2025, 12, 3)})
        assert not (await house.line("T-1", calibration=too_old)).counts

    async def test_knows_what_was_done_for_it_before(self, house: House) -> None:
        assert (await house.line("T-1", entry="equipment/T-1:register")).done
        assert not (await house.line("T-1", entry="equipment/T-1:take_out_of_service:1")).done

    async def test_knows_the_nodes_of_the_registry(self, house: House) -> None:
        assert (await house.line("T-1", node_id=THERE)).node_known
        assert not (await house.line("T-1", node_id="NODE-9")).node_known

    async def test_is_used_by_a_test_while_it_may_measure(self, house: House) -> None:
        instrument = Instrument(
            equipment_id="T-1", equipment_type="thermometer", certificate=None, calibrated_on=None, due_on=None
        )
        begun = Begun(performer="ivan", started_at=NOW, instruments=(instrument,), document_hash="0" * 64)
        opened = TestOpened(smart_contract_id="SC-1", clientpo_id="CPO-1", node_id=HERE, status="waiting")
        await house.write(opened)
        assert (await house.line("T-1")).used_by == ()
        for status, using in (("running", ("SC-1",)), ("hold", ("SC-1",)), ("awaiting_signoff", ())):
            await house.write(TestChanged(smart_contract_id="SC-1", status=status, begun=begun.model_dump_json()))
            assert (await house.line("T-1")).used_by == using
        assert (await house.line("T-2")).used_by == ()

    async def test_is_due_by_the_shortest_interval_of_what_is_in_force_for_it(self, house: House) -> None:
        await in_force(house, "LP-thermometers", 90)
        await in_force(house, "LP-lamps", 30, equipment_type="lamp")
        await in_force(house, "LP-later", 10, acknowledged=False)
        found = await house.line("T-1")
        assert (found.interval_days, found.contract_id) == (90, "LP-thermometers")


async def in_force(
    house: House, contract_id: str, days: int, *, equipment_type: str = "thermometer", acknowledged: bool = True
) -> None:
    contract = MaintenanceContract(
        smart_contract_id=contract_id,
        title="Calibration",
        description="Calibrated before it is used",
        equipment_types=(equipment_type,),
        conditions=("must-calibrate-before-test",),
        calibration_interval_days=days,
    )
    key = {"contract_id": contract_id, "version": "1.0"}
    created = ContractCreated(
        **key,
        station_type="LP",
        title="Calibration",
        document=contract.model_dump_json(),
        document_hash="0" * 64,
        status="deployed",
        parent_version=None,
        changes=None,
        created_by="mia",
    )
    await house.write(created, DeploymentOpened(**key, node_id=HERE))
    if acknowledged:
        await house.write(DeploymentChanged(**key, node_id=HERE, status="acknowledged"))


async def open_alerts(engine: AsyncEngine, alert_type: str) -> list[str]:
    """What they are about."""
    return [alert["subject"] for alert in await Alerts(engine).open_of_type(alert_type)]


class TestContractsInForce:
    async def test_are_those_that_each_node_acknowledged_and_are_read_once_for_all(self, house: House) -> None:
        await in_force(house, "LP-thermometers", 90)
        await in_force(house, "LP-later", 10, acknowledged=False)
        await in_force(house, "LP-lamps", 30)
        there = {"contract_id": "LP-lamps", "version": "1.0", "node_id": THERE}
        await house.write(DeploymentOpened(**there), DeploymentChanged(**there, status="acknowledged"))
        found = await house.register.contracts_in_force()
        by_node = {node: [each.contract.smart_contract_id for each in found[node]] for node in found}
        assert by_node == {HERE: ["LP-lamps", "LP-thermometers"], THERE: ["LP-lamps"]}
        assert found[HERE][0] is found[THERE][0]

    async def test_may_be_asked_for_one_node(self, house: House) -> None:
        await in_force(house, "LP-thermometers", 90)
        assert list(await house.register.contracts_in_force(HERE)) == [HERE]
        assert await house.register.contracts_in_force(THERE) == {}


class TestWhatANodeLost:
    @pytest_asyncio.fixture
    async def number(self, house: House) -> int:
        """Of the delivery that the node acknowledged."""
        await in_force(house, "LP-thermometers", 90)
        await in_force(house, "LP-later", 10, acknowledged=False)
        for name in ("LP-thermometers", "LP-later"):
            await house.write(ContractChanged(contract_id=name, version="1.0", file_hash="f" * 64))
        [deployed] = await self.lost(house)
        return deployed.number

    async def lost(self, house: House, node: str = HERE, **numbers: int) -> tuple[DeployedContract, ...]:
        held = {f"LP-{name}": number for name, number in numbers.items()}
        return await house.register.lost_contracts(HeldContracts(node_id=node, numbers=held))

    async def test_is_what_it_acknowledged_and_does_not_have(self, house: House, number: int) -> None:
        [deployed] = await self.lost(house)
        assert (deployed.contract_id, deployed.version) == ("LP-thermometers", "1.0")
        assert (deployed.file_hash, deployed.document_hash) == ("f" * 64, "0" * 64)
        assert await self.lost(house, thermometers=number - 1) == (deployed,)

    async def test_is_nothing_where_it_has_that_or_something_newer(self, house: House, number: int) -> None:
        assert await self.lost(house, thermometers=number) == ()
        assert await self.lost(house, thermometers=number + 1) == ()
        assert await self.lost(house, THERE) == ()


class TestACertificate:
    async def test_is_recorded_once_and_the_first_stands(self, house: House) -> None:
        first = calibrated("T-1", on="2026-01-01")
        await house.calibrate(first)
        before = (await house.register.page(0)).revision
        await house.calibrate(calibrated("T-1", on="2026-01-02"))
        found = await house.register.calibration(CalibrationAsked(equipment_id="T-1", certificate_number="C-1"))
        assert (found.recorded, found.node_id) == (first, HERE)
        assert (await house.register.page(0)).revision == before

    async def test_knows_since_when_its_instrument_was_good(self, house: House) -> None:
        """One that passed left it good, also where it had found it bad; a failed one and a later one do not count."""
        good, bad = point("100.1", "100.1"), point("102", "100")
        for number, on, fields in (
            ("C-1", "2025-01-01", {"points": [good]}),
            ("C-2", "2025-03-01", {"points": [good]}),
            ("C-3", "2025-06-01", {"points": [bad]}),
            ("C-4", "2025-09-01", {"result": "failed", "points": [good]}),
            ("C-5", "2026-01-01", {"points": [bad]}),
            ("C-6", "2026-02-01", {"points": [good]}),
        ):
            await house.calibrate(calibrated("T-1", number, on=on, **fields))
        asked = CalibrationAsked(equipment_id="T-1", certificate_number="C-5")
        assert (await house.register.calibration(asked)).good_since == date(2025, 6, 1)
        asked = CalibrationAsked(equipment_id="T-1", certificate_number="C-1")
        assert (await house.register.calibration(asked)).good_since is None

    async def test_was_not_good_by_one_that_is_corrected(self, house: House) -> None:
        await house.calibrate(calibrated("T-1", "C-1", on="2025-01-01"))
        await house.calibrate(calibrated("T-1", "WRONG", on="2025-06-01"))
        await house.calibrate(calibrated("T-1", "C-2", on="2024-06-01", corrects="WRONG"))
        await house.calibrate(calibrated("T-1", "C-3", on="2026-01-01", result="failed"))
        asked = CalibrationAsked(equipment_id="T-1", certificate_number="C-3")
        assert (await house.register.calibration(asked)).good_since == date(2025, 1, 1)

    async def test_raises_and_ends_alerts_as_long_as_it_is_the_newest(self, house: House, engine: AsyncEngine) -> None:
        async def told(record: CalibrationRecord) -> list[str]:
            line = (await house.line("T-1", calibration=record)).item
            raised = calibration_failed(line, record, None)
            alert = Alert(alert_id=record.certificate_number, source="test", **dict(raised))
            change = (
                AlertRaised(alert=alert, newest=as_newest(record))
                if record.result is CalibrationResult.FAILED
                else AlertResolved(cause=alert.cause, newest=as_newest(record))
            )
            await house.write(calibration_row(record, HERE), change)
            return await open_alerts(engine, "calibration_failed")

        assert await told(calibrated("T-1", "C-2", on="2026-02-01")) == []
        assert await told(calibrated("T-1", "C-1", on="2026-01-01", result="failed")) == []
        assert await told(calibrated("T-1", "C-4", on="2026-04-01", result="failed")) == ["T-1"]
        assert await told(calibrated("T-1", "C-3", on="2026-03-01")) == ["T-1"]
        assert await told(calibrated("T-1", "C-4", on="2026-04-01")) == ["T-1"], "the first of its number stands"
        assert await told(calibrated("T-1", "C-5", on="2026-04-01")) == []

    @pytest.mark.parametrize(
        ("correction", "left"),
        [
            ({"on": "2026-04-01"}, []),
            ({"on": "2026-04-01", "result": "failed"}, []),
            ({"on": "2026-04-01", "due_on": "2026-04-10"}, []),
            ({"on": "2026-05-02", "result": "failed"}, ["T-1"]),
        ],
        ids=["passed", "failed", "expired", "failed, and the newest"],
    )
    async def test_that_corrects_the_one_that_failed_ends_its_alert_where_another_counts_again_that_passed(
        self, house: House, engine: AsyncEngine, correction: dict[str, Any], left: list[str]
    ) -> None:
        await house.calibrate(calibrated("T-1", "C-1", on="2026-04-15"))
        for record in (
            calibrated("T-1", "WRONG", on="2026-05-01", result="failed"),
            calibrated("T-1", "C-2", corrects="WRONG", **correction),
        ):
            assert await open_alerts(engine, "calibration_failed") == (["T-1"] if record.corrects else [])
            found = await house.line("T-1", calibration=record)
            await house.ledger.record(recording(record, found.item, found, "mia"))
        assert await open_alerts(engine, "calibration_failed") == left

    async def test_that_corrects_an_older_one_leaves_what_runs_out_as_it_is(
        self, house: House, engine: AsyncEngine
    ) -> None:
        await house.calibrate(calibrated("T-1", "WRONG", on="2026-01-01"))
        await house.calibrate(calibrated("T-1", "C-1", on="2026-05-20"))
        expired = Alert(
            alert_id="A-1",
            alert_type="calibration_expired",
            severity=Severity.HIGH,
            source="test",
            subject="T-1",
            text="it may not be used",
            cause=expiry_causes("T-1")[0],
        )
        await house.write(AlertRaised(alert=expired))
        correction = calibrated("T-1", "C-2", on="2026-05-01", corrects="WRONG")
        found = await house.line("T-1", calibration=correction)
        await house.ledger.record(recording(correction, found.item, found, "mia"))
        assert await open_alerts(engine, "calibration_expired") == ["T-1"]

    async def test_that_nobody_recorded_is_not_found(self, house: House) -> None:
        asked = CalibrationAsked(equipment_id="T-1", certificate_number="C-9")
        assert (await house.register.calibration(asked)).recorded is None


class TestThePages:
    async def test_of_a_register_hold_each_line_once_in_the_order_of_change(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The very first entry of the ledger, whose number is 0, is that of a line too."""
        monkeypatch.setattr(equipment_register, "PAGE_LINES", 50)
        await asyncio.gather(*(house.add(f"E-{number:04}", THERE) for number in range(120)))
        seen: list[str] = []
        since, sizes = 0, []
        while (page := await house.register.page(since)).items:
            seen += [line.item.equipment_id for line in page.items]
            sizes.append(len(page.items))
            assert page.since == since < page.revision == page.items[-1].revision
            since = page.revision
        assert seen == ["T-1", *(f"E-{number:04}" for number in range(120))]
        assert sizes == [50, 50, 21]

    async def test_say_since_when_an_instrument_is_in_service_at_its_node(self, house: House) -> None:
        async def seen() -> tuple[int, int]:
            (line,) = (await house.register.page(0)).items
            return line.at_node_since, line.revision

        since, revision = await seen()
        assert since == revision
        await house.write(EquipmentChanged(equipment_id="T-1", out_of_service="dropped"))
        assert (await seen())[0] == since
        for change in ({"out_of_service": None}, {"node_id": THERE}, {"node_id": HERE}):
            await house.write(EquipmentChanged(equipment_id="T-1", **change))
            moved, revision = await seen()
            assert moved == revision > since
            since = moved

    async def test_give_a_line_again_when_it_changed(self, house: House) -> None:
        since = (await house.register.page(0)).revision
        assert (await house.register.page(since)).items == ()
        for changed in (
            house.write(EquipmentChanged(equipment_id="T-1", out_of_service="dropped")),
            house.calibrate(calibrated("T-1")),
            house.write(EquipmentChanged(equipment_id="T-1")),
        ):
            seq = await changed
            (line,) = (await house.register.page(since)).items
            assert (line.revision, line.item.out_of_service) == (seq + 1, "dropped")
            since = line.revision
        assert line.last_calibration == calibrated("T-1")

    async def test_are_no_longer_than_a_message(self, house: House) -> None:
        points = [point("100.1", "100.1") | {"name": "温" * 100, "unit": "温" * 100} for _ in range(200)]
        for number in range(8):
            await house.add(f"E-{number}")
            await house.calibrate(calibrated(f"E-{number}", points=points))
        page = await house.register.page(0)
        assert len(page.model_dump_json().encode()) < 1_100_000
        assert 0 < len(page.items) < 9


class TestTheNewestChange:
    async def test_is_that_of_the_lines_that_are_named(self, house: House) -> None:
        for name in ("E-1", "E-2", "E-3"):
            await house.add(name)
        revisions = {line.item.equipment_id: line.revision for line in (await house.register.page(0)).items}
        assert await house.register.newest_change(("E-1", "E-2")) == revisions["E-2"]
        assert await house.register.newest_change(("E-9",)) == await house.register.newest_change(()) == 0


class TestBlockedTests:
    async def test_are_those_of_the_node(self, house: House) -> None:
        for name, node, status in (("A", HERE, "blocked"), ("B", THERE, "blocked"), ("C", HERE, "running")):
            await house.write(TestOpened(smart_contract_id=name, clientpo_id="CPO-1", node_id=node, status=status))
        assert await house.register.blocked_tests(HERE) == ("A",)


LINE = {
    "equipment_id": "UV-1",
    "equipment_type": "uv_lamp",
    "description": "A lamp",
    "node_id": HERE,
    "certificate": "D-1",
    "calibrated_on": "2026-01-15",
    "due_on": "2028-01-15",
}


class TestTheRegisterBegins:
    @pytest.fixture
    def document(self, tmp_path: Path) -> Path:
        file = tmp_path / "equipment.yaml"
        self.says(file, LINE)
        return file

    def says(self, file: Path, *lines: dict[str, Any]) -> None:
        file.write_text(yaml.safe_dump({"equipment": list(lines)}))

    async def test_with_its_document_once(self, house: House, document: Path) -> None:
        for new in (1, 0):
            assert await begin_register(document, house.register, house.ledger) == new
        found = await house.register.get("UV-1")
        assert found is not None
        assert found.registered.last_calibration is not None
        assert found.registered.last_calibration.certificate_number == "D-1"
        told = [entry.action for entry in await house.ledger.timeline("UV-1")]
        assert told == ["register_equipment", "record_calibration"]

    async def test_and_goes_on_where_it_was_killed_between_two_entries(self, house: House, document: Path) -> None:
        new = NewEquipment(
            **{name: LINE[name] for name in ("equipment_id", "equipment_type", "description", "node_id")}
        )
        await house.ledger.record(registration(new, "system"))
        assert await begin_register(document, house.register, house.ledger) == 1
        told = [entry.action for entry in await house.ledger.timeline("UV-1")]
        assert told == ["register_equipment", "record_calibration"]

    async def test_and_keeps_what_it_knows_already(self, house: House, document: Path) -> None:
        await begin_register(document, house.register, house.ledger)
        await house.write(EquipmentChanged(equipment_id="UV-1", node_id=THERE))
        self.says(document, LINE | {"description": "Another lamp", "certificate": "D-2"})
        await begin_register(document, house.register, house.ledger)
        found = await house.register.get("UV-1")
        assert found is not None
        assert (found.registered.item.description, found.registered.item.node_id) == ("A lamp", THERE)
        assert len(found.calibrations) == 1

    async def test_with_what_is_out_of_service(self, house: House, document: Path) -> None:
        self.says(document, LINE | {"out_of_service": "dropped"})
        await begin_register(document, house.register, house.ledger)
        found = await house.register.get("UV-1")
        assert found is not None
        assert found.registered.item.out_of_service == "dropped"
        assert {event["event"]: event["reason"] for event in found.events} == {
            "registered": None,
            "out_of_service": "dropped",
        }
        registered = (await house.ledger.timeline("UV-1"))[0]
        assert registered.metadata["out_of_service"] == "dropped"

    @pytest.mark.parametrize(
        ("wrong", "why"),
        [
            ({"calibrated_on": "2999-01-01", "due_on": "2999-06-01"}, "not yet"),
            ({"certificate_for": "UV-2"}, "is for UV-2"),
            ({"due_on": "2025-12-31"}, "before it was calibrated"),
        ],
    )
    async def test_without_a_certificate_that_could_not_be_recorded_by_hand(
        self, house: House, document: Path, caplog: pytest.LogCaptureFixture, wrong: dict[str, str], why: str
    ) -> None:
        self.says(document, LINE | wrong)
        await begin_register(document, house.register, house.ledger)
        found = await house.register.get("UV-1")
        assert found is not None
        assert found.calibrations == []
        assert why in caplog.text
        self.says(document, LINE)
        await begin_register(document, house.register, house.ledger)
        assert (await house.line("UV-1")).last is not None, "corrected, it is recorded"

    async def test_and_a_newer_certificate_in_it_ends_the_alerts_about_the_last_one(
        self, house: House, document: Path, engine: AsyncEngine
    ) -> None:
        today = datetime.now(ZoneInfo(ZONE)).date()
        self.says(document, LINE)
        await begin_register(document, house.register, house.ledger)
        failed = calibrated("UV-1", "D-2", on="2026-02-01", result="failed")
        found = await house.line("UV-1", calibration=failed)
        new = recording(failed, found.item, found, "mia")
        await house.ledger.record(new)
        assert await open_alerts(engine, "calibration_failed") == ["UV-1"]
        mended = {"certificate": "D-3", "calibrated_on": str(today), "due_on": str(today + timedelta(days=1))}
        self.says(document, LINE | mended)
        await begin_register(document, house.register, house.ledger)
        assert await open_alerts(engine, "calibration_failed") == []
        entry = (await house.ledger.timeline("UV-1"))[-1]
        assert entry.metadata["previous_calibration"] == "2026-02-01"

    async def test_with_the_document_that_is_shipped(self, house: House) -> None:
        file = Settings().equipment_file
        assert await begin_register(file, house.register, house.ledger) == 7
        assert (await house.register.page(0)).items[-1].last_calibration is not None

    @pytest.mark.parametrize("text", ["equipment: [", "equipment: [{equipment_id: A}]", "nothing: 1"])
    async def test_with_no_document_that_cannot_be_read(self, house: House, tmp_path: Path, text: str) -> None:
        file = tmp_path / "broken.yaml"
        file.write_text(text)
        with pytest.raises(CannotRead, match=r"broken\.yaml cannot be read"):
            await begin_register(file, house.register, house.ledger)

    async def test_with_each_instrument_once(self, house: House, document: Path) -> None:
        self.says(document, LINE, LINE)
        with pytest.raises(CannotRead, match="stands once"):
            await begin_register(document, house.register, house.ledger)
