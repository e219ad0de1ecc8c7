"""Staging a SmartClientPO: one way in, whether the Business Hub sends it or a chain brings it."""

import json
from typing import Any

from temporalio.service import RPCError

from infra.client_po import ClientPOs
from infra.database import Row
from infra.ledger import Ledger, LedgerConflict
from infra.registry import Registry
from infra.temporal import ClientPOStarter, NotStarted
from schemas import names
from schemas.canonical import document_hash
from schemas.changes.client_po import ClientPOStaged
from schemas.client_po import ClientPOStatus, SmartClientPO
from schemas.ledger import LedgerEntry
from schemas.node import PartReady
from schemas.record import Record


class OtherDocument(Exception):
    """Another document is staged under this ID."""


class Staging:
    """Records a PO and starts its workflow; the same document again changes nothing."""

    def __init__(self, client_pos: ClientPOs, ledger: Ledger, registry: Registry, starter: ClientPOStarter) -> None:
        self._client_pos = client_pos
        self._ledger = ledger
        self._registry = registry
        self._starter = starter

    async def record(
        self, document: dict[str, Any], user_id: str, *, routed_from: str | None = None
    ) -> tuple[Row, bool]:
        """The row, and whether it is new; `routed_from` is the package that brought it.

        Raises `ValidationError`, `NotCanonical` and `OtherDocument`.
        """
        hash_ = document_hash(document)
        known = await self._client_pos.get(str(document.get("smart_contract_id")))
        # What was valid when it came first stays so, whatever the registry says by now.
        same = known is not None and known["document_hash"] == hash_
        po = SmartClientPO.model_validate(document, context=None if same else {"nodes": self._registry})
        if known is not None and same:
            return known, False
        name, new = po.smart_contract_id, False
        try:
            new = not (await self._ledger.record(_staging(po, document, hash_, user_id, routed_from))).repeated
        except LedgerConflict as conflict:
            if (await self._row(name))["document_hash"] != hash_:  # else it is who sends it that differs
                raise OtherDocument(
                    f"{name} is staged with another document; to change terms use PATCH, for another contract another "
                    "ID"
                ) from conflict
        return await self._row(name), new

    async def start(self, row: Row, ready: PartReady | None = None) -> bool:
        """As `ClientPOStarter.start`; raises `NotStarted`."""
        document, hash_, staged_at = json.loads(row["document"]), row["document_hash"], row["staged_timestamp"]
        try:
            return await self._starter.start(document, hash_, staged_at, ready)
        except RPCError as error:
            raise NotStarted(row["smart_contract_id"]) from error

    async def _row(self, name: str) -> Row:
        row = await self._client_pos.get(name)
        if row is None:
            raise LookupError(f"the ledger has staged {name}, and there is no row of it")
        return row


def _staging(po: SmartClientPO, document: dict[str, Any], hash_: str, user_id: str, routed_from: str | None) -> Record:
    name = po.smart_contract_id
    entry = LedgerEntry(
        idempotency_key=f"{name}:stage",
        action_type="handoff",
        action="stage_client_po",
        target=name,
        details=f"SmartClientPO staged, awaiting part {po.part}",
        user_id=user_id,
        metadata={
            "staging_id": names.staging_id(name),
            "part_id": po.part,
            "target_node": po.target_node,
            "document_hash": hash_,
        },
    )
    terms = {name: getattr(po, name) for name in ClientPOStaged.model_fields if name in SmartClientPO.model_fields}
    row = ClientPOStaged(
        **terms,
        document=json.dumps(document, ensure_ascii=False),
        document_hash=hash_,
        staging_id=names.staging_id(name),
        workflow_id=names.client_po_id(name),
        target_node=po.target_node,
        status=ClientPOStatus.AWAITING_ARRIVAL,
        routed_from=routed_from,
    )
    return Record(entry=entry, changes=(row,))
