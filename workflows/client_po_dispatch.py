"""The release of a SmartClientPO to its node: it is offered until the node has taken it.

A release is interrupted by whatever comes in while the node has not begun to take the PO; from then on the node's
answer comes first: if the node took it, it is released and a hold or cancel that came too late is refused.

The dispatch is one activity attempt at a time (`retry.ONCE`), because a cancelled attempt says for certain whether
it ever began only where no earlier attempt can hide behind it. After an attempt that timed out the node may have
the PO, so nothing interrupts the next attempts until the node has answered.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception
from temporalio.exceptions import TimeoutError as ActivityTimeout

from activities.node import NodeActivities
from schemas import names
from schemas.changes.alert import AlertResolved
from schemas.changes.client_po import ClientPOChanged
from schemas.client_po import RetryRequest, SmartClientPO
from schemas.client_po_life import LATE, REFUSED, ClientPOLife, ClientPOStart, release_failure
from schemas.node import NodeDelivery, NodeReceipt
from schemas.record import Change
from workflows import retry
from workflows.book import Book
from workflows.inbox import Inbox, Item

RETRY_HAS_TIME_OF_ITS_OWN = "a retry has time of its own"
"""A node that refused a PO was late, or not, for good: a retry after that raised no alert, or one at once."""


def row_of(po: SmartClientPO, life: ClientPOLife, **changes: Any) -> ClientPOChanged:
    """The row's change; the status is what it follows from, unless the caller knows better."""
    values = {"status": life.status, "hold_reason": life.hold_reason, "release_error": life.release_error, **changes}
    return ClientPOChanged(smart_contract_id=po.smart_contract_id, **values)


class Dispatch:
    """Of one PO; `answer` handles a message that comes first, though the node may have the PO."""

    def __init__(
        self,
        start: ClientPOStart,
        po: SmartClientPO,
        life: ClientPOLife,
        book: Book,
        inbox: Inbox,
        answer: Callable[[Item], Awaitable[None]],
    ) -> None:
        self._start = start
        self._po = po
        self._life = life
        self._book = book
        self._inbox = inbox
        self._answer = answer

    async def until_taken(self) -> NodeReceipt | None:
        """Offers the PO to its node until the node has taken it; None where something that came in goes first."""
        if self._life.late_at is None:
            self._life.late_at = workflow.now() + timedelta(seconds=self._start.release_alert_after)
            self._life.late_told = False
        late = asyncio.create_task(self._lateness(self._life.late_at))
        try:
            return await self._offer_until_taken(late)
        finally:
            late.cancel()

    async def _lateness(self, late_at: datetime) -> None:
        """Ends when the release is late; whatever interrupts it in between does not make it younger."""
        left = late_at - workflow.now()
        if left > timedelta():
            await workflow.sleep(left, summary=f"alert when {self._po.target_node} does not answer")

    async def _offer_until_taken(self, late: "asyncio.Task[None]") -> NodeReceipt | None:
        may_have_it = False
        pause = timedelta(seconds=1)

        def interrupted() -> bool:
            return not may_have_it and (bool(self._inbox) or workflow.info().is_continue_as_new_suggested())

        while not interrupted():
            taking = self._offer()
            await self._wait(taking, late, interrupted)
            if not taking.done():
                taking.cancel()
            try:
                return await taking
            except ActivityError as error:
                if is_cancelled_exception(error):
                    return None
                if isinstance(error.cause, ApplicationError) and error.cause.non_retryable:
                    await self._release_refused(error.cause.message)
                    return None
                may_have_it = may_have_it or isinstance(error.cause, ActivityTimeout)
            rest = asyncio.create_task(workflow.sleep(pause, summary="before the next try"))
            await self._wait(rest, late, lambda: interrupted() or self._inbox.holds(RetryRequest))
            pause = min(pause * 2, retry.LONGEST_PAUSE)
            if not rest.done():
                rest.cancel()
                pause = timedelta(seconds=1)
            if may_have_it and (asked := self._inbox.take(RetryRequest)):
                await self._answer(asked)
        return None

    async def _wait(
        self, something: "asyncio.Task[Any]", late: "asyncio.Task[None]", interrupted: Callable[[], bool]
    ) -> None:
        """Until it is done or interrupted; on the way the alert goes out, once, when it is time."""
        while not (something.done() or interrupted()):
            await workflow.wait_condition(
                lambda: something.done() or interrupted() or (late.done() and not self._life.late_told)
            )
            # Done and late at once is what a worker sees that takes over from a killed one: then it is not late.
            if late.done() and not self._life.late_told and not something.done():
                self._life.late_told = True
                await self._release_late()

    def _offer(self) -> "workflow.ActivityHandle[NodeReceipt]":
        allotment = self._life.allotment
        delivery = NodeDelivery(
            smart_contract_id=self._po.smart_contract_id,
            number=self._life.delivery_number,
            document=self._start.document,
            document_hash=self._start.document_hash,
            priority=self._life.priority,
            due_date=self._life.due_date,
            quantity=allotment.quantity if allotment else 0,
            broadcast_ids=allotment.broadcast_ids if allotment else (),
        )
        return workflow.start_activity_method(
            NodeActivities.take_client_po,
            delivery,
            task_queue=names.node_queue(self._po.target_node),
            start_to_close_timeout=retry.NODE_TIME,
            retry_policy=retry.ONCE,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary=f"release to {self._po.target_node}",
        )

    async def _release_late(self) -> None:
        waited = f"{self._start.release_alert_after} s"
        text = f"node {self._po.target_node} has not taken the PO for {waited}"
        await self._record_failure(
            LATE, text, f"{text}. It goes out by itself when the node's worker is back: start it."
        )

    async def _release_refused(self, error: str) -> None:
        self._life.release_error = error
        if workflow.patched(RETRY_HAS_TIME_OF_ITS_OWN):
            self._life.late_at = None
        text = f"{error}. Mend the cause, then retry the release."
        await self._record_failure(
            REFUSED, error, text, AlertResolved(cause=release_failure(self._po.smart_contract_id, LATE))
        )

    async def _record_failure(self, what: str, error: str, text: str, *changes: Change) -> None:
        self._life.failures += 1
        event = f"release_failed:{what}:{self._life.failures}"
        await self._book.enter(
            "release_failed",
            event,
            f"Failed to release SmartClientPO: {error}",
            {"target_node": self._po.target_node, "error": error},
            row_of(self._po, self._life),
            self._book.alert(event, "release_failed", text, what),
            *changes,
        )
