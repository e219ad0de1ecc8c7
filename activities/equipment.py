"""The equipment register as workflows see it: looking at it, and waking whoever must know of a change."""

from typing import TYPE_CHECKING

from temporalio import activity

from schemas.equipment_register import BlockedTests, CalibrationAsked, CalibrationFound, LineAsked, LineFound
from schemas.maintenance_orders import HeldContracts, LostContracts
from schemas.node_report import LinesNamed, NodeRef, RegisterAsked, RegisterPage

if TYPE_CHECKING:
    from infra.equipment_register import EquipmentRegister
    from infra.temporal import NodeSyncs


class EquipmentActivities:
    """Reads rows; they change only with the ledger entry that says so."""

    def __init__(self, register: "EquipmentRegister", node_syncs: "NodeSyncs") -> None:
        self._register = register
        self._node_syncs = node_syncs

    @activity.defn
    async def look_up_line(self, asked: LineAsked) -> LineFound:
        """What a request about a line must know."""
        return await self._register.line(asked)

    @activity.defn
    async def look_up_calibration(self, asked: CalibrationAsked) -> CalibrationFound:
        """What stands under a certificate, once something was recorded under it."""
        return await self._register.calibration(asked)

    @activity.defn
    async def read_register(self, asked: RegisterAsked) -> RegisterPage:
        """The lines that changed after a revision, the oldest change first, as many as go into one message."""
        return await self._register.page(asked.since)

    @activity.defn
    async def newest_change(self, lines: LinesNamed) -> int:
        """The revision of the last change of any of these lines."""
        return await self._register.newest_change(lines.equipment_ids)

    @activity.defn
    async def lost_contracts(self, held: HeldContracts) -> LostContracts:
        """What a node acknowledged and does not have any more: its disk was replaced."""
        return LostContracts(contracts=await self._register.lost_contracts(held))

    @activity.defn
    async def blocked_tests(self, node: NodeRef) -> BlockedTests:
        """Those that wait for equipment at this node."""
        return BlockedTests(smart_contract_ids=await self._register.blocked_tests(node.node_id))

    @activity.defn
    async def refresh_node(self, node: NodeRef) -> None:
        """Has a node told what changed."""
        await self._node_syncs.refresh(node.node_id)
