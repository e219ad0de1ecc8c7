"""What the routes are given: the open adapters of this process."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from api.security import AccessControl
from infra.alerts import Alerts
from infra.approvals import Approvals
from infra.business_hub import BusinessHub
from infra.client_order import ClientOrders
from infra.client_po import ClientPOs
from infra.contract_store import ContractStore
from infra.decisions import DecisionSigner
from infra.equipment_register import EquipmentRegister
from infra.floor_hub import FloorHub
from infra.gatekeeper import Gatekeeper
from infra.ledger import Ledger
from infra.maintenance import MaintenanceContracts
from infra.maintenance_alerts import MaintenanceReviews
from infra.maintenance_drafts import Drafts
from infra.policy_repository import PolicyRepository
from infra.registry import Registry
from infra.reverse_trace import ReverseTraces
from infra.settings import Settings
from infra.staging import Staging
from infra.telemetry import SdkMetrics
from infra.templates import Templates
from infra.temporal import EquipmentDesk, PartArrivals, workflow_url
from infra.test_execution import Tests
from infra.transfer import Transfers
from infra.vault import Vault


@dataclass(frozen=True)
class House:
    """Opened when the API starts, closed when it stops."""

    settings: Settings
    registry: Registry
    engine: AsyncEngine
    ledger: Ledger
    client_pos: ClientPOs
    client_orders: ClientOrders
    tests: Tests
    equipment: EquipmentRegister
    equipment_desk: EquipmentDesk
    alerts: Alerts
    temporal: Client
    staging: Staging
    part_arrivals: PartArrivals
    approvals: Approvals
    decisions: DecisionSigner
    transfers: Transfers
    gatekeeper: Gatekeeper
    contracts: ContractStore
    vault: Vault
    traces: ReverseTraces
    floor_hub: FloorHub
    business_hub: BusinessHub
    maintenance_contracts: MaintenanceContracts
    drafts: Drafts
    reviews: MaintenanceReviews
    templates: Templates
    policy_repository: PolicyRepository
    sdk_metrics: SdkMetrics
    access: AccessControl

    def workflow_url(self, workflow_id: str) -> str:
        """Where people see a workflow in the Temporal Web UI."""
        return workflow_url(self.settings, workflow_id)


def _house(request: Request) -> House:
    house: House = request.app.state.house
    return house


TheHouse = Annotated[House, Depends(_house)]
