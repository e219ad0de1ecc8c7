"""The vault: every authorized package stored once, unchanged, with the ledger entries that it cites."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import rfc8785
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.checkpoint import Proof, StoredCheckpoint, first_checkpoint_of, prove_all
from infra.client_po import ClientPOs, released_contract
from infra.database import many
from infra.guardian import TrustList
from infra.reception import Parcel, Reception
from infra.tables.ledger import ledger_entries
from infra.tables.reverse_trace import vault_amendments
from infra.tables.transfer import vault_packages
from schemas.canonical import document_hash
from schemas.changes.transfer import VaultStored
from schemas.guardian import incomplete, package_id
from schemas.transfer import Destination
from schemas.transfer_package import CitedEntry, HubReceipt, VaultPackage, compliance_of


@dataclass(frozen=True)
class StoredPackage:
    """A row of the vault."""

    package_id: str
    smart_contract_id: str
    clientpo_id: str
    revision: int
    replaces: str | None
    verdict: str
    body: str
    content_hash: str
    entry: int
    received_at: datetime

    @property
    def document(self) -> dict[str, Any]:
        """Exactly what was received."""
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def package(self) -> VaultPackage:
        return VaultPackage.model_validate(self.document)

    @property
    def results(self) -> frozenset[tuple[str, int]]:
        """Those that stand in it: test, and the revision in which it was given."""
        tests = self.package.authorization.test_data.tests
        return frozenset((item.test_id, item.revision) for item in tests)


@dataclass(frozen=True)
class Amendment:
    """What was decided on a result when the instrument it relied on turned out to be bad.

    It is withdrawn, or measured again; `entry` is the number of the ledger entry with the decision.
    """

    revision: int
    test_id: str
    amendment: str
    reason: str
    trace_id: str
    decided_by: str
    decided_at: datetime
    entry: int


@dataclass(frozen=True)
class Evidence:
    """A ledger entry that a package cites, or the one by which it was stored; `proof` once a checkpoint covers it.

    `holds` is false where the ledger has another entry in its place.
    """

    cited: CitedEntry
    proof: Proof | None

    @property
    def holds(self) -> bool | None:
        return None if self.proof is None else self.proof.leaf.hex() == self.cited.leaf


class Vault:
    """Takes packages and shows them; nothing in it is ever changed, nor could this process."""

    def __init__(self, engine: AsyncEngine, reception: Reception, trust: TrustList, client_pos: ClientPOs) -> None:
        self._engine = engine
        self._reception = reception
        self._trust = trust
        self._client_pos = client_pos

    async def receive(self, document: dict[str, Any], sender: str) -> HubReceipt:
        """Stores a package, once; raises `ValidationError`, `NotCanonical`, `NotTaken` and `OtherContent`."""
        received, hash_ = VaultPackage.model_validate(document), document_hash(document)
        parcel = Parcel(Destination.VAULT, received.package_id, hash_, sender)
        if receipt := await self._reception.receipt(parcel):
            return receipt
        if reason := await self._refusal(received, hash_):
            raise await self._reception.refuse(parcel, reason)
        data = received.authorization.test_data
        return await self._reception.take(
            parcel,
            "store_package",
            received.package_id,
            f"Revision {data.revision} of {data.smart_contract_id} stored: {data.verdict}",
            {"smart_contract_id": data.smart_contract_id, "verdict": data.verdict},
            VaultStored(
                package_id=received.package_id,
                smart_contract_id=data.smart_contract_id,
                clientpo_id=received.authorization.clientpo_id,
                revision=data.revision,
                replaces=data.replaces,
                verdict=data.verdict,
                body=rfc8785.dumps(document).decode(),
                content_hash=hash_,
            ),
        )

    async def _refusal(self, received: VaultPackage, hash_: str) -> str | None:
        """The first reason that there is; the Guardian's signature comes first, because all else rests on it."""
        authorization = received.authorization
        if reason := await asyncio.to_thread(self._trust.refusal, authorization):
            return reason
        if document_hash(received.model_dump(mode="json")) != hash_:
            return "it is not written as its Guardian signed it: times in UTC as Z, no field left out"
        return (
            _wrapping_refusal(received)
            or await self._contract_refusal(received)
            or await self._amendment_refusal(received)
            or await self._citation_refusal(received.audit_chain.entries)
        )

    async def _contract_refusal(self, received: VaultPackage) -> str | None:
        """Where the contract was staged here, the package must be all of it."""
        authorization = received.authorization
        row = await self._client_pos.get(authorization.test_data.smart_contract_id)
        if row is None:
            return None
        return incomplete(released_contract(row), row["document_hash"], authorization)

    async def _amendment_refusal(self, received: VaultPackage) -> str | None:
        data = received.authorization.test_data
        stored = {revision.package_id: revision for revision in await self.revisions(data.smart_contract_id)}
        if data.replaces is None:
            if stored:
                return f"{next(iter(stored))} is stored already: a new revision names the package that it replaces"
            return None
        replaced = stored.get(data.replaces)
        if replaced is None:
            return f"it replaces {data.replaces}, which is not stored here for {data.smart_contract_id}"
        if replaced.revision >= data.revision:
            return f"it replaces {data.replaces}, whose revision {replaced.revision} is not before its own"
        return None

    async def _citation_refusal(self, cited: Sequence[CitedEntry]) -> str | None:
        leaves = await self._leaves([entry.seq for entry in cited])
        for entry in cited:
            if leaves.get(entry.seq) != entry.leaf:
                return f"its audit chain cites entry {entry.seq}, which is not so in the ledger"
        return None

    async def revisions(self, smart_contract_id: str) -> list[StoredPackage]:
        """All packages of a contract, the newest revision first."""
        query = (
            select(vault_packages)
            .where(vault_packages.c.smart_contract_id == smart_contract_id)
            .order_by(vault_packages.c.revision.desc())
        )
        return [StoredPackage(**row) for row in await many(self._engine, query)]

    async def evidence(self, packages: Sequence[StoredPackage]) -> dict[str, list[Evidence]]:
        """By package, its own entry last; the ledger is read once for all."""
        own = await self._leaves([package.entry for package in packages])
        cited = {
            package.package_id: [
                *package.package.audit_chain.entries,
                CitedEntry(seq=package.entry, leaf=own[package.entry], action="store_package"),
            ]
            for package in packages
        }
        proofs = await prove_all(self._engine, {entry.seq for entries in cited.values() for entry in entries})
        return {name: [Evidence(entry, proofs.get(entry.seq)) for entry in entries] for name, entries in cited.items()}

    async def amendments(self, packages: Sequence[StoredPackage]) -> dict[str, list[Amendment]]:
        """By package, those of the results that stand in it."""
        contracts = {package.smart_contract_id for package in packages}
        columns = [vault_amendments.c[field.name] for field in fields(Amendment)]
        query = (
            select(vault_amendments.c.smart_contract_id, *columns)
            .where(vault_amendments.c.smart_contract_id.in_(contracts))
            .order_by(vault_amendments.c.entry, vault_amendments.c.test_id)
        )
        async with self._engine.connect() as connection:
            made = [(contract, Amendment(*rest)) for contract, *rest in await connection.execute(query)]
        standing = {package.package_id: package.results for package in packages} if made else {}
        return {
            package.package_id: [
                amendment
                for contract, amendment in made
                if contract == package.smart_contract_id
                and (amendment.test_id, amendment.revision) in standing[package.package_id]
            ]
            for package in packages
        }

    async def checkpoint_of(self, package: StoredPackage) -> StoredCheckpoint | None:
        """The first one that covers its storing."""
        async with self._engine.connect() as connection:
            return await first_checkpoint_of(connection, package.entry)

    async def _leaves(self, seqs: Sequence[int]) -> dict[int, str]:
        query = select(ledger_entries.c.seq, ledger_entries.c.leaf).where(ledger_entries.c.seq.in_(seqs))
        async with self._engine.connect() as connection:
            return {seq: leaf.hex() for seq, leaf in await connection.execute(query)}


def _wrapping_refusal(received: VaultPackage) -> str | None:
    """What is around the signed authorization is not signed: it must say what the authorization says."""
    authorization, data = received.authorization, received.authorization.test_data
    if received.package_id != authorization.package_id or authorization.package_id != package_id(
        data.smart_contract_id, data.revision
    ):
        return f"{received.package_id} is not the ID of revision {data.revision} of {data.smart_contract_id}"
    if received.source_node != data.node_id:
        return f"it comes from {received.source_node}, but was tested at {data.node_id}"
    if received.completion_timestamp != data.completion_timestamp:
        return "its completion is not that of the signed results"
    if received.compliance_metadata != compliance_of(authorization):
        return "its compliance metadata are not what was signed"
    return None
