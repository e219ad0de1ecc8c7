"""What becomes of the rows of maintenance contracts and of where they are deployed."""

from typing import Literal

from schemas.base import Model, Partial


class ContractCreated(Model):
    """Inserts a version of a maintenance contract as a draft; `document` and `changes` are JSON."""

    kind: Literal["contract_created"] = "contract_created"
    contract_id: str
    version: str
    station_type: str
    title: str
    document: str
    document_hash: str
    status: str
    parent_version: str | None
    changes: str | None
    created_by: str


class ContractChanged(Partial):
    """Changes columns of one version's row; the stamps give it the time of the ledger entry. `faults` is JSON.

    `whole_type` says that it went to all nodes of its station type that there were.
    """

    kind: Literal["contract_changed"] = "contract_changed"
    contract_id: str
    version: str
    status: str | None = None
    title: str | None = None
    document: str | None = None
    document_hash: str | None = None
    changes: str | None = None
    faults: str | None = None
    file_hash: str | None = None
    pending_approval: str | None = None
    publish_fault: str | None = None
    retirement_reason: str | None = None
    whole_type: bool | None = None
    validated_now: bool = False
    deployed_now: bool = False
    active_now: bool = False
    deprecated_now: bool = False
    archived_now: bool = False


class DeploymentOpened(Model):
    """Inserts the row of a version on its way to a node, with the entry's number; it stays where it is there."""

    kind: Literal["deployment_opened"] = "deployment_opened"
    contract_id: str
    version: str
    node_id: str


class DeploymentChanged(Model):
    """Says what became of a version on a node: acknowledged, superseded, retired."""

    kind: Literal["deployment_changed"] = "deployment_changed"
    contract_id: str
    version: str
    node_id: str
    status: str


class DeploymentsSuperseded(Model):
    """A node has taken the deployment `below`: all versions of the contract that came before it have ended there.

    It changes nothing unless that deployment is acknowledged: one that is retired before gives way to them again.
    """

    kind: Literal["deployments_superseded"] = "deployments_superseded"
    contract_id: str
    node_id: str
    below: int


ChangeOfContract = ContractCreated | ContractChanged | DeploymentOpened | DeploymentChanged | DeploymentsSuperseded
