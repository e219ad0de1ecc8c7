"""Alerts over a real broker: which of them teach, and what comes of them in rows and over HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiomqtt
import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from sqlalchemy import select
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from infra.alerts import Alerts, escalation
from infra.hubs import Hubs
from infra.ledger import Ledger
from infra.maintenance import MaintenanceContracts
from infra.maintenance_alerts import MaintenancePatterns, MaintenanceReviews
from infra.pattern_reconcile import PatternReconciler
from infra.repairs import Repairs
from infra.settings import Settings
from infra.tables.alert import alert_messages
from schemas import names
from schemas.alert import Alert, Severity
from schemas.canonical import document_hash
from schemas.changes.alert import AlertRaised
from schemas.changes.maintenance import ContractChanged, ContractCreated
from schemas.ledger import LedgerEntry
from schemas.maintenance_alert import MaintenanceIssue
from schemas.permission import Role
from schemas.record import Record
from tests.acceptance.floor import until
from tests.workflows.patterns import CONTRACT
from workers import gateway
from workers.worker import main_worker

Json = dict[str, Any]
DEADLETTERS = f"{names.DEADLETTER_TOPIC}/{names.ALERT_TOPIC}/high"


def connection(settings: Settings) -> aiomqtt.Client:
    return aiomqtt.Client(settings.mqtt_host, settings.mqtt_port, protocol=aiomqtt.ProtocolVersion.V311)


class Air:
    """What is broadcast, and what the pattern of the test's own contract was told."""

    def __init__(self, client: Client, broker: aiomqtt.Client, ledger: Ledger) -> None:
        self.client = client
        self.broker = broker
        self.ledger = ledger
        self.contract_id = f"LP-{uuid4().hex[:8]}"

    def alert(self, number: int = 1, node: str = "N1", **fields: Any) -> Json:
        """As a foreign node sends it."""
        return {
            "alert_id": f"{self.contract_id}-{number}",
            "issue_type": "calibration_failed",
            "contract_id": self.contract_id,
            "equipment_id": f"THERMO-{number}",
            "equipment_type": "thermometer",
            "node_id": node,
            "vendor": {"anything": [1.5, None]},
            **fields,
        }

    async def say(self, *alerts: Json | bytes, under: str = "high") -> None:
        for alert in alerts:
            body = alert if isinstance(alert, bytes) else json.dumps(alert)
            await self.broker.publish(f"{names.ALERT_TOPIC}/{under}", body, qos=1)

    async def told(self, issue_type: str = "calibration_failed") -> list[Json]:
        """The signals of its workflow."""
        handle = self.client.get_workflow_handle(names.maintenance_pattern_id(self.contract_id, issue_type))
        try:
            history = await handle.fetch_history()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return []
        return [
            json.loads(event.workflow_execution_signaled_event_attributes.input.payloads[0].data)
            for event in history.events
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
        ]

    async def raised(
        self, alert_id: str, issue: MaintenanceIssue, happened_at: datetime | None = None, cause: str | None = None
    ) -> None:
        """By a process of this house."""
        alert = Alert(
            alert_id=alert_id,
            alert_type="calibration_failed",
            severity=Severity.HIGH,
            source="test",
            subject="THERMO-1",
            text="look at it",
            cause=cause or alert_id,
            issue=issue,
        )
        entry = LedgerEntry(
            idempotency_key=alert_id,
            action_type="maintenance",
            action="generate_alert",
            target="THERMO-1",
            details="look at it",
            occurred_at=happened_at,
        )
        await self.ledger.record(Record(entry=entry, changes=(AlertRaised(alert=alert),)))


@pytest_asyncio.fixture
async def air(
    settings: Settings, client: Client, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Air]:
    """The gateway listens."""
    ready = tmp_path / "ready"
    monkeypatch.setenv("SMARTFLOOR_READY_FILE", str(ready))
    monkeypatch.setattr(gateway, "stop_requested", asyncio.Event)  # no signal handlers in a test process
    running = asyncio.create_task(gateway.run_gateway(settings))

    async def listens() -> bool:
        assert not running.done()
        return ready.exists()

    await until(listens, bool)
    async with connection(settings) as broker:
        air = Air(client, broker, ledger)
        await in_force(air)
        yield air
    running.cancel()
    await asyncio.wait([running])


class TestAnAlertOfAForeignNode:
    async def test_that_names_a_contract_is_handed_to_its_pattern(self, air: Air) -> None:
        await air.say(air.alert(1, happened_at="2026-11-01T08:00:00+01:00", data={"unit": "K"}), air.alert(2, "N2"))
        first, second = await until(air.told, lambda told: len(told) == 2)
        assert first == {
            "alert_id": f"{air.contract_id}-1",
            "issue_type": "calibration_failed",
            "contract_id": air.contract_id,
            "equipment_id": "THERMO-1",
            "equipment_type": "thermometer",
            "node_id": "N1",
            "data": {"unit": "K"},
            "happened_at": "2026-11-01T07:00:00Z",
        }
        assert abs(datetime.fromisoformat(second["happened_at"]) - datetime.now(UTC)) < timedelta(minutes=1)

    async def test_is_heard_whatever_stands_behind_the_topic(self, air: Air) -> None:
        for number, under in enumerate(("low", "critical", "vendor/line-2"), start=1):
            await air.say(air.alert(number), under=under)
        told = await until(air.told, lambda told: len(told) == 3)
        assert {one["alert_id"] for one in told} == {f"{air.contract_id}-{number}" for number in (1, 2, 3)}

    async def test_counts_for_its_contract_and_its_issue_alone(self, air: Air) -> None:
        await air.say(air.alert(1), air.alert(2, issue_type="check_failed"), air.alert(3))
        assert len(await until(air.told, lambda told: len(told) == 2)) == 2
        [other] = await until(lambda: air.told("check_failed"), bool)
        assert other["alert_id"].endswith("-2")

    async def test_that_names_none_or_only_reminds_is_skipped(self, air: Air) -> None:
        reminder = air.alert(3, issue_type="calibration_expiring")
        await air.say({"alert_type": "anything"}, air.alert(1, contract_id=None), reminder, air.alert(4))
        [told] = await until(air.told, bool)
        assert told["alert_id"].endswith("-4")
        assert await air.told("calibration_expiring") == []
        assert await air.ledger.entries(action="dead_letter") == []

    async def test_that_names_a_contract_which_the_hub_never_made_is_skipped(self, air: Air) -> None:
        foreign = Air(air.client, air.broker, air.ledger)
        await air.say(foreign.alert(1), air.alert(2))
        await until(air.told, bool)
        assert await foreign.told() == []

    async def test_whose_issue_is_no_text_stops_nothing(self, air: Air) -> None:
        await air.say(air.alert(1, issue_type=[]), air.alert(2))
        [told] = await until(air.told, bool)
        assert told["alert_id"].endswith("-2")

    async def test_that_cannot_be_read_is_kept_once_raises_no_alert_and_stops_nothing(
        self, air: Air, settings: Settings, engine: Any
    ) -> None:
        async with connection(settings) as listener:
            await listener.subscribe(DEADLETTERS, qos=1)
            await air.say(b"{not json", air.alert(1, node_id="no identifier!"), b"{not json", air.alert(2))
            [told] = await until(air.told, bool)
            letters = [json.loads((await anext(listener.messages)).payload) for _ in range(2)]
        assert told["alert_id"].endswith("-2")
        reasons = sorted(letter["reason"] for letter in letters)
        assert "node_id" in reasons[0]
        assert "not readable as JSON" in reasons[1]
        assert len(await until(lambda: air.ledger.entries(action="dead_letter"), lambda found: len(found) == 2)) == 2
        assert await Alerts(engine).open_of_type("malformed_broadcast") == []


class TestAnAlertOfThisHouse:
    @pytest.fixture
    def issue(self, air: Air) -> MaintenanceIssue:
        return MaintenanceIssue(
            issue_type="calibration_failed",
            contract_id=air.contract_id,
            equipment_id="THERMO-1",
            equipment_type="thermometer",
            node_id="N1",
            data={"certificate": "C-1"},
        )

    async def test_is_published_and_heard_with_the_time_when_it_happened(
        self, air: Air, issue: MaintenanceIssue
    ) -> None:
        happened_at = datetime(2026, 11, 1, 8, tzinfo=UTC)
        await air.raised(f"{air.contract_id}:failed", issue, happened_at)
        [told] = await until(air.told, bool)
        assert told == {
            **issue.model_dump(mode="json"),
            "alert_id": f"{air.contract_id}:failed",
            "happened_at": "2026-11-01T08:00:00Z",
        }

    async def test_that_repeats_an_open_one_is_heard_for_itself_and_told_to_nobody_else(
        self, air: Air, issue: MaintenanceIssue, engine: Any, settings: Settings
    ) -> None:
        """Three failures of one instrument are three, though people see one alert."""
        cause = f"calibration_failed:{air.contract_id}"
        async with connection(settings) as listener:
            await listener.subscribe(names.ALERT_REPEATED_TOPIC, qos=1)
            for number in (1, 2, 3):
                seen = issue.model_copy(update={"data": {"certificate": f"C-{number}"}})
                await air.raised(f"{air.contract_id}:{number}", seen, cause=cause)
            told = await until(air.told, lambda told: len(told) == 3)
            body = json.loads((await anext(listener.messages)).payload)
        assert [(one["alert_id"], one["data"]) for one in told] == [
            (f"{air.contract_id}:{number}", {"certificate": f"C-{number}"}) for number in (1, 2, 3)
        ]
        assert (body["event"], body["alert_id"], body["owner"]) == (
            "repeated",
            f"{air.contract_id}:2",
            "maintenance_engineer",
        )
        [row] = await Alerts(engine).of_cause(cause)
        assert (row["alert_id"], row["count"], row["escalations"]) == (f"{air.contract_id}:1", 3, 0)
        async with engine.connect() as connected:
            query = select(alert_messages.c.event).where(alert_messages.c.alert_id == row["alert_id"])
            assert sorted((await connected.execute(query)).scalars()) == ["raised", "repeated", "repeated"]

    async def test_is_heard_again_as_the_same_when_it_is_escalated(
        self, air: Air, issue: MaintenanceIssue, engine: Any
    ) -> None:
        await air.raised(f"{air.contract_id}:failed", issue)
        await until(air.told, bool)
        [row] = await Alerts(engine).open_of_type("calibration_failed")
        await air.ledger.record(escalation(row, Role.PRODUCTION_MANAGER))
        first, second = await until(air.told, lambda told: len(told) == 2)
        assert first == second


@pytest.fixture
def engineer(caller: Callable[..., httpx.AsyncClient]) -> httpx.AsyncClient:
    return caller(Role.MAINTENANCE_ENGINEER, "mia")


async def in_force(air: Air) -> None:
    """Version 1.0, as its workflow would have recorded it."""
    document = {"smart_contract_id": air.contract_id, **CONTRACT}
    created = ContractCreated(
        contract_id=air.contract_id,
        version="1.0",
        station_type="LP",
        title="Thermometers",
        document=json.dumps(document),
        document_hash=document_hash(document),
        status="draft",
        parent_version=None,
        changes=None,
        created_by="mia",
    )
    active = ContractChanged(contract_id=air.contract_id, version="1.0", status="monitoring", active_now=True)
    entry = LedgerEntry(
        idempotency_key=f"{air.contract_id}:made",
        action_type="maintenance",
        action="create_contract",
        target=air.contract_id,
        details="made",
    )
    await air.ledger.record(Record(entry=entry, changes=(created, active)))


class TestThreeAlertsOverTwoNodes:
    @pytest_asyncio.fixture
    async def review(
        self, air: Air, api: FastAPI, settings: Settings, engineer: httpx.AsyncClient
    ) -> AsyncIterator[Callable[[], Awaitable[Json]]]:
        """The only one about the test's contract, as soon as it waits for its answer."""
        house = api.state.house

        async def look() -> Json:
            path = f"/api/v1/maintenance/reviews?contract_id={air.contract_id}"
            answer = await engineer.get(path)
            assert answer.is_success, answer.text
            found = answer.json()["reviews"]
            return found[0] if found else {}

        async with (
            engineer,
            Hubs(settings) as hubs,
            main_worker(house.temporal, house.engine, house.ledger, hubs, settings),
        ):
            await air.say(air.alert(1), air.alert(2, "N2"), air.alert(1), air.alert(3))
            opened = await until(look, bool)

            async def asked() -> bool:
                return (await engineer.get(opened["links"]["approval"])).is_success

            await until(asked, bool)
            yield look

    async def close(self, air: Air) -> None:
        """From outside."""
        await air.client.get_workflow_handle(
            names.maintenance_pattern_id(air.contract_id, "calibration_failed")
        ).terminate()

    async def repaired(self, air: Air, api: FastAPI, settings: Settings) -> None:
        house = api.state.house
        patterns = MaintenancePatterns(
            air.client, settings.maintenance_pattern_window, MaintenanceContracts(house.engine)
        )
        reconciler = PatternReconciler(air.client, MaintenanceReviews(house.engine), patterns, house.ledger)
        repairs = Repairs(house.alerts, house.ledger)
        pattern = names.maintenance_pattern_id(air.contract_id, "calibration_failed")
        assert pattern in [name async for name, repaired in reconciler.repair(repairs) if repaired]

    async def answer(self, engineer: httpx.AsyncClient, review: Json, **answer: Any) -> httpx.Response:
        approval = review["links"]["approval"]
        seen = (await engineer.get(approval)).json()
        return await engineer.post(f"{approval}/respond", json={"content_hash": seen["content_hash"], **answer})

    async def test_open_a_review_that_makes_a_draft_when_it_is_accepted(
        self, air: Air, review: Callable[[], Awaitable[Json]], engineer: httpx.AsyncClient
    ) -> None:
        opened = await review()
        assert (opened["review_type"], opened["version"], opened["status"]) == ("contract_review", "1.0", "open")
        assert sorted(opened["alert_ids"]) == [f"{air.contract_id}-{number}" for number in (1, 2, 3)]
        assert (await self.answer(engineer, opened, decision="approve")).status_code == 200
        ended = await until(review, lambda seen: seen["status"] != "open")
        assert (ended["status"], ended["decided_by"], ended["draft_version"]) == ("accepted", "mia", "1.1")
        draft = (await engineer.get(f"{opened['links']['contract']}/versions/1.1")).json()
        assert draft["parent_version"] == "1.0"
        assert draft["document"]["calibration_interval_days"] == 120
        assert [one["alert_id"] for one in draft["changes"][0]["data"]["alerts"]] == opened["alert_ids"]

    async def test_open_a_review_whose_answer_is_followed_also_by_a_pattern_that_was_closed_from_outside(
        self,
        air: Air,
        api: FastAPI,
        settings: Settings,
        review: Callable[[], Awaitable[Json]],
        engineer: httpx.AsyncClient,
    ) -> None:
        opened = await review()
        await self.close(air)
        assert (await self.answer(engineer, opened, decision="approve")).status_code == 200
        await self.repaired(air, api, settings)
        ended = await until(review, lambda seen: seen["status"] != "open")
        assert (ended["status"], ended["decided_by"], ended["draft_version"]) == ("accepted", "mia", "1.1")
        await air.say(air.alert(2, "N2"), air.alert(3), air.alert(4))
        await until(air.told, lambda told: len(told) == 3)
        received = await until(
            lambda: api.state.house.ledger.entries(target=air.contract_id, action="receive_alert"),
            lambda found: len(found) == 4,
        )
        assert received[0].metadata["pattern_count"] == 1  # those of the review are known, and count no more

    @pytest.mark.usefixtures("review")
    async def test_open_a_review_whose_pattern_goes_on_however_often_it_was_closed(
        self, air: Air, api: FastAPI, settings: Settings
    ) -> None:
        often = range(101)
        about = {"action_type": "maintenance", "action": "restart_pattern", "target": air.contract_id}
        entries = (
            LedgerEntry(idempotency_key=f"{air.contract_id}:restart:{number}", details=f"{number}", **about)
            for number in often
        )
        await asyncio.gather(*(air.ledger.record(Record(entry=entry)) for entry in entries))
        for _ in range(2):
            await self.close(air)
            await self.repaired(air, api, settings)
        told = await air.ledger.entries(target=air.contract_id, action="restart_pattern", limit=999)
        assert len(told) == len(often) + 2

    async def test_open_a_review_that_is_declined_with_a_reason_alone(
        self, review: Callable[[], Awaitable[Json]], engineer: httpx.AsyncClient
    ) -> None:
        opened = await review()
        without = await self.answer(engineer, opened, decision="refuse")
        assert without.status_code == 422
        assert "say why" in without.text
        assert (await self.answer(engineer, opened, decision="refuse", note="a bad batch")).status_code == 200
        ended = await until(review, lambda seen: seen["status"] != "open")
        assert (ended["status"], ended["note"], ended["draft_version"]) == ("declined", "a bad batch", None)
