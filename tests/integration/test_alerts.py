"""The life of an alert on a real Postgres, and the outbox of what others are told of it."""

import asyncio
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.alerts import AlertOutbox, Alerts, StandingAlerts, acknowledgement, escalation, resolution
from infra.database import Row, create_engine, migrate
from infra.embedded.postgres import WRITER, Postgres
from infra.ledger import Ledger
from schemas.alert import Alert, AlertState, Severity
from schemas.changes.alert import AlertRaised, AlertResolved
from schemas.ledger import LedgerEntry
from schemas.permission import Role
from schemas.record import Change, Record

LASTING = "release_failed"
"""Of a type whose cause lasts; the others of these tests merely happened."""


class Floor:
    """Reports causes, and looks at what became of them."""

    def __init__(self, engine: AsyncEngine, ledger: Ledger) -> None:
        self.engine = engine
        self.ledger = ledger
        self.alerts = Alerts(engine)
        self.outbox = AlertOutbox(engine)

    async def record(self, key: str, *changes: Change, details: str = "told") -> int:
        entry = LedgerEntry(
            idempotency_key=key, action_type="t", action="a", target="SC-1", details=details, user_id="maria"
        )
        return (await self.ledger.record(Record(entry=entry, changes=changes))).seq

    async def report(self, event: str, alert_type: str = LASTING, text: str = "look", **fields: str) -> int:
        alert = Alert(
            alert_id=event,
            alert_type=alert_type,
            severity=Severity.HIGH,
            source="s",
            subject="SC-1",
            text=text,
            **fields,
        )
        return await self.record(event, AlertRaised(alert=alert))

    async def all(self) -> list[Row]:
        """The oldest first."""
        return (await self.alerts.page(limit=500, offset=0))[1][::-1]

    async def the_only(self) -> Row:
        [alert] = await self.all()
        return alert

    async def told(self) -> list[str]:
        return [message.event.value for message in await self.outbox.unpublished()]


@pytest_asyncio.fixture
async def floor(engine: AsyncEngine, ledger: Ledger) -> Floor:
    return Floor(engine, ledger)


class TestRaising:
    async def test_gives_it_the_owner_of_its_type_and_names_the_entry_that_says_so(self, floor: Floor) -> None:
        seq = await floor.report("E-1", text="start the node")
        alert = await floor.the_only()
        assert (alert["state"], alert["owner"], alert["text"]) == ("raised", "supervisor", "start the node")
        assert alert["raised_entry"] == seq
        assert await floor.told() == ["raised"]

    async def test_the_same_cause_again_counts_it_and_tells_nobody(self, floor: Floor) -> None:
        await floor.report("E-1")
        await asyncio.gather(*(floor.report(f"E-{number}", text="by now") for number in range(2, 12)))
        alert = await floor.the_only()
        assert (alert["alert_id"], alert["count"], alert["text"]) == ("E-1", 11, "by now")
        assert alert["last_seen"] > alert["raised_at"]
        assert await floor.told() == ["raised"]

    async def test_the_same_cause_while_it_is_acknowledged_tells_nobody_either(self, floor: Floor) -> None:
        await floor.report("E-1")
        await floor.ledger.record(acknowledgement(await floor.the_only(), "maria", None))
        await floor.report("E-2")
        alert = await floor.the_only()
        assert (alert["state"], alert["count"]) == ("acknowledged", 2)

    async def test_the_same_event_again_changes_nothing(self, floor: Floor) -> None:
        await floor.report("E-1")
        await floor.record(
            "somebody else says so", AlertRaised(alert=Alert.model_validate(_said(await floor.the_only())))
        )
        assert (await floor.the_only())["count"] == 1

    async def test_the_same_event_after_it_was_resolved_changes_nothing(self, floor: Floor) -> None:
        await floor.report("E-1")
        said = Alert.model_validate(_said(await floor.the_only()))
        await floor.record("gone", AlertResolved(cause=said.cause))
        await floor.record("replayed", AlertRaised(alert=said))
        assert (await floor.the_only())["state"] == "resolved"

    async def test_another_cause_is_another_alert(self, floor: Floor) -> None:
        await floor.report("E-1", cause="release_failed:SC-1:late")
        await floor.report("E-2", cause="release_failed:SC-1:refused")
        assert [alert["number"] for alert in await floor.all()] == [1, 2]
        assert await floor.told() == ["raised", "raised"]


class TestResolving:
    async def test_is_said_by_the_entry_with_which_the_cause_goes(self, floor: Floor) -> None:
        await floor.report("E-1")
        seq = await floor.record("released", AlertResolved(cause="release_failed:SC-1"), details="released to LP")
        alert = await floor.the_only()
        assert (alert["state"], alert["resolved_by"], alert["resolved_note"]) == ("resolved", "maria", "released to LP")
        assert alert["resolved_entry"] == seq
        assert await floor.told() == ["raised", "resolved"]

    async def test_a_cause_of_which_no_alert_is_open_does_nothing(self, floor: Floor) -> None:
        await floor.report("E-1")
        await floor.record("released", AlertResolved(cause="release_failed:SC-2"))
        assert (await floor.the_only())["state"] == "raised"

    async def test_makes_way_for_the_next_alert_of_the_cause(self, floor: Floor) -> None:
        await floor.report("E-1")
        await floor.record("released", AlertResolved(cause="release_failed:SC-1"))
        await floor.report("E-2")
        assert [(alert["alert_id"], alert["state"]) for alert in await floor.all()] == [
            ("E-1", "resolved"),
            ("E-2", "raised"),
        ]
        assert await floor.told() == ["raised", "resolved", "raised"]

    async def test_happens_once_for_an_alert(self, floor: Floor) -> None:
        await floor.report("E-1")
        alert = await floor.the_only()
        await floor.ledger.record(resolution(alert, "it goes on"))
        assert (await floor.ledger.record(resolution(alert, "it goes on"))).repeated
        assert await floor.told() == ["raised", "resolved"]


class TestAcknowledging:
    async def test_is_kept_with_who_and_why_and_leaves_open_what_lasts(self, floor: Floor) -> None:
        await floor.report("E-1")
        receipt = await floor.ledger.record(acknowledgement(await floor.the_only(), "maria", "on my way"))
        alert = await floor.the_only()
        assert alert["state"] == "acknowledged"
        assert (alert["acknowledged_by"], alert["acknowledged_note"]) == ("maria", "on my way")
        assert alert["acknowledged_entry"] == receipt.seq
        assert await floor.told() == ["raised", "acknowledged"]

    async def test_ends_what_merely_happened(self, floor: Floor) -> None:
        await floor.report("E-1", "request_refused")
        await floor.ledger.record(acknowledgement(await floor.the_only(), "maria", "sent again"))
        alert = await floor.the_only()
        assert (alert["state"], alert["acknowledged_by"], alert["resolved_by"]) == ("resolved", "maria", "maria")

    async def test_what_was_resolved_meanwhile_leaves_it_resolved(self, floor: Floor) -> None:
        await floor.report("E-1")
        seen = await floor.the_only()
        await floor.record("released", AlertResolved(cause="release_failed:SC-1"))
        await floor.ledger.record(acknowledgement(seen, "maria", None))
        alert = await floor.the_only()
        assert (alert["state"], alert["acknowledged_by"]) == ("resolved", "maria")


class TestEscalating:
    async def test_gives_it_to_the_next_owner_and_tells_again(self, floor: Floor) -> None:
        await floor.report("E-1")
        await floor.ledger.record(escalation(await floor.the_only(), Role.PRODUCTION_MANAGER))
        alert = await floor.the_only()
        assert (alert["owner"], alert["escalations"], alert["state"]) == ("production_manager", 1, "raised")
        assert alert["owner_since"] > alert["raised_at"]
        assert await floor.told() == ["raised", "escalated"]

    async def test_twice_at_once_happens_once(self, floor: Floor) -> None:
        await floor.report("E-1")
        seen = await floor.the_only()
        await asyncio.gather(*(floor.ledger.record(escalation(seen, Role.PRODUCTION_MANAGER)) for _ in range(2)))
        assert (await floor.the_only())["escalations"] == 1
        assert await floor.told() == ["raised", "escalated"]

    async def test_what_was_acknowledged_meanwhile_tells_nobody(self, floor: Floor) -> None:
        await floor.report("E-1")
        seen = await floor.the_only()
        await floor.ledger.record(acknowledgement(seen, "maria", None))
        await floor.ledger.record(escalation(seen, Role.PRODUCTION_MANAGER))
        assert await floor.told() == ["raised", "acknowledged"]


class TestWhatIsLookedAtAgainAndAgain:
    @pytest.fixture
    def standing(self, floor: Floor) -> StandingAlerts:
        return StandingAlerts(floor.alerts, floor.ledger)

    async def see(self, standing: StandingAlerts, text: str = "mend it") -> None:
        await standing.raise_once(LASTING, "SC-1", text, severity=Severity.HIGH, source="s")

    async def test_is_raised_once_and_recorded_once(self, floor: Floor, standing: StandingAlerts) -> None:
        await self.see(standing)
        await self.see(standing, "it looks otherwise now")
        alert = await floor.the_only()
        assert (alert["count"], alert["text"]) == (1, "mend it")
        assert [entry.action for entry in await floor.ledger.timeline("SC-1")] == [LASTING]

    async def test_is_raised_anew_after_it_was_resolved(self, floor: Floor, standing: StandingAlerts) -> None:
        await self.see(standing)
        await standing.resolve("release_failed:SC-1", "it is gone")
        await self.see(standing)
        assert [alert["state"] for alert in await floor.all()] == ["resolved", "raised"]

    async def test_may_be_seen_by_two_at_once(self, floor: Floor, standing: StandingAlerts) -> None:
        await asyncio.gather(*(self.see(standing, f"as {number} sees it") for number in range(5)))
        assert (await floor.the_only())["state"] == "raised"

    async def test_may_be_resolved_by_a_person_at_the_same_time(self, floor: Floor) -> None:
        class AsTheyWere(Alerts):
            async def of_cause(self, cause: str) -> list[Row]:
                return before

        await floor.report("E-1")
        before = await floor.all()
        await floor.ledger.record(resolution(before[0], "I have seen to it", "maria"))
        await StandingAlerts(AsTheyWere(floor.engine), floor.ledger).resolve("release_failed:SC-1", "it is gone")
        assert (await floor.the_only())["resolved_by"] == "maria"


class TestTheList:
    async def test_is_filtered_by_everything_at_once(self, floor: Floor) -> None:
        await floor.report("E-1")
        await floor.report("E-2", "request_refused")
        await floor.record("released", AlertResolved(cause="release_failed:SC-1"))
        open_ones = await floor.alerts.page(states=[AlertState.RAISED, AlertState.ACKNOWLEDGED], limit=9, offset=0)
        assert [alert["alert_id"] for alert in open_ones[1]] == ["E-2"]
        wanted: dict[str, Any] = {"severity": Severity.HIGH, "owner": Role.SUPERVISOR, "subject": "SC-1"}
        matching, page = await floor.alerts.page(**wanted, alert_type=LASTING, limit=9, offset=0)
        assert (matching, [alert["alert_id"] for alert in page]) == (1, ["E-1"])
        for other in ({"severity": Severity.LOW}, {"owner": Role.ADMIN}, {"subject": "SC-2"}, {"states": ()}):
            assert await floor.alerts.page(**{**wanted, **other}, limit=9, offset=0) == (0, [])

    async def test_is_paged_with_the_newest_first(self, floor: Floor) -> None:
        for number in range(5):
            await floor.report(f"E-{number}", cause=f"c:{number}")
        matching, page = await floor.alerts.page(limit=2, offset=1)
        assert (matching, [alert["alert_id"] for alert in page]) == (5, ["E-3", "E-2"])


class TestTheMigration:
    async def test_keeps_open_what_lasts_and_tells_nobody_of_the_past(self, postgres: Postgres) -> None:
        name = f"test_{uuid4().hex}"
        server = await asyncpg.connect(postgres.url(database="postgres"))
        await server.execute(f"CREATE DATABASE {name}")
        url, writer = postgres.url(database=name), postgres.url(database=name, user=WRITER)
        await migrate(url, writer, "0001")
        engine = create_engine(writer)
        async with engine.begin() as connection:
            for alert_id, kind, source, subject in (
                ("OLD", "t", "client-po/SC-1", "SC-1"),
                ("FAILED-1", "release_failed", "client-po/SC-1", "SC-1"),
                ("FAILED-2", "release_failed", "client-po/SC-1", "SC-1"),
                ("FAILED-OVER", "release_failed", "client-po/SC-2", "SC-2"),
                ("UNCLAIMED", "arrival_unclaimed", "part-number/PN-1", "PN-1"),
            ):
                await connection.execute(
                    text(
                        f"INSERT INTO alerts VALUES ('{alert_id}', '{kind}', 'high', '{source}', '{subject}', 'x', "
                        "clock_timestamp(), NULL)"
                    )
                )
            for po, status in (("SC-1", "hold"), ("SC-2", "released")):
                await connection.execute(
                    text(
                        "INSERT INTO client_pos (smart_contract_id, document, document_hash, staging_id, workflow_id, "
                        "clientpo_id, client, quantity, priority, sequence_number, target_node, status, "
                        f"staged_timestamp, updated_at) VALUES ('{po}', '', '', '', '', '', '', 1, 1, 1, '', "
                        f"'{status}', now(), now())"
                    )
                )
            await connection.execute(
                text(
                    "INSERT INTO ledger_entries VALUES (0, :entry, '', 'UNCLAIMED', '', '', '', '', '', now(), now())"
                ),
                {"entry": '{"metadata": {"broadcast_id": "B1"}}'},
            )
        await migrate(url, writer)
        _, rows = await Alerts(engine).page(limit=9, offset=0)
        assert {(row["alert_id"], row["state"], row["cause"]) for row in rows} == {
            ("OLD", "resolved", "t:SC-1"),
            ("FAILED-1", "resolved", "release_failed:SC-1:late"),
            ("FAILED-2", "raised", "release_failed:SC-1:late"),
            ("FAILED-OVER", "resolved", "release_failed:SC-2:late"),
            ("UNCLAIMED", "raised", "arrival_unclaimed:part-number/PN-1:B1"),
        }
        unpublished = [message.alert["alert_id"] for message in await AlertOutbox(engine).unpublished()]
        assert unpublished == ["FAILED-2", "UNCLAIMED"]
        await engine.dispose()
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.close()


def _said(row: Row) -> Row:
    return {name: row[name] for name in Alert.model_fields}
