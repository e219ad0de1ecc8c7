"""Repairing one row after the other: one whose repair fails does not keep the others from theirs, and is alerted."""

import logging
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Protocol

from temporalio.client import WorkflowExecutionStatus

from infra.alerts import Alerts, StandingAlerts
from infra.ledger import Ledger
from schemas import names
from schemas.alert import Alert, Severity
from schemas.changes.alert import AlertRaised
from schemas.ledger import LedgerEntry
from schemas.reconcile import Repaired
from schemas.record import Change, Record

log = logging.getLogger(__name__)

NOT_RECONCILED = "not_reconciled"

GOES_ON = frozenset({WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.COMPLETED})
"""Nobody closed it from outside."""


def how_closed(status: WorkflowExecutionStatus | None) -> str:
    """In a word for people; Temporal does not know any more how it was that lies long back."""
    return status.name.lower() if status else "closed"


def closed_from_outside(entry: LedgerEntry, *changes: Change, subject: str | None = None) -> Record:
    """What follows from a workflow's being closed, as the entry says; a person is told in the entry's own words."""
    alert = Alert(
        alert_id=entry.idempotency_key,
        alert_type="workflow_closed",
        severity=Severity.HIGH,
        source=names.RECONCILE_ID,
        subject=subject or entry.target,
        text=entry.details,
    )
    return Record(entry=entry, changes=(*changes, AlertRaised(alert=alert)))


class NotRepaired(Exception):
    """Rows whose repair failed, each with its error; the others were repaired all the same."""

    def __init__(self, errors: Mapping[str, Exception]) -> None:
        name, first = next(iter(errors.items()))
        super().__init__(f"not repaired: {', '.join(errors)}; {name} because of {type(first).__name__}: {first}")
        self.errors = errors


class Repairs:
    """Those of one run over all rows: what failed in an earlier one is not held against this one."""

    def __init__(self, alerts: Alerts, ledger: Ledger) -> None:
        self._alerts = alerts
        self._standing = StandingAlerts(alerts, ledger)
        self._errors: dict[str, Exception] = {}

    async def attempt(self, name: str, repair: Awaitable[Repaired | None]) -> Repaired | None:
        """What was done; None where nothing was to be done, or it failed."""
        try:
            return await repair
        except Exception as error:
            log.exception("%s is not repaired", name)
            self._errors[name] = error
            # What went wrong may be another thing each time, so the log says it.
            text = f"{name} could not be reconciled with its workflow: look at the worker's log; it is tried again."
            source = names.RECONCILE_ID
            await self._standing.raise_once(NOT_RECONCILED, name, text, severity=Severity.HIGH, source=source)
            return None

    async def finish(self) -> None:
        """What does not fail any more is reconciled, or has ended by itself; raises `NotRepaired` for the others."""
        for alert in await self._alerts.open_of_type(NOT_RECONCILED):
            if alert["subject"] not in self._errors:
                await self._standing.resolve(alert["cause"], "it agrees with its workflow")
        if self._errors:
            raise NotRepaired(self._errors) from next(iter(self._errors.values()))


class Reconciler(Protocol):
    """Compares the rows of one kind with their workflows; what it does is idempotent."""

    def repair(self, repairs: Repairs) -> AsyncIterator[tuple[str, Repaired | None]]:
        """Each row that is looked at, by the name that `attempt` was given, and what was done for it."""
        ...
