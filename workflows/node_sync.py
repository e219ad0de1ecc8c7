"""What a node and the hub tell each other: its reports come here, in order and once, and the register goes there.

A node works alone as long as it must; what it did meanwhile lies on its disk under numbers without gaps. Here each is
recorded under its number before the node may forget it, so a worker that dies in between only repeats. A node that is
away is waited for: what is asked of it waits in its queue.

A node whose disk was replaced counts from 1 again, and has neither register nor contracts: it gets both again, the
contracts first, because without them it would ask for no check. What it reports then stands beside what stood under
the same numbers; only a report that is the same in every word, and in its time, counts as told before.
"""

from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel
from temporalio import workflow
from temporalio.exceptions import ActivityError, FailureError, is_cancelled_exception

from activities.equipment import EquipmentActivities
from activities.ledger import LedgerActivities
from activities.maintenance import MaintenanceActivities
from activities.maintenance_node import MaintenanceNodeActivities
from schemas import names
from schemas.alert import Alert, cause_of
from schemas.base import timestamp
from schemas.canonical import document_hash
from schemas.changes.alert import AlertRaised, AlertResolved
from schemas.equipment_register import calibration_row
from schemas.ledger import LedgerEntry
from schemas.maintenance import ContractDelivery
from schemas.maintenance_orders import DeployedContract, HeldContracts
from schemas.node_report import (
    NodeRef,
    NodeReport,
    NodeReports,
    NodeSyncStart,
    RegisterAsked,
    RegisterPage,
    ReportsConfirmed,
)
from schemas.record import Change, Record
from schemas.test_execution import EquipmentNews
from workflows import retry
from workflows.book import Book
from workflows.calibration import follow_up
from workflows.inbox import Inbox, Refused
from workflows.steps import ask_node, refresh, step, tell

LOST_IS_ASKED_TWICE = "what seems lost is asked for once more"
"""Runs from before it sent again also what the node had taken after it was asked."""

Result = TypeVar("Result")


@workflow.defn
class NodeSyncWorkflow:
    """Workflow ID `node/{node_id}`, started by whoever has news; ends when both know the same.

    A message says only that there is something: what it is, is read where it is kept. Temporal's Cancel ends it;
    whoever has news next starts it again.
    """

    @workflow.init
    def __init__(self, start: NodeSyncStart) -> None:
        self._start = start
        self._node = start.node_id
        self._since = start.since or workflow.info().workflow_start_time
        workflow_id = names.node_sync_id(self._node)
        self._book = Book(
            key=workflow_id,
            source=workflow_id,
            action_type="maintenance",
            target=self._node,
            smart_id=self._node,
            since=self._since,
        )
        signals = dict.fromkeys((names.REFRESH, names.REPORTED), NodeRef)
        self._inbox = Inbox(signals=signals, updates={}, signals_before=start.signals)

    @workflow.run
    async def run(self, start: NodeSyncStart) -> None:
        more = True
        while more or self._inbox:
            await self._hear()
            if workflow.info().is_continue_as_new_suggested():
                self._continue()
            more = await self._exchange()

    def _continue(self) -> None:
        kept = {"since": self._since, "signals": self._inbox.signals}
        workflow.continue_as_new(self._start.model_copy(update=kept))

    async def _hear(self) -> None:
        """However many say that there is something: it is looked at once."""
        while self._inbox:
            item = self._inbox.next()
            if isinstance(item.payload, Refused):
                await self._book.refuse_request(item, item.payload.reason)

    async def _exchange(self) -> bool:
        """One step; False when both know the same."""
        found = await self._reports()
        if found.reports:
            for report in found.reports:
                await self._take(report)
            await self._confirm(found.reports[-1].number)
            return True
        if not await self._restore(found):
            return True
        asked = RegisterAsked(since=found.register_revision)
        page = await step(EquipmentActivities.read_register, asked, summary=f"the register after {asked.since}")
        if page.items:
            return await self._hand_over(page) > page.since
        await self._tell_tests()
        return False

    # --- at the node ----------------------------------------------------------------------------------------

    async def _reports(self) -> NodeReports:
        self._show("its reports")
        return await self._at_node(MaintenanceNodeActivities.read_reports, "what it did by itself")

    async def _confirm(self, up_to: int) -> None:
        self._show(f"its confirmation up to report {up_to}")
        confirmed = ReportsConfirmed(up_to=up_to)
        await self._at_node(MaintenanceNodeActivities.confirm_reports, f"recorded up to {up_to}", confirmed)

    async def _hand_over(self, page: RegisterPage) -> int:
        self._show(f"its receipt for the register up to {page.revision}")
        what = f"{len(page.items)} lines of the register, up to {page.revision}"
        return await self._at_node(MaintenanceNodeActivities.take_register, what, page)

    async def _at_node(self, activity: Callable[..., Result], what: str, *arguments: BaseModel) -> Result:
        """What a run asked that gives way to the next falls away with it, and is asked again: each is idempotent."""
        asking = ask_node(self._node, activity, *arguments, summary=f"{self._node}: {what}")
        await workflow.wait_condition(lambda: asking.done() or self._inbox.crowded)
        if not asking.done():
            await self._hear()
            self._continue()
        return await asking

    # --- what it lost ---------------------------------------------------------------------------------------

    async def _restore(self, found: NodeReports) -> bool:
        """Sends what it acknowledged and does not have any more; False where that cannot be, until a person helps.

        What it took, and acknowledged, after it was asked and before the rows were read is not lost: it is asked again.
        """
        held = HeldContracts(node_id=self._node, numbers=found.contracts)
        lost = await step(EquipmentActivities.lost_contracts, held, summary=f"contracts that {self._node} lost")
        contracts = lost.contracts
        if contracts and workflow.patched(LOST_IS_ASKED_TWICE):
            has = (await self._reports()).contracts
            contracts = tuple(each for each in contracts if each.number > has.get(each.contract_id, 0))
        for contract in contracts:
            fault = await self._sent_again(contract)
            if fault is not None:
                await self._not_restored(contract, fault)
                return False
        return True

    async def _sent_again(self, contract: DeployedContract) -> str | None:
        """Why it cannot be sent; None where the node has it."""
        what = f"{contract.contract_id} {contract.version}"
        file = await step(MaintenanceActivities.read_policy, contract.ref, summary=what)
        if file.document is None:
            return file.fault or ""
        delivery = ContractDelivery(
            **contract.model_dump(include={"contract_id", "version", "number", "document_hash"}),
            document=file.document,
        )
        self._show(f"its receipt for {what}, which it had lost")
        try:
            await self._at_node(MaintenanceNodeActivities.take_contract, f"{what} again", delivery)
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            return str(error.cause)
        await self._book.enter(
            "restore_contract",
            f"restore_contract:{timestamp(self._since)}:{what}",
            f"{self._node} had lost {what}, and executes it again",
            {"contract_id": contract.contract_id, "version": contract.version, "number": contract.number},
            AlertResolved(cause=cause_of("policy_fault", names.node_sync_id(self._node), contract.contract_id)),
        )
        return None

    async def _not_restored(self, contract: DeployedContract, fault: str) -> None:
        """Alerted once for each fault; tried again until it is mended, or when there is news."""
        what = f"{contract.contract_id} {contract.version}"
        text = (
            f"{self._node} has lost {what}, and it cannot be sent again: {fault}. Until it can, the node gets no"
            " register either. Put the file back as it was published; it goes on by itself."
        )
        event = f"policy_fault:{timestamp(self._since)}:{document_hash({'text': text})[:32]}"
        alert = self._book.alert(event, "policy_fault", text, contract.contract_id)
        await self._book.enter("policy_fault", event, text, {}, alert)
        workflow.set_current_details(f"Waits for {what}: {fault}. Moved on by: whoever mends that.")
        await self._inbox.filled(retry.LONGEST_PAUSE, "a person must look")

    # --- what it reports ------------------------------------------------------------------------------------

    async def _take(self, report: NodeReport) -> None:
        """Records it under its number. One that cannot stand there stops nothing: it is kept aside, and alerted."""
        if not await self._recorded(report, str(report.number)) and not await self._kept_aside(report):
            await self._given_up(report)
        elif report.calibration is not None:
            known_at = max(report.happened_at, workflow.now())  # a node's clock may be behind: rather too much is found
            stands = await follow_up(self._book, _aside(report), report.calibration, known_at)
            if stands.node_id not in (None, self._node):
                await refresh(stands.node_id)

    async def _kept_aside(self, report: NodeReport) -> bool:
        """Other content stands under its number: the node's disk was replaced, or somebody changed it."""
        text = (
            f"Node {self._node} gave report {report.number} ({report.action} of {report.target}) with other content"
            " than before: was its disk replaced? Both stand in the ledger; look at the node."
        )
        number = _aside(report)
        return await self._recorded(report, number, self._conflict(f"report_conflict:{number}", text))

    async def _given_up(self, report: NodeReport) -> None:
        text = (
            f"Report {report.number} of node {self._node} cannot be kept in the ledger: look at it on the node's disk,"
            " and write down by hand what it says."
        )
        event = f"refuse_report:{report.number}"
        await self._book.enter("refuse_report", event, text, {}, self._conflict(event, text))

    async def _recorded(self, report: NodeReport, number: str, *more: Change) -> bool:
        key = f"{names.node_sync_id(self._node)}:{number}"
        entry = LedgerEntry(
            idempotency_key=key,
            action_type="maintenance",
            action=report.action,
            target=report.target,
            details=report.details,
            user_id=report.user_id,
            smart_id=self._node,
            metadata=report.metadata,
            occurred_at=report.happened_at,
        )
        request = Record(entry=entry, changes=(*self._changes(report, key), *more))
        try:
            await step(LedgerActivities.record, request, summary=f"{report.number}: {report.action} {report.target}")
        except FailureError as error:
            if is_cancelled_exception(error):
                raise
            return False
        return True

    def _changes(self, report: NodeReport, key: str) -> list[Change]:
        """An alert has the name of its entry: a number alone comes again where the node's disk was replaced.

        What a calibration says of alerts, it says once it has its row: one that comes late may not be the newest here.
        """
        changes: list[Change] = []
        if report.calibration is not None:
            changes.append(calibration_row(report.calibration, self._node))
        changes += [AlertResolved(cause=cause, newest=report.newest) for cause in report.resolved]
        if report.alert is not None:
            source = names.node_sync_id(self._node)
            alert = Alert(alert_id=key, source=source, **dict(report.alert))
            changes.append(AlertRaised(alert=alert, newest=report.newest))
        return changes

    def _conflict(self, event: str, text: str) -> AlertRaised:
        return self._book.alert(event, "report_conflict", text)

    # --- what hangs on it -----------------------------------------------------------------------------------

    async def _tell_tests(self) -> None:
        """Those that wait for equipment there ask their gate again."""
        node = NodeRef(node_id=self._node)
        blocked = await step(EquipmentActivities.blocked_tests, node, summary=f"blocked tests of {self._node}")
        for name in blocked.smart_contract_ids:
            await tell(names.test_execution_id(name), names.EQUIPMENT_CHANGED, EquipmentNews())

    def _show(self, what: str) -> None:
        workflow.set_current_details(
            f"Waits for node {self._node}, for {what}. Moved on by: the worker of that node, by itself once it is back."
        )


def _aside(report: NodeReport) -> str:
    """Names a report by its number and its content: a node whose disk was replaced begins to count anew."""
    return f"{report.number}:{document_hash(report.model_dump(mode='json'))[:32]}"
