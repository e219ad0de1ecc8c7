"""How each change of `schemas.record` becomes SQL, inside the transaction of its ledger entry."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import (
    CTE,
    JSON,
    ColumnElement,
    Executable,
    String,
    Text,
    case,
    cast,
    column,
    exists,
    func,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from infra.tables import (
    alert_messages,
    alerts,
    approvals,
    calibrations,
    client_pos,
    completed_orders,
    equipment,
    equipment_events,
    maintenance_alerts,
    maintenance_contracts,
    maintenance_deployments,
    maintenance_reviews,
    nonconformances,
    test_results,
    test_signoffs,
    tests,
    traced_results,
    traces,
    transfers,
    vault_amendments,
    vault_packages,
)
from schemas.alert import Alert, AlertEvent, AlertState
from schemas.base import Model
from schemas.ledger import LedgerEntry
from schemas.maintenance import ContractStatus, DeploymentStatus
from schemas.maintenance_alert import MaintenanceAlert
from schemas.record import (
    AlertAcknowledged,
    AlertEscalated,
    AlertRaised,
    AlertResolved,
    ApprovalChanged,
    ApprovalOpened,
    CalibrationRecorded,
    Change,
    ClientPOChanged,
    ClientPOStaged,
    ContractChanged,
    ContractCreated,
    DeploymentChanged,
    DeploymentOpened,
    DeploymentsSuperseded,
    EquipmentChanged,
    EquipmentEvent,
    EquipmentRegistered,
    MaintenanceAlertReceived,
    NonconformanceDisposed,
    NonconformanceOpened,
    OrderCompleted,
    ResultsTraced,
    ResultSubmitted,
    ReviewEnded,
    ReviewOpened,
    SignedOff,
    SignOffsVoided,
    TestChanged,
    TestOpened,
    TraceAlertsResolved,
    TraceClosed,
    TracedResultsDisposed,
    TraceOpened,
    TraceSearched,
    TransferChanged,
    TransferOpened,
    TransferRefused,
    VaultAmended,
    VaultStored,
)
from schemas.reverse_trace import Selection, TracedResult, in_doubt_cause
from schemas.transfer import LegStatus, PackageStatus


@dataclass(frozen=True)
class Reason:
    """The entry that justifies a change, with its number and time."""

    entry: LedgerEntry
    seq: int
    at: datetime

    @property
    def revision(self) -> int:
        """Of a line of the register: counted from 1, so that whoever has 0 has nothing. Entries are counted from 0."""
        return self.seq + 1


def statement(change: Change, reason: Reason) -> Executable:
    """The statement for one change."""
    match change:
        case ClientPOStaged():
            values = change.model_dump(exclude={"kind"})
            return insert(client_pos).values(**values, staged_timestamp=reason.at, updated_at=reason.at)
        case ClientPOChanged():
            return _client_po_changed(change, reason.at)
        case ApprovalOpened():
            return insert(approvals).values(**change.model_dump(exclude={"kind"}), opened_at=reason.at)
        case ApprovalChanged():
            return _approval_changed(change, reason.at)
        case TestOpened():
            values = change.model_dump(exclude={"kind"})
            return insert(tests).values(**values, opened_at=reason.at, updated_at=reason.at).on_conflict_do_nothing()
        case TestChanged():
            return _test_changed(change, reason.at)
        case ResultSubmitted():
            return insert(test_results).values(**change.model_dump(exclude={"kind"}), submitted_at=reason.at)
        case SignedOff():
            values = change.model_dump(exclude={"kind"})
            return insert(test_signoffs).values(**values, entry=reason.seq, signed_at=reason.at)
        case SignOffsVoided():
            return _sign_offs_voided(change, reason.at)
        case TransferOpened():
            return _transfer_opened(change, reason.at)
        case TransferChanged():
            return _transfer_changed(change, reason.at)
        case TransferRefused():
            return _transfer_refused(change, reason.at)
        case NonconformanceOpened():
            return insert(nonconformances).values(**change.model_dump(exclude={"kind"}), opened_at=reason.at)
        case NonconformanceDisposed():
            return _nonconformance_disposed(change, reason)
        case VaultStored():
            values = change.model_dump(exclude={"kind"})
            return insert(vault_packages).values(**values, entry=reason.seq, received_at=reason.at)
        case OrderCompleted():
            return insert(completed_orders).values(**change.model_dump(exclude={"kind"}), received_at=reason.at)
        case ContractCreated():
            values = change.model_dump(exclude={"kind"})
            return insert(maintenance_contracts).values(**values, created_at=reason.at, updated_at=reason.at)
        case ContractChanged():
            return _contract_changed(change, reason.at)
        case DeploymentOpened():
            new = {"number": reason.seq, "status": DeploymentStatus.PENDING}
            values = {**change.model_dump(exclude={"kind"}), **new}
            return insert(maintenance_deployments).values(**values, opened_at=reason.at).on_conflict_do_nothing()
        case DeploymentChanged():
            return _deployment_changed(change, reason.at)
        case DeploymentsSuperseded():
            return _deployments_superseded(change, reason.at)
        case EquipmentRegistered():
            return _equipment_registered(change, reason)
        case EquipmentChanged():
            return _equipment_changed(change, reason)
        case EquipmentEvent():
            values = {**change.model_dump(exclude={"kind"}), "entry": reason.seq, "user_id": reason.entry.user_id}
            return insert(equipment_events).values(**values, occurred_at=reason.entry.occurred_at or reason.at)
        case CalibrationRecorded():
            return _calibration_recorded(change, reason)
        case MaintenanceAlertReceived():
            values = change.model_dump(exclude={"kind"})
            return insert(maintenance_alerts).values(**values, received_at=reason.at).on_conflict_do_nothing()
        case ReviewOpened():
            values = {**change.model_dump(exclude={"kind"}), "status": "open"}
            return insert(maintenance_reviews).values(**values, opened_at=reason.at)
        case ReviewEnded():
            return _review_ended(change, reason.at)
        case TraceOpened():
            return insert(traces).values(**change.model_dump(exclude={"kind"}), opened_at=reason.at)
        case ResultsTraced():
            return _results_traced(change)
        case TraceSearched():
            first = update(traces).where(traces.c.searched_at.is_(None))
            return first.where(traces.c.trace_id == change.trace_id).values(searched_at=reason.at)
        case TracedResultsDisposed():
            return _traced_results_disposed(change, reason)
        case TraceAlertsResolved():
            return _trace_alerts_resolved(change, reason)
        case TraceClosed():
            return update(traces).where(traces.c.trace_id == change.trace_id).values(closed_at=reason.at)
        case VaultAmended():
            return _vault_amended(change, reason)
        case AlertRaised():
            return _alert_raised(change, reason)
        case AlertAcknowledged():
            return _alert_acknowledged(change, reason)
        case AlertEscalated():
            return _alert_escalated(change, reason)
        case AlertResolved():
            return _alert_resolved(change, reason)


_STAMPS = {"arrived_now", "unconfirmed", "released_now"}


def _client_po_changed(change: ClientPOChanged, recorded_at: datetime) -> Executable:
    values: dict[str, Any] = change.model_dump(exclude={"kind", "smart_contract_id", *_STAMPS})
    if change.arrived_now:
        values["arrival_timestamp"] = recorded_at
    if change.unconfirmed:
        values["arrival_timestamp"] = None
    if change.released_now:
        values["release_timestamp"] = recorded_at
    return (
        update(client_pos)
        .where(client_pos.c.smart_contract_id == change.smart_contract_id)
        .values(**values, updated_at=recorded_at)
    )


def _approval_changed(change: ApprovalChanged, recorded_at: datetime) -> Executable:
    values: dict[str, Any] = change.model_dump(exclude={"kind", "approval_id", "ended_now"})
    if change.ended_now:
        values["ended_at"] = recorded_at
    return update(approvals).where(approvals.c.approval_id == change.approval_id).values(**values)


# --- tests and transfers


def _stamped(change: Model, stamps: Mapping[str, str], key: str, at: datetime) -> dict[str, Any]:
    """The columns that a change sets; a stamp that is set becomes its column's time."""
    values = change.model_dump(exclude={"kind", key, *stamps})
    return {**values, **{column: at for stamp, column in stamps.items() if getattr(change, stamp)}, "updated_at": at}


_TEST_STAMPS = {
    "started_now": "started_at",
    "submitted_now": "submitted_at",
    "signed_now": "signed_at",
    "authorized_now": "authorized_at",
}


def _test_changed(change: TestChanged, at: datetime) -> Executable:
    values = _stamped(change, _TEST_STAMPS, "smart_contract_id", at)
    return update(tests).where(tests.c.smart_contract_id == change.smart_contract_id).values(**values)


def _sign_offs_voided(change: SignOffsVoided, at: datetime) -> Executable:
    return (
        update(test_signoffs)
        .where(
            test_signoffs.c.smart_contract_id == change.smart_contract_id,
            test_signoffs.c.test_id == change.test_id,
            test_signoffs.c.void_at.is_(None),
        )
        .values(void_at=at)
    )


# --- maintenance


_CONTRACT_STAMPS = {
    f"{what}_now": f"{what}_at" for what in ("validated", "deployed", "active", "deprecated", "archived")
}


def _contract_changed(change: ContractChanged, at: datetime) -> Executable:
    values = _stamped(change, _CONTRACT_STAMPS, "contract_id", at)
    del values["version"]
    return (
        update(maintenance_contracts)
        .where(
            maintenance_contracts.c.contract_id == change.contract_id,
            maintenance_contracts.c.version == change.version,
        )
        .values(**values)
    )


RETIRED = (ContractStatus.DEPRECATED, ContractStatus.ARCHIVED)

CAN_BECOME = {
    DeploymentStatus.ACKNOWLEDGED: (DeploymentStatus.PENDING,),
    DeploymentStatus.SUPERSEDED: (DeploymentStatus.PENDING, DeploymentStatus.ACKNOWLEDGED),
    DeploymentStatus.RETIRED: (DeploymentStatus.PENDING, DeploymentStatus.ACKNOWLEDGED),
}


def _deployment_changed(change: DeploymentChanged, at: datetime) -> Executable:
    """Two versions say what became of them on a node each for itself: one that has ended there has ended.

    One that is retired is acknowledged no more: what a node takes of it meanwhile gives way to what was there before.
    """
    status = DeploymentStatus(change.status)
    stamp = "acknowledged_at" if status is DeploymentStatus.ACKNOWLEDGED else "ended_at"
    key = ("contract_id", "version", "node_id")
    changed = (
        update(maintenance_deployments)
        .where(*(maintenance_deployments.c[name] == getattr(change, name) for name in key))
        .where(maintenance_deployments.c.status.in_(CAN_BECOME[status]))
        .values({"status": status, stamp: at})
    )
    if status is not DeploymentStatus.ACKNOWLEDGED:
        return changed
    version = maintenance_contracts.c
    retired = exists().where(
        version.contract_id == change.contract_id, version.version == change.version, version.status.in_(RETIRED)
    )
    return changed.where(~retired)


def _deployments_superseded(change: DeploymentsSuperseded, at: datetime) -> Executable:
    """Whether or not their own acknowledgements were heard: a node has one version of a contract.

    Not while the one that took over is not acknowledged itself: if it is retired before that, they come back.
    """
    status, row, later = DeploymentStatus.SUPERSEDED, maintenance_deployments.c, maintenance_deployments.alias().c
    of_it = (later.contract_id == change.contract_id, later.node_id == change.node_id, later.number == change.below)
    return (
        update(maintenance_deployments)
        .where(row.contract_id == change.contract_id, row.node_id == change.node_id, row.number < change.below)
        .where(row.status.in_(CAN_BECOME[status]))
        .where(~exists().where(*of_it, later.status == DeploymentStatus.PENDING))
        .values(status=status, ended_at=at)
    )


def _equipment_registered(change: EquipmentRegistered, reason: Reason) -> Executable:
    values = {**change.model_dump(exclude={"kind"}), "revision": reason.revision, "at_node_since": reason.revision}
    return insert(equipment).values(**values, registered_at=reason.at, updated_at=reason.at).on_conflict_do_nothing()


def _equipment_changed(change: EquipmentChanged, reason: Reason) -> Executable:
    values = change.model_dump(exclude={"kind", "equipment_id"})
    if "node_id" in values:
        values["at_node_since"] = reason.revision
    return (
        update(equipment)
        .where(equipment.c.equipment_id == change.equipment_id)
        .values(**values, revision=reason.revision, updated_at=reason.at)
    )


def _calibration_recorded(change: CalibrationRecorded, reason: Reason) -> Executable:
    """The line has another revision from then on, and a calibration that was arranged has happened."""
    values = {**change.model_dump(exclude={"kind"}), "entry": reason.seq, "recorded_by": reason.entry.user_id}
    recorded = (
        insert(calibrations)
        .values(**values, recorded_at=reason.entry.occurred_at or reason.at)
        .on_conflict_do_nothing()
        .returning(calibrations.c.equipment_id)
        .cte("recorded")
    )
    return (
        update(equipment)
        .where(equipment.c.equipment_id == recorded.c.equipment_id)
        .values(revision=reason.revision, updated_at=reason.at, calibration_scheduled_on=None)
        .add_cte(recorded)
    )


def _review_ended(change: ReviewEnded, at: datetime) -> Executable:
    values = change.model_dump(exclude={"kind", "review_id"})
    return (
        update(maintenance_reviews)
        .where(maintenance_reviews.c.review_id == change.review_id)
        .values(**values, ended_at=at)
    )


# --- reverse traces: one statement for whatever number of results


_TRACED = TypeAdapter(tuple[TracedResult, ...])


def _results_traced(change: ResultsTraced) -> Executable:
    """As one JSON text: a statement with a parameter for each value takes longer to write than to run."""
    columns = [traced_results.c[name] for name in TracedResult.model_fields]
    found = (
        func.json_to_recordset(cast(literal(_TRACED.dump_json(change.results).decode(), Text), JSON))
        .table_valued(*(column(one.name, one.type) for one in columns))
        .render_derived(with_types=True)
    )
    rows = select(literal(change.trace_id), *(found.c[one.name] for one in columns))
    return insert(traced_results).from_select([traced_results.c.trace_id, *columns], rows).on_conflict_do_nothing()


def waiting_results(trace_id: str, selection: Selection) -> list[ColumnElement[bool]]:
    """Which rows a selection means."""
    return [
        traced_results.c.trace_id == trace_id,
        traced_results.c.disposition.is_(None),
        *(traced_results.c[name] == value for name, value in selection.terms.items()),
    ]


def _traced_results_disposed(change: TracedResultsDisposed, reason: Reason) -> Executable:
    return (
        update(traced_results)
        .where(*waiting_results(change.trace_id, change.selection))
        .values(
            disposition=change.disposition,
            decided_role=change.decided_role,
            reason=change.reason,
            decided_by=reason.entry.user_id,
            decided_entry=reason.seq,
            decided_at=reason.at,
        )
    )


def _vault_amended(change: VaultAmended, reason: Reason) -> Executable:
    row = traced_results.c
    values = {
        **{name: row[name] for name in ("smart_contract_id", "revision", "test_id", "reason", "trace_id")},
        **{name: row[name] for name in ("decided_by", "decided_at")},
        "entry": row.decided_entry,
        "amendment": row.disposition,
    }
    decided = select(*values.values()).where(row.trace_id == change.trace_id, row.decided_entry == reason.seq)
    return insert(vault_amendments).from_select(list(values), decided)


def _trace_alerts_resolved(change: TraceAlertsResolved, reason: Reason) -> Executable:
    row = traced_results.c
    decided = (
        select(literal(in_doubt_cause(change.trace_id, "")).concat(row.clientpo_id))
        .where(row.trace_id == change.trace_id)
        .group_by(row.clientpo_id)
        .having(func.count() == func.count(row.disposition))
    )
    return _resolved(alerts.c.cause.in_(decided), reason)


# --- transfers


def _transfer_opened(change: TransferOpened, at: datetime) -> Executable:
    """Whoever comes second, its own test or who hands it in, finds it there; the Gatekeeper compares the content."""
    waits = {f"{leg}_status": LegStatus.PENDING for leg in ("vault", "next_node", "business_hub")}
    values = {**change.model_dump(exclude={"kind"}), **waits, "status": PackageStatus.AUTHORIZED}
    return insert(transfers).values(**values, opened_at=at, updated_at=at).on_conflict_do_nothing()


_TRANSFER_STAMPS = {
    "received_now": "received_at",
    "vault_now": "vault_at",
    "next_node_now": "next_node_at",
    "ended_now": "ended_at",
}


def _transfer_changed(change: TransferChanged, at: datetime) -> Executable:
    values = _stamped(change, _TRANSFER_STAMPS, "package_id", at)
    return update(transfers).where(transfers.c.package_id == change.package_id).values(**values)


def _transfer_refused(change: TransferRefused, at: datetime) -> Executable:
    """One that was received is past being refused: a second workflow of it would change nothing of what moved."""
    return (
        update(transfers)
        .where(
            transfers.c.package_id == change.package_id,
            transfers.c.content_hash == change.content_hash,
            transfers.c.received_at.is_(None),
        )
        .values(status=PackageStatus.REFUSED, updated_at=at)
    )


def _nonconformance_disposed(change: NonconformanceDisposed, reason: Reason) -> Executable:
    values = change.model_dump(exclude={"kind", "package_id"})
    return (
        update(nonconformances)
        .where(nonconformances.c.package_id == change.package_id)
        .values(**values, decided_by=reason.entry.user_id, decided_at=reason.at)
    )


# --- alerts: each changes the row of the alert and, in the same statement, puts what it did into the outbox


def _alert_raised(change: AlertRaised, reason: Reason) -> Executable:
    """The partial unique index over the cause decides whether it is new, or counted up."""
    alert, report = change.alert, _report(change.alert, reason)
    values: Mapping[str, Any] = {
        **alert.model_dump(exclude={"issue"}),
        "issue": report and report.model_dump_json(exclude={"alert_id"}),
        "owner": alert.owner or alert.kind.owner,
        "state": AlertState.RAISED,
        "raised_at": reason.at,
        "last_seen": reason.at,
        "owner_since": reason.at,
        "raised_entry": reason.seq,
    }
    known = exists().where(alerts.c.alert_id == alert.alert_id)
    row = select(*(literal(value, alerts.c[name].type) for name, value in values.items())).where(~known)
    raised = (
        insert(alerts)
        .from_select(list(values), row)
        .on_conflict_do_update(
            index_elements=["cause"],
            index_where=text("state <> 'resolved'"),  # no parameter: a generic plan would not find the index
            set_={"count": alerts.c.count + 1, "last_seen": reason.at, "text": alert.text},
        )
        .returning(alerts)
        .cte("raised")
    )
    if report is None:
        return _told(raised, AlertEvent.RAISED, reason.at, raised.c.count == 1)
    return _reported(raised, report, reason.at)


def _report(alert: Alert, reason: Reason) -> MaintenanceAlert | None:
    """What is about maintenance, with the time when it happened, which a node may report late."""
    if alert.issue is None:
        return None
    happened_at = reason.entry.occurred_at or reason.at
    return MaintenanceAlert(**dict(alert.issue), alert_id=alert.alert_id, happened_at=happened_at)


def _reported(alert: CTE, report: MaintenanceAlert, at: datetime) -> Executable:
    """Told of the first one as an alert, and of each repetition by itself, under the ID of its report."""
    first = alert.c.count == 1
    message = select(
        case(
            (first, func.concat(cast(alert.c.number, String), f":{AlertEvent.RAISED}")),
            else_=func.concat(cast(alert.c.number, String), f":{AlertEvent.REPEATED}:", alert.c.count),
        ),
        alert.c.alert_id,
        case((first, AlertEvent.RAISED.value), else_=AlertEvent.REPEATED.value),
        alert.c.owner,
        literal(at, alert_messages.c.occurred_at.type),
        case((first, None), else_=report.model_dump_json()),
    )
    return insert(alert_messages).from_select([*_MESSAGE, "report"], message)


def _alert_acknowledged(change: AlertAcknowledged, reason: Reason) -> Executable:
    """Also where it was resolved a moment before: the row says what the ledger says."""
    acknowledged = (
        update(alerts)
        .where(alerts.c.alert_id == change.alert_id, alerts.c.acknowledged_at.is_(None))
        .values(
            state=case((alerts.c.state == AlertState.RAISED, AlertState.ACKNOWLEDGED), else_=alerts.c.state),
            acknowledged_at=reason.at,
            acknowledged_by=reason.entry.user_id,
            acknowledged_note=change.note,
            acknowledged_entry=reason.seq,
        )
        .returning(alerts)
        .cte("acknowledged")
    )
    return _told(acknowledged, AlertEvent.ACKNOWLEDGED, reason.at)


def _alert_escalated(change: AlertEscalated, reason: Reason) -> Executable:
    """Nobody is told where it was acknowledged or resolved a moment before."""
    escalated = (
        update(alerts)
        .where(alerts.c.alert_id == change.alert_id)
        .values(owner=change.owner, owner_since=reason.at, escalations=change.number)
        .returning(alerts)
        .cte("escalated")
    )
    return _told(escalated, AlertEvent.ESCALATED, reason.at, escalated.c.state == AlertState.RAISED)


def _alert_resolved(change: AlertResolved, reason: Reason) -> Executable:
    return _resolved(alerts.c.cause == change.cause, reason)


def _resolved(which: ColumnElement[bool], reason: Reason) -> Executable:
    resolved = (
        update(alerts)
        .where(which, alerts.c.state != AlertState.RESOLVED)
        .values(
            state=AlertState.RESOLVED,
            resolved_at=reason.at,
            resolved_by=reason.entry.user_id,
            resolved_note=reason.entry.details,
            resolved_entry=reason.seq,
        )
        .returning(alerts)
        .cte("resolved")
    )
    return _told(resolved, AlertEvent.RESOLVED, reason.at)


def _told(alert: CTE, event: AlertEvent, at: datetime, *conditions: ColumnElement[bool]) -> Executable:
    """An alert escalates more than once; everything else of its life happens once."""
    once = func.concat(cast(alert.c.number, String), f":{event}")
    name = func.concat(once, ":", alert.c.escalations) if event is AlertEvent.ESCALATED else once
    message = select(
        name, alert.c.alert_id, literal(event.value), alert.c.owner, literal(at, alert_messages.c.occurred_at.type)
    ).where(*conditions)
    return insert(alert_messages).from_select(_MESSAGE, message)


_MESSAGE = ["message_id", "alert_id", "event", "owner", "occurred_at"]
