"""The gate before a test: what may be used, and how everything that is missing is named."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from infra.documents import read_document
from infra.equipment import EquipmentList
from infra.registry import load_registry
from infra.settings import HERE
from schemas.calibration import CalibrationState
from schemas.client_po import SmartClientPO
from schemas.node import Node, NodeDelivery
from schemas.test_execution import BeginTest, Begun, GateAnswer, Instrument

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)

LAMP = {
    "equipment_id": "LAMP-1",
    "equipment_type": "uv_lamp",
    "certificate": "C-1",
    "calibrated_on": date(2026, 1, 10),
    "due_on": date(2027, 1, 10),
    "fit": True,
}
METER = LAMP | {"equipment_id": "METER-1", "equipment_type": "light_meter", "certificate": "C-2"}


def delivery(*needed: Any, document: dict[str, Any] | None = None) -> NodeDelivery:
    """Of a contract whose tests need this equipment, one test for each."""
    tests = [
        {
            "test_id": f"T-{number}",
            "test_type": "liquid_penetrant",
            "assigned_node": "NODE-1",
            "procedure": {"procedure_id": "E1417", "revision": "2021"},
            "required_signoffs": ["inspector"],
            "equipment": [equipment] if equipment else [],
        }
        for number, equipment in enumerate(needed or [None])
    ]
    return NodeDelivery(
        smart_contract_id="SC-1",
        number=1,
        document=document
        or {
            "smart_contract_id": "SC-1",
            "contract_type": "nondestructive_testing",
            "clientpo_id": "CPO-1",
            "client": "ACME",
            "part_id": "PART-1",
            "tests": tests,
            "routing_trigger": {"type": "workflow_complete"},
        },
        document_hash="abc",
        priority=3,
        due_date=None,
        quantity=1,
        broadcast_ids=(),
    )


def node(time_zone: str) -> Node:
    return Node(node_id="NODE-1", station_type="LP", name="Cell 1", time_zone=time_zone)


class Listed:
    """An equipment list that can be written anew."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.gate = EquipmentList(file)
        self.write(LAMP, METER)

    def write(self, *equipment: dict[str, Any]) -> None:
        self.file.write_text(yaml.safe_dump({"equipment": list(equipment)}))

    def begin(self, *named: str, needs: tuple[Any, ...] = (), at: datetime = NOON) -> GateAnswer:
        begin = BeginTest(smart_contract_id="SC-1", performer="ivan", instruments=named, at=at)
        return self.gate.begin(delivery(*needs), begin)


@pytest.fixture
def listed(tmp_path: Path) -> Listed:
    return Listed(tmp_path / "equipment.yaml")


class TestTheGate:
    def test_freezes_who_with_what_by_which_document_and_when(self, listed: Listed) -> None:
        answer = listed.begin("METER-1", "LAMP-1", "METER-1", needs=("LAMP-1", {"equipment_type": "light_meter"}))
        lamp, meter = (
            Instrument(**{key: value for key, value in line.items() if key != "fit"}) for line in (LAMP, METER)
        )
        assert answer == GateAnswer(
            begun=Begun(performer="ivan", started_at=NOON, instruments=(lamp, meter), document_hash="abc")
        )

    def test_opens_for_a_test_that_needs_nothing(self, listed: Listed) -> None:
        begun = listed.begin().begun
        assert begun is not None
        assert begun.instruments == ()

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
        self, listed: Listed, needs: Any, named: tuple[str, ...], missing: str
    ) -> None:
        assert listed.begin(*named, needs=(needs,)) == GateAnswer(missing=(missing,))

    @pytest.mark.parametrize(
        ("line", "missing"),
        [
            ({"fit": False}, "LAMP-1 is not fit for use"),
            ({"certificate": None}, "LAMP-1 has a calibration certificate without a number"),
            (
                {"certificate_for": "LAMP-9"},
                "LAMP-1 has the calibration certificate C-1, which is for LAMP-9",
            ),
            ({"calibrated_on": None}, "LAMP-1 has no calibration certificate with its dates"),
            ({"due_on": None}, "LAMP-1 has no calibration certificate with its dates"),
            ({"calibrated_on": date(2026, 11, 22)}, "LAMP-1 is calibrated on 2026-11-22, which is not yet"),
            ({"due_on": date(2026, 11, 20)}, "LAMP-1 was due for calibration on 2026-11-20"),
            (
                {"due_on": None, "calibration_interval_days": 314},
                "LAMP-1 was due for calibration on 2026-11-20",
            ),
            ({"equipment_id": "LAMP-2"}, "LAMP-1 is not in the equipment list"),
        ],
    )
    def test_stays_shut_for_what_may_not_be_used(self, listed: Listed, line: dict[str, Any], missing: str) -> None:
        listed.write(LAMP | line)
        assert listed.begin("LAMP-1", needs=("LAMP-1",)) == GateAnswer(missing=(missing,))

    def test_stays_shut_for_what_may_not_be_used_though_no_test_needs_it(self, listed: Listed) -> None:
        listed.write(LAMP, METER | {"fit": False})
        assert listed.begin("LAMP-1", "METER-1", needs=("LAMP-1",)).missing == ("METER-1 is not fit for use",)

    @pytest.mark.parametrize("at", [datetime(2026, 1, 10, tzinfo=UTC), datetime(2027, 1, 10, 23, 59, tzinfo=UTC)])
    def test_counts_the_first_and_the_last_day_of_a_calibration(self, listed: Listed, at: datetime) -> None:
        assert listed.begin("LAMP-1", at=at).begun is not None

    def test_opens_while_a_calibration_is_expiring_soon(self, listed: Listed) -> None:
        listed.write(LAMP | {"due_on": NOON.date()})
        (instrument,) = listed.gate.status(NOON).equipment
        assert instrument.state is CalibrationState.EXPIRING_SOON
        assert listed.begin("LAMP-1").begun is not None

    def test_freezes_the_due_date_that_follows_from_an_interval(self, listed: Listed) -> None:
        listed.write(LAMP | {"due_on": None, "calibration_interval_days": 365})
        begun = listed.begin("LAMP-1").begun
        assert begun is not None
        assert begun.instruments[0].due_on == date(2027, 1, 10)

    def test_warns_as_early_as_the_list_says(self, listed: Listed) -> None:
        listed.write(LAMP | {"warning_days": 50}, METER | {"warning_days": 49})
        lamp, meter = listed.gate.status(NOON).equipment
        assert (lamp.days_left, lamp.state) == (50, CalibrationState.EXPIRING_SOON)
        assert (meter.days_left, meter.state) == (50, CalibrationState.CURRENT)

    @pytest.mark.parametrize(
        ("time_zone", "opens"),
        [("UTC", False), ("America/New_York", True), ("Europe/Berlin", False), ("Pacific/Kiritimati", False)],
    )
    def test_ends_a_calibration_with_the_day_of_the_node(self, listed: Listed, time_zone: str, opens: bool) -> None:
        gate = EquipmentList(listed.file, node(time_zone).zone)
        after_the_due_date_in_utc = datetime(2027, 1, 11, 3, tzinfo=UTC)
        begin = BeginTest(
            smart_contract_id="SC-1", performer="ivan", instruments=("LAMP-1",), at=after_the_due_date_in_utc
        )
        assert (gate.begin(delivery(), begin).begun is not None) == opens

    def test_names_everything_that_is_missing_and_each_once(self, listed: Listed) -> None:
        listed.write(LAMP | {"fit": False}, METER | {"due_on": date(2026, 1, 11)})
        tank = {"equipment_type": "etch_tank"}
        answer = listed.begin("METER-1", "LAMP-1", "GONE-1", needs=("LAMP-1", "CMM-1", "CMM-1", tank))
        assert answer == GateAnswer(
            missing=(
                "GONE-1 is not in the equipment list",
                "LAMP-1 is not fit for use",
                "METER-1 was due for calibration on 2026-01-11",
                "the contract needs CMM-1, which is not named",
                "the contract needs a etch_tank, and none is named",
            )
        )

    def test_reads_the_list_when_it_is_asked(self, listed: Listed) -> None:
        assert listed.begin("LAMP-1").begun is not None
        listed.write(METER)
        assert listed.begin("LAMP-1").begun is None

    @pytest.mark.parametrize(
        "text",
        [
            *(
                "",
                "[",
                "equipment: {}",
                "equipment: [{equipment_id: LAMP-1}]",
                "\0",
                "equipment: [{due_on: 2026-02-30}]",
            ),
            "equipment: [{equipment_id: A, equipment_type: a, due_on: 2026-02-01, calibration_interval_days: 9}]",
        ],
    )
    def test_stays_shut_and_says_so_when_the_list_cannot_be_read(self, listed: Listed, text: str) -> None:
        listed.file.write_text(text)
        (missing,) = listed.begin().missing
        assert missing.startswith("the equipment list equipment.yaml cannot be read")

    def test_stays_shut_when_there_is_no_list(self, listed: Listed) -> None:
        listed.file.unlink()
        assert "cannot be read" in listed.begin().missing[0]

    def test_stays_shut_for_an_instrument_that_is_listed_twice(self, listed: Listed) -> None:
        listed.write(LAMP, LAMP)
        assert "each equipment_id stands once" in listed.begin("LAMP-1").missing[0]

    def test_stays_shut_for_a_contract_that_cannot_be_read(self, listed: Listed) -> None:
        begin = BeginTest(smart_contract_id="SC-1", performer="ivan", instruments=(), at=NOON)
        answer = listed.gate.begin(delivery(document={"tests": []}), begin)
        assert "the contract that the node holds cannot be read" in answer.missing[0]


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


class TestTheListOfThisProduct:
    @pytest.mark.parametrize("sample", sorted((HERE / "samples").glob("*.yaml")), ids=lambda file: file.stem)
    def test_has_what_the_samples_need(self, sample: Path) -> None:
        document = read_document(sample.read_bytes(), is_yaml=True)
        po = SmartClientPO.model_validate(document)
        listed = yaml.safe_load((HERE / "equipment.yaml").read_text())["equipment"]
        by_type = {line["equipment_type"]: line["equipment_id"] for line in listed}
        named = tuple(
            item.equipment_id or by_type[item.equipment_type or ""] for test in po.tests for item in test.equipment
        )
        begin = BeginTest(smart_contract_id=po.smart_contract_id, performer="ivan", instruments=named, at=NOON)
        answer = EquipmentList(HERE / "equipment.yaml").begin(delivery(document=document), begin)
        assert answer.missing == ()
