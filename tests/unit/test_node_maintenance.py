"""What a node keeps for maintenance: contracts in force, its copy of the register, and what it tells the hub."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.node_maintenance import NodeMaintenance, Refused
from infra.node_outbox import LARGEST
from schemas.equipment import CalibrationRecord, CalibrationResult, EquipmentState, Standing
from schemas.expiry import calibration_causes, late_cause
from schemas.maintenance import ContractDelivery, ContractRetired
from schemas.maintenance_check import CheckWork, GivenReading
from schemas.node import DeliveryConflict, Node
from schemas.node_report import NodeReport, RegisteredItem, RegisterPage
from tests.instruments import FILTER, INTENSITY, NODE, Register, calibrated, daily, delivered, disk, in_force, item

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LOW = {"intensity": GivenReading(value="900", unit="uW/cm2")}
MEASURED = ("reference", "tolerance", "as_found", "as_left")
GOOD = CheckWork(person="ines", readings={"intensity": GivenReading(value="1250", unit="uW/cm2")}, confirmed={"filter"})


@pytest.fixture
def node(tmp_path: Path) -> NodeMaintenance:
    return NodeMaintenance(NODE, disk(tmp_path), lambda: NOW)


@pytest.fixture
def register(node: NodeMaintenance) -> Register:
    """With a lamp that is calibrated."""
    register = Register(node)
    register.write((item(), calibrated()))
    return register


def version(number: int, version: str | None = None, **fields: Any) -> ContractDelivery:
    return delivered(in_force(version or f"1.{number}", **fields), number)


def in_force_at(node: NodeMaintenance) -> list[tuple[str, str]]:
    return [(each.contract.smart_contract_id, each.version) for each in node.contracts()]


def told(node: NodeMaintenance, action: str | None = None) -> list[NodeReport]:
    return [report for report in node.reports().reports if action in {None, report.action}]


def lamp(node: NodeMaintenance) -> Standing:
    return node.known(["LAMP-1"])["LAMP-1"].standing(NODE, NOW)


class TestAContract:
    def test_is_in_force_once_it_is_taken(self, node: NodeMaintenance) -> None:
        delivery = version(1)
        receipt = node.take_contract(delivery)
        assert (receipt.version, receipt.document_hash, receipt.replaced) == ("1.1", delivery.document_hash, None)
        assert in_force_at(node) == [("LP-lamp", "1.1")]

    def test_takes_over_from_the_old_version(self, node: NodeMaintenance) -> None:
        node.take_contract(version(1))
        assert node.take_contract(version(2)).replaced == "1.1"
        assert in_force_at(node) == [("LP-lamp", "1.2")]

    def test_gives_the_same_receipt_again_and_is_reported_once(self, node: NodeMaintenance) -> None:
        node.take_contract(version(1))
        assert node.take_contract(version(2)) == node.take_contract(version(2))
        assert len(told(node, "load_contracts")) == 2

    def test_that_comes_late_brings_nothing_back(self, node: NodeMaintenance) -> None:
        node.take_contract(version(2))
        assert node.take_contract(version(1)).version == "1.2"
        assert in_force_at(node) == [("LP-lamp", "1.2")]
        assert len(told(node)) == 1

    def test_stands_beside_other_contracts(self, node: NodeMaintenance) -> None:
        node.take_contract(version(1))
        node.take_contract(version(1, smart_contract_id="LP-meter", equipment_types=["light_meter"]))
        assert in_force_at(node) == [("LP-lamp", "1.1"), ("LP-meter", "1.1")]
        assert told(node)[-1].metadata == {
            "contract_ids": ["LP-lamp", "LP-meter"],
            "versions": {"LP-lamp": "1.1", "LP-meter": "1.1"},
            "station_type": "LP",
        }

    def test_asks_nothing_of_types_that_its_new_version_does_not_name(
        self, node: NodeMaintenance, register: Register
    ) -> None:
        node.take_contract(version(1, **daily()))
        assert lamp(node).due
        node.take_contract(version(2, equipment_types=["oven"], **daily()))
        assert not lamp(node).due

    @pytest.mark.parametrize(
        ("wrong", "why"),
        [
            ({"document_hash": "00"}, "is not what its hash says"),
            ({"contract_id": "LP-other"}, "LP-other 1.1 is LP-lamp"),
        ],
    )
    def test_that_is_not_what_it_says_is_refused(self, node: NodeMaintenance, wrong: dict[str, str], why: str) -> None:
        with pytest.raises(DeliveryConflict, match=why):
            node.take_contract(version(1).model_copy(update=wrong))
        assert in_force_at(node) == []

    def test_is_never_seen_twice_or_not_at_all_while_versions_change(self, node: NodeMaintenance) -> None:
        node.take_contract(version(1))
        with ThreadPoolExecutor(2) as pool:
            changing = pool.submit(lambda: [node.take_contract(version(number)) for number in range(2, 40)])
            seen = []
            while not changing.done():
                seen.append(in_force_at(node))
        changing.result()
        assert {len(each) for each in seen} == {1}


class TestARetirement:
    def test_ends_the_contract(self, node: NodeMaintenance) -> None:
        node.take_contract(version(1))
        assert node.retire_contract(ContractRetired(contract_id="LP-lamp", number=1)).version is None
        assert in_force_at(node) == []
        assert [report.details for report in told(node)][1:] == ["Executes LP-lamp no more: retired"]

    def test_keeps_out_what_was_delivered_before_it(self, node: NodeMaintenance) -> None:
        node.retire_contract(ContractRetired(contract_id="LP-lamp", number=3))
        node.take_contract(version(3))
        assert in_force_at(node) == []
        node.take_contract(version(4))
        assert in_force_at(node) == [("LP-lamp", "1.4")]

    def test_that_comes_late_ends_no_newer_version(self, node: NodeMaintenance) -> None:
        node.take_contract(version(4))
        assert node.retire_contract(ContractRetired(contract_id="LP-lamp", number=3)).version == "1.4"

    def test_of_a_version_that_never_came_leaves_the_one_that_is_there(self, node: NodeMaintenance) -> None:
        node.take_contract(version(1))
        receipt = node.retire_contract(ContractRetired(contract_id="LP-lamp", number=2))
        assert (receipt.number, receipt.version) == (1, "1.1")
        assert node.take_contract(version(2)).version == "1.1"
        assert in_force_at(node) == [("LP-lamp", "1.1")]

    def test_of_a_version_that_never_came_keeps_no_other_one_out(self, node: NodeMaintenance) -> None:
        node.take_contract(version(1))
        node.retire_contract(ContractRetired(contract_id="LP-lamp", number=3))
        node.take_contract(version(2))
        assert in_force_at(node) == [("LP-lamp", "1.2")]

    def test_brings_nothing_back_that_came_before(self, node: NodeMaintenance) -> None:
        node.take_contract(version(2))
        node.retire_contract(ContractRetired(contract_id="LP-lamp", number=2))
        receipt = node.take_contract(version(1))
        assert (receipt.number, receipt.version) == (2, None)

    def test_of_what_nobody_has_taken_says_that_nothing_came(self, node: NodeMaintenance) -> None:
        receipt = node.retire_contract(ContractRetired(contract_id="LP-lamp", number=1))
        assert (receipt.number, receipt.version) == (None, None)

    def test_of_a_version_that_nobody_had_heard_of_brings_back_what_it_took_over_from(
        self, node: NodeMaintenance, register: Register
    ) -> None:
        node.take_contract(version(1, **daily()))
        node.take_contract(version(2, equipment_types=["oven"]))
        assert not lamp(node).due
        for _ in range(2):
            receipt = node.retire_contract(ContractRetired(contract_id="LP-lamp", number=2, restores=True))
            assert (receipt.number, receipt.version) == (1, "1.1")
        assert lamp(node).due
        assert [report.details for report in told(node)][2:] == ["Executes LP-lamp 1.1 again: retired"]
        assert node.take_contract(version(2)).version == "1.1"

    def test_brings_nothing_back_that_was_retired_meanwhile(self, node: NodeMaintenance) -> None:
        for number in (1, 2, 3):
            node.take_contract(version(number))
        for number, restores in ((2, False), (3, True)):
            receipt = node.retire_contract(ContractRetired(contract_id="LP-lamp", number=number, restores=restores))
        assert (receipt.number, receipt.version) == (None, None)
        assert in_force_at(node) == []

    def test_of_a_version_that_nobody_had_heard_of_keeps_an_earlier_one_out_no_more(
        self, node: NodeMaintenance
    ) -> None:
        node.take_contract(version(2))
        for _ in range(2):
            receipt = node.retire_contract(ContractRetired(contract_id="LP-lamp", number=2, restores=True))
            assert (receipt.number, receipt.version) == (None, None)
        assert node.take_contract(version(1)).version == "1.1"
        assert node.take_contract(version(2)).version == "1.1"

    def test_skips_what_was_retired_unheard_meanwhile(self, node: NodeMaintenance) -> None:
        for number in (1, 2, 3):
            node.take_contract(version(number))
        for number in (2, 3):
            receipt = node.retire_contract(ContractRetired(contract_id="LP-lamp", number=number, restores=True))
        assert (receipt.number, receipt.version) == (1, "1.1")

    def test_again_changes_nothing(self, node: NodeMaintenance) -> None:
        node.take_contract(version(1))
        for _ in range(2):
            node.retire_contract(ContractRetired(contract_id="LP-lamp", number=1))
        assert len(told(node)) == 2

    def test_of_a_type_by_its_new_version_resolves_the_alerts_of_its_checks(
        self, node: NodeMaintenance, register: Register
    ) -> None:
        node.take_contract(version(1, **daily()))
        node.check("LAMP-1", "daily", CheckWork(person="ines"))
        node.take_contract(version(2, equipment_types=["oven"], **daily()))
        assert told(node)[-1].resolved == ("check_failed:LAMP-1:LP-lamp:daily",)

    def test_resolves_the_alerts_of_its_checks(self, node: NodeMaintenance, register: Register) -> None:
        node.take_contract(version(1, **daily()))
        node.check("LAMP-1", "daily", CheckWork(person="ines"))
        node.retire_contract(ContractRetired(contract_id="LP-lamp", number=1))
        assert told(node)[-1].resolved == ("check_failed:LAMP-1:LP-lamp:daily",)


class TestTheRegister:
    def test_is_known_up_to_the_revision_of_its_last_page(self, node: NodeMaintenance, register: Register) -> None:
        assert register.write() == 2
        assert node.reports().register_revision == 2

    def test_takes_no_page_that_leaves_a_gap(self, node: NodeMaintenance, register: Register) -> None:
        line = RegisteredItem(revision=9, item=item(out_of_service="dropped"), last_calibration=None)
        assert node.take_register(RegisterPage(since=8, revision=9, items=(line,))) == 1
        assert lamp(node).state is not EquipmentState.OUT_OF_SERVICE

    def test_is_not_set_back_by_a_page_that_comes_late(self, node: NodeMaintenance, register: Register) -> None:
        register.write((item(out_of_service="dropped"), calibrated()))
        old = RegisteredItem(revision=1, item=item(), last_calibration=calibrated())
        assert node.take_register(RegisterPage(since=0, revision=1, items=(old,))) == 2
        assert lamp(node).state is EquipmentState.OUT_OF_SERVICE

    def test_has_at_the_node_what_is_there_now(self, node: NodeMaintenance, register: Register) -> None:
        register.write((item("LAMP-2", node_id="NODE-2"), None), (item("LAMP-0"), None))
        assert list(node.here()) == ["LAMP-0", "LAMP-1"]
        assert list(node.known(["LAMP-2", "GONE"])) == ["LAMP-2"]


class TestReports:
    def test_are_numbered_without_gaps_also_after_what_failed(self, node: NodeMaintenance, register: Register) -> None:
        node.take_contract(version(1))
        with pytest.raises(Refused):
            node.record_calibration(calibrated(NOW.date() + timedelta(days=1), number="C-2"), "ines")
        node.record_calibration(calibrated(number="C-2"), "ines")
        assert [report.number for report in told(node)] == [1, 2, 3]

    def test_stay_until_they_are_confirmed_and_their_numbers_go_on(self, node: NodeMaintenance) -> None:
        node.take_contract(version(1))
        node.take_contract(version(2))
        node.confirm(1)
        assert [report.number for report in told(node)] == [2]
        node.confirm(2)
        node.take_contract(version(3))
        assert [report.number for report in told(node)] == [3]
        assert node.waiting() == (1, 3)

    def test_say_when_it_happened(self, tmp_path: Path) -> None:
        moments = iter([NOW, NOW + timedelta(hours=20)])
        node = NodeMaintenance(NODE, disk(tmp_path), lambda: next(moments))
        node.take_contract(version(1))
        node.take_contract(version(2))
        assert [report.happened_at for report in told(node)] == [NOW, NOW + timedelta(hours=20)]

    def test_come_as_many_as_go_into_one_message(self, node: NodeMaintenance, register: Register) -> None:
        points = [
            {"name": f"{number} {'x' * 90}", "unit": "°C", "reference": "1", "tolerance": "1"}
            | {"as_found": "1", "as_left": "1"}
            for number in range(200)
        ]
        for number in range(20):
            node.record_calibration(calibrated(number=f"C-{number}x", points=points), "ines")
        sizes = []
        while reports := told(node):
            sizes.append(sum(len(report.model_dump_json()) for report in reports))
            node.confirm(reports[-1].number)
        assert max(sizes) < 1_000_000
        assert len(sizes) > 1
        assert node.waiting() == (0, 40)

    def test_are_written_by_the_worker_and_local_commands_at_once(
        self, node: NodeMaintenance, register: Register, tmp_path: Path
    ) -> None:
        node.take_contract(version(1, **daily()))
        others = [NodeMaintenance(NODE, disk(tmp_path), lambda: NOW) for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda other: [other.check("LAMP-1", "daily", GOOD) for _ in range(10)], others))
        assert [report.number for report in told(node)] == list(range(1, 42))

    def test_survive_a_node_that_is_killed(self, node: NodeMaintenance, tmp_path: Path) -> None:
        node.take_contract(version(1))
        assert told(NodeMaintenance(NODE, disk(tmp_path))) == told(node)

    def test_that_were_confirmed_stay_so_however_late_an_older_confirmation_comes(
        self, node: NodeMaintenance, register: Register
    ) -> None:
        """The hub has this calibration, and says what stands: the node's own copy of it counts no more."""
        node.record_calibration(calibrated(date(2026, 11, 1), number="C-2"), "ines")
        newest = node.waiting()[1]
        node.confirm(newest)
        node.confirm(0)
        register.write((item(), calibrated(date(2026, 11, 2), number="C-2")))
        known = node.known(["LAMP-1"])["LAMP-1"]
        assert known.calibrations == (calibrated(date(2026, 11, 2), number="C-2"),)

    def test_fit_into_a_message_each_however_long_their_texts_are(
        self, node: NodeMaintenance, register: Register
    ) -> None:
        """Of what Temporal takes, 2 MB, half is left for how it is wrapped."""
        long, person = "🌡" * 1000, "i" * 128
        exact = "1." + "0" * 38
        points = [
            {"name": long[:100], "unit": long[:100], **dict.fromkeys(MEASURED, exact), "uncertainty": exact}
        ] * 200
        texts = {"provider": long, "technician": long, "traceability": long}
        node.record_calibration(calibrated(date(2026, 11, 1), number=long[:200], points=points, **texts), person)
        steps = [{**INTENSITY, "step_id": f"step-{number}", "description": long} for number in range(100)]
        node.take_contract(version(1, **daily("day", *steps)))
        reading = GivenReading(value=exact, unit=long[:100])
        node.check("LAMP-1", "daily", CheckWork(person=person, readings={step["step_id"]: reading for step in steps}))
        while reports := node.reports().reports:
            assert len(node.reports().model_dump_json().encode()) < 1_000_000
            node.confirm(reports[-1].number)

    def test_are_counted_in_bytes(self, node: NodeMaintenance, register: Register) -> None:
        for number in range(100):
            provider = "温" * 1000  # three bytes each
            node.record_calibration(calibrated(date(2026, 11, 1), number=f"D-{number}", provider=provider), "ines")
        assert sum(len(report.model_dump_json().encode()) for report in told(node)) <= LARGEST

    def test_are_not_written_without_what_they_report(self, node: NodeMaintenance, tmp_path: Path) -> None:
        with closing(sqlite3.connect(disk(tmp_path))) as database:
            database.execute("DROP TABLE contract_types")
        with pytest.raises(sqlite3.OperationalError):
            node.take_contract(version(1))
        assert told(node) == []
        assert in_force_at(node) == []


class TestACalibration:
    def test_that_failed_takes_effect_and_is_alerted(self, node: NodeMaintenance, register: Register) -> None:
        standing = node.record_calibration(calibrated(number="C-2", result=CalibrationResult.FAILED), "ines")
        assert standing.state is EquipmentState.CALIBRATION_FAILED
        recorded, alerted, validated = told(node)
        assert recorded.metadata["success"] is False
        assert recorded.calibration == calibrated(number="C-2", result=CalibrationResult.FAILED)
        assert alerted.action == "generate_alert"
        assert alerted.alert is not None
        assert alerted.alert.cause == "calibration_failed:LAMP-1"
        assert (validated.action, validated.metadata["valid"]) == ("validate_calibration", False)

    def test_that_is_good_resolves_what_was_alerted(self, node: NodeMaintenance, register: Register) -> None:
        node.record_calibration(calibrated(NOW.date(), number="C-2", due_on=date(2027, 1, 1)), "ines")
        assert told(node)[0].resolved == calibration_causes("LAMP-1")

    @pytest.mark.parametrize(
        "record",
        [
            calibrated(date(2025, 1, 1), number="C-0", due_on=date(2027, 1, 1)),
            calibrated(NOW.date(), number="C-2", due_on=NOW.date() - timedelta(days=0), result="failed"),
        ],
        ids=["older than the newest", "failed"],
    )
    def test_that_changes_nothing_for_the_better_resolves_nothing(
        self, node: NodeMaintenance, register: Register, record: CalibrationRecord
    ) -> None:
        node.record_calibration(record, "ines")
        assert told(node)[0].resolved == ()

    def test_again_changes_nothing(self, node: NodeMaintenance, register: Register) -> None:
        record = calibrated(NOW.date(), number="C-2")
        assert node.record_calibration(record, "ines") == node.record_calibration(record, "ines")
        assert len(told(node)) == 2
        node.record_calibration(calibrated(), "ines")
        assert len(told(node)) == 2

    @pytest.mark.parametrize(
        ("record", "why"),
        [
            (calibrated(provider="another"), "certificate C-1 of LAMP-1 is recorded with other content"),
            (calibrated(NOW.date() + timedelta(days=1), number="C-2"), "which is not yet"),
            (calibrated(number="C-2", certificate_for="LAMP-9"), "is for LAMP-9, not for LAMP-1"),
            (calibrated(number="C-2", corrects="C-9"), "certificate C-9 of LAMP-1 is not known here"),
            (calibrated(number="C-2", corrects="C-2"), "certificate C-2 cannot correct itself"),
            (calibrated(name="GONE-1"), "GONE-1 is not in the register of NODE-1"),
            (calibrated(name="AWAY-1"), "AWAY-1 is at NODE-2: do it there"),
        ],
    )
    def test_that_cannot_be_is_refused_and_leaves_nothing(
        self, node: NodeMaintenance, register: Register, record: CalibrationRecord, why: str
    ) -> None:
        register.write((item("AWAY-1", node_id="NODE-2"), None))
        with pytest.raises(Refused, match=why):
            node.record_calibration(record, "ines")
        assert told(node) == []

    def test_that_failed_long_ago_is_history_and_alerts_nobody(self, node: NodeMaintenance, register: Register) -> None:
        old = calibrated(date(2024, 1, 1), number="C-0", result=CalibrationResult.FAILED)
        assert node.record_calibration(old, "ines").state is not EquipmentState.CALIBRATION_FAILED
        assert told(node, "generate_alert") == []

    def test_that_was_written_down_wrongly_counts_no_more_once_it_is_corrected(
        self, node: NodeMaintenance, register: Register
    ) -> None:
        register.write((item(calibration_interval_days=180), calibrated(date(2026, 10, 15), number="WRONG")))
        right = calibrated(date(2026, 1, 15), number="WRONG-2", corrects="WRONG")
        standing = node.record_calibration(right, "ines")
        assert (standing.state, standing.certificate_number) == (EquipmentState.EXPIRED, "WRONG-2")
        assert node.record_calibration(right, "ines") == standing

    def test_that_failed_by_mistake_is_mended_by_its_correction(
        self, node: NodeMaintenance, register: Register
    ) -> None:
        node.record_calibration(calibrated(NOW.date(), number="C-2", result=CalibrationResult.FAILED), "ines")
        right = calibrated(date(2026, 11, 20), number="C-2-2", corrects="C-2", due_on=date(2027, 1, 1))
        assert node.record_calibration(right, "ines").ready
        assert told(node, "record_calibration")[-1].resolved == calibration_causes("LAMP-1")

    def test_that_corrects_one_that_failed_ends_its_alert_if_the_hub_knows_another_that_counts_again(
        self, node: NodeMaintenance, register: Register
    ) -> None:
        register.write((item(), calibrated(NOW.date(), number="WRONG", result=CalibrationResult.FAILED)))
        right = calibrated(date(2026, 1, 15), number="C-2", corrects="WRONG", result=CalibrationResult.FAILED)
        node.record_calibration(right, "ines")
        assert told(node, "record_calibration")[-1].resolved == ("calibration_failed:LAMP-1",)

    @pytest.mark.parametrize(("hour", "newest"), [(-1, "C-2"), (1, "LAB")], ids=["before it", "after it"])
    def test_of_the_day_of_another_of_the_hubs_counts_if_it_was_recorded_later(
        self, node: NodeMaintenance, register: Register, hour: int, newest: str
    ) -> None:
        node.record_calibration(calibrated(NOW.date(), number="C-2"), "ines")
        failed = calibrated(NOW.date(), number="LAB", result=CalibrationResult.FAILED)
        line = RegisteredItem(
            revision=2, item=item(), last_calibration=failed, last_recorded_at=NOW + timedelta(hours=hour)
        )
        node.take_register(RegisterPage(since=1, revision=2, items=(line,)))
        assert lamp(node).certificate_number == newest

    def test_holds_until_the_hub_has_it_in_the_register(self, node: NodeMaintenance, register: Register) -> None:
        node.record_calibration(calibrated(NOW.date(), number="C-2"), "ines")
        register.write((item(description="Another"), calibrated()))
        assert lamp(node).certificate_number == "C-2"
        node.confirm(told(node)[-1].number)
        assert lamp(node).certificate_number == "C-2"
        register.write((item(), calibrated(NOW.date(), number="C-3")))
        assert lamp(node).certificate_number == "C-3"


class TestACheck:
    @pytest.fixture
    def node(self, node: NodeMaintenance, register: Register) -> NodeMaintenance:
        node.take_contract(version(1, **daily()))
        node.confirm(1)
        register.write((item(), calibrated(due_on=date(2027, 1, 1))))
        return node

    def test_that_is_passed_makes_its_instrument_ready(self, node: NodeMaintenance) -> None:
        assert node.check("LAMP-1", "daily", GOOD).success
        assert lamp(node).ready
        (report,) = told(node)
        assert (report.action, report.user_id, report.details) == (
            *("execute_check", "ines", "Maintenance check: daily - SUCCESS"),
        )
        assert report.metadata["success"] is True
        assert report.metadata["equipment_id"] == "LAMP-1"
        assert [(step["step"], step["status"], step["notes"]) for step in report.metadata["checks_performed"]] == [
            ("Intensity at 38 cm", "completed", "1250 uW/cm2 (1000 to 5000 uW/cm2)"),
            ("The filter is whole", "completed", "confirmed by ines"),
        ]

    def test_with_a_reading_out_of_its_limits_is_alerted_with_what_was_seen(self, node: NodeMaintenance) -> None:
        assert not node.check("LAMP-1", "daily", GOOD.model_copy(update={"readings": LOW})).success
        _, report = told(node)
        assert report.alert is not None
        assert report.alert.issue is not None
        assert report.alert.issue.model_dump() == {
            "issue_type": "reading_out_of_limits",
            "contract_id": "LP-lamp",
            "equipment_id": "LAMP-1",
            "equipment_type": "uv_lamp",
            "node_id": "NODE-1",
            "data": {
                "check_type": "daily",
                "version": "1.1",
                "step": "intensity",
                "rule": "uv",
                "value": "900",
                "unit": "uW/cm2",
                "minimum": "1000",
                "maximum": "5000",
            },
        }
        assert "900 uW/cm2 is below 1000 uW/cm2" in report.alert.text

    def test_alerts_of_one_resolve_when_it_is_passed(self, node: NodeMaintenance) -> None:
        node.check("LAMP-1", "daily", CheckWork(person="ines", wrong={"intensity": "dark", "filter": "cracked"}))
        node.check("LAMP-1", "daily", GOOD)
        assert told(node)[-1].resolved == (
            "check_failed:LAMP-1:LP-lamp:daily",
            "reading_out_of_limits:LAMP-1:LP-lamp:daily:intensity",
        )

    def test_that_is_still_wrong_keeps_its_alert(self, node: NodeMaintenance) -> None:
        high = {"intensity": GivenReading(value="9000", unit="uW/cm2")}
        node.check("LAMP-1", "daily", CheckWork(person="ines", readings=high))
        node.check("LAMP-1", "daily", GOOD.model_copy(update={"readings": high}))
        executed = told(node, "execute_check")[-1]
        assert executed.resolved == ("check_failed:LAMP-1:LP-lamp:daily",)

    def test_resolves_also_what_a_step_alerted_that_is_asked_no_more(self, node: NodeMaintenance) -> None:
        node.check("LAMP-1", "daily", GOOD.model_copy(update={"readings": LOW}))
        node.take_contract(version(2, **daily("day", FILTER)))
        node.check("LAMP-1", "daily", CheckWork(person="ines", confirmed={"filter"}))
        assert "reading_out_of_limits:LAMP-1:LP-lamp:daily:intensity" in told(node)[-1].resolved

    def test_resolves_what_was_alerted_before_the_disk_was_replaced(
        self, node: NodeMaintenance, tmp_path: Path
    ) -> None:
        node.check("LAMP-1", "daily", GOOD.model_copy(update={"readings": LOW}))
        anew = NodeMaintenance(NODE, disk(tmp_path / "anew"), lambda: NOW)
        anew.take_contract(version(1, **daily()))
        Register(anew).write((item(), calibrated()))
        anew.check("LAMP-1", "daily", GOOD)
        (alerted,) = [report.alert for report in told(node) if report.alert]
        assert alerted.cause in told(anew)[-1].resolved

    def test_of_steps_that_were_replaced_meanwhile_is_refused(self, node: NodeMaintenance) -> None:
        asked = node.asked("LAMP-1", "daily")
        node.take_contract(version(2, **daily()))
        with pytest.raises(Refused, match=r"LP-lamp 1\.1 was replaced by 1\.2 meanwhile: do the check again"):
            node.check("LAMP-1", "daily", GOOD, "LP-lamp", asked.version)
        assert told(node, "execute_check") == []

    def test_that_fails_after_one_that_was_passed_takes_readiness_back(self, node: NodeMaintenance) -> None:
        node.check("LAMP-1", "daily", GOOD)
        node.check("LAMP-1", "daily", CheckWork(person="ines"))
        assert not lamp(node).ready

    @pytest.mark.parametrize(
        ("ask", "why"),
        [
            (lambda node: node.check("LAMP-1", "weekly", GOOD), "no contract in force asks for weekly of LAMP-1"),
            (lambda node: node.check("GONE-1", "daily", GOOD), "GONE-1 is not in the register of NODE-1"),
            (lambda node: node.check("LAMP-1", "daily", GOOD, "LP-other"), "asked for are: daily \\(LP-lamp\\)"),
            (
                lambda node: node.check("LAMP-1", "daily", CheckWork(person="ines", confirmed={"flter"})),
                "there is no step flter in this check: its steps are intensity, filter",
            ),
        ],
    )
    def test_that_is_none_is_refused_and_leaves_nothing(
        self, node: NodeMaintenance, ask: Callable[[NodeMaintenance], object], why: str
    ) -> None:
        with pytest.raises(Refused, match=why):
            ask(node)
        assert told(node) == []

    def test_that_two_contracts_ask_for_is_done_for_one_of_them(self, node: NodeMaintenance) -> None:
        node.take_contract(version(1, smart_contract_id="LP-more", **daily()))
        with pytest.raises(Refused, match="LP-lamp, LP-more ask for daily of LAMP-1: name one with --contract"):
            node.check("LAMP-1", "daily", GOOD)
        assert node.check("LAMP-1", "daily", GOOD, "LP-more").contract_id == "LP-more"
        assert [check.contract_id for check in lamp(node).due] == ["LP-lamp"]


class TestAnInstrumentThatMoves:
    """Between two nodes, which both hear of it."""

    @pytest.fixture
    def nodes(self, tmp_path: Path) -> list[NodeMaintenance]:
        places = (NODE, Node(node_id="NODE-2", station_type="LP", name="Cell 2"))
        nodes = [NodeMaintenance(place, disk(tmp_path / place.node_id), lambda: NOW) for place in places]
        for node in nodes:
            node.take_contract(version(1, **daily(30)))
        return nodes

    @pytest.fixture
    def move(self, nodes: list[NodeMaintenance]) -> Callable[[str], None]:
        registers = [Register(node) for node in nodes]

        def to(node_id: str) -> None:
            for register in registers:
                register.write((item(node_id=node_id), calibrated(due_on=date(2027, 1, 1))))

        return to

    def test_is_checked_anew_when_it_comes_back(
        self, nodes: list[NodeMaintenance], move: Callable[[str], None]
    ) -> None:
        here, there = nodes
        move("NODE-1")
        here.check("LAMP-1", "daily", GOOD)
        assert lamp(here).ready
        move("NODE-2")
        there.check("LAMP-1", "daily", CheckWork(person="ines"))
        move("NODE-1")
        assert not lamp(here).ready
        here.check("LAMP-1", "daily", GOOD)
        assert lamp(here).ready

    def test_keeps_its_checks_while_it_stays(self, nodes: list[NodeMaintenance], move: Callable[[str], None]) -> None:
        here, _ = nodes
        move("NODE-1")
        here.check("LAMP-1", "daily", GOOD)
        move("NODE-1")
        assert lamp(here).ready

    def test_leaves_no_alert_behind_once_it_passes_elsewhere(
        self, nodes: list[NodeMaintenance], move: Callable[[str], None]
    ) -> None:
        here, there = nodes
        move("NODE-1")
        here.check("LAMP-1", "daily", GOOD.model_copy(update={"readings": LOW}))
        move("NODE-2")
        there.check("LAMP-1", "daily", GOOD)
        (alerted,) = [report.alert for report in told(here) if report.alert]
        assert alerted.cause in told(there)[-1].resolved


class TestTheWatch:
    def test_starts_anew_where_a_new_version_gives_a_certificate_longer(self, tmp_path: Path) -> None:
        node = NodeMaintenance(NODE, disk(tmp_path), lambda: NOW)
        node.take_contract(version(1, calibration_interval_days=300))
        Register(node).write((item(), calibrated()))
        node.check_expiry(NOW)
        assert [report.alert.cause for report in told(node) if report.alert] == ["calibration_expired:LAMP-1"]
        node.take_contract(version(2, calibration_interval_days=365))
        node.check_expiry(NOW + timedelta(days=1))
        assert "calibration_expired:LAMP-1" in told(node, "check_expiry")[-1].resolved
        node.confirm(told(node)[-1].number)
        node.check_expiry(NOW + timedelta(days=2))
        assert told(node)[-1].resolved == (late_cause("NODE-1"),)
        for days in range(3, 60):
            node.check_expiry(NOW + timedelta(days=days))
        alerts = [report.alert.alert_type for report in told(node) if report.alert]
        assert alerts == [*(["calibration_expiring"] * 4), "calibration_expired"]

    def test_reminds_of_nothing_that_is_out_of_service_until_it_returns(self, tmp_path: Path) -> None:
        node = NodeMaintenance(NODE, disk(tmp_path), lambda: NOW)
        node.take_contract(version(1, calibration_interval_days=300))
        register = Register(node)
        causes = []
        for day, out_of_service in enumerate((None, "lamp broken", None)):
            register.write((item(out_of_service=out_of_service), calibrated()))
            node.check_expiry(NOW + timedelta(days=day))
            causes.append([report.alert.cause for report in told(node) if report.alert])
        assert [len(raised) for raised in causes] == [1, 1, 2]
        assert set(causes[-1]) == {"calibration_expired:LAMP-1"}
        assert "calibration_expired:LAMP-1" in told(node, "check_expiry")[1].resolved

    def test_reminds_of_a_later_due_date_of_what_had_expired(self, tmp_path: Path) -> None:
        node = NodeMaintenance(NODE, disk(tmp_path), lambda: NOW)
        node.take_contract(version(1, calibration_interval_days=300))
        Register(node).write((item(), calibrated()))
        node.check_expiry(NOW)
        node.take_contract(version(2, calibration_interval_days=330))
        node.check_expiry(NOW + timedelta(days=1))
        alerted = told(node)[-1]
        assert "calibration_expired:LAMP-1" in alerted.resolved
        assert alerted.alert is not None
        assert alerted.alert.cause == "calibration_expiring:LAMP-1"

    def test_reminds_of_what_is_described_at_length_in_any_script(self, tmp_path: Path) -> None:
        node = NodeMaintenance(NODE, disk(tmp_path), lambda: NOW)
        node.take_contract(version(1, calibration_interval_days=300))
        described = item(description="紫外線ランプ" * 100)
        Register(node).write((described, calibrated(number="校正" * 100)))
        node.check_expiry(NOW)
        alert = told(node)[-1].alert
        assert alert is not None
        assert alert.issue is not None
        assert alert.issue.data["certificate"] == "校正" * 100
        assert described.description.startswith(alert.issue.data["description"][:-1])
