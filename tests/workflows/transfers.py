"""A test's transfers: over real HTTP to hubs whose answers the test says."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from activities.transfer import TransferActivities
from infra.hubs import Hubs
from infra.transfer import start_transfer
from schemas import names
from schemas.guardian import AuthorizationPackage, GuardianSignature, TestData, TestedItem, package_id
from schemas.ledger import LedgerEntry
from schemas.permission import Role
from schemas.signoff import Meaning, SignOff, signed_content
from schemas.test_results import Begun, CurrentResult, Reading, TestResult, TestVerdict
from schemas.transfer import Admission, Destination, LegPolicy, Preparation, Prepare, TransferStart, disposition_wanted
from tests.hubs import HubServer
from tests.workflows.shop import Shop, until

if TYPE_CHECKING:
    from temporalio.client import WorkflowHandle

PAUSE = 0.05
"""Seconds before the first retry: real time, in which the two legs overlap as they do on a floor."""

SIGNED = datetime(2026, 6, 1, 12, tzinfo=UTC)

NEXT_NODE = {"type": "next_node", "next_station": "NODE-NEXT", "next_contract": "SC-2.yaml"}
FINAL = {"type": "workflow_complete"}


def package(shop: Shop, verdict: TestVerdict, trigger: dict[str, Any]) -> AuthorizationPackage:
    """Performed by pia, signed by ina."""
    contract = f"SC-{shop.name}"
    begun = Begun(performer="pia", started_at=SIGNED - timedelta(hours=1), instruments=(), document_hash="d" * 64)
    result = TestResult(
        test_id="T-1",
        verdict=verdict,
        readings=(Reading(name="depth", value=Decimal("0.10"), unit="mm"),),
        procedure_followed=True,
    )
    hash_ = signed_content(contract, begun, CurrentResult(result=result, revision=1))
    return AuthorizationPackage(
        package_id=package_id(contract, 1),
        clientpo_id="CPO-1",
        test_id="T-1",
        test_data=TestData(
            smart_contract_id=contract,
            contract_type="nondestructive_testing",
            client="ACME",
            part_id=shop.part,
            part_number=None,
            quantity=1,
            sequence_number=1,
            document_hash="d" * 64,
            revision=1,
            replaces=None,
            node_id=shop.node,
            begun=begun,
            completion_timestamp=SIGNED,
            tests=(
                TestedItem(
                    test_id="T-1",
                    test_type="liquid_penetrant",
                    procedure_id="E1417",
                    procedure_revision="2021",
                    result=result,
                    revision=1,
                    content_hash=hash_,
                ),
            ),
            routing_trigger=trigger,
        ),
        approvals=(
            SignOff(
                test_id="T-1",
                role="inspector",
                person="ina",
                meaning=Meaning.APPROVED,
                content_hash=hash_,
                signed_at=SIGNED,
                qualification=None,
                proof="proof",
            ),
        ),
        authorized_at=SIGNED,
        local_backup_path="/nodes/one/package.json",
        guardian_signature=GuardianSignature(node_id=shop.node, key_id="k" * 32, signature="00"),
    )


class Doorkeeper:
    """Stands in for the Gatekeeper: refuses what the test says."""

    def __init__(self) -> None:
        self.refusal: str | None = None
        self.policies = {leg: LegPolicy(retries=3, first_pause=PAUSE) for leg in Destination}

    async def admit(self, _package: AuthorizationPackage) -> Admission:
        return Admission(refusal=self.refusal) if self.refusal else Admission(policies=self.policies)


class Packer:
    """Stands in for the Dispatcher: each preparation has a number in it, so that another one is other content."""

    def __init__(self) -> None:
        self.instead: dict[Destination, Preparation] = {}
        self.failing: dict[Destination, str] = {}
        self.packed: list[Destination] = []

    async def prepare(self, prepare: Prepare) -> Preparation:
        if prepare.destination in self.failing:
            raise ConnectionError(self.failing[prepare.destination])
        if prepare.destination in self.instead:
            return self.instead[prepare.destination]
        self.packed.append(prepare.destination)
        body = {"package_id": prepare.package.package_id, "for": prepare.destination, "number": len(self.packed)}
        return Preparation(body=body)


class Transfer:
    """One transfer of a test, and what the ledger says of it."""

    def __init__(self, shop: Shop, hubs: HubServer) -> None:
        self.shop = shop
        self.hubs = hubs
        self.doorkeeper = Doorkeeper()
        self.packer = Packer()
        self.package = package(shop, TestVerdict.ACCEPT, NEXT_NODE)
        self.handle: WorkflowHandle[Any, Any]

    @asynccontextmanager
    async def activities(self) -> AsyncIterator[tuple[Callable[..., Any], ...]]:
        async with Hubs(self.hubs.settings(self.shop.settings, transfer_timeout=timedelta(seconds=5))) as hubs:
            does = TransferActivities(self.doorkeeper, self.packer, hubs)  # type: ignore[arg-type]
            yield does.admit, does.prepare, does.send

    async def start(self, verdict: TestVerdict = TestVerdict.ACCEPT, trigger: dict[str, Any] = NEXT_NODE) -> bool:
        self.package = package(self.shop, verdict, trigger)
        workflow_id = names.transfer_id(self.package.package_id)
        self.shop.workflow_ids.add(workflow_id)
        self.handle = self.shop.client.get_workflow_handle(workflow_id)
        return await start_transfer(self.shop.client, TransferStart(package=self.package))

    # --- what people do

    async def retry(self, destination: Destination) -> None:
        """By signal, as from the Temporal Web UI."""
        await self.handle.signal(names.RETRY_TRANSFER, {"destination": destination, "reason": "mended"})

    async def token(self, disposition: str, *, by: str = "quinn", role: Role = Role.QUALITY_MANAGER) -> str:
        wanted = disposition_wanted(self.package.package_id, self.package.content_hash)
        return await self.shop.token(wanted, disposition, by=by, role=role)

    async def dispose(self, disposition: str, *, by: str = "quinn", role: Role = Role.QUALITY_MANAGER) -> None:
        token = await self.token(disposition, by=by, role=role)
        await self.handle.signal(names.DISPOSE, {"token": token, "reason": "looked at it"})

    # --- what is known

    @property
    def row(self) -> dict[str, Any]:
        return self.shop.ledger.transfer_rows.get(self.package.package_id, {})

    async def is_(self, **columns: Any) -> None:
        """Waits until the row says so."""
        await until(
            lambda: columns.items() <= self.row.items(),
            lambda: f"{columns} of {self.row}; {list(self.shop.ledger.entries)}",
        )

    def entries(self, action: str) -> list[LedgerEntry]:
        return [
            entry
            for entry in self.shop.ledger.entries.values()
            if entry.action == action and entry.idempotency_key.startswith(f"{self.package.package_id}:")
        ]

    async def recorded(self, action: str, count: int = 1) -> LedgerEntry:
        await until(
            lambda: len(self.entries(action)) >= count,
            lambda: f"{count} of {action}: {list(self.shop.ledger.entries)}",
        )
        return self.entries(action)[count - 1]

    def open_alerts(self, alert_type: str) -> list[str]:
        return [cause for cause, alert in self.shop.ledger.open.items() if alert.alert_type == alert_type]

    def sent(self, destination: Destination) -> int:
        return len(self.hubs.received[destination])
