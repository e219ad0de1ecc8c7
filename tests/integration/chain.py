"""Contracts, tests and transfers as their workflows record them: the rows of a chain whose story is known."""

import json
from datetime import UTC, datetime
from itertools import count
from typing import Any

from infra.ledger import Ledger
from schemas.changes.client_po import ClientPOChanged, ClientPOStaged
from schemas.changes.test_execution import TestChanged, TestOpened
from schemas.changes.transfer import (
    NonconformanceDisposed,
    NonconformanceOpened,
    OrderCompleted,
    TransferChanged,
    TransferOpened,
    VaultStored,
)
from schemas.ledger import LedgerEntry
from schemas.record import Change, Record

SIGNED = datetime(2026, 11, 24, 8, 0, 0, tzinfo=UTC)
AUTHORIZED = datetime(2026, 11, 24, 8, 0, 4, tzinfo=UTC)

FINAL = {"type": "workflow_complete", "vault_transfer": True}


def onward(contract: str, node: str) -> dict[str, Any]:
    return {"type": "next_node", "next_station": node, "next_contract": f"{contract}.yaml", "vault_transfer": True}


class Chain:
    """Records what happens to the contracts of one client order."""

    def __init__(self, ledger: Ledger, clientpo_id: str = "CPO-1") -> None:
        self._ledger = ledger
        self.clientpo_id = clientpo_id
        self._numbers = count()

    async def record(self, action: str, target: str, *changes: Change, **metadata: Any) -> None:
        entry = LedgerEntry(
            idempotency_key=f"{self.clientpo_id}:{next(self._numbers)}",
            action_type="handoff",
            action=action,
            target=target,
            details=action,
            metadata=metadata,
        )
        await self._ledger.record(Record(entry=entry, changes=changes))

    async def staged(self, name: str, sequence: int, node: str, trigger: dict[str, Any]) -> None:
        document = {"smart_contract_id": name, "note": "\0 is no reason to fail", "routing_trigger": trigger}
        row = ClientPOStaged(
            smart_contract_id=name,
            document=json.dumps(document),
            document_hash="0" * 64,
            staging_id=f"STAGE-{name}",
            workflow_id=f"client-po/{name}",
            clientpo_id=self.clientpo_id,
            client="Aeroturbine Overhaul GmbH",
            part_id="PART-1",
            part_number=None,
            quantity=1,
            priority=2,
            due_date=None,
            expected_arrival=None,
            arrival_location=None,
            sequence_number=sequence,
            target_node=node,
            status="awaiting_arrival",
        )
        await self.record("stage_client_po", name, row)

    async def po(self, name: str, **changes: Any) -> None:
        await self.record("change_po", name, ClientPOChanged(smart_contract_id=name, **changes))

    async def released(self, name: str, node: str) -> None:
        await self.po(name, status="released", arrived_now=True, released_now=True)
        opened = TestOpened(smart_contract_id=name, clientpo_id=self.clientpo_id, node_id=node, status="waiting")
        await self.record("open_test", name, opened)

    async def tested(self, name: str, **changes: Any) -> None:
        await self.record("change_test", name, TestChanged(smart_contract_id=name, **changes))

    async def authorized(self, name: str, node: str, revision: int = 1, verdict: str = "accept") -> str:
        package = f"PKG-{name}-R{revision}"
        opened = TransferOpened(
            package_id=package,
            smart_contract_id=name,
            clientpo_id=self.clientpo_id,
            node_id=node,
            revision=revision,
            verdict=verdict,
            package="{}",
            content_hash="1" * 64,
            signed_at=SIGNED,
            authorized_at=AUTHORIZED,
        )
        changed = TestChanged(
            smart_contract_id=name, status="authorized", package_id=package, revision=revision, authorized_now=True
        )
        await self.record("authorize_package", package, opened, changed)
        return package

    async def moved(self, package: str, action: str = "change_transfer", **changes: Any) -> None:
        await self.record(action, package, TransferChanged(package_id=package, **changes))

    async def attempted(self, package: str, destination: str, *, success: bool, **changes: Any) -> None:
        """One attempt with its outcome."""
        action = {"vault": "transfer_to_vault", "next_node": "transfer_to_next_node"}.get(
            destination, "notify_business_hub"
        )
        change = TransferChanged(package_id=package, **{f"{destination}_{name}": to for name, to in changes.items()})
        await self.record(action, package, change, destination=destination, outcome="success" if success else "failed")

    async def escalated(self, package: str, destination: str) -> None:
        waits = TransferChanged(package_id=package, **{f"{destination}_status": "waiting"})
        await self.record("escalate_failure", package, waits, destination=destination)

    async def missing(self, package: str, contract: str) -> None:
        waits = TransferChanged(package_id=package, next_node_status="waiting", next_node_attempts=1)
        await self.record("contract_missing", contract, waits, package_id=package, destination="next_node")

    async def vaulted(self, package: str, name: str, revision: int = 1) -> None:
        stored = VaultStored(
            package_id=package,
            smart_contract_id=name,
            clientpo_id=self.clientpo_id,
            revision=revision,
            replaces=None,
            verdict="accept",
            body=json.dumps({"authorization": {}}),
            content_hash="2" * 64,
        )
        await self.record("store_package", package, stored)

    async def not_accepted(self, package: str, name: str, verdict: str = "reject") -> None:
        opened = NonconformanceOpened(
            package_id=package,
            smart_contract_id=name,
            clientpo_id=self.clientpo_id,
            verdict=verdict,
            tests=f"{name}-TEST1",
            content_hash="1" * 64,
        )
        await self.record("open_nonconformance", package, opened)

    async def disposed(self, package: str, disposition: str) -> None:
        decided = NonconformanceDisposed(
            package_id=package, disposition=disposition, decided_role="quality_manager", reason="looked at it"
        )
        await self.record("dispose", package, decided, TransferChanged(package_id=package, disposition=disposition))

    async def notified(self, package: str, name: str) -> None:
        told = OrderCompleted(
            package_id=package,
            clientpo_id=self.clientpo_id,
            smart_contract_id=name,
            verdict="accept",
            content_hash="3" * 64,
        )
        await self.record("order_complete", package, told)
