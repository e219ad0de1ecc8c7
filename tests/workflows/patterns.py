"""A test's pattern of alerts: about a contract of its own, whose version in force and whose drafts the test says."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from temporalio.client import WorkflowHandle

from activities.maintenance import MaintenanceActivities
from activities.maintenance_pattern import MaintenancePatternActivities
from infra.maintenance_alerts import MaintenancePatterns
from schemas import names
from schemas.ledger import LedgerEntry
from schemas.maintenance_alert import TeachingAlert
from schemas.maintenance_pattern import ContractExecuted, PatternAsked, PatternLife
from schemas.maintenance_version import CannotApply, CreatedVersion, NewVersion
from schemas.permission import Role
from tests.workflows.shop import Approval, Shop, until

WINDOW = timedelta(days=30)

ISSUE_TYPE = "calibration_failed"

CONTRACT: dict[str, Any] = {
    "contract_type": "SmartMaintenance",
    "title": "Thermometers",
    "description": "Digital thermometers of penetrant lines",
    "equipment_types": ["thermometer"],
    "conditions": ["must-calibrate-before-test"],
    "calibration_interval_days": 180,
}


class Pattern:
    """What happens to one contract, as its alerts tell; and the hub's drafts, in memory."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.contract_id = f"LP-{shop.name}"
        self.in_force: ContractExecuted | None = ContractExecuted(
            version="1.0", document={"smart_contract_id": self.contract_id, **CONTRACT}
        )
        self.asked: list[NewVersion] = []
        self.refusal: str | None = None
        self.known = PatternLife()
        self._door = MaintenancePatterns(shop.client, WINDOW, self)  # type: ignore[arg-type]
        self._told = 0

    # --- what its workflow needs

    def activities(self) -> list[Callable[..., Any]]:
        learns = MaintenancePatternActivities(self)  # type: ignore[arg-type]
        return [
            *(learns.read_executed, learns.read_life, learns.is_received),
            MaintenanceActivities(self, *([None] * 3)).create_version,  # type: ignore[arg-type]
        ]

    async def executed(self, _contract_id: str) -> ContractExecuted | None:
        return self.in_force

    async def is_received(self, key: str) -> bool:
        return key in self.shop.ledger.entries

    async def life(self, _asked: PatternAsked) -> PatternLife:
        """Rows know what the test says: what they really know is looked at over a real database."""
        return self.known.model_copy(deep=True)

    async def knows(self, _contract_id: str) -> bool:
        return True

    async def create_version(self, new: NewVersion) -> CreatedVersion:
        if self.refusal:
            raise CannotApply(self.refusal)
        self.asked.append(new)
        return CreatedVersion(contract_id=new.contract_id, version="1.1", document_hash="0" * 64)

    # --- what happens

    async def alert(self, node: str = "N1", *, ago: timedelta = timedelta(0), **fields: Any) -> TeachingAlert:
        """As the gateway hands it over."""
        alert = await self.told(node, ago=ago, **fields)
        await self.again(alert)
        return alert

    async def told(self, node: str = "N1", *, ago: timedelta = timedelta(0), **fields: Any) -> TeachingAlert:
        """What a node says, before anybody hands it over."""
        self._told += 1
        body = {
            "alert_id": f"A{self._told}-{self.shop.name}",
            "issue_type": ISSUE_TYPE,
            "contract_id": self.contract_id,
            "equipment_id": f"THERMO-{node}",
            "equipment_type": "thermometer",
            "node_id": node,
            "happened_at": (await self.shop.now()) - ago,
            **fields,
        }
        return TeachingAlert.model_validate(body)

    async def goes_on(self) -> None:
        """With what is known of it, as the reconcile has it."""
        self.shop.workflow_ids.add(await self._door.start(self.contract_id, ISSUE_TYPE))

    async def again(self, alert: TeachingAlert) -> None:
        self.shop.workflow_ids.add(str(await self._door.report(alert)))

    async def alerts(self, *nodes: str) -> list[TeachingAlert]:
        return [await self.alert(node) for node in nodes]

    # --- what became of it

    @property
    def handle(self) -> WorkflowHandle[Any, Any]:
        return self.shop.client.get_workflow_handle(names.maintenance_pattern_id(self.contract_id, ISSUE_TYPE))

    async def recorded(self, action: str, count: int = 1) -> LedgerEntry:
        await until(lambda: len(self.entries(action)) >= count, lambda: f"{count} of {action}: {self.shop}")
        return self.entries(action)[count - 1]

    def entries(self, action: str) -> list[LedgerEntry]:
        """An analysis is about all patterns, and says of which contract it is."""
        ledger = self.shop.ledger.entries.values()
        return [
            entry
            for entry in ledger
            if entry.action == action and self.contract_id in (entry.target, entry.metadata.get("contract_id"))
        ]

    async def review(self, number: int = 1) -> "Review":
        """The nth that was asked for."""
        entry = await self.recorded("analyze_alerts", number)
        review = Review(self, entry)
        review.approval = await self.shop.approval(review.id)
        return review


class Review:
    """One review, and the approval that answers it."""

    approval: Approval

    def __init__(self, pattern: Pattern, entry: LedgerEntry) -> None:
        self.pattern = pattern
        self.entry = entry
        self.id: str = entry.metadata["review_id"]

    @property
    def row(self) -> dict[str, Any]:
        return self.pattern.shop.ledger.reviews[self.id]

    async def answer(self, answer: str, note: str | None = None) -> None:
        """By a maintenance engineer."""
        await self.approval.answer(answer, by="mia", role=Role.MAINTENANCE_ENGINEER, note=note)
        await until(lambda: self.row["status"] != "open", lambda: f"{self.row}; {self.pattern.shop}")
