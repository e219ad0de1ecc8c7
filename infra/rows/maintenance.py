"""The rows of maintenance contracts, and of where they are deployed."""

from datetime import datetime

from sqlalchemy import Executable, exists, update

from infra.rows.base import Reason, inserted, updated
from infra.tables.maintenance import maintenance_contracts, maintenance_deployments
from schemas.changes.maintenance import (
    ChangeOfContract,
    ContractChanged,
    ContractCreated,
    DeploymentChanged,
    DeploymentOpened,
    DeploymentsSuperseded,
)
from schemas.maintenance import OPEN_DEPLOYMENTS, RETIRED, DeploymentStatus

CAN_BECOME = {
    DeploymentStatus.ACKNOWLEDGED: (DeploymentStatus.PENDING,),
    DeploymentStatus.SUPERSEDED: OPEN_DEPLOYMENTS,
    DeploymentStatus.RETIRED: OPEN_DEPLOYMENTS,
}


def statement(change: ChangeOfContract, reason: Reason) -> Executable:
    match change:
        case ContractCreated():
            return inserted(maintenance_contracts, change, created_at=reason.at, updated_at=reason.at)
        case ContractChanged():
            return updated(maintenance_contracts, change, reason.at, updated_at=reason.at)
        case DeploymentOpened():
            new = {"number": reason.seq, "status": DeploymentStatus.PENDING, "opened_at": reason.at}
            return inserted(maintenance_deployments, change, **new).on_conflict_do_nothing()
        case DeploymentChanged():
            return _deployment_changed(change, reason.at)
        case DeploymentsSuperseded():
            return _deployments_superseded(change, reason.at)


def _deployment_changed(change: DeploymentChanged, at: datetime) -> Executable:
    """Two versions say what became of them on a node each for itself: one that has ended there has ended.

    One that is retired is acknowledged no more: what a node takes of it meanwhile gives way to what was there before.
    """
    status = DeploymentStatus(change.status)
    stamp = "acknowledged_at" if status is DeploymentStatus.ACKNOWLEDGED else "ended_at"
    changed = updated(maintenance_deployments, change, at, **{stamp: at})
    changed = changed.where(maintenance_deployments.c.status.in_(CAN_BECOME[status]))
    if status is not DeploymentStatus.ACKNOWLEDGED:
        return changed
    version = maintenance_contracts.c
    retired = exists().where(
        version.contract_id == change.contract_id, version.version == change.version, version.status.in_(RETIRED)
    )
    return changed.where(~retired)


def _deployments_superseded(change: DeploymentsSuperseded, at: datetime) -> Executable:
    """Whether or not their own acknowledgements were heard: a node has one version of a contract.

    Only where the one that took over is acknowledged itself: if it is retired before that, they come back.
    """
    status, row, later = DeploymentStatus.SUPERSEDED, maintenance_deployments.c, maintenance_deployments.alias().c
    of_it = (later.contract_id == change.contract_id, later.node_id == change.node_id, later.number == change.below)
    return (
        update(maintenance_deployments)
        .where(row.contract_id == change.contract_id, row.node_id == change.node_id, row.number < change.below)
        .where(row.status.in_(CAN_BECOME[status]))
        .where(exists().where(*of_it, later.status == DeploymentStatus.ACKNOWLEDGED))
        .values(status=status, ended_at=at)
    )
