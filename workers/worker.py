"""The workers: which task queue runs which workflows and activities, with which adapters."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.worker import Interceptor, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.approval import ApprovalActivities
from activities.client_po import ClientPOActivities
from activities.decision import DecisionActivities
from activities.equipment import EquipmentActivities
from activities.ledger import LedgerActivities
from activities.maintenance import MaintenanceActivities
from activities.maintenance_node import MaintenanceNodeActivities
from activities.maintenance_pattern import MaintenancePatternActivities
from activities.node import NodeActivities
from activities.part_arrival import PartArrivalActivities
from activities.reconcile import ReconcileActivities
from activities.reverse_trace import ReverseTraceActivities
from activities.test_execution import TestExecutionActivities
from activities.transfer import TransferActivities
from infra.alerts import Alerts
from infra.approval_reconcile import ApprovalReconciler
from infra.approvals import Approvals
from infra.client_po import ClientPOs
from infra.contract_store import ContractStore
from infra.decisions import DecisionVerifier
from infra.dispatch import Dispatcher
from infra.equipment import MaintenanceGate
from infra.equipment_document import begin_register
from infra.equipment_register import EquipmentRegister
from infra.gatekeeper import Gatekeeper
from infra.guardian import Guardian, TrustList
from infra.hubs import Hubs
from infra.ledger import Ledger
from infra.maintenance import MaintenanceContracts
from infra.maintenance_alerts import MaintenancePatterns, MaintenanceReviews
from infra.maintenance_drafts import Drafts
from infra.maintenance_missing import MissingDeployments
from infra.maintenance_order_reconcile import NodeOrderReconciler
from infra.maintenance_orders import NodeOrdering
from infra.maintenance_reconcile import MaintenanceReconciler
from infra.node_maintenance import NodeMaintenance
from infra.node_store import NodeStore
from infra.pattern_reconcile import PatternReconciler
from infra.personnel import Personnel
from infra.policy_repository import PolicyRepository
from infra.reconcile import ClientPOReconciler
from infra.recorder import open_ledger
from infra.registry import load_registry
from infra.repairs import Repairs
from infra.reverse_trace import ReverseTraces
from infra.settings import Settings
from infra.telemetry import sdk_metrics
from infra.temporal import ClientPOStarter, NodeSyncs, PartArrivals, connect
from infra.test_execution import Tests
from infra.test_reconcile import TestReconciler
from infra.trace_reconcile import TraceReconciler
from infra.trace_search import Searcher
from infra.transfer import Transfers
from infra.transfer_reconcile import TransferReconciler
from schemas import names
from workers.checkpoints import keep_checkpoints
from workers.node_reports import tell_hub
from workers.process import say_ready, stop_requested
from workers.schedules import schedule_all
from workflows.approval import ApprovalWorkflow
from workflows.client_po import ClientPOWorkflow
from workflows.contract_on_node import ContractOnNodeWorkflow
from workflows.equipment import EquipmentWorkflow
from workflows.maintenance import MaintenanceContractWorkflow
from workflows.maintenance_pattern import MaintenancePatternWorkflow
from workflows.node_sync import NodeSyncWorkflow
from workflows.node_watch import NodeWatchWorkflow
from workflows.part_arrival import PartArrivalWorkflow
from workflows.reconcile import ReconcileWorkflow
from workflows.reverse_trace import ReverseTraceWorkflow
from workflows.test_execution import TestExecutionWorkflow
from workflows.transfer import TransferWorkflow

WORKFLOWS: Sequence[type] = (
    ClientPOWorkflow,
    PartArrivalWorkflow,
    TestExecutionWorkflow,
    ApprovalWorkflow,
    TransferWorkflow,
    MaintenancePatternWorkflow,
    NodeWatchWorkflow,
    MaintenanceContractWorkflow,
    ContractOnNodeWorkflow,
    EquipmentWorkflow,
    NodeSyncWorkflow,
    ReverseTraceWorkflow,
    ReconcileWorkflow,
)

SANDBOX = SandboxedWorkflowRunner(
    # Loaded once for all workflows: they are pure, and a model that is loaded twice is two models. Everything else is
    # loaded anew for each workflow that starts (measured: without ours, 30 POs are staged a second, not 41).
    restrictions=SandboxRestrictions.default.with_passthrough_modules(
        *("schemas", "activities", "pydantic", "pydantic_core", "annotated_types", "rfc8785"),
        *(
            "workflows.book",
            "workflows.decisions",
            "workflows.inbox",
            "workflows.retry",
            "workflows.search_attributes",
            "workflows.steps",
        ),
    )
)

AT_ONCE = 8
"""What a node does at the same time. One would be enough for its disk, but a queue with a single poller is slow."""

GRACE = timedelta(seconds=5)
"""How long a stopping worker lets its activities finish."""


def main_worker(
    client: Client,
    engine: AsyncEngine,
    ledger: Ledger,
    hubs: Hubs,
    settings: Settings,
    interceptors: Sequence[Interceptor] = (),
) -> Worker:
    """All workflows and the short activities."""
    starter, client_pos, transfers = ClientPOStarter(client, settings), ClientPOs(engine), Transfers(engine)
    part_arrivals = PartArrivalActivities(PartArrivals(client, settings.unclaimed_after))
    tests = TestExecutionActivities(Personnel(settings.personnel_file), transfers)
    gatekeeper = Gatekeeper(TrustList(settings.guardian_trust_dir), client_pos, transfers, settings)
    contracts, registry = ContractStore(settings.contracts_dir), load_registry(settings.nodes_file)
    syncs = NodeSyncs(client)
    register = EquipmentRegister(engine, registry)
    equipment = EquipmentActivities(register, syncs)
    transfer = TransferActivities(gatekeeper, Dispatcher(contracts, client_pos, ledger, registry), hubs)
    versions = MaintenanceContracts(engine)
    drafts = Drafts(client, versions, ledger, registry, settings)
    repository = PolicyRepository(settings.policy_repository_dir)
    ordering = NodeOrdering(client, versions, registry)
    maintenance = MaintenanceActivities(drafts, versions, repository, ordering)
    traces = ReverseTraces(engine)
    reviews = MaintenanceReviews(engine)
    patterns = MaintenancePatterns(client, settings.maintenance_pattern_window, versions)
    learns = MaintenancePatternActivities(reviews)
    trace = ReverseTraceActivities(traces, Searcher(engine, ledger, registry), syncs)
    return Worker(
        client,
        task_queue=names.MAIN_QUEUE,
        workflows=WORKFLOWS,
        activities=[
            LedgerActivities(ledger).record,
            part_arrivals.join_line,
            part_arrivals.read_held,
            ClientPOActivities(client_pos).is_routed,
            DecisionActivities(DecisionVerifier(settings)).verify_decision,
            ApprovalActivities(Approvals(engine)).read_outcome,
            tests.check_qualification,
            tests.read_disposition,
            transfer.admit,
            transfer.prepare,
            transfer.send,
            *(learns.read_executed, learns.read_life, learns.is_received),
            maintenance.create_version,
            maintenance.choose_nodes,
            maintenance.publish_contract,
            maintenance.read_policy,
            maintenance.send_orders,
            maintenance.read_progress,
            maintenance.read_moved,
            maintenance.is_wanted,
            *(equipment.look_up_line, equipment.look_up_calibration, equipment.read_register),
            *(equipment.newest_change, equipment.lost_contracts, equipment.blocked_tests, equipment.refresh_node),
            *(trace.look, trace.search, trace.select),
            ReconcileActivities(
                partial(Repairs, Alerts(engine), ledger),
                ApprovalReconciler(client, Approvals(engine), ledger),
                TestReconciler(client, Tests(engine), ledger),
                TransferReconciler(client, transfers, ledger),
                NodeOrderReconciler(client, versions, ledger, ordering, registry, settings),
                MaintenanceReconciler(client, versions, ledger, drafts),
                MissingDeployments(versions, ordering, Alerts(engine), ledger),
                PatternReconciler(client, reviews, patterns, ledger),
                TraceReconciler(client, traces, register, ledger),
                ClientPOReconciler(client, client_pos, ledger, starter),
            ).reconcile,
        ],
        workflow_runner=SANDBOX,
        interceptors=interceptors,
        graceful_shutdown_timeout=GRACE,
    )


def node_worker(
    client: Client,
    maintenance: NodeMaintenance,
    settings: Settings,
    executor: ThreadPoolExecutor,
    interceptors: Sequence[Interceptor] = (),
) -> Worker:
    """What one node does; its disk makes the order."""
    node_id = maintenance.node.node_id
    store = NodeStore(node_id, settings.node_store(node_id))
    guardian = Guardian(node_id, store, settings.guardian_key_file(node_id), DecisionVerifier(settings))
    guardian.introduce(settings.guardian_trust_dir)
    node = NodeActivities(store, MaintenanceGate(maintenance), guardian)
    care = MaintenanceNodeActivities(maintenance)
    return Worker(
        client,
        task_queue=names.node_queue(node_id),
        activities=[
            *(node.take_client_po, node.announce_part, node.begin_test, node.keep_results, node.authorize),
            *(care.take_contract, care.retire_contract, care.take_register, care.read_reports, care.confirm_reports),
            care.check_expiry,
        ],
        activity_executor=executor,
        max_concurrent_activities=AT_ONCE,
        interceptors=interceptors,
        graceful_shutdown_timeout=GRACE,
    )


async def run_main_worker(settings: Settings, interceptors: Sequence[Interceptor] = ()) -> None:
    """Runs until SIGTERM or Ctrl-C, or until checkpoints fail in a way that nobody foresaw: then that is raised."""
    stop = stop_requested()
    client = await connect(settings, sdk_metrics(settings.metrics_host, settings.metrics_port).runtime)
    async with open_ledger(settings, "worker") as (engine, ledger):
        await schedule_all(client, settings)
        await open_register(client, engine, ledger, settings)
        async with (
            Hubs(settings) as hubs,
            main_worker(client, engine, ledger, hubs, settings, interceptors),
            asyncio.TaskGroup() as tasks,
        ):
            checkpoints = tasks.create_task(keep_checkpoints(engine, ledger, settings))
            say_ready()
            await stop.wait()
            checkpoints.cancel()


async def run_node_worker(settings: Settings, node_id: str, interceptors: Sequence[Interceptor] = ()) -> None:
    """Runs one node until SIGTERM or Ctrl-C."""
    stop = stop_requested()
    maintenance = NodeMaintenance(load_registry(settings.nodes_file)[node_id], settings.node_store(node_id))
    client = await connect(settings, sdk_metrics(settings.metrics_host, settings.metrics_port).runtime)
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix=node_id) as executor:
        async with (
            node_worker(client, maintenance, settings, executor, interceptors),
            asyncio.TaskGroup() as tasks,
        ):
            telling = tasks.create_task(tell_hub(maintenance, NodeSyncs(client).reported))
            say_ready()
            await stop.wait()
            telling.cancel()


async def open_register(client: Client, engine: AsyncEngine, ledger: Ledger, settings: Settings) -> None:
    """The register begins with its document, and every node is told: whoever was away may not know of a change.

    Raises `CannotRead`.
    """
    registry = load_registry(settings.nodes_file)
    await begin_register(settings.equipment_file, EquipmentRegister(engine, registry), ledger)
    for node in registry.nodes:
        await NodeSyncs(client).refresh(node.node_id)
