"""Alerts in Postgres: what people list, the outbox of what they are told, and who was reached.

Alerts are written through the ledger's `record` alone. What is written here is only how far the outbox has come.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Interval, and_, case, func, or_, select, true, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from infra.database import Row, many, one, page
from infra.ledger import Ledger, LedgerConflict
from infra.tables.alert import alert_deliveries, alert_messages, alerts
from schemas.alert import Alert, AlertEvent, AlertState, Severity, cause_of, kind_of
from schemas.changes.alert import AlertAcknowledged, AlertEscalated, AlertRaised, AlertResolved
from schemas.ledger import LedgerEntry
from schemas.notification import Escalation, Notifications, Receiver
from schemas.permission import Role
from schemas.record import Change, Record

FIRST_PAUSE = timedelta(seconds=30)
"""Between the first two attempts at a receiver; it doubles. Longer than an attempt takes, so that one is at work."""
LONGEST_PAUSE = timedelta(hours=1)
ATTEMPTS = 30
"""About a day: whoever could not be reached by then is not told any more."""

UNREACHABLE = "receiver_unreachable"
"""Goes to the broker alone: receivers are what does not work."""


def acknowledgement(alert: Row, user_id: str, note: str | None) -> Record:
    """Once for an alert; it ends one whose cause does not last."""
    changes: list[Change] = [AlertAcknowledged(alert_id=alert["alert_id"], note=note)]
    if not kind_of(alert["alert_type"], Severity(alert["severity"])).lasting:
        changes.append(AlertResolved(cause=alert["cause"]))
    details = f"Alert {alert['number']} ({alert['alert_type']}) acknowledged"
    return Record(
        entry=_entry(alert, "acknowledge", "acknowledge_alert", f"{details}: {note}" if note else details, user_id),
        changes=tuple(changes),
    )


def escalation(alert: Row, owner: Role) -> Record:
    """Its next owner; once for each time that this happens."""
    number = alert["escalations"] + 1
    details = f"Alert {alert['number']} ({alert['alert_type']}) not acknowledged by {alert['owner']}: now {owner}"
    return Record(
        entry=_entry(alert, f"escalate:{number}", "escalate_alert", details),
        changes=(AlertEscalated(alert_id=alert["alert_id"], number=number, owner=owner),),
    )


def resolution(alert: Row, why: str, user_id: str = "system") -> Record:
    """For a cause whose end nothing else records."""
    details = f"Alert {alert['number']} ({alert['alert_type']}): {why}"
    return Record(
        entry=_entry(alert, "resolve", "resolve_alert", details, user_id),
        changes=(AlertResolved(cause=alert["cause"]),),
    )


def _entry(alert: Row, event: str, action: str, details: str, user_id: str = "system") -> LedgerEntry:
    return LedgerEntry(
        idempotency_key=f"alert:{alert['number']}:{event}",
        action_type="alert",
        action=action,
        target=alert["subject"],
        details=details,
        user_id=user_id,
        metadata={"alert": alert["number"], "alert_id": alert["alert_id"], "cause": alert["cause"]},
    )


@dataclass(frozen=True)
class Message:
    """Something that happened to an alert, as others are told of it; `alert` is its row by now.

    `report` is the maintenance alert, as JSON, that repeats it.
    """

    message_id: str
    event: AlertEvent
    owner: Role
    occurred_at: datetime
    alert: Row
    report: str | None = None

    @property
    def severity(self) -> Severity:
        return Severity(self.alert["severity"])

    def body(self) -> dict[str, Any]:
        """The same on every way out; of a maintenance alert with what it is about, as `MaintenanceAlert` has it: of one
        that is repeated as the repetition has it, with the ID of its own."""
        issue = self.report or self.alert["issue"]
        told = ("alert_id", "alert_type", "severity", "source", "subject", "text", "cause", "count", "escalations")
        return {
            "message_id": self.message_id,
            "event": self.event,
            "id": self.alert["number"],
            **{name: self.alert[name] for name in told},
            **(json.loads(issue) if issue else {}),
            "owner": self.owner,
            "raised_at": self.alert["raised_at"].astimezone(UTC).isoformat(),
            "occurred_at": self.occurred_at.astimezone(UTC).isoformat(),
            **(
                {f"{self.event}_by": self.alert[f"{self.event}_by"], "note": self.alert[f"{self.event}_note"]}
                if self.event in {AlertEvent.ACKNOWLEDGED, AlertEvent.RESOLVED}
                else {}
            ),
        }


@dataclass(frozen=True)
class Delivery:
    """One message for one receiver, and which attempt this is."""

    message: Message
    receiver: Receiver
    attempt: int

    @property
    def last(self) -> bool:
        return self.attempt >= ATTEMPTS


class Alerts:
    """What people list, page and look at."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def get(self, number: int) -> Row | None:
        """The row of one alert."""
        return await one(self._engine, select(alerts).where(alerts.c.number == number))

    async def page(
        self,
        *,
        states: Sequence[AlertState] = tuple(AlertState),
        severity: Severity | None = None,
        owner: Role | None = None,
        subject: str | None = None,
        alert_type: str | None = None,
        limit: int,
        offset: int,
    ) -> tuple[int, list[Row]]:
        """One page, the newest first, and how many match in all."""
        conditions: list[ColumnElement[bool]] = [alerts.c.state.in_(states)]
        conditions += [
            column == value
            for column, value in (
                (alerts.c.severity, severity),
                (alerts.c.owner, owner),
                (alerts.c.subject, subject),
                (alerts.c.alert_type, alert_type),
            )
            if value is not None
        ]
        query = select(alerts).where(*conditions).order_by(alerts.c.number.desc())
        return await page(self._engine, query, limit=limit, offset=offset)

    async def open_of_type(self, alert_type: str) -> list[Row]:
        """All that are not resolved."""
        query = select(alerts).where(alerts.c.alert_type == alert_type, alerts.c.state != AlertState.RESOLVED)
        return await many(self._engine, query)

    async def of_cause(self, cause: str) -> list[Row]:
        """All that this cause has had, the oldest first; at most the last of them is open."""
        query = select(alerts).where(alerts.c.cause == cause).order_by(alerts.c.number)
        return await many(self._engine, query)

    async def deliveries(self, alert_id: str) -> list[Row]:
        """Who was to be told of it, and how far that is."""
        query = (
            select(alert_deliveries, alert_messages.c.event, alert_messages.c.occurred_at)
            .join(alert_messages)
            .where(alert_messages.c.alert_id == alert_id)
            .order_by(alert_messages.c.occurred_at, alert_deliveries.c.receiver)
        )
        return await many(self._engine, query)

    async def overdue(self, escalation: Escalation) -> list[Row]:
        """Alerts that their owner has not acknowledged in time and that have somebody next."""
        late = [
            and_(alerts.c.severity == severity, alerts.c.owner_since <= func.now() - after)
            for severity, after in escalation.after.items()
        ]
        query = select(alerts).where(
            alerts.c.state == AlertState.RAISED, alerts.c.owner.in_(escalation.next), or_(False, *late)
        )
        return await many(self._engine, query)


class StandingAlerts:
    """For whoever looks at a cause again and again: raises its alert once, and resolves it when the cause is gone."""

    def __init__(self, alerts: Alerts, ledger: Ledger) -> None:
        self._alerts = alerts
        self._ledger = ledger

    async def raise_once(
        self,
        alert_type: str,
        subject: str,
        text: str,
        *,
        severity: Severity,
        source: str,
        cause: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Nothing while an alert of the cause is open; numbered, because what was mended may break again."""
        cause = cause or cause_of(alert_type, subject)
        before = await self._alerts.of_cause(cause)
        if before and before[-1]["state"] != AlertState.RESOLVED:
            return
        event = f"{cause}:{len(before)}"
        alert = Alert(
            alert_id=event,
            alert_type=alert_type,
            severity=severity,
            source=source,
            subject=subject,
            text=text,
            cause=cause,
        )
        entry = LedgerEntry(
            idempotency_key=event,
            action_type="alert",
            action=alert_type,
            target=subject,
            details=text,
            metadata={**(metadata or {})},
        )
        with suppress(LedgerConflict):  # somebody else has just raised it, in other words
            await self._ledger.record(Record(entry=entry, changes=(AlertRaised(alert=alert),)))

    async def resolve(self, cause: str, why: str) -> None:
        """Nothing where no alert of the cause is open."""
        for alert in await self._alerts.of_cause(cause):
            if alert["state"] != AlertState.RESOLVED:
                with suppress(LedgerConflict):  # somebody was faster: the row says who
                    await self._ledger.record(resolution(alert, why))


_MESSAGE = (
    alert_messages.c.message_id,
    alert_messages.c.event,
    alert_messages.c.owner.label("told_owner"),
    alert_messages.c.occurred_at,
    alert_messages.c.report,
)


def _message(row: Any) -> Message:
    return Message(
        message_id=row["message_id"],
        event=AlertEvent(row["event"]),
        owner=Role(row["told_owner"]),
        occurred_at=row["occurred_at"],
        alert={name: row[name] for name in alerts.columns.keys()},  # noqa: SIM118
        report=row["report"],
    )


async def _called_off(connection: AsyncConnection, alert_id: str) -> list[str]:
    """Nobody is told any more of what is over; returns who was, or may have been where an attempt failed.

    The first statement waits for an attempt that is just being taken, so that the second sees it.
    """
    of_alert = select(alert_messages.c.message_id).where(alert_messages.c.alert_id == alert_id)
    deliveries = alert_deliveries.c.message_id.in_(of_alert)
    await connection.execute(update(alert_deliveries).where(deliveries).values(next_attempt_at=None))
    told = select(alert_deliveries.c.receiver).where(deliveries, alert_deliveries.c.attempts > 0).distinct()
    return list((await connection.execute(told)).scalars())


class AlertOutbox:
    """Each message goes to the broker, and is routed to receivers; neither waits for the other.

    Several processes may do this at the same time: rows at work are locked, or have their next attempt ahead.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    # To the broker

    async def unpublished(self, limit: int = 100) -> list[Message]:
        """What the broker does not have yet, oldest first."""
        query = (
            select(*_MESSAGE, alerts)
            .join(alerts)
            .where(alert_messages.c.published_at.is_(None))
            .order_by(alert_messages.c.occurred_at, alert_messages.c.message_id)
            .limit(limit)
        )
        return [_message(row) for row in await many(self._engine, query)]

    async def published(self, message_id: str) -> None:
        """The broker has it."""
        statement = (
            update(alert_messages).where(alert_messages.c.message_id == message_id).values(published_at=func.now())
        )
        async with self._engine.begin() as connection:
            await connection.execute(statement)

    # To receivers

    async def route(self, notifications: Notifications, limit: int = 100) -> None:
        """Plans deliveries to whoever is on duty now.

        What is for somebody who is only off duty waits here for their shift, as long as nobody has seen the alert.
        """
        after: tuple[datetime, str] | None = None
        while after := await self._route(notifications, after, limit):
            pass

    async def _route(
        self, notifications: Notifications, after: tuple[datetime, str] | None, limit: int
    ) -> tuple[datetime, str] | None:
        """The messages behind this one; returns the last of them."""
        place = tuple_(alert_messages.c.occurred_at, alert_messages.c.message_id)
        messages = (
            select(*_MESSAGE, alerts, func.now().label("now"))
            .join(alerts)
            .where(alert_messages.c.routed_at.is_(None), place > after if after else true())
            .order_by(alert_messages.c.occurred_at, alert_messages.c.message_id)
            .limit(limit)
            .with_for_update(of=alert_messages, skip_locked=True)
        )
        async with self._engine.begin() as connection:
            rows = (await connection.execute(messages)).mappings().all()
            for row in rows:
                message = _message(row)
                receivers: list[str] = []
                match message.event:
                    case AlertEvent.RAISED | AlertEvent.ESCALATED if (
                        message.alert["state"] != AlertState.RESOLVED and message.alert["alert_type"] != UNREACHABLE
                    ):
                        found = notifications.receivers(message.owner, message.severity, row["now"])
                        receivers = [str(receiver) for receiver in found]
                        waits = not found and notifications.may_tell(message.owner, message.severity)
                        if waits and message.alert["state"] == AlertState.RAISED:
                            continue
                    case AlertEvent.RESOLVED:
                        receivers = await _called_off(connection, message.alert["alert_id"])
                if receivers:
                    planned = [
                        {"message_id": message.message_id, "receiver": name, "next_attempt_at": row["now"]}
                        for name in receivers
                    ]
                    await connection.execute(insert(alert_deliveries).on_conflict_do_nothing(), planned)
                await connection.execute(
                    update(alert_messages)
                    .where(alert_messages.c.message_id == message.message_id)
                    .values(routed_at=func.now())
                )
        return (rows[-1]["occurred_at"], rows[-1]["message_id"]) if rows else None

    async def due(self) -> list[Receiver]:
        """Receivers with a delivery whose time has come."""
        query = select(alert_deliveries.c.receiver).where(alert_deliveries.c.next_attempt_at <= func.now()).distinct()
        return [Receiver.read(row["receiver"]) for row in await many(self._engine, query)]

    async def take(self, receiver: Receiver) -> Delivery | None:
        """The receiver's oldest delivery whose time has come, counted as an attempt before it is made.

        So whoever dies during the attempt leaves one that is repeated after its pause, and not without end.
        """
        key = tuple_(alert_deliveries.c.message_id, alert_deliveries.c.receiver)
        oldest = (
            select(alert_deliveries.c.message_id, alert_deliveries.c.receiver)
            .where(alert_deliveries.c.receiver == str(receiver), alert_deliveries.c.next_attempt_at <= func.now())
            .order_by(alert_deliveries.c.next_attempt_at, alert_deliveries.c.message_id)
            .limit(1)
            .with_for_update(skip_locked=True)
            .cte("oldest")
        )
        attempts = alert_deliveries.c.attempts
        seconds = func.least(FIRST_PAUSE.total_seconds() * func.power(2.0, attempts), LONGEST_PAUSE.total_seconds())
        pause = func.make_interval(0, 0, 0, 0, 0, 0, seconds, type_=Interval)
        following = case((attempts + 1 >= ATTEMPTS, None), else_=func.now() + pause)
        taken = (
            update(alert_deliveries)
            .where(key == tuple_(oldest.c.message_id, oldest.c.receiver))
            .values(attempts=attempts + 1, next_attempt_at=following)
            .returning(alert_deliveries.c.message_id, attempts)
        )
        async with self._engine.begin() as connection:
            row = (await connection.execute(taken)).first()
            if row is None:
                return None
            query = select(*_MESSAGE, alerts).join(alerts).where(alert_messages.c.message_id == row.message_id)
            message = _message((await connection.execute(query)).mappings().one())
        return Delivery(message=message, receiver=receiver, attempt=row.attempts)

    async def delivered(self, delivery: Delivery) -> None:
        """The receiver has it."""
        await self._note(delivery, delivered_at=func.now(), next_attempt_at=None, error=None)

    async def failed(self, delivery: Delivery, error: str) -> None:
        """It is tried again after its pause, unless this was the last attempt."""
        await self._note(delivery, error=error)

    async def given_up(self, delivery: Delivery, error: str) -> None:
        """No attempt can reach it."""
        await self._note(delivery, error=error, next_attempt_at=None)

    async def _note(self, delivery: Delivery, **values: Any) -> None:
        statement = (
            update(alert_deliveries)
            .where(alert_deliveries.c.message_id == delivery.message.message_id)
            .where(alert_deliveries.c.receiver == str(delivery.receiver))
            .values(**values)
        )
        async with self._engine.begin() as connection:
            await connection.execute(statement)
