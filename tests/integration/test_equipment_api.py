"""The equipment register over HTTP, with real workflows behind it: what is answered, refused, and recorded."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from api.house import House
from infra.hubs import Hubs
from infra.settings import Settings
from schemas.changes.maintenance import ContractCreated, DeploymentChanged, DeploymentOpened
from schemas.ledger import LedgerEntry
from schemas.permission import Role
from schemas.record import Change, Record
from tests import instruments
from tests.workflows.register import point
from workers.worker import main_worker

LP, CP = "NOD-TestStation-LP-01", "NOD-TestStation-CP-01"

Json = dict[str, Any]


class Desk:
    """Who asks: a maintenance engineer, and an operator who may look."""

    def __init__(self, house: House, mia: httpx.AsyncClient, otto: httpx.AsyncClient, name: str) -> None:
        self.house = house
        self.mia = mia
        self.otto = otto
        self.name = name
        self.url = f"/api/v1/equipment/{name}"

    def line(self, **fields: Any) -> Json:
        return {
            "equipment_id": self.name,
            "equipment_type": "thermometer",
            "description": "Digital thermometer",
            "node_id": LP,
            "calibration_interval_days": 180,
            **fields,
        }

    def calibration(self, days_ago: int = 10, number: str = "C-1", **fields: Any) -> Json:
        return {
            "equipment_id": self.name,
            "certificate_number": number,
            "calibrated_on": str((datetime.now(UTC) - timedelta(days=days_ago)).date()),
            "result": "passed",
            "provider": "Lab GmbH",
            "technician": "t.lab",
            **fields,
        }

    async def post(self, what: str, body: Json, **headers: str) -> httpx.Response:
        return await self.mia.post(f"{self.url}/{what}", json=body, headers=headers)

    async def look(self) -> Json:
        answer = await self.otto.get(self.url)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def told(self) -> list[str]:
        return [entry.action for entry in await self.house.ledger.timeline(self.name)]


async def checked_daily(house: House, equipment_type: str) -> None:
    """Brings a contract into force at the node that asks for a check each day."""
    document = {**instruments.document(equipment_types=[equipment_type]), **instruments.daily()}
    key = {"contract_id": document["smart_contract_id"], "version": "1.0"}
    created = ContractCreated(
        **key,
        station_type="LP",
        title=document["title"],
        document=json.dumps(document),
        document_hash="0" * 64,
        status="active",
        parent_version=None,
        changes=None,
        created_by="mia",
    )
    opened = DeploymentOpened(**key, node_id=LP)
    acknowledged = DeploymentChanged(**key, node_id=LP, status="acknowledged")
    changes: tuple[Change, ...] = (created, opened, acknowledged)
    for number, change in enumerate(changes):
        about = dict.fromkeys(("action_type", "action", "target", "details"), "test")
        await house.ledger.record(Record(entry=LedgerEntry(idempotency_key=f"t:{number}", **about), changes=(change,)))


@pytest_asyncio.fixture
async def desk(api: FastAPI, settings: Settings, caller: Callable[..., httpx.AsyncClient]) -> AsyncIterator[Desk]:
    """The register knows a thermometer that was never calibrated. No node is there."""
    house: House = api.state.house
    async with (
        caller(Role.MAINTENANCE_ENGINEER, "mia") as mia,
        caller(Role.OPERATOR, "otto") as otto,
        Hubs(settings) as hubs,
        main_worker(house.temporal, house.engine, house.ledger, hubs, settings),
    ):
        desk = Desk(house, mia, otto, f"T-{settings.state_dir.name}")
        registered = await mia.post("/api/v1/equipment", json=desk.line())
        assert registered.status_code == 201, registered.text
        yield desk


class TestAnInstrument:
    async def test_is_registered_once(self, desk: Desk) -> None:
        assert (await desk.mia.post("/api/v1/equipment", json=desk.line())).status_code == 200
        other = await desk.mia.post("/api/v1/equipment", json=desk.line(description="Another"))
        assert (other.status_code, "registered already" in other.json()["detail"]) == (409, True)
        unknown = await desk.mia.post("/api/v1/equipment", json=desk.line(node_id="NODE-9") | {"equipment_id": "N-1"})
        assert (unknown.status_code, "not in the registry" in unknown.json()["detail"]) == (409, True)
        assert await desk.told() == ["register_equipment"]

    async def test_is_listed_by_node_type_and_state(self, desk: Desk) -> None:
        async def found(**query: str) -> list[str]:
            answer = await desk.otto.get("/api/v1/equipment", params=query)
            assert answer.json()["matching"] == len(answer.json()["equipment"])
            return [line["equipment_id"] for line in answer.json()["equipment"]]

        assert await found(state="pending_calibration") == [desk.name]
        assert await found(state="ready") == []
        await desk.post("calibrations", desk.calibration())
        assert await found(state="ready") == [desk.name]
        assert await found(node=LP, type="thermometer") == [desk.name]
        assert await found(node=CP) == await found(type="lamp") == []

    async def test_whose_calibration_expires_soon_is_listed_whatever_else_is_asked_of_it(self, desk: Desk) -> None:
        lamp = f"L-{desk.name}"
        await checked_daily(desk.house, "uv_lamp")
        await desk.mia.post("/api/v1/equipment", json=desk.line(equipment_id=lamp, equipment_type="uv_lamp"))
        await desk.post("calibrations", desk.calibration(170))
        calibration = desk.calibration(170, equipment_id=lamp)
        await desk.mia.post(f"/api/v1/equipment/{lamp}/calibrations", json=calibration)

        async def found(**query: str) -> list[tuple[str, str, int]]:
            answer = await desk.otto.get("/api/v1/equipment", params=query)
            assert answer.json()["matching"] == len(answer.json()["equipment"])
            return [(line["equipment_id"], line["state"], line["days_left"]) for line in answer.json()["equipment"]]

        both = [(lamp, "expiring_soon", 10), (desk.name, "ready", 10)]
        assert await found(calibration="expiring_soon") == both
        assert await found(calibration="expiring_soon", state="ready") == both[1:]
        assert await found(calibration="expired") == []

    async def test_that_nobody_knows_is_not_found(self, desk: Desk) -> None:
        assert (await desk.otto.get("/api/v1/equipment/T-0")).status_code == 404
        answer = await desk.mia.post("/api/v1/equipment/T-0/return", json={"reason": "mended"})
        assert answer.status_code == 404

    async def test_is_changed_by_nobody_who_may_not(self, desk: Desk) -> None:
        answer = await desk.otto.post(f"{desk.url}/calibrations", json=desk.calibration())
        assert answer.status_code == 403
        assert await desk.told() == ["register_equipment"]

    async def test_shows_its_history(self, desk: Desk) -> None:
        await desk.post("calibrations", desk.calibration(40, "C-1"))
        await desk.post("calibrations", desk.calibration(10, "C-2"))
        await desk.post("out-of-service", {"reason": "dropped"})
        await desk.post("return", {"reason": "it is whole"})
        await desk.post("check-out", {"reason": "lent", "to_node": CP})
        shown = await desk.look()
        assert (shown["node_id"], shown["home_node"], shown["ready"]) == (CP, LP, True)
        numbers = [one["calibration"]["certificate_number"] for one in shown["certificates"]]
        assert numbers == ["C-2", "C-1"]
        assert shown["certificates"][0]["recorded_by"] == "mia"
        events = [(one["event"], one["reason"]) for one in shown["events"]]
        assert events == [
            ("moved", "lent"),
            ("returned", "it is whole"),
            ("out_of_service", "dropped"),
            ("registered", None),
        ]

    @pytest.mark.parametrize("what", ["out-of-service", "return", "check-out"])
    async def test_is_not_moved_or_taken_away_without_a_reason(self, desk: Desk, what: str) -> None:
        for reason in ({}, {"reason": " "}):
            answer = await desk.post(what, {"to_node": CP, **reason} if what == "check-out" else reason)
            assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "reason")
        assert await desk.told() == ["register_equipment"]

    async def test_is_counted_in_what_managers_see(self, desk: Desk, caller: Callable[..., httpx.AsyncClient]) -> None:
        await desk.post("calibrations", desk.calibration(190))
        await desk.post("out-of-service", {"reason": "dropped"})
        await desk.post("return", {"reason": "it is whole"})
        async with caller(Role.PRODUCTION_MANAGER, "petra") as petra:
            answer = await petra.get("/api/v1/analytics/maintenance")
        assert answer.status_code == 200, answer.text
        seen = answer.json()
        assert [(one["equipment_id"], one["days_overdue"]) for one in seen["overdue"]] == [(desk.name, 10)]
        assert [(one["equipment_id"], one["times"]) for one in seen["out_of_service"]] == [(desk.name, 1)]

    async def test_says_why_it_may_not_be_used(self, desk: Desk) -> None:
        assert (await desk.look())["state"] == "pending_calibration"
        await desk.post("calibrations", desk.calibration(181))
        shown = await desk.look()
        assert (shown["state"], shown["ready"], shown["days_left"]) == ("expired", False, -1)
        answer = await desk.post("out-of-service", {"reason": "dropped"})
        assert answer.json()["state"] == "out_of_service"
        assert any("dropped" in sentence for sentence in answer.json()["missing"])


class TestACalibration:
    async def test_is_recorded_once_however_often_it_comes(self, desk: Desk) -> None:
        answers = await asyncio.gather(*(desk.post("calibrations", desk.calibration()) for _ in range(4)))
        assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
        assert (await desk.told()).count("record_calibration") == 1
        shown = answers[0].json()
        assert (shown["state"], shown["certificate_number"], shown["ready"]) == ("ready", "C-1", True)

    async def test_is_kept_with_its_uncertainty_and_what_it_is_traced_to(self, desk: Desk) -> None:
        points = [{**point("100.1", "100.0"), "uncertainty": "0.05"}]
        body = desk.calibration(points=points, traceability="DAkkS D-K-15070-01-00")
        await desk.post("calibrations", body)
        (certificate,) = (await desk.look())["certificates"]
        assert body.items() <= certificate["calibration"].items()
        entry = (await desk.house.ledger.timeline(desk.name))[-1]
        assert entry.metadata["calibration"] == certificate["calibration"]

    async def test_with_other_content_is_a_conflict(self, desk: Desk) -> None:
        await desk.post("calibrations", desk.calibration())
        answer = await desk.post("calibrations", desk.calibration(9))
        assert (answer.status_code, "other content" in answer.json()["detail"]) == (409, True)

    async def test_that_cannot_be_is_refused_in_a_sentence(self, desk: Desk) -> None:
        future = await desk.post("calibrations", desk.calibration(-2))
        assert (future.status_code, "not yet" in future.json()["detail"]) == (409, True)
        foreign = await desk.post("calibrations", desk.calibration(certificate_for="T-OTHER"))
        assert (foreign.status_code, "is for T-OTHER" in foreign.json()["detail"]) == (409, True)
        nameless = await desk.post("calibrations", desk.calibration(number=" "))
        assert (nameless.status_code, nameless.json()["errors"][0]["field"]) == (422, "certificate_number")
        other = await desk.post("calibrations", desk.calibration() | {"equipment_id": "T-OTHER"})
        assert (other.status_code, other.json()["errors"][0]["field"]) == (422, "equipment_id")
        assert await desk.told() == ["register_equipment"]

    async def test_that_is_arranged_stands_until_it_is_recorded(self, desk: Desk) -> None:
        day = str((datetime.now(UTC) + timedelta(days=3)).date())
        answer = await desk.post("schedule", {"reason": "due", "on": day})
        assert answer.json()["calibration_scheduled_on"] == day
        await desk.post("calibrations", desk.calibration())
        assert (await desk.look())["calibration_scheduled_on"] is None

    async def test_that_failed_takes_effect_at_once(self, desk: Desk) -> None:
        await desk.post("calibrations", desk.calibration())
        answer = await desk.post("calibrations", desk.calibration(1, "C-2", result="failed"))
        assert (answer.json()["state"], answer.json()["ready"]) == ("calibration_failed", False)


class TestAnAmendment:
    async def amend(self, desk: Desk, **terms: Any) -> httpx.Response:
        return await desk.mia.patch(desk.url, json={"reason": "mistyped", **terms})

    async def test_corrects_what_is_given(self, desk: Desk) -> None:
        before = await desk.look()
        answer = await self.amend(desk, description="Lamp 7", calibration_interval_days=None)
        assert (answer.status_code, answer.json()["description"]) == (200, "Lamp 7")
        shown = answer.json()
        assert (shown["calibration_interval_days"], shown["warning_days"]) == (None, before["warning_days"])
        assert answer.json()["events"][0]["reason"] == "mistyped"

    async def test_of_a_work_center_waits_until_what_closed_it_returns(self, desk: Desk) -> None:
        await self.amend(desk, work_center="WC-7")
        await desk.post("out-of-service", {"reason": "dropped"})
        refused = await self.amend(desk, work_center="WC-8")
        assert (refused.status_code, "WC-7" in refused.json()["detail"]) == (409, True)
        await desk.post("return", {"reason": "it is whole"})
        assert (await self.amend(desk, work_center="WC-8")).json()["work_center"] == "WC-8"
        events = [(one["event"], one["work_center"]) for one in (await desk.look())["events"]]
        assert events[1:3] == [("returned", "WC-7"), ("out_of_service", "WC-7")]

    @pytest.mark.parametrize("terms", [{}, {"description": None}, {"warning_days": None}, {"equipment_type": "x"}])
    async def test_that_says_nothing_understandable_is_not_valid(self, desk: Desk, terms: dict[str, Any]) -> None:
        assert (await self.amend(desk, **terms)).status_code == 422


async def test_a_request_under_an_idempotency_key_is_done_once(desk: Desk) -> None:
    body = {"reason": "dropped"}
    answers = [await desk.post("out-of-service", body, **{"Idempotency-Key": "K-1"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert (await desk.told()).count("take_out_of_service") == 1
