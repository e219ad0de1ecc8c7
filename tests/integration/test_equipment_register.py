"""The equipment register on a real database: what its rows say, and how it begins."""

import asyncio
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.equipment_document import CannotRead, begin_register
from infra.equipment_register import EquipmentRegister
from infra.ledger import Ledger
from infra.registry import Registry
from infra.settings import Settings
from schemas.equipment import CalibrationRecord
from schemas.equipment_register import CalibrationAsked, LineAsked, NewEquipment, calibration_row, registration
from schemas.ledger import LedgerEntry
from schemas.maintenance import MaintenanceContract
from schemas.node import Node
from schemas.record import (
    Change,
    ContractCreated,
    DeploymentChanged,
    DeploymentOpened,
    EquipmentChanged,
    Record,
    TestChanged,
    TestOpened,
)
from schemas.test_execution import Begun, Instrument
from tests.workflows.register import calibrated, point

HERE, THERE = "NODE-1", "NODE-2"
NOW = datetime(2026, 6, 1, 22, 30, tzinfo=UTC)


class House:
    """The register with what writes it."""

    def __init__(self, engine: AsyncEngine, ledger: Ledger) -> None:
        self.ledger = ledger
        nodes = (
            Node(node_id=HERE, station_type="LP", name="Cell 1", time_zone="Europe/Berlin"),
            Node(node_id=THERE, station_type="LP", name="Cell 2"),
        )
        self.register = EquipmentRegister(engine, Registry(nodes=nodes))
        self._entries = 0

    async def write(self, *changes: Change) -> int:
        """Commits changes under an entry; answers with its number."""
        self._entries += 1
        key = f"test:{self._entries}"
        entry = LedgerEntry(idempotency_key=key, action_type="test", action="test", target="test", details="test")
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

    async def calibrate(self, record: CalibrationRecord) -> int:
        return await self.write(calibration_row(record, HERE))

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
        await house.calibrate(calibrated("T-1", "C-1", on="2026-01-01"))
        found = await house.line("T-1", certificate_number="C-1")
        assert (found.last.certificate_number, found.recorded.certificate_number) == ("C-2", "C-1")

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

    async def test_that_nobody_recorded_is_not_found(self, house: House) -> None:
        asked = CalibrationAsked(equipment_id="T-1", certificate_number="C-9")
        assert (await house.register.calibration(asked)).recorded is None


class TestThePages:
    async def test_of_a_register_hold_each_line_once_in_the_order_of_change(self, house: House) -> None:
        """The very first entry of the ledger, whose number is 0, is that of a line too."""
        await asyncio.gather(*(house.add(f"E-{number:04}", THERE) for number in range(1200)))
        seen: list[str] = []
        since, sizes = 0, []
        while (page := await house.register.page(since)).items:
            seen += [line.item.equipment_id for line in page.items]
            sizes.append(len(page.items))
            assert page.since == since < page.revision == page.items[-1].revision
            since = page.revision
        assert seen == ["T-1", *(f"E-{number:04}" for number in range(1200))]
        assert sizes == [500, 500, 201]

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
        points = [point("100.1", "100.1") | {"name": "x" * 900} for _ in range(200)]
        for number in range(8):
            await house.add(f"E-{number}")
            await house.calibrate(calibrated(f"E-{number}", points=points))
        page = await house.register.page(0)
        assert len(page.model_dump_json()) < 1_500_000
        assert 0 < len(page.items) < 9


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
