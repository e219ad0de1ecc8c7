"""Short steps that must happen: local activities while their server is up, regular ones while it is not."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import FailureError

from activities.ledger import LedgerActivities
from schemas.ledger import LedgerEntry, Receipt
from schemas.record import Change, Record
from workflows import retry

Argument = TypeVar("Argument")
Result = TypeVar("Result")


async def step(activity: Callable[[Any, Argument], Awaitable[Result]], argument: Argument, *, summary: str) -> Result:
    """Runs one step until it has happened. Called from the main loop only: while it waits, handlers enqueue."""
    try:
        return await workflow.execute_local_activity_method(
            activity,
            argument,
            schedule_to_close_timeout=retry.LOCAL_PATIENCE,
            retry_policy=retry.QUICK,
            summary=summary,
        )
    except FailureError:
        return await workflow.execute_activity_method(
            activity,
            argument,
            start_to_close_timeout=retry.ACTIVITY_TIME,
            retry_policy=retry.UNTIL_DONE,
            summary=summary,
        )


async def record(entry: LedgerEntry, *changes: Change) -> Receipt:
    """Commits the entry and the rows that it changes, together."""
    return await step(
        LedgerActivities.record, Record(entry=entry, changes=changes), summary=f"{entry.action} {entry.target}"
    )
