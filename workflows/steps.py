"""Short steps that must happen: local activities while their server is up, regular ones while it is not."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pydantic import BaseModel
from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError, is_cancelled_exception

from activities.equipment import EquipmentActivities
from activities.ledger import LedgerActivities
from schemas import names
from schemas.alert import Alert, Severity, cause_of
from schemas.changes.alert import AlertRaised, AlertResolved
from schemas.ledger import LedgerEntry, Receipt
from schemas.node_report import NodeRef
from schemas.record import Change, Record
from workflows import retry

Argument = TypeVar("Argument")
Result = TypeVar("Result")

NOT_OPEN = "ExternalWorkflowExecutionNotFound"
"""The SDK's error type for a signal to a workflow that is not there, or not any more."""


async def step(activity: Callable[[Any, Argument], Awaitable[Result]], argument: Argument, *, summary: str) -> Result:
    """Runs one step until it has happened, or is refused for good (`FailureError`).

    Called from the main loop only: while it waits, handlers enqueue.
    """
    try:
        return await workflow.execute_local_activity_method(
            activity,
            argument,
            schedule_to_close_timeout=retry.LOCAL_PATIENCE,
            retry_policy=retry.QUICK,
            summary=summary,
        )
    except FailureError as error:
        if is_cancelled_exception(error):
            raise
        return await regular_step(activity, argument, summary=summary)


async def regular_step(
    activity: Callable[[Any, Argument], Awaitable[Result]], argument: Argument, *, summary: str
) -> Result:
    """As `step`, by a regular activity: its result is in the history before anything is done because of it."""
    return await workflow.execute_activity_method(
        activity,
        argument,
        start_to_close_timeout=retry.ACTIVITY_TIME,
        retry_policy=retry.UNTIL_DONE,
        summary=summary,
    )


def ask_node(
    node_id: str,
    activity: Callable[..., Result],
    *arguments: BaseModel,
    summary: str,
    cancellation_type: workflow.ActivityCancellationType = workflow.ActivityCancellationType.TRY_CANCEL,
) -> "workflow.ActivityHandle[Result]":
    """Asks until the node has answered, however long it is away: what it does is idempotent."""
    return workflow.start_activity_method(
        activity,
        args=arguments,
        task_queue=names.node_queue(node_id),
        start_to_close_timeout=retry.NODE_TIME,
        retry_policy=retry.UNTIL_DONE,
        cancellation_type=cancellation_type,
        summary=summary,
    )


async def refresh(node_id: str) -> None:
    """Has a node told what changed."""
    await step(EquipmentActivities.refresh_node, NodeRef(node_id=node_id), summary=f"{node_id} has news")


async def tell(workflow_id: str, signal: str, message: BaseModel) -> bool:
    """Signals another workflow; False where none of that ID is open.

    The only other answer is that it was sent more signals than one run may have: then it is told once it has
    continued as new.
    """
    other = workflow.get_external_workflow_handle(workflow_id)
    while True:
        try:
            await other.signal(signal, message)
        except ApplicationError as error:
            if error.type == NOT_OPEN:
                return False
            workflow.logger.warning("%s could not be told %s: %s", workflow_id, signal, error)
            await workflow.sleep(retry.CROWDED_PAUSE, summary=f"{workflow_id} has more signals than it may have")
        else:
            return True


async def record(entry: LedgerEntry, *changes: Change, asked: bool = False) -> Receipt:
    """Commits the entry and the rows that it changes, together.

    `asked` says that an update is the cause. Its acceptance is durable only with the end of the workflow task, so
    what it does is recorded by a regular activity, which begins after that: else a worker killed in between could
    leave an entry for a request that never came.

    What the ledger refuses for good (other content under the key, or what cannot be kept) is alerted under a key of
    its own, and tried again until a person has mended it: the process waits, it does not die.
    """
    request = Record(entry=entry, changes=changes)
    summary = f"{entry.action} {entry.target}"
    try:
        return await (regular_step if asked else step)(LedgerActivities.record, request, summary=summary)
    except FailureError as error:
        if is_cancelled_exception(error):
            raise
        await step(LedgerActivities.record, _refusal(entry), summary=f"alert: {summary} is refused")
    request = Record(entry=entry, changes=(*changes, AlertResolved(cause=_refused(entry))))
    while True:
        await workflow.sleep(retry.LONGEST_PAUSE, summary=f"the ledger refuses {summary}: a person must look")
        try:
            return await regular_step(LedgerActivities.record, request, summary=summary)
        except FailureError as error:
            workflow.logger.warning("the ledger still refuses %s: %s", summary, error)


def _refused(entry: LedgerEntry) -> str:
    return cause_of("ledger_refused", entry.target, entry.idempotency_key)


def _refusal(entry: LedgerEntry) -> Record:
    key = f"{entry.idempotency_key}:refused"
    text = (
        f"The ledger refuses to record {entry.action} of {entry.target}: other content stands under "
        f"{entry.idempotency_key}, or it cannot be kept. Its workflow waits; look at the ledger and the worker's log."
    )
    alert = Alert(
        alert_id=key,
        alert_type="ledger_refused",
        severity=Severity.CRITICAL,
        source=workflow.info().workflow_id,
        subject=entry.target,
        text=text,
        cause=_refused(entry),
    )
    refused = LedgerEntry(
        idempotency_key=key, action_type="ledger", action="record_refused", target=entry.target, details=text
    )
    return Record(entry=refused, changes=(AlertRaised(alert=alert),))
