"""A test's shop: its part, its node and its POs, on any Temporal server, with a ledger in memory."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, WorkflowHandle, WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer, Worker

from activities.approval import ApprovalActivities
from activities.client_po import ClientPOActivities
from activities.decision import DecisionActivities
from activities.equipment import EquipmentActivities
from activities.ledger import LedgerActivities
from activities.maintenance_node import MaintenanceNodeActivities
from activities.node import NodeActivities
from activities.part_arrival import PartArrivalActivities
from activities.test_execution import TestExecutionActivities
from infra.decisions import DecisionSigner, DecisionVerifier
from infra.equipment import MaintenanceGate
from infra.guardian import Guardian
from infra.node_maintenance import NodeMaintenance
from infra.node_store import NodeStore
from infra.personnel import Personnel
from infra.settings import Settings
from infra.temporal import ClientPOStarter, EquipmentDesk, NodeSyncs, PartArrivals
from schemas import names
from schemas.alert import Alert
from schemas.approval import ApprovalOutcome, ApprovalStatus
from schemas.canonical import document_hash
from schemas.changes.alert import AlertRaised, AlertResolved
from schemas.changes.approval import ApprovalChanged, ApprovalOpened
from schemas.changes.client_po import ClientPOChanged
from schemas.changes.equipment import CalibrationRecorded, EquipmentChanged, EquipmentEvent, EquipmentRegistered
from schemas.changes.maintenance_pattern import MaintenanceAlertReceived, ReviewEnded, ReviewOpened
from schemas.changes.reverse_trace import (
    ResultsTraced,
    TraceAlertsResolved,
    TraceClosed,
    TracedResultsDisposed,
    TraceOpened,
    VaultAmended,
)
from schemas.changes.test_execution import ResultSubmitted, SignedOff, SignOffsVoided, TestChanged, TestOpened
from schemas.changes.transfer import NonconformanceDisposed, NonconformanceOpened, TransferChanged, TransferOpened
from schemas.client_po_life import acceptance_wanted
from schemas.decision import Wanted
from schemas.equipment import CalibrationRecord, CalibrationResult, EquipmentItem
from schemas.identity import Identity
from schemas.ledger import Draft, LedgerEntry, Receipt, RecordRefused
from schemas.node import Node
from schemas.node_report import RegisteredItem, RegisterPage
from schemas.part_arrival import PartArrival, ReportedArrival
from schemas.permission import Role
from schemas.record import Change, Record
from schemas.reverse_trace import Selection, in_doubt_cause
from schemas.signoff import Meaning, SignOffDecision, signoff_wanted
from schemas.test_execution import results_wanted
from schemas.test_results import Results, TestResult
from schemas.transfer import Disposition
from tests.workflows.register import MemoryRegister
from tests.workflows.stand_in import WaitingTrace, WaitingTransfer
from workers.worker import SANDBOX, WORKFLOWS

DEADLINE = 20.0
"""Seconds of real time until something that should happen counts as not happening."""

ALERT_AFTER = timedelta(seconds=1)
"""Real time: this server does not skip it while an activity waits for its worker."""

UNCLAIMED_AFTER = timedelta(days=30)


class Conflict(RecordRefused):
    """Other content under a known idempotency key."""


class MemoryLedger:
    """Keeps the ledger's promises to its callers: one content for a key, nothing that cannot be hashed."""

    def __init__(self) -> None:
        self.entries: dict[str, LedgerEntry] = {}
        self.alerts: dict[str, Alert] = {}
        self.open: dict[str, Alert] = {}
        self.rows: dict[str, dict[str, Any]] = {}
        self.routed: dict[str, tuple[str, str]] = {}
        self.approvals: dict[str, dict[str, Any]] = {}
        self.transfer_rows: dict[str, dict[str, Any]] = {}
        self.nonconformances: dict[str, dict[str, Any]] = {}
        self.tests: dict[str, dict[str, Any]] = {}
        self.register = MemoryRegister(self.tests, self.entries)
        self.results: list[ResultSubmitted] = []
        self.signoffs: list[SignedOff] = []
        self.transfers: dict[str, TransferOpened] = {}
        self.dispositions: dict[str, Disposition] = {}
        self.maintenance_alerts: dict[str, MaintenanceAlertReceived] = {}
        self.reviews: dict[str, dict[str, Any]] = {}
        self.traces: dict[str, str] = {}
        self.traced: list[dict[str, Any]] = []
        self.amended: list[dict[str, Any]] = []
        self.conflicts: list[str] = []
        self.away = False
        self.refuses: set[str] = set()
        self.attempts = 0

    async def record(self, record: Record) -> Receipt:
        self.attempts += 1
        if self.away:
            raise ConnectionError("the database is away")
        entry = record.entry
        if entry.action in self.refuses:
            raise RecordRefused("cannot be kept")
        Draft(entry, "HUB")
        known = self.entries.get(entry.idempotency_key)
        if known is not None and known.model_copy(update={"occurred_at": entry.occurred_at}) != entry:
            self.conflicts.append(entry.idempotency_key)
            raise Conflict(entry.idempotency_key)
        if known is None:
            self.entries[entry.idempotency_key] = entry
            for change in record.changes:
                self._change(change, entry)
        seq = list(self.entries).index(entry.idempotency_key)
        return Receipt(seq=seq, leaf="00", recorded_at=datetime.now(UTC), repeated=known is not None)

    def waiting(self, trace_id: str, selection: Selection) -> list[dict[str, Any]]:
        """As `infra.rows` reads a selection."""
        wanted = {"trace_id": trace_id, "disposition": None, **selection.terms}
        return [row for row in self.traced if wanted.items() <= row.items()]

    def _change(self, change: Change, entry: LedgerEntry) -> None:
        match change:
            case AlertRaised(newest=calibration) | AlertResolved(newest=calibration) if (
                calibration and not self.register.is_newest(calibration)
            ):
                pass
            case AlertRaised():
                self.alerts.setdefault(change.alert.alert_id, change.alert)
                self.open[change.alert.cause] = change.alert
            case AlertResolved():
                self.open.pop(change.cause, None)
            case ApprovalOpened():
                self.approvals[change.approval_id] = change.model_dump(exclude={"kind"})
            case ApprovalChanged():
                self.approvals[change.approval_id].update(change.model_dump(exclude={"kind", "ended_now"}))
            case ClientPOChanged():
                row = self.rows.setdefault(change.smart_contract_id, {})
                row.update(change.model_dump(exclude={"kind", "smart_contract_id"}))
            case EquipmentRegistered() | EquipmentChanged() | EquipmentEvent() | CalibrationRecorded():
                self.register.change(change)
            case TestOpened():
                self.tests[change.smart_contract_id] = change.model_dump(exclude={"kind"})
            case TestChanged():
                self.tests[change.smart_contract_id].update(change.model_dump(exclude={"kind", "smart_contract_id"}))
            case ResultSubmitted():
                self.results.append(change)
            case SignedOff():
                self.signoffs.append(change)
            case SignOffsVoided():
                self.signoffs = [one for one in self.signoffs if one.test_id != change.test_id]
            case TransferOpened():
                self.transfers[change.package_id] = change
            case TransferChanged():
                row = self.transfer_rows.setdefault(change.package_id, {})
                row.update(change.model_dump(exclude={"kind", "package_id"}))
            case MaintenanceAlertReceived():
                self.maintenance_alerts.setdefault(change.alert_id, change)
            case ReviewOpened():
                self.reviews[change.review_id] = change.model_dump(exclude={"kind"}) | {"status": "open"}
            case ReviewEnded():
                self.reviews[change.review_id].update(change.model_dump(exclude={"kind"}))
            case NonconformanceOpened():
                self.nonconformances[change.package_id] = change.model_dump(exclude={"kind"})
            case NonconformanceDisposed():
                self.nonconformances.setdefault(change.package_id, {}).update(change.model_dump(exclude={"kind"}))
                self.dispositions[change.package_id] = Disposition(change.disposition)
            case TraceOpened():
                self.traces[change.trace_id] = "open"
            case ResultsTraced():
                own = {"trace_id": change.trace_id, "disposition": None}
                self.traced += [{**result.model_dump(), **own} for result in change.results]
            case TracedResultsDisposed():
                for row in self.waiting(change.trace_id, change.selection):
                    row.update(disposition=change.disposition, decided_by=entry.user_id, entry=entry.idempotency_key)
            case TraceAlertsResolved():
                left = {row["clientpo_id"] for row in self.waiting(change.trace_id, Selection())}
                for order in {row["clientpo_id"] for row in self.traced} - left:
                    self.open.pop(in_doubt_cause(change.trace_id, order), None)
            case VaultAmended():
                self.amended += [row for row in self.traced if row.get("entry") == entry.idempotency_key]
            case TraceClosed():
                self.traces[change.trace_id] = "closed"


class MemoryClientPOs:
    """Knows which package brought a contract, and from where: what a test wrote there."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger

    async def is_routed(self, smart_contract_id: str, package_id: str, place: str) -> bool:
        return self._ledger.routed.get(smart_contract_id) == (package_id, place)


class MemoryTransfers:
    """Reads what the ledger in memory wrote, as `infra.transfer` reads rows."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger

    async def disposition(self, package_id: str) -> Disposition | None:
        return self._ledger.dispositions.get(package_id)


class MemoryApprovals:
    """Reads what the ledger in memory wrote, as `infra.approvals` reads rows."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger

    async def outcome(self, approval_id: str) -> ApprovalOutcome | None:
        row = self._ledger.approvals.get(approval_id)
        if row is None or row["status"] == ApprovalStatus.OPEN:
            return None
        return ApprovalOutcome(
            approval_id=approval_id,
            content_hash=row["content_hash"],
            status=row["status"],
            decided_by=row.get("decided_by"),
            role=row.get("decided_role"),
            note=row.get("note"),
            wakes=row["wakes"],
        )


class Shop:
    """One test's view of the shop: its own part, its own node, and what the ledger says about them."""

    def __init__(self, environment: WorkflowEnvironment, ledger: MemoryLedger, state: Path) -> None:
        self.environment = environment
        self.client: Client = environment.client
        self.ledger = ledger
        self.name = uuid4().hex[:8]
        self.part = f"PART-{self.name}"
        self.node = f"NODE-{self.name}"
        self._disk = state / "node.sqlite"
        self.store = NodeStore(self.node, self._disk)
        self.time_at_node = datetime.min.replace(tzinfo=UTC)
        self.maintenance = self._maintenance(Node(node_id=self.node, station_type="LP", name="Cell 1"))
        self._revision = 0
        self.part_arrivals = PartArrivals(self.client, UNCLAIMED_AFTER)
        self.node_syncs = NodeSyncs(self.client)
        self.desk = EquipmentDesk(self.client)
        self.workflow_ids: set[str] = set()
        self.settings = Settings(
            release_alert_after=ALERT_AFTER,
            deployment_alert_after=ALERT_AFTER,
            state_dir=state,
            personnel_file=state / "personnel.yaml",
        )
        self.equip()
        self.settings.personnel_file.write_text(yaml.safe_dump(PERSONNEL))
        self.signer = DecisionSigner(self.settings)
        self._starter = ClientPOStarter(self.client, self.settings)
        self._scans = 0

    def close(self) -> None:
        """Lets go of its node's disk."""
        self.store.close()
        self.maintenance.close()

    # --- what happens

    async def now(self) -> datetime:
        return await self.environment.get_current_time()

    def document(self, name: str = "A", **fields: Any) -> dict[str, Any]:
        part = {} if "part_number" in fields else {"part_id": self.part}
        return {
            "smart_contract_id": f"{name}-{self.name}",
            "contract_type": "nondestructive_testing",
            "clientpo_id": "CPO-1",
            "client": "ACME",
            **part,
            "tests": [
                {
                    "test_id": "T-1",
                    "test_type": "liquid_penetrant",
                    "assigned_node": self.node,
                    "procedure": {"procedure_id": "E1417", "revision": "2021"},
                    "required_signoffs": ["inspector"],
                    "equipment": [],
                }
            ],
            "routing_trigger": {"type": "workflow_complete"},
            **fields,
        }

    async def stage(self, name: str = "A", **fields: Any) -> "PO":
        document = self.document(name, **fields)
        po = PO(self, document["smart_contract_id"], document.get("quantity", 1))
        self.ledger.rows[po.name] = {"status": "awaiting_arrival", "arrived": 0}
        assert await self._starter.start(document, document_hash(document), await self.now())
        self.workflow_ids |= {
            po.handle.id,
            names.part_arrival_id(document.get("part_id"), document.get("part_number")),
        }
        return po

    async def scan(self, at: str = "dock", *, age: timedelta = timedelta(0), **fields: Any) -> str:
        """A broadcast of the test's part; returns its ID."""
        self._scans += 1
        body = {
            "id": f"B{self._scans}-{self.name}",
            "event_type": "part_arrival",
            "location": at,
            "timestamp": await self.now() - age,
            **({} if "part_number" in fields else {"part_id": self.part}),
            **fields,
        }
        arrival = PartArrival.model_validate(body)
        reported = ReportedArrival(arrival=arrival, at_node=at == self.node)
        self.workflow_ids.add(await self.part_arrivals.report(reported))
        return arrival.id

    async def approval(self, approval_id: str) -> "Approval":
        """One that was asked for."""
        await until(lambda: approval_id in self.ledger.approvals, lambda: f"{approval_id} is asked; {self}")
        self.workflow_ids.add(names.approval_workflow_id(approval_id))
        return Approval(self, approval_id)

    async def release(self, name: str = "A", **fields: Any) -> "Tested":
        """A PO whose part is there, at its node; the node is away again afterwards."""
        async with self.node_online():
            po = await self.stage(name, **fields)
            await self.scan()
            await po.is_("released")
        tested = Tested(self, po.name)
        self.workflow_ids.add(tested.handle.id)
        await tested.is_("waiting")
        return tested

    def equip(self, *fit: str, due_on: date = date(2099, 12, 31)) -> None:
        """Which instruments may be used from now on, until then; all others go out of service."""
        self._revision += 1
        self.maintenance.take_register(
            RegisterPage(
                since=self._revision - 1,
                revision=self._revision,
                items=tuple(self._line(name, fit, due_on) for name in {*fit, *self.maintenance.here()}),
            )
        )

    def _line(self, name: str, fit: Sequence[str], due_on: date) -> RegisteredItem:
        return RegisteredItem(
            revision=self._revision,
            item=EquipmentItem(
                equipment_id=name,
                equipment_type="lamp",
                description=f"Lamp {name}",
                node_id=self.node,
                home_node=self.node,
                out_of_service=None if name in fit else "broken",
            ),
            last_calibration=CalibrationRecord(
                equipment_id=name,
                certificate_number=f"CERT-{name}",
                calibrated_on=date(2020, 1, 1),
                due_on=due_on,
                result=CalibrationResult.PASSED,
                provider="Calibration laboratory",
                technician="tess",
            ),
        )

    async def token(
        self,
        wanted: Wanted,
        decision: str,
        *,
        by: str,
        role: Role = Role.PRODUCTION_MANAGER,
        meaning: str | None = None,
        logged_in: timedelta = timedelta(0),
    ) -> str:
        """The decision token of somebody who logged in so long ago, by this server's clock."""
        now = await self.now()
        return self.signer.sign(
            Identity(user_id=by, role=role, auth_time=now - logged_in),
            workflow_id=wanted.workflow_id,
            content_hash=wanted.content_hash,
            decision=decision,
            meaning=meaning or decision,
            at=now,
        )

    @property
    def line(self) -> WorkflowHandle[Any, Any]:
        """The workflow of the test's part."""
        return self.client.get_workflow_handle(names.part_arrival_id(self.part, None))

    @asynccontextmanager
    async def node_online(self, take: Callable[..., Any] | None = None) -> AsyncIterator[None]:
        """The node's worker, or one that does something else instead."""
        guardian = Guardian(
            self.node, self.store, self.settings.guardian_key_file(self.node), DecisionVerifier(self.settings)
        )
        guardian.introduce(self.settings.guardian_trust_dir)
        node = NodeActivities(self.store, MaintenanceGate(self.maintenance), guardian)
        care = MaintenanceNodeActivities(self.maintenance)
        others = (
            *(node.announce_part, node.begin_test, node.keep_results, node.authorize),
            *(care.take_contract, care.retire_contract, care.take_register, care.read_reports, care.confirm_reports),
        )
        with ThreadPoolExecutor(1) as pool:
            async with Worker(
                self.client,
                task_queue=names.node_queue(self.node),
                activities=[take or node.take_client_po, *others],
                activity_executor=pool,
            ):
                yield

    async def pass_time(self, time: timedelta) -> None:
        """At once, unless an activity waits."""
        await self.environment.sleep(time)

    def _maintenance(self, node: Node) -> NodeMaintenance:
        """Its clock shows at least `time_at_node`."""
        return NodeMaintenance(node, self._disk, lambda: max(datetime.now(UTC), self.time_at_node))

    def forget_at_node(self) -> None:
        """What a person does at a node whose inbox holds something wrong."""
        self.close()
        self._disk.unlink()
        self.store = NodeStore(self.node, self._disk)
        self.maintenance = self._maintenance(self.maintenance.node)
        self._revision = 0

    def alter_results_at_node(self) -> None:
        """What nobody may do to a node's own copy."""
        with closing(sqlite3.connect(self._disk)) as database, database:
            database.execute("""UPDATE results SET results = replace(results, '"0.10"', '"0.01"')""")

    # --- what the ledger says

    def entries(self, action: str, target: str | None = None) -> list[LedgerEntry]:
        """About this test's part and POs."""
        return [
            entry
            for entry in self.ledger.entries.values()
            if entry.action == action and entry.target.endswith(self.name) and target in {None, entry.target}
        ]

    def alerts(self, alert_type: str) -> list[Alert]:
        return [
            alert
            for alert in self.ledger.alerts.values()
            if alert.alert_type == alert_type and alert.subject.endswith(self.name)
        ]

    def open_alerts(self, alert_type: str) -> list[Alert]:
        """Those whose cause is not gone."""
        return [alert for alert in self.alerts(alert_type) if alert in self.ledger.open.values()]

    async def recorded(self, action: str, count: int = 1, target: str | None = None) -> LedgerEntry:
        """Waits for an action's nth entry."""
        await until(lambda: len(self.entries(action, target)) >= count, lambda: f"{count} of {action}: {self}")
        return self.entries(action, target)[count - 1]

    def __str__(self) -> str:
        lines = [f"{e.action}: {e.details}" for e in self.ledger.entries.values() if e.target.endswith(self.name)]
        return "\n  ".join(["the ledger has:", *lines])


class PO:
    """One staged PO of a test."""

    def __init__(self, shop: Shop, name: str, ordered: int = 1) -> None:
        self.shop = shop
        self.name = name
        self.ordered = ordered
        self.handle: WorkflowHandle[Any, Any] = shop.client.get_workflow_handle(names.client_po_id(name))

    @property
    def row(self) -> dict[str, Any]:
        return self.shop.ledger.rows[self.name]

    async def is_(self, status: str) -> None:
        """Waits until the row says so."""
        await until(lambda: self.row["status"] == status, lambda: f"{self.name} is {self.row}; {self.shop}")

    async def recorded(self, action: str, count: int = 1) -> LedgerEntry:
        return await self.shop.recorded(action, count, self.name)

    def entries(self, action: str) -> list[LedgerEntry]:
        return self.shop.entries(action, self.name)

    async def joined(self) -> None:
        """Waits until it stands in the line of its part."""
        await shows(self.shop.line, self.name)

    async def acceptance_token(self, quantity: int, *, by: str = "ada") -> str:
        wanted = acceptance_wanted(self.name, quantity, self.ordered)
        return await self.shop.token(wanted, names.ACCEPT_QUANTITY, by=by)

    async def accept(self, quantity: int | None = None, *, by: str = "ada") -> None:
        """Asks that fewer parts be accepted; those that are there, where it does not say how many."""
        token = await self.acceptance_token(quantity or self.row["arrived"], by=by)
        await self.ask("accept_quantity", token=token, **({} if quantity is None else {"quantity": quantity}))

    async def ask(self, signal: str, **payload: Any) -> None:
        """By signal, as from the Temporal Web UI."""
        await self.handle.signal(signal, {"reason": "because", "user_id": "ada", **payload})


class Tested:
    """The test of one released PO; what is asked of it comes by signal, as from the Temporal Web UI."""

    __test__ = False

    def __init__(self, shop: Shop, name: str) -> None:
        self.shop = shop
        self.name = name
        self.handle: WorkflowHandle[Any, Any] = shop.client.get_workflow_handle(names.test_execution_id(name))

    @property
    def row(self) -> dict[str, Any]:
        return self.shop.ledger.tests.get(self.name, {})

    @property
    def signoffs(self) -> list[SignedOff]:
        """Those that are not void."""
        return [signoff for signoff in self.shop.ledger.signoffs if signoff.smart_contract_id == self.name]

    async def is_(self, status: str) -> None:
        """Waits until the row says so."""
        await until(lambda: self.row.get("status") == status, lambda: f"{self.name} is {self.row}; {self.shop}")

    async def recorded(self, action: str, count: int = 1) -> LedgerEntry:
        return await self.shop.recorded(action, count, self.name)

    def entries(self, action: str) -> list[LedgerEntry]:
        return self.shop.entries(action, self.name)

    async def shows(self, text: str) -> None:
        """Waits until the Temporal Web UI says so."""
        await shows(self.handle, text)

    def hash(self, test_id: str = "T-1") -> str:
        """What a sign-off of the newest results signs."""
        found = [
            one for one in self.shop.ledger.results if (one.smart_contract_id, one.test_id) == (self.name, test_id)
        ]
        return found[-1].content_hash

    async def ask(self, signal: str, **payload: Any) -> None:
        await self.handle.signal(signal, payload)

    async def start(self, performer: str = "ivan", *instruments: str) -> None:
        await self.ask("start", performer=performer, instruments=instruments)

    async def submission(self, *results: TestResult, by: str = "ivan", **token: Any) -> dict[str, Any]:
        """Results (one that is accepted, where none are given) with the declaration of whoever performed."""
        submitted = Results(results=results or (result(),))
        wanted = results_wanted(self.name, submitted.content_hash(self.name))
        given = {"role": Role.INSPECTOR, **token}
        signed = await self.shop.token(wanted, names.SUBMIT_RESULTS, by=by, **given)
        return {**submitted.model_dump(mode="json"), "token": signed}

    async def submit(self, *results: TestResult, **token: Any) -> None:
        await self.ask("submit_results", **await self.submission(*results, **token))

    async def signature(
        self,
        test_id: str = "T-1",
        *,
        by: str = "ines",
        role: Role = Role.INSPECTOR,
        decision: str = SignOffDecision.SIGN,
        content_hash: str | None = None,
        meaning: str = Meaning.REVIEWED,
        reason: str | None = None,
        **token: Any,
    ) -> dict[str, Any]:
        """A decision on the newest results of a test."""
        wanted = signoff_wanted(self.name, content_hash or self.hash(test_id))
        signed = await self.shop.token(wanted, decision, by=by, role=role, meaning=meaning, **token)
        return {"test_id": test_id, "token": signed, "reason": reason}

    async def sign(self, test_id: str = "T-1", **decision: Any) -> None:
        await self.ask("sign_off", **await self.signature(test_id, **decision))


def result(test_id: str = "T-1", verdict: str = "accept", value: str = "0.10") -> TestResult:
    """What one test gave."""
    return TestResult.model_validate(
        {
            "test_id": test_id,
            "verdict": verdict,
            "readings": [{"name": "longest indication", "value": value, "unit": "mm"}],
            "procedure_followed": True,
        }
    )


PERSONNEL = {
    "levels": {"inspector": 2, "quality_manager": 0},
    "persons": [
        {
            "person": person,
            "qualifications": [
                {
                    "method": "liquid_penetrant",
                    "level": level,
                    "certificate": f"PT-{person}",
                    "valid_from": date(2020, 1, 1),
                    "valid_until": date(until, 12, 31),
                }
            ],
        }
        for person, level, until in (("ivan", 2, 2099), ("ines", 3, 2099), ("lena", 1, 2099), ("otto", 3, 2021))
    ],
}
"""Lena's level is too low to inspect, Otto's certificate has expired; of others the register knows nothing."""


class Approval:
    """One approval of a test."""

    def __init__(self, shop: Shop, approval_id: str) -> None:
        self.shop = shop
        self.id = approval_id
        self.handle: WorkflowHandle[Any, Any] = shop.client.get_workflow_handle(names.approval_workflow_id(approval_id))

    @property
    def row(self) -> dict[str, Any]:
        return self.shop.ledger.approvals[self.id]

    @property
    def wanted(self) -> Wanted:
        return Wanted(
            workflow_id=self.handle.id,
            content_hash=self.row["content_hash"],
            decisions=("approve", "refuse"),
            permission=self.row["permission"],
        )

    async def is_(self, status: str) -> None:
        await until(lambda: self.row["status"] == status, lambda: f"{self.id} is {self.row}; {self.shop}")

    async def answer(self, answer: str = "approve", *, by: str = "bob", note: str | None = None, **token: Any) -> None:
        """By signal, as from the Temporal Web UI."""
        signed = await self.shop.token(self.wanted, answer, by=by, **token)
        await self.handle.signal("respond", {"token": signed, "note": note})

    def entries(self, action: str) -> list[LedgerEntry]:
        return [e for e in self.shop.ledger.entries.values() if (e.action, e.target) == (action, self.id)]

    async def recorded(self, action: str, count: int = 1) -> LedgerEntry:
        await until(lambda: len(self.entries(action)) >= count, lambda: f"{count} of {action} on {self.id}")
        return self.entries(action)[count - 1]


async def until(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    """Polls, and says what is missing when it does not come."""
    try:
        async with asyncio.timeout(DEADLINE):
            while not condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"did not happen within {DEADLINE} s: {what()}")


async def details(handle: WorkflowHandle[Any, Any]) -> str:
    """What the Temporal Web UI shows of a workflow; nothing where there is none."""
    try:
        metadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return ""
    return str(metadata.current_details)


async def shows(handle: WorkflowHandle[Any, Any], text: str) -> None:
    """Waits until the Temporal Web UI shows this of a workflow."""
    shown = ""
    try:
        async with asyncio.timeout(DEADLINE):
            while text not in shown:
                await asyncio.sleep(0.02)
                shown = await details(handle)
    except TimeoutError:
        pytest.fail(f"{handle.id} does not show {text!r} but {shown!r}")


def event_types(history: WorkflowHistory) -> list[str]:
    return [EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in history.events]


async def happened(handle: WorkflowHandle[Any, Any], event_type: str) -> None:
    """Waits until the history of a workflow has such an event."""
    types: list[str] = []
    try:
        async with asyncio.timeout(DEADLINE):
            while event_type not in types:
                await asyncio.sleep(0.02)
                types = event_types(await handle.fetch_history())
    except TimeoutError:
        pytest.fail(f"{handle.id} has no {event_type}: {types}")


WITHOUT_TRACES = [*(kind for kind in WORKFLOWS if kind.__name__ != "ReverseTraceWorkflow"), WaitingTrace]
WITHOUT_TRANSFERS = [*(kind for kind in WORKFLOWS if kind.__name__ != "TransferWorkflow"), WaitingTransfer]


@asynccontextmanager
async def main_worker(
    shop: Shop, workflows: Sequence[type] = WORKFLOWS, more: Sequence[Callable[..., Any]] = ()
) -> AsyncIterator[None]:
    """The product's workflows and short activities, over a ledger in memory; `more` are activities of the test's."""
    client, ledger = shop.client, shop.ledger
    part_arrivals = PartArrivalActivities(shop.part_arrivals)
    equipment = EquipmentActivities(ledger.register, shop.node_syncs)  # type: ignore[arg-type]
    tests = TestExecutionActivities(Personnel(shop.settings.personnel_file), MemoryTransfers(ledger))  # type: ignore[arg-type]
    async with Worker(
        client,
        task_queue=names.MAIN_QUEUE,
        workflows=workflows,
        activities=[
            LedgerActivities(ledger).record,  # type: ignore[arg-type]
            part_arrivals.join_line,
            part_arrivals.read_held,
            ClientPOActivities(MemoryClientPOs(ledger)).is_routed,  # type: ignore[arg-type]
            DecisionActivities(DecisionVerifier(shop.settings)).verify_decision,
            ApprovalActivities(MemoryApprovals(ledger)).read_outcome,  # type: ignore[arg-type]
            tests.check_qualification,
            tests.read_disposition,
            *(equipment.look_up_line, equipment.look_up_calibration, equipment.read_register),
            *(equipment.newest_change, equipment.lost_contracts, equipment.blocked_tests, equipment.refresh_node),
            *more,
        ],
        workflow_runner=SANDBOX,
    ):
        yield


def failed_tasks(history: WorkflowHistory) -> Iterator[str]:
    """Not those that were about to end the workflow when something came in: the server has them done again."""
    for event in history.events:
        if event.HasField("workflow_task_failed_event_attributes"):
            failure = event.workflow_task_failed_event_attributes
            if failure.cause != WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND:
                yield failure.failure.message


async def check_histories(shop: Shop) -> None:
    """No workflow of the shop was ever stuck, and each of them replays."""

    async def histories() -> AsyncIterator[WorkflowHistory]:
        for workflow_id in sorted(shop.workflow_ids):
            history = await shop.client.get_workflow_handle(workflow_id).fetch_history()
            assert not list(failed_tasks(history)), f"{workflow_id} is stuck"
            yield history

    replayer = Replayer(workflows=WORKFLOWS, workflow_runner=SANDBOX, data_converter=pydantic_data_converter)
    await replayer.replay_workflows(histories())  # by one worker: each loads all workflows to see that it can
    assert shop.ledger.conflicts == []
