"""Maintenance contracts over HTTP: their versions, what people ask of one, and where each one is in force."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel

from api.house import House, TheHouse
from api.problems import invalid, not_found
from api.security import GuardedRoute, requires
from api.updates import NotOpen, Once, decision_token, refused
from infra.database import Row
from infra.maintenance_orders import choose_nodes
from schemas import maintenance_life as schema
from schemas import names
from schemas.base import Identifier, Model, Text
from schemas.faults import Fault
from schemas.identity import Identity
from schemas.maintenance import IN_FORCE, RETIRED, ContractStatus, DeploymentStatus, Validation, Version
from schemas.maintenance_orders import Nodes, WantedNodes
from schemas.maintenance_version import VersionRef
from schemas.permission import Permission
from schemas.policy_repository import PolicyFile, PolicyRef

router = APIRouter(prefix="/api/v1/maintenance", tags=["Maintenance contracts"], route_class=GuardedRoute)

MayDeploy = Annotated[Identity, requires(Permission.CONTRACT_DEPLOY)]
ContractId = Annotated[Identifier, Path()]
VersionNumber = Annotated[Version, Path()]


class VersionResource(BaseModel):
    """One version of a contract; `active_days` are those from when all of its nodes had acknowledged it."""

    contract_id: str
    version: str
    station_type: str
    title: str
    status: ContractStatus
    document_hash: str
    file_hash: str | None
    parent_version: str | None
    changes: list[dict[str, Any]]
    pending_approval: str | None
    retirement_reason: str | None
    created_by: str
    created_at: datetime
    validated_at: datetime | None
    deployed_at: datetime | None
    active_at: datetime | None
    deprecated_at: datetime | None
    archived_at: datetime | None
    active_days: int | None
    waits_for: str
    moved_on_by: str
    links: dict[str, str]


class VersionList(BaseModel):
    """One page, by contract."""

    matching: int
    limit: int
    offset: int
    contracts: list[VersionResource]


class ContractHistory(BaseModel):
    """A contract's genealogy: its versions as they were created, and all that happened to it."""

    contract_id: str
    versions: list[VersionResource]
    timeline: list["ContractEvent"]


class ContractEvent(BaseModel):
    """One ledger entry about the contract."""

    seq: int
    at: datetime
    action: str
    details: str
    user_id: str
    smart_id: str
    version: str | None


class DeploymentResource(BaseModel):
    """A version on one node."""

    node_id: str
    status: DeploymentStatus
    opened_at: datetime
    acknowledged_at: datetime | None
    ended_at: datetime | None
    links: dict[str, str]


class VersionDetails(VersionResource):
    """A version with its document, what its last validation found, and where it is.

    `policy_fault` says why its file in the policy repository is not what was published, or cannot be.
    """

    document: dict[str, Any]
    validation: Validation | None
    policy_path: str | None
    policy_fault: str | None
    deployments: list[DeploymentResource]


class Revision(Model):
    """Another document for a draft, and why."""

    document: dict[str, Any]
    reason: Text


class Deployment(Model):
    """Nodes of the contract's station type, all of them where none are named, and why."""

    nodes: Nodes | None = None
    reason: Text


class Retirement(Model):
    """Why nodes execute it no more."""

    reason: Text


@router.get("/contracts", dependencies=[requires(Permission.JOB_VIEW)])
async def contracts(
    house: TheHouse,
    status: ContractStatus | None = None,
    station_type: Identifier | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> VersionList:
    """Versions of contracts, filtered and paged."""
    matching, rows = await house.maintenance_contracts.find(
        status=status, station_type=station_type, limit=limit, offset=offset
    )
    found = [version_resource(house, row) for row in rows]
    return VersionList(matching=matching, limit=limit, offset=offset, contracts=found)


@router.get("/contracts/{contract_id}", dependencies=[requires(Permission.JOB_VIEW)])
async def history(contract_id: ContractId, house: TheHouse) -> ContractHistory:
    """All versions of a contract, each with its parent and what it changes, and the contract's ledger entries."""
    rows = await house.maintenance_contracts.versions(contract_id)
    if not rows:
        raise not_found(f"maintenance contract {contract_id}")
    versions = [version_resource(house, row) for row in rows]
    timeline = [
        ContractEvent(
            seq=entry.seq,
            at=entry.occurred_at,
            action=entry.action,
            details=entry.details,
            user_id=entry.user_id,
            smart_id=entry.smart_id,
            version=entry.metadata.get("version"),
        )
        for entry in await house.ledger.timeline(contract_id)
    ]
    return ContractHistory(contract_id=contract_id, versions=versions, timeline=timeline)


class Asking:
    """The version in the path; asks its workflow, and answers with the row that the answer is committed in."""

    def __init__(
        self, contract_id: ContractId, version: VersionNumber, house: TheHouse, once: Annotated[Once, Depends()]
    ) -> None:
        self.ref = VersionRef(contract_id=contract_id, version=version)
        self._house = house
        self._once = once

    async def __call__(self, update: str, message: schema.ContractRequest, who: Identity) -> VersionDetails:
        row = await self.row()
        try:
            await self._once.ask(self.ref.workflow_id, update, message, who)
        except NotOpen:
            await self._house.drafts.start(row)  # a row is there a moment before its workflow
            await self._ask_again(update, message, who)
        return await _details(self._house, await self.row())

    async def _ask_again(self, update: str, message: schema.ContractRequest, who: Identity) -> None:
        try:
            await self._once.ask(self.ref.workflow_id, update, message, who)
        except NotOpen as error:
            if (await self.row())["status"] == ContractStatus.ARCHIVED:
                raise refused("the version is archived: nothing can be changed any more") from error
            reason = "its workflow was closed from outside: the next reconcile starts it again, then ask again"
            raise refused(reason) from error

    async def row(self) -> Row:
        """As it is now; raises `Problem` where there is none."""
        return await version_row(self._house, self.ref)


Ask = Annotated[Asking, Depends()]


@router.get("/contracts/{contract_id}/versions/{version}", dependencies=[requires(Permission.JOB_VIEW)])
async def show(contract_id: ContractId, version: VersionNumber, house: TheHouse) -> VersionDetails:
    """Its document, faults, and where it is on each node."""
    ref = VersionRef(contract_id=contract_id, version=version)
    return await _details(house, await version_row(house, ref))


@router.put("/contracts/{contract_id}/versions/{version}")
async def revise(revision: Revision, ask: Ask, who: MayDeploy) -> VersionDetails:
    """Give a draft another document."""
    message = schema.ReviseContract(**revision.model_dump(), user_id=who.user_id)
    return await ask(names.REVISE, message, who)


@router.post("/contracts/{contract_id}/versions/{version}/validate")
async def validate(ask: Ask, who: MayDeploy) -> VersionDetails:
    """Find all that is wrong with a draft; one without faults is validated from then on."""
    return await ask(names.VALIDATE, schema.ValidateContract(user_id=who.user_id), who)


@router.post("/contracts/{contract_id}/versions/{version}/deploy", status_code=202)
async def deploy(deployment: Deployment, ask: Ask, house: TheHouse, who: MayDeploy) -> VersionDetails:
    """Ask that it be deployed: `pending_approval` says which approval a second person answers.

    A version that is in force goes to further nodes, those that never had it.
    """
    row = await ask.row()
    wanted_nodes = WantedNodes(**dict(ask.ref), nodes=deployment.nodes)
    chosen = choose_nodes(house.registry, wanted_nodes, await house.maintenance_contracts.nodes(ask.ref))
    if chosen.refusal is not None:
        raise invalid([Fault(field="nodes", message=chosen.refusal)])
    wanted = schema.deployment_wanted(ask.ref, row["document_hash"], chosen.nodes)
    token = decision_token(house, who, wanted, meaning=f"asks to deploy {ask.ref} to {len(chosen.nodes)} nodes")
    message = schema.DeployContract(nodes=chosen.nodes, reason=deployment.reason, token=token, user_id=who.user_id)
    return await ask(names.DEPLOY, message, who)


@router.post("/contracts/{contract_id}/versions/{version}/retire")
async def retire(retirement: Retirement, ask: Ask, house: TheHouse, who: MayDeploy) -> VersionDetails:
    """End it wherever it is in force; it is archived when its nodes have said so."""
    await ask.row()
    token = decision_token(house, who, schema.retirement_wanted(ask.ref), meaning=f"retires {ask.ref}")
    message = schema.RetireContract(reason=retirement.reason, token=token, user_id=who.user_id)
    return await ask(names.RETIRE, message, who)


async def version_row(house: House, ref: VersionRef) -> Row:
    row = await house.maintenance_contracts.get(ref)
    if row is None:
        raise not_found(f"version {ref.version} of maintenance contract {ref.contract_id}")
    return row


def version_ref(row: Row) -> VersionRef:
    return VersionRef(contract_id=row["contract_id"], version=row["version"])


def version_path(ref: VersionRef) -> str:
    return f"/api/v1/maintenance/contracts/{ref.contract_id}/versions/{ref.version}"


def _validation(row: Row) -> Validation | None:
    return Validation.model_validate_json(row["faults"]) if row["faults"] else None


def version_resource(house: House, row: Row) -> VersionResource:
    ref, found = version_ref(row), _validation(row)
    view = schema.contract_outlook(
        ContractStatus(row["status"]),
        faults=len(found.faults) if found else 0,
        pending_approval=row["pending_approval"],
        publish_fault=row["publish_fault"],
    )
    active = (row["deprecated_at"] or datetime.now(UTC)) - row["active_at"] if row["active_at"] else None
    links = {
        "self": version_path(ref),
        "contract": f"/api/v1/maintenance/contracts/{ref.contract_id}",
        "temporal_ui": house.workflow_url(ref.workflow_id),
    }
    if row["pending_approval"]:
        links["approval"] = f"/api/v1/approvals/{row['pending_approval']}"
    fields = {field: row[field] for field in VersionResource.model_fields if field in row}
    fields["changes"] = json.loads(row["changes"] or "[]")
    return VersionResource(**fields, **view.model_dump(), active_days=active.days if active else None, links=links)


async def _details(house: House, row: Row) -> VersionDetails:
    ref, file = version_ref(row), PolicyFile()
    if row["file_hash"]:
        file = await house.policy_repository.read(PolicyRef(**dict(ref), file_hash=row["file_hash"]))
    deployments = await house.maintenance_contracts.deployments(ref)
    pending = [one["node_id"] for one in deployments if one["status"] == DeploymentStatus.PENDING]
    late = pending if row["status"] in IN_FORCE else []
    resource = version_resource(house, row).model_dump()
    if late and row["pending_approval"] is None and row["publish_fault"] is None:
        resource |= schema.contract_outlook(ContractStatus(row["status"]), late_nodes=late).model_dump()
    return VersionDetails(
        **resource,
        document=json.loads(row["document"]),
        validation=_validation(row),
        policy_path=str(house.policy_repository.path(ref)) if row["file_hash"] else None,
        policy_fault=file.fault or row["publish_fault"],
        deployments=[_deployment(house, row, one) for one in deployments],
    )


def _deployment(house: House, version: Row, row: Row) -> DeploymentResource:
    """Its workflow is the one that ends the version there, unless a newer one had taken over before."""
    retire = version["status"] in RETIRED and row["status"] != DeploymentStatus.SUPERSEDED
    workflow_id = names.contract_on_node_id(row["contract_id"], row["version"], row["node_id"], retire=retire)
    fields = {field: row[field] for field in DeploymentResource.model_fields if field in row}
    return DeploymentResource(**fields, links={"temporal_ui": house.workflow_url(workflow_id)})
