"""The gate before a test: what may be used, and how everything that is missing is named."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from infra.equipment import MaintenanceGate, NotHeard
from infra.node_maintenance import NodeMaintenance
from infra.registry import load_registry
from schemas.client_po import SmartClientPO
from schemas.gate import BeginTest, GateAnswer, InstrumentCheck, validation_results
from schemas.maintenance_check import CheckWork, GivenReading
from schemas.node import Node
from schemas.test_results import Begun, Instrument
from tests.instruments import NODE, Register, calibrated, daily, delivered, delivery, disk, in_force, item

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
DUE: dict[str, Any] = {"due_on": date(2027, 1, 10)}
DONE = CheckWork(person="ines", readings={"intensity": GivenReading(value="1200", unit="uW/cm2")}, confirmed={"filter"})
LAMP = (item(), calibrated(**DUE))
METER = (item("METER-1", equipment_type="light_meter"), calibrated(name="METER-1", number="C-2", **DUE))


class AtTheNode:
    """A node with a gate, whose register can be written."""

    def __init__(self, folder: Path, node: Node = NODE) -> None:
        self.now = NOON
        self.maintenance = NodeMaintenance(node, disk(folder), lambda: self.now)
        self.gate = MaintenanceGate(self.maintenance)
        self.register = Register(self.maintenance)
        self.register.write(LAMP, METER)

    def begin(
        self, *named: str, needs: tuple[Any, ...] = (), at: datetime = NOON, asked: datetime | None = None
    ) -> GateAnswer:
        """Its answer at that time, by its own clock; it was asked then too, or before."""
        self.now = at
        begin = BeginTest(smart_contract_id="SC-1", performer="ivan", instruments=named, at=asked or at)
        return self.gate.begin(delivery(*needs), begin)


@pytest.fixture
def node(tmp_path: Path) -> AtTheNode:
    return AtTheNode(tmp_path)


def instrument(name: str, equipment_type: str, certificate: str) -> Instrument:
    return Instrument(
        equipment_id=name,
        equipment_type=equipment_type,
        certificate=certificate,
        calibrated_on=date(2026, 1, 10),
        due_on=date(2027, 1, 10),
    )


class TestTheGate:
    def test_freezes_who_with_what_by_which_document_and_when(self, node: AtTheNode) -> None:
        answer = node.begin("METER-1", "LAMP-1", "METER-1", needs=("LAMP-1", {"equipment_type": "light_meter"}))
        frozen = (instrument("LAMP-1", "uv_lamp", "C-1"), instrument("METER-1", "light_meter", "C-2"))
        assert answer.begun == Begun(performer="ivan", started_at=NOON, instruments=frozen, document_hash="abc")
        assert answer.missing == ()

    def test_opens_for_a_test_that_needs_nothing(self, node: AtTheNode) -> None:
        begun = node.begin().begun
        assert begun is not None
        assert begun.instruments == ()

    def test_opens_with_what_nobody_has_to_calibrate(self, node: AtTheNode) -> None:
        node.maintenance.take_contract(delivered(in_force(conditions=[], equipment_types=["oven"])))
        node.register.write((item("OVEN-1", equipment_type="oven"), None))
        begun = node.begin("OVEN-1").begun
        assert begun is not None
        assert begun.instruments[0].certificate is None

    @pytest.mark.parametrize(
        ("needs", "named", "missing"),
        [
            ("LAMP-1", ("METER-1",), "the contract needs LAMP-1, which is not named"),
            ({"equipment_type": "uv_lamp"}, ("METER-1",), "the contract needs a uv_lamp, and none is named"),
            (
                {"equipment_id": "LAMP-1", "equipment_type": "light_meter"},
                ("LAMP-1",),
                "the contract needs LAMP-1 as light_meter, and it is a uv_lamp",
            ),
        ],
    )
    def test_stays_shut_for_what_nobody_named(
        self, node: AtTheNode, needs: Any, named: tuple[str, ...], missing: str
    ) -> None:
        answer = node.begin(*named, needs=(needs,))
        assert (answer.begun, answer.missing) == (None, (missing,))

    @pytest.mark.parametrize(
        ("line", "missing"),
        [
            ((item(out_of_service="dropped"), LAMP[1]), "LAMP-1 is out of service: dropped"),
            ((item(node_id="NODE-2"), LAMP[1]), "LAMP-1 is at NODE-2: check it out to NODE-1 first"),
            ((item(), None), "LAMP-1 has no calibration certificate with its dates"),
            ((item(), calibrated(due_on=date(2026, 11, 20))), "LAMP-1 was due for calibration on 2026-11-20"),
            (
                (item(), calibrated(certificate_for="LAMP-9", **DUE)),
                "LAMP-1 has the calibration certificate C-1, which is for LAMP-9",
            ),
        ],
    )
    def test_stays_shut_for_what_may_not_be_used(self, node: AtTheNode, line: Any, missing: str) -> None:
        node.register.write(line)
        answer = node.begin("LAMP-1", needs=("LAMP-1",))
        assert (answer.begun, answer.missing) == (None, (missing,))

    def test_stays_shut_for_what_may_not_be_used_though_no_test_needs_it(self, node: AtTheNode) -> None:
        node.register.write((item("METER-1", out_of_service="dropped"), None))
        assert "METER-1 is out of service: dropped" in node.begin("LAMP-1", "METER-1", needs=("LAMP-1",)).missing

    def test_stays_shut_until_the_checks_of_the_day_are_passed(self, node: AtTheNode) -> None:
        node.maintenance.take_contract(delivered(in_force(**daily())))
        assert node.begin("LAMP-1").missing == (
            "LAMP-1: the check daily of LP-lamp 1.0 is not done in this day: do it",
        )
        node.maintenance.check("LAMP-1", "daily", DONE)
        assert node.begin("LAMP-1").begun is not None

    def test_says_what_it_found_of_each_instrument(self, node: AtTheNode) -> None:
        node.register.write((item("METER-1", equipment_type="light_meter"), None))
        assert node.begin("METER-1", "LAMP-1", "GONE-1").checks == (
            InstrumentCheck(equipment_id="GONE-1", status="not_found", calibration_valid=False, ready=False),
            InstrumentCheck(
                equipment_id="LAMP-1",
                description="Inspection lamp",
                status="ready",
                calibration_valid=True,
                ready=True,
            ),
            InstrumentCheck(
                equipment_id="METER-1",
                description="Inspection lamp",
                status="pending_calibration",
                calibration_valid=False,
                ready=False,
            ),
        )

    def test_names_the_contracts_and_the_checks_that_it_relies_on(self, node: AtTheNode) -> None:
        node.maintenance.take_contract(delivered(in_force("1.1", **daily())))
        node.maintenance.check("LAMP-1", "daily", DONE)
        answer = node.begin("LAMP-1", "METER-1", at=NOON + timedelta(hours=1))
        assert answer.begun is not None
        lamp, meter = validation_results(SmartClientPO.model_validate(delivery().document), answer)["validation_checks"]
        done = {"contract_id": "LP-lamp", "version": "1.1", "check_type": "daily", "at": "2026-11-21T12:00:00Z"}
        assert lamp["contracts"] == [{"contract_id": "LP-lamp", "version": "1.1", "checks": [done | {"passed": True}]}]
        assert "contracts" not in meter

    @pytest.mark.parametrize("at", [datetime(2026, 1, 10, tzinfo=UTC), datetime(2027, 1, 10, 23, 59, tzinfo=UTC)])
    def test_counts_the_first_and_the_last_day_of_a_calibration(self, node: AtTheNode, at: datetime) -> None:
        assert node.begin("LAMP-1", at=at).begun is not None

    @pytest.mark.parametrize(
        ("time_zone", "opens"),
        [("UTC", False), ("America/New_York", True), ("Europe/Berlin", False), ("Pacific/Kiritimati", False)],
    )
    def test_ends_a_calibration_with_the_day_of_the_node(self, tmp_path: Path, time_zone: str, opens: bool) -> None:
        node = AtTheNode(tmp_path, NODE.model_copy(update={"time_zone": time_zone}))
        after_the_due_date_in_utc = datetime(2027, 1, 11, 3, tzinfo=UTC)
        assert (node.begin("LAMP-1", at=after_the_due_date_in_utc).begun is not None) == opens

    def test_judges_what_was_asked_before_midnight_by_the_day_on_which_it_answers(self, node: AtTheNode) -> None:
        asked, morning = datetime(2027, 1, 10, 23, tzinfo=UTC), datetime(2027, 1, 11, 9, tzinfo=UTC)
        assert node.begin("LAMP-1", at=morning, asked=asked).missing == (
            "LAMP-1 was due for calibration on 2027-01-10",
        )

    def test_freezes_when_it_answered(self, node: AtTheNode) -> None:
        begun = node.begin("LAMP-1", at=NOON, asked=NOON - timedelta(hours=3)).begun
        assert begun is not None
        assert begun.started_at == NOON

    def test_opens_nothing_by_a_clock_that_is_behind(self, node: AtTheNode) -> None:
        asked, behind = datetime(2027, 1, 11, 9, tzinfo=UTC), datetime(2027, 1, 10, 23, tzinfo=UTC)
        assert node.begin("LAMP-1", at=behind, asked=asked).begun is None

    def test_answers_once_it_has_heard_of_the_register_what_the_hub_knew(self, node: AtTheNode) -> None:
        begin = BeginTest(
            smart_contract_id="SC-1", performer="ivan", instruments=("LAMP-1",), at=NOON, register_revision=2
        )
        with pytest.raises(NotHeard, match="known up to 1 here, at the hub up to 2"):
            node.gate.begin(delivery(), begin)
        node.register.write((item(out_of_service="dropped"), LAMP[1]))
        answer = node.gate.begin(delivery(), begin)
        assert (answer.missing, answer.register_revision) == (("LAMP-1 is out of service: dropped",), 2)

    def test_names_everything_that_is_missing_and_each_once(self, node: AtTheNode) -> None:
        meter = item("METER-1", equipment_type="light_meter")
        overdue = calibrated(name="METER-1", due_on=date(2026, 1, 11))
        node.register.write((item(out_of_service="dropped"), LAMP[1]), (meter, overdue))
        tank = {"equipment_type": "etch_tank"}
        answer = node.begin("METER-1", "LAMP-1", "GONE-1", needs=("LAMP-1", "CMM-1", "CMM-1", tank))
        assert answer.missing == (
            "GONE-1 is not in the register of NODE-1: have it registered, or name another",
            "LAMP-1 is out of service: dropped",
            "METER-1 was due for calibration on 2026-01-11",
            "the contract needs CMM-1, which is not named",
            "the contract needs a etch_tank, and none is named",
        )

    def test_opens_by_itself_once_the_calibration_is_recorded_at_the_node(self, node: AtTheNode) -> None:
        node.register.write((item(), calibrated(due_on=date(2026, 11, 20))))
        assert node.begin("LAMP-1").begun is None
        node.maintenance.record_calibration(calibrated(NOON.date(), number="C-9", **DUE), "ines")
        begun = node.begin("LAMP-1").begun
        assert begun is not None
        assert begun.instruments[0].certificate == "C-9"

    def test_stays_shut_for_a_contract_that_cannot_be_read(self, node: AtTheNode) -> None:
        begin = BeginTest(smart_contract_id="SC-1", performer="ivan", instruments=(), at=NOON)
        answer = node.gate.begin(delivery(document={"tests": []}), begin)
        assert "the contract that the node holds cannot be read" in answer.missing[0]


class TestResults:
    def test_are_flagged_for_what_ceased_to_hold_while_they_were_measured(self, node: AtTheNode) -> None:
        begun = node.begin("LAMP-1", "METER-1").begun
        assert begun is not None
        assert node.gate.flags(begun, datetime(2027, 1, 10, tzinfo=UTC)) == ()
        node.register.write((item(out_of_service="dropped"), calibrated(result="failed")))
        assert node.gate.flags(begun, datetime(2027, 1, 11, tzinfo=UTC)) == (
            "LAMP-1 was due for calibration on 2027-01-10, before results were given on 2027-01-11",
            "METER-1 was due for calibration on 2027-01-10, before results were given on 2027-01-11",
            "LAMP-1 was out of service when the node kept the results: dropped",
            "LAMP-1 failed its calibration of 2026-01-10 (C-1), as the node knew when it kept the results",
        )

    def test_are_flagged_for_what_was_moved_away(self, node: AtTheNode) -> None:
        begun = node.begin("LAMP-1", "METER-1").begun
        assert begun is not None
        node.register.write((item(node_id="NODE-2"), LAMP[1]))
        assert node.gate.flags(begun, NOON) == ("LAMP-1 was at NODE-2, not at NODE-1, when the node kept the results",)


class TestAVersionThatComesWhileATestRuns:
    def test_leaves_the_test_what_was_frozen_and_holds_for_the_next_one(self, node: AtTheNode) -> None:
        begun = node.begin("LAMP-1").begun
        assert begun is not None
        stricter = in_force(conditions=["must-calibrate-before-test"], calibration_interval_days=1)
        node.maintenance.take_contract(delivered(stricter))
        assert [one.due_on for one in begun.instruments] == [date(2027, 1, 10)]
        assert node.gate.flags(begun, NOON) == ()
        assert node.begin("LAMP-1").begun is None


class TestTheMachineOfANode:
    @pytest.mark.parametrize("url", ["opc.tcp://lp-cell-1:4840", "opc.tcp://[::1]:4840/ua", "opc.tcp://10.0.0.7"])
    def test_is_an_opc_ua_server(self, url: str) -> None:
        assert NODE.model_validate({**NODE.model_dump(), "opcua_url": url}).opcua_url == url

    @pytest.mark.parametrize(
        "url",
        [
            *("nonsense", "opc.tcp://", "http://lp-cell-1:4840", "opc.tcp://lp-cell-1:99999", "opc.tcp://lp cell:4840"),
            *("opc.tcp://lp-cell-1:port", "opc.tcp://[::1"),
        ],
    )
    def test_is_nothing_else(self, url: str) -> None:
        with pytest.raises(ValidationError, match="is no address of an OPC-UA server, such as"):
            NODE.model_validate({**NODE.model_dump(), "opcua_url": url})


class TestTheTimeZoneOfANode:
    def test_is_utc_unless_it_is_named(self) -> None:
        assert Node(node_id="NODE-1", station_type="LP", name="Cell 1").time_zone == "UTC"

    @pytest.mark.parametrize("time_zone", ["", "Europe", "Europe/Nowhere", "/etc/localtime", "../UTC", "+02:00"])
    def test_is_one_of_the_iana_database(self, tmp_path: Path, time_zone: str) -> None:
        file = tmp_path / "nodes.yaml"
        line = {"node_id": "NODE-1", "station_type": "LP", "name": "Cell 1", "time_zone": time_zone}
        file.write_text(yaml.safe_dump({"nodes": [line]}))
        with pytest.raises(ValidationError, match=r"nodes\.0\.time_zone"):
            load_registry(file)


class TestTheStationTypeOfANode:
    def test_has_no_hyphen_which_ends_it_in_the_id_of_a_maintenance_contract(self, tmp_path: Path) -> None:
        file = tmp_path / "nodes.yaml"
        line = {"node_id": "NODE-1", "station_type": "X-RAY", "name": "Cell 1"}
        file.write_text(yaml.safe_dump({"nodes": [line]}))
        with pytest.raises(ValidationError, match=r"nodes\.0\.station_type\n.*has a hyphen"):
            load_registry(file)
