"""Drafts of maintenance contracts: one way in, for an engineer and for a review that was accepted."""

import json
from collections.abc import Collection
from typing import Any

from sqlalchemy.exc import IntegrityError
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from infra.database import Row
from infra.ledger import Ledger, LedgerConflict
from infra.maintenance import MaintenanceContracts
from infra.registry import Registry
from infra.settings import Settings
from infra.staging import OtherDocument
from infra.temporal import RPC_TIMEOUT, STATUS, NotStarted
from schemas import names
from schemas.canonical import document_hash
from schemas.changes.maintenance import ContractCreated
from schemas.faults import Fault
from schemas.ledger import LedgerEntry
from schemas.maintenance import FIRST_VERSION, ContractStatus, station_type
from schemas.maintenance_life import ContractLife, ContractStart
from schemas.maintenance_version import (
    CannotApply,
    ContractChange,
    CreatedVersion,
    NewVersion,
    VersionRef,
    apply,
    draft_faults,
    next_version,
    title_of,
)
from schemas.record import Record


class NotADraft(ValueError):
    """A document that cannot even be a draft; `faults` says why."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = faults


class Drafts:
    """Records drafts and starts their workflows; the same request again is one draft."""

    def __init__(
        self, client: Client, contracts: MaintenanceContracts, ledger: Ledger, registry: Registry, settings: Settings
    ) -> None:
        self._client = client
        self._contracts = contracts
        self._ledger = ledger
        self._registry = registry
        self._late_after = int(settings.deployment_alert_after.total_seconds())

    async def create(self, document: dict[str, Any], user_id: str) -> tuple[Row, bool]:
        """A contract's first version, and whether it is new.

        Raises `NotADraft`, `NotCanonical` and `OtherDocument`.
        """
        if found := draft_faults(document, self._station_types):
            raise NotADraft(found)
        contract_id, hash_ = document["smart_contract_id"], document_hash(document)
        entry = LedgerEntry(
            idempotency_key=f"maintenance/{contract_id}:create_contract",
            action_type="maintenance",
            action="create_contract",
            target=contract_id,
            details=f"SmartMaintenance contract created: {title_of(document)}",
            user_id=user_id,
            metadata={
                "version": FIRST_VERSION,
                "equipment_type": _texts(document.get("equipment_types")),
                "steps_count": _length(document.get("checklist_steps")),
                "document_hash": hash_,
            },
        )
        row = _created(VersionRef(contract_id=contract_id, version=FIRST_VERSION), document, user_id)
        new = False
        try:
            new = not (await self._ledger.record(Record(entry=entry, changes=(row,)))).repeated
        except LedgerConflict as conflict:
            known = await self._ledger.under(entry.idempotency_key)
            if known is None or known.metadata["document_hash"] != hash_:  # else it is who sends it that differs
                raise OtherDocument(
                    f"{contract_id} was created with another document; revise its draft, or make a new version of it"
                ) from conflict
        return await self._row(VersionRef(contract_id=contract_id, version=FIRST_VERSION)), new

    async def create_version(self, new: NewVersion) -> CreatedVersion:
        """A draft that changes a version, and its workflow.

        Raises `LookupError` where there is no such parent, `CannotApply` and `NotStarted`.
        """
        ref, _ = await self.record_version(new)
        row = await self._row(ref)
        await self.start(row)
        return CreatedVersion(contract_id=ref.contract_id, version=ref.version, document_hash=row["document_hash"])

    async def record_version(self, new: NewVersion) -> tuple[VersionRef, bool]:
        """Which one it is, and whether it is new; raises as `create_version`."""
        key = f"maintenance/{new.contract_id}:create_version:{new.key}"
        parent = await self._row(VersionRef(contract_id=new.contract_id, version=new.parent_version))
        document = apply(json.loads(parent["document"]), new.changes)
        if found := draft_faults(document, {parent["station_type"]}):
            raise CannotApply("; ".join(map(str, found)))
        if document["smart_contract_id"] != new.contract_id:
            raise CannotApply(f"smart_contract_id stays {new.contract_id}: another ID is another contract")
        while True:
            if known := await self._ledger.under(key):
                return VersionRef(contract_id=new.contract_id, version=known.metadata["version"]), False
            versions = [row["version"] for row in await self._contracts.versions(new.contract_id)]
            ref = VersionRef(contract_id=new.contract_id, version=next_version(versions))
            try:
                await self._ledger.record(_version(key, ref, new, document))
            except (IntegrityError, LedgerConflict):
                continue  # somebody made a version a moment ago: this one has the next number, or is that one
            return ref, True

    async def start(self, row: Row, *, life: ContractLife | None = None, signals: int = 0) -> bool:
        """False when it was started before, even if it has ended since; raises `NotStarted`.

        A `life` is for one that goes on where it stood, after its workflow was closed from outside; without one, what
        is a draft no more was started before.
        """
        if life is None and row["status"] != ContractStatus.DRAFT:
            return False
        ref = VersionRef(contract_id=row["contract_id"], version=row["version"])
        parent_version = row["parent_version"]
        parent = (
            await self._row(VersionRef(contract_id=ref.contract_id, version=parent_version)) if parent_version else None
        )
        start = ContractStart(
            contract_id=ref.contract_id,
            version=ref.version,
            document=json.loads(row["document"]),
            document_hash=row["document_hash"],
            changes=tuple(ContractChange.model_validate(change) for change in json.loads(row["changes"] or "[]")),
            parent_version=parent_version,
            parent=json.loads(parent["document"]) if parent else None,
            late_after=self._late_after,
            life=life,
            signals=signals,
        )
        once = WorkflowIDReusePolicy.REJECT_DUPLICATE
        unless_ended_well = WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY
        try:
            await self._client.start_workflow(
                "MaintenanceContractWorkflow",
                start,
                id=ref.workflow_id,
                task_queue=names.MAIN_QUEUE,
                id_reuse_policy=once if life is None else unless_ended_well,
                search_attributes=TypedSearchAttributes([SearchAttributePair(STATUS, row["status"])]),
                static_summary=f"{ref} · {row['title']}"[:200],
                rpc_timeout=RPC_TIMEOUT,
            )
        except WorkflowAlreadyStartedError:
            return False
        except RPCError as error:
            raise NotStarted(str(ref)) from error
        return True

    @property
    def _station_types(self) -> Collection[str]:
        return {node.station_type for node in self._registry.nodes}

    async def _row(self, ref: VersionRef) -> Row:
        row = await self._contracts.get(ref)
        if row is None:
            raise LookupError(f"there is no version {ref.version} of {ref.contract_id}")
        return row


def _version(key: str, ref: VersionRef, new: NewVersion, document: dict[str, Any]) -> Record:
    changes = [change.model_dump(mode="json") for change in new.changes]
    entry = LedgerEntry(
        idempotency_key=key,
        action_type="maintenance",
        action="create_version",
        target=ref.contract_id,
        details=f"New contract version {ref.version} created from {new.parent_version}: {new.reason}",
        user_id=new.created_by,
        metadata={
            "version": ref.version,
            "parent_contract": ref.contract_id,
            "parent_version": new.parent_version,
            "changes": changes,
            "document_hash": document_hash(document),
        },
    )
    row = _created(ref, document, new.created_by, parent_version=new.parent_version, changes=json.dumps(changes))
    return Record(entry=entry, changes=(row,))


def _created(
    ref: VersionRef,
    document: dict[str, Any],
    user_id: str,
    *,
    parent_version: str | None = None,
    changes: str | None = None,
) -> ContractCreated:
    return ContractCreated(
        contract_id=ref.contract_id,
        version=ref.version,
        station_type=station_type(ref.contract_id),
        title=title_of(document),
        document=json.dumps(document, ensure_ascii=False),
        document_hash=document_hash(document),
        status=ContractStatus.DRAFT,
        parent_version=parent_version,
        changes=changes,
        created_by=user_id,
    )


def _texts(value: Any) -> list[str]:
    """Of a document that may be wrong."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list) else 0
