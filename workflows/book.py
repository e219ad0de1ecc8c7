"""What a workflow writes into the ledger: entries about one thing, the alerts with them, and what it refused."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from temporalio import workflow

from schemas.alert import Alert, Severity, cause_of
from schemas.base import timestamp
from schemas.changes.alert import AlertRaised
from schemas.ledger import LedgerEntry, Receipt
from schemas.permission import Role
from schemas.record import Change
from workflows.inbox import Item
from workflows.steps import record

REFUSED_AFTER_THE_TASK = "refused decisions are recorded after the task"
"""Those that came by signal were recorded within it."""

REFUSED_AFTER_THE_LOOK = "what is refused because of a look is recorded after the task"
"""As decisions before: within it."""


class Refusing(Protocol):
    """The state of a workflow that shows operators what it refused last."""

    last_refusal: str | None


class Book:
    """Of one workflow.

    `key` begins whatever names an event or a cause of its own; `source` is the workflow's ID. Entries are about
    `target`, alerts about `subject`; `smart_id` is the node that acts, where it is not the hub. `since` is when this
    life of an entity began whose messages are numbered anew in each. `metadata` stands in every entry. What is refused
    is kept in `life`.
    """

    def __init__(
        self,
        *,
        key: str,
        source: str,
        action_type: str,
        target: str,
        subject: str | None = None,
        smart_id: str | None = None,
        since: datetime | None = None,
        metadata: Mapping[str, Any] | None = None,
        life: Refusing | None = None,
    ) -> None:
        self._key = key
        self._source = source
        self._action_type = action_type
        self._target = target
        self._subject = subject or target
        self._smart_id = smart_id
        self._since = f"{timestamp(since)}:" if since else ""
        self._metadata = metadata or {}
        self._life = life

    def numbered(self, event: str, item: Item) -> str:
        """The name of an event that can happen again, by the message that is its cause."""
        return f"{event}:{self._since}{item.key}"

    async def enter(
        self,
        action: str,
        event: str,
        details: str,
        metadata: Mapping[str, Any],
        *changes: Change,
        target: str | None = None,
        user_id: str = "system",
        occurred_at: datetime | None = None,
        asked: bool = False,
    ) -> Receipt:
        """Commits an entry with the rows that it changes, about something else where a `target` is given.

        `asked` as in `record`.
        """
        entry = LedgerEntry(
            idempotency_key=f"{self._key}:{event}",
            action_type=self._action_type,
            action=action,
            target=target or self._target,
            details=details,
            user_id=user_id,
            smart_id=self._smart_id,
            metadata={**self._metadata, **metadata},
            occurred_at=occurred_at,
        )
        return await record(entry, *changes, asked=asked)

    def alert(
        self,
        event: str,
        alert_type: str,
        text: str,
        *what: str,
        severity: Severity = Severity.HIGH,
        cause: str | None = None,
        owner: Role | None = None,
    ) -> AlertRaised:
        """To be entered with the event that it reports; `what` tells its cause from others of its type.

        A `cause` that others know too is given whole; an `owner` where it is another role than the type's.
        """
        return AlertRaised(
            alert=Alert(
                alert_id=f"{self._key}:{event}",
                alert_type=alert_type,
                severity=severity,
                source=self._source,
                subject=self._subject,
                text=text,
                cause=cause or cause_of(alert_type, self._key, *what),
                owner=owner,
            )
        )

    async def refuse_request(self, item: Item, reason: str, *, looked: bool = False) -> None:
        """An update is told so; nobody hears the answer of a signal, so that is entered and alerted.

        `looked` says that it follows from what was looked up. That is entered after the task: looked up again later, it
        may be refused for another reason, under the same key, or not at all.
        """
        item.refuse(reason)
        if item.asked:
            return
        self._keep(item, reason)
        event = self.numbered("refuse_request", item)
        text = f"Signal {item.name} was refused: {reason}"
        await self.enter(
            "refuse_request",
            event,
            text,
            {"signal": item.name, "reason": reason},
            self.alert(event, "request_refused", f"{text}. Send it again, corrected.", item.name),
            asked=looked and workflow.patched(REFUSED_AFTER_THE_LOOK),
        )

    async def refuse_decision(self, item: Item, reason: str, person: str) -> None:
        """A decision that does not count is more than a mistake: somebody may have tried.

        Entered after the task: verified again later, it may be refused for another reason, under the same key.
        """
        item.refuse(reason)
        self._keep(item, reason)
        event = self.numbered("refuse_decision", item)
        text = f"Decision {item.name} was refused: {reason}"
        await self.enter(
            "refuse_decision",
            event,
            text,
            {"decision": item.name, "reason": reason},
            self.alert(event, "decision_refused", f"{text}. Ask {person} whether it was them.", item.name),
            user_id=person,
            asked=item.asked or workflow.patched(REFUSED_AFTER_THE_TASK),
        )

    def _keep(self, item: Item, reason: str) -> None:
        if self._life is not None:
            self._life.last_refusal = f"`{item.name}` was refused: {reason}"
