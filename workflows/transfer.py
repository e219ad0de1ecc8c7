"""The dual transfer of an authorized package: to the vault, and on to the next node (specification 2).

Each leg is a task of its own (`workflows.transfer_leg`), which says by the inbox what it found: the main loop alone
changes what is known and records it, and the leg goes on when that is committed.

No leg ends without having arrived. One whose retries are used up, or whose receiver refuses it for good, waits for a
person; so Temporal's Cancel, which would take back what is authorized and may be under way, is refused, recorded and
alerted.
"""

import asyncio
from typing import Any

from pydantic import BaseModel
from temporalio import workflow
from temporalio.exceptions import ApplicationError

from activities.transfer import TransferActivities
from schemas import names
from schemas.alert import cause_of
from schemas.changes.alert import AlertResolved
from schemas.changes.transfer import NonconformanceDisposed, NonconformanceOpened, TransferChanged
from schemas.guardian import AUTHORIZATION_REFUSED
from schemas.routing import Routing, read_routing_trigger
from schemas.test_execution import Disposed
from schemas.test_results import TestVerdict
from schemas.transfer import (
    LEG_NAMES,
    MOMENTS,
    REQUESTS,
    Delivery,
    Destination,
    DisposeRequest,
    Disposition,
    LegStatus,
    RetryRequest,
    Sending,
    TransferEnd,
    TransferLife,
    TransferStart,
    authorization_refusal,
    disposition_wanted,
    leg_outlook,
)
from workflows.book import Book
from workflows.decisions import proof_of, verify
from workflows.inbox import Inbox, Item, Refused
from workflows.search_attributes import show_status
from workflows.steps import record, step, tell
from workflows.transfer_leg import Attempted, PauseOver, Prepared, TransferLeg

ATTEMPTED: dict[Destination, str] = {
    Destination.VAULT: "transfer_to_vault",
    Destination.NEXT_NODE: "transfer_to_next_node",
    Destination.BUSINESS_HUB: "notify_business_hub",
}

TRANSFER_FAILURE, CONTRACT_MISSING = "transfer_failure", "contract_missing"


@workflow.defn
class TransferWorkflow:
    """Workflow ID `transfer/{package_id}`, under `ALLOW_DUPLICATE_FAILED_ONLY`: it fails where the package is refused,
    so that a forged one does not keep the true one from being moved.

    What is under way is seen in the current details. The row passes from `preparing` to what the first attempt gave,
    because there is no ledger entry in between that would say `transferring`; `SmartStatus` is a working list, and has
    only states that last.
    """

    @workflow.init
    def __init__(self, start: TransferStart) -> None:
        self._start = start
        self._package = start.package
        self._life = start.life or TransferLife()
        package_id = self._package.package_id
        self._book = Book(
            key=package_id,
            source=names.transfer_id(package_id),
            action_type="handoff",
            target=package_id,
            smart_id=self._package.test_data.node_id,
            metadata={"transfer_id": f"XFER-{package_id}"},
            life=self._life,
        )
        self._legs: list[asyncio.Task[None]] = []
        self._inbox = Inbox(signals=REQUESTS, updates=REQUESTS, refusal=self._refusal, signals_before=start.signals)

    @workflow.run
    async def run(self, start: TransferStart) -> TransferEnd:
        reason = "an authorized transfer is not cancelled: mend what keeps a leg from arriving, and retry it"
        return await self._inbox.outlive_cancel(self._live(), Refused(reason=reason))

    async def _live(self) -> TransferEnd:
        if not self._life.policies:
            await self._receive()
            if self._life.disposition is not None:  # started again where it stood: nobody knows whether that was told
                await self._tell_test(self._life.disposition)
        self._legs = [
            asyncio.create_task(TransferLeg(destination, self._package, self._life, self._inbox).carry())
            for destination in self._life.legs
        ]
        while not self._life.ended:
            if self._inbox:
                await self._handle(self._inbox.next())
                self._life.advance()
                continue
            self._show()
            if self._life.rests and workflow.info().is_continue_as_new_suggested() and await self._inbox.drained():
                kept = {"life": self._life, "signals": self._inbox.signals}
                workflow.continue_as_new(self._start.model_copy(update=kept))
            await workflow.wait_condition(lambda: bool(self._inbox) or self._broken is not None)
            if self._broken is not None:
                self._broken.result()  # raises: a fault of ours must be seen, and not be waited for
        await self._end()
        while not await self._inbox.drained():
            await self._handle(self._inbox.next())
        return TransferEnd(
            package_id=self._package.package_id, status=self._life.status, disposition=self._life.disposition
        )

    @property
    def _routing(self) -> Routing:
        """Of an admitted package: until then nobody knows whether its trigger is one."""
        return read_routing_trigger(self._package.test_data.routing_trigger)

    @property
    def _broken(self) -> "asyncio.Task[None] | None":
        return next((leg for leg in self._legs if leg.done() and leg.exception() is not None), None)

    # --- its beginning and its end --------------------------------------------------------------------------

    async def _receive(self) -> None:
        package, data = self._package, self._package.test_data
        admission = await step(TransferActivities.admit, package, summary=f"may {package.package_id} move anything?")
        if admission.refusal is not None:
            await self._refuse_authorization(admission.refusal)
        await self._book.enter(
            "receive_authorization",
            "receive_authorization",
            "Transfer authorization received from Guardian",
            {"clientpo_id": package.clientpo_id, "content_hash": package.content_hash},
            TransferChanged(package_id=package.package_id, status=self._life.status, received_now=True),
        )
        if not self._life.legs:
            self._life.begin(package)
        self._life.policies = admission.policies
        if data.verdict is not TestVerdict.ACCEPT:
            await self._open_nonconformance()  # first: who sees that a leg waits for it looks for it
        await self._book.enter(
            "read_routing",
            "read_routing",
            f"Routing: {self._routing.routing_type}",
            self._routing.model_dump(mode="json"),
            self._row(next_station=self._routing.next_station, next_contract=self._routing.next_contract),
            target=data.smart_contract_id,
        )

    async def _refuse_authorization(self, reason: str) -> None:
        self._life.refusal = reason
        package = self._package
        refusal = authorization_refusal(
            package.package_id,
            package.content_hash,
            reason,
            source=names.transfer_id(package.package_id),
            node_id=package.test_data.node_id,
        )
        await record(refusal.entry, *refusal.changes)
        self._show()
        while not await self._inbox.drained():
            await self._handle(self._inbox.next())
        raise ApplicationError(reason, type=AUTHORIZATION_REFUSED, non_retryable=True)

    async def _open_nonconformance(self) -> None:
        package, verdict = self._package, self._package.test_data.verdict
        tests = ", ".join(
            f"{item.test_id}: {item.result.verdict}"
            for item in package.test_data.tests
            if item.result.verdict is not TestVerdict.ACCEPT
        )
        contract = package.test_data.smart_contract_id
        text = (
            f"The results of {contract} are not accepted ({tests}): decide whether its part is used as it is, "
            "reworked, scrapped or returned. They go to the vault all the same; the part waits."
        )
        await self._book.enter(
            "open_nonconformance",
            "open_nonconformance",
            f"Nonconformance opened: {tests}",
            {"verdict": verdict, "content_hash": package.content_hash},
            NonconformanceOpened(
                package_id=package.package_id,
                smart_contract_id=contract,
                clientpo_id=package.clientpo_id,
                verdict=verdict,
                tests=tests,
                content_hash=package.content_hash,
            ),
            self._book.alert("open_nonconformance", "disposition_waits", text),
        )

    async def _end(self) -> None:
        self._show()
        legs = {
            destination.value: {"status": leg.status, "attempts": leg.attempts, "content_hash": receipt}
            for destination, leg in self._life.legs.items()
            for receipt in [leg.receipt.content_hash if leg.receipt else None]
        }
        vault, next_node = self._life.legs[Destination.VAULT], self._life.legs[Destination.NEXT_NODE]
        await self._book.enter(
            "execute_dual_transfer",
            "execute_dual_transfer",
            f"Dual transfer: Vault={vault.status}, NextNode={next_node.status}",
            {**legs, "disposition": self._life.disposition},
            self._row(ended_now=True),
        )

    # --- what comes in --------------------------------------------------------------------------------------

    def _refusal(self, message: BaseModel) -> str | None:
        if self._life.refusal is not None:
            return f"the package is refused: {self._life.refusal}"
        match message:
            case RetryRequest():
                return self._life.retry_refusal(message.destination)
            case DisposeRequest():
                return self._life.disposition_refusal()
            case _:
                return None

    async def _handle(self, item: Item) -> None:
        match item.payload:
            case Refused() as refused:
                await self._book.refuse_request(item, refused.reason)
            case _ if reason := self._refusal(item.payload):
                await self._book.refuse_request(item, reason)
            case RetryRequest() as request:
                await self._retry(item, request)
            case DisposeRequest() as request:
                await self._dispose(item, request)
            case Prepared() as prepared:
                await self._prepared(prepared)
                item.answer(prepared)
            case Attempted() as attempted:
                await self._attempted(attempted)
                item.answer(attempted)
            case PauseOver() as over:
                await self._try_again(over.destination)
                item.answer(over)

    async def _prepared(self, prepared: Prepared) -> None:
        destination, preparation = prepared.destination, prepared.preparation
        leg = self._life.legs[destination]
        if preparation.body is not None:
            leg.body, leg.status = preparation.body, LegStatus.TRANSFERRING
            return
        refused = Delivery(error=preparation.refusal or "there is nothing to send", curable=False)
        if not preparation.missing:
            await self._attempted(Attempted(destination=destination, delivery=refused))
            return
        self._life.settle(destination, refused)
        contract = self._routing.next_contract or ""
        await self._wait_for_person(
            destination,
            CONTRACT_MISSING,
            f"Next contract not found: {contract}",
            target=contract,
        )

    async def _attempted(self, attempted: Attempted) -> None:
        destination, delivery = attempted.destination, attempted.delivery
        leg = self._life.legs[destination]
        sending = Sending(destination=destination, package_id=self._package.package_id, body=leg.body or {})
        sent = sending.content_hash if leg.body is not None else None
        self._life.settle(destination, delivery)
        arrived = leg.status is LegStatus.COMPLETE
        over = [CONTRACT_MISSING] * (sent is not None) + [TRANSFER_FAILURE] * arrived
        columns: dict[str, Any] = {}
        if arrived and destination is not Destination.BUSINESS_HUB:
            columns[f"{destination}_now"] = True
        if not arrived:
            columns[f"{destination}_status"] = LegStatus.FAILED  # it is seen to wait once a person is told
        await self._book.enter(
            ATTEMPTED[destination],
            f"{destination}:{leg.attempts}",
            f"{LEG_NAMES[destination]} transfer: {'SUCCESS' if arrived else 'FAILED'}",
            {
                "destination": destination,
                "attempt": leg.attempts,
                "outcome": "success" if arrived else "failed" if delivery.curable else "refused",
                "hash_sent": sent,
                "hash_received": delivery.receipt.content_hash if delivery.receipt else None,
                "error": leg.error,
            },
            self._row(**columns),
            *(AlertResolved(cause=self._cause(what, destination)) for what in over if leg.escalations),
        )
        if leg.status is LegStatus.WAITING:
            await self._wait_for_person(
                destination,
                "escalate_failure",
                f"Transfer failure escalated after {leg.retries} retries",
            )

    async def _wait_for_person(
        self, destination: Destination, action: str, details: str, *, target: str | None = None
    ) -> None:
        leg = self._life.legs[destination]
        leg.escalations += 1
        alert_type = CONTRACT_MISSING if action == CONTRACT_MISSING else TRANSFER_FAILURE
        event = f"{destination}:{leg.attempts}:{action}"
        package_id = self._package.package_id
        await self._book.enter(
            action,
            event,
            details,
            {
                "package_id": package_id,
                "destination": destination,
                "attempt": leg.attempts,
                "retry_count": leg.retries,
                "error": leg.error,
            },
            self._row(),
            self._book.alert(
                event,
                alert_type,
                f"The {LEG_NAMES[destination]} leg of {package_id} needs a person: {leg.error}. Mend the cause, then "
                f"retry {destination}: POST /api/v1/transfers/{package_id}/retry.",
                destination,
            ),
            target=target,
            asked=True,  # recorded after the task: who sees it wait may retry it at once
        )

    async def _try_again(self, destination: Destination) -> None:
        leg = self._life.legs[destination]
        if leg.status is not LegStatus.FAILED:
            return  # a person retried at the same moment
        self._life.retry(destination, asked=False)
        most = self._life.policies[destination].retries
        await self._book.enter(
            "retry_transfer",
            f"{destination}:{leg.attempts + 1}:retry",
            f"Retry {leg.retries}/{most} for {destination}",
            {"destination": destination, "retry_count": leg.retries, "max_retries": most},
            self._row(),
        )

    async def _retry(self, item: Item, request: RetryRequest) -> None:
        """Recorded before the leg sees it: nothing is sent for a wish that is not in the ledger."""
        destination = request.destination
        asked = self._life.model_copy(deep=True)
        asked.retry(destination, asked=True)
        await self._book.enter(
            "retry_transfer",
            f"{destination}:{asked.legs[destination].attempts + 1}:retry:{item.key}",
            f"Retry of {destination} asked for: {request.reason}",
            {"destination": destination, "retry_count": 0, "max_retries": self._life.policies[destination].retries},
            self._row(asked),
            user_id=item.sender(request.user_id),
            asked=item.asked,
        )
        self._life.last_refusal = None
        self._life.retry(destination, asked=True)
        item.answer(request)

    async def _dispose(self, item: Item, request: DisposeRequest) -> None:
        package = self._package
        wanted = disposition_wanted(package.package_id, package.content_hash)
        verdict = await verify(request.token, wanted, self._life.tokens)
        decision = verdict.decision
        reason = verdict.refusal or (decision and self._involved(decision.person))
        if decision is None or reason:
            await self._book.refuse_decision(item, reason or "", verdict.person)
            return
        disposition = Disposition(decision.decision)
        disposed = self._life.model_copy(deep=True)
        disposed.dispose(disposition, self._routing)
        await self._book.enter(
            "dispose_nonconformance",
            f"dispose_nonconformance:{item.key}",
            f"{disposition} by {decision.person} ({decision.role}): {request.reason}",
            {
                "disposition": disposition,
                "content_hash": package.content_hash,
                "reason": request.reason,
                **proof_of(decision, request.token),
            },
            NonconformanceDisposed(
                package_id=package.package_id,
                disposition=disposition,
                decided_role=decision.role,
                reason=request.reason,
            ),
            self._row(disposed, disposition=disposition),
            AlertResolved(cause=cause_of("disposition_waits", package.package_id)),
            user_id=decision.person,
            asked=True,  # recorded after the task: verified again later, the decision may not count any more
        )
        self._life.last_refusal = None
        self._life.dispose(disposition, self._routing)
        item.answer(request)
        await self._tell_test(disposition)

    def _involved(self, person: str) -> str | None:
        """Four eyes: whoever gave the results their word does not decide that they are good enough."""
        performed = person == self._package.test_data.begun.performer
        if performed or person in {approval.person for approval in self._package.approvals}:
            return f"{person} {'performed' if performed else 'signed'} the test: another person must decide"
        return None

    async def _tell_test(self, disposition: Disposition) -> None:
        contract = self._package.test_data.smart_contract_id
        disposed = Disposed(package_id=self._package.package_id)
        heard = await tell(names.test_execution_id(contract), names.DISPOSED, disposed)
        if not heard and disposition is Disposition.REWORK:
            text = f"{contract} is to be reworked, but its test is not open here: arrange it with its node."
            await self._book.enter(
                "disposition_unheard",
                "disposition_unheard",
                text,
                {"disposition": disposition},
                self._book.alert("disposition_unheard", "disposition_unheard", text),
            )

    # --- recording ------------------------------------------------------------------------------------------

    def _row(self, life: TransferLife | None = None, **columns: Any) -> TransferChanged:
        """The row as it follows from what is known, or from what will be."""
        life = life or self._life
        legs = {
            f"{destination}_{name}": value
            for destination, leg in life.legs.items()
            for name, value in (("status", leg.status), ("attempts", leg.attempts), ("error", leg.error))
        }
        return TransferChanged(package_id=self._package.package_id, status=life.status, **{**legs, **columns})

    def _cause(self, alert_type: str, *what: str) -> str:
        return cause_of(alert_type, self._package.package_id, *what)

    # --- the operator's eye ---------------------------------------------------------------------------------

    def _show(self) -> None:
        package, life = self._package, self._life
        data = package.test_data
        lines = [f"**{life.status}** · {package.package_id}: {data.verdict}, from {data.node_id}"]
        for destination, leg in life.legs.items():
            view = leg_outlook(destination, leg.status, leg.error)
            lines.append(
                f"{LEG_NAMES[destination]} leg: **{leg.status}** after {leg.attempts} attempts, waits for "
                f"{view.waits_for}. Moved on by: {view.moved_on_by}"
            )
            if life.retry_refusal(destination) is None:
                lines.append(
                    f'To retry it: signal `retry_transfer` with `{{"destination": "{destination}", "reason": "why"}}`'
                )
        if life.disposition_refusal() is None:
            lines.append(
                f"To dispose: `smartfloor decide {names.transfer_id(package.package_id)} use_as_is --hash "
                f"{package.content_hash}` prints a token (or rework, scrap, return_to_client); signal `dispose` with "
                '`{"token": "...", "reason": "why"}`'
            )
        if life.refusal or life.last_refusal:
            lines.append(f"⚠ {life.refusal or life.last_refusal}")
        workflow.set_current_details("\n\n".join(lines))
        if life.status not in MOMENTS:
            show_status(life.status)
