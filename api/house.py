"""What the routes are given: the open adapters of this process."""

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from api.security import AccessControl
from infra.client_po import ClientPOs
from infra.ledger import Ledger
from infra.registry import Registry
from infra.settings import Settings
from infra.telemetry import SdkMetrics
from infra.temporal import ClientPOStarter, PartArrivals


@dataclass(frozen=True)
class House:
    """Opened when the API starts, closed when it stops."""

    settings: Settings
    registry: Registry
    engine: AsyncEngine
    ledger: Ledger
    client_pos: ClientPOs
    temporal: Client
    starter: ClientPOStarter
    part_arrivals: PartArrivals
    sdk_metrics: SdkMetrics
    access: AccessControl

    def workflow_url(self, workflow_id: str) -> str:
        """Where people see a workflow in the Temporal Web UI."""
        ui, namespace = self.settings.temporal_ui, self.settings.temporal_namespace
        return f"{ui}/namespaces/{namespace}/workflows/{quote(workflow_id, safe='')}"


def _house(request: Request) -> House:
    house: House = request.app.state.house
    return house


TheHouse = Annotated[House, Depends(_house)]
