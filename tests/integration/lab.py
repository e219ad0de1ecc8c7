"""A lab of three penetrant cells: the real database, policy repository and nodes' disks, behind the API."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest
import yaml
from fastapi import FastAPI

from infra.hubs import Hubs
from infra.node_maintenance import NodeMaintenance
from infra.settings import Settings
from schemas.permission import Role
from tests.fleet import fleet
from workers.worker import main_worker

if TYPE_CHECKING:
    from api.house import House

Json = dict[str, Any]
Caller = Callable[..., httpx.AsyncClient]

PATH = "/api/v1/maintenance/contracts"


def with_cells(settings: Settings, folder: Path) -> Settings:
    """With three penetrant cells of the test's own."""
    name = uuid4().hex[:8]
    nodes = [
        {"node_id": f"{kind}{number}-{name}", "station_type": kind, "name": "cell"}
        for kind, number in (("LP", 1), ("LP", 2), ("LP", 3), ("CP", 1))
    ]
    file = folder / "nodes.yaml"
    file.write_text(yaml.safe_dump({"nodes": nodes}))
    return settings.model_copy(update={"nodes_file": file})


class Lab:
    """Marta makes contracts, Quentin approves them."""

    def __init__(self, house: "House", marta: httpx.AsyncClient, quentin: httpx.AsyncClient) -> None:
        self.house = house
        self.marta = marta
        self.quentin = quentin
        self.name = f"LP-lamp-{uuid4().hex[:8]}"
        self.nodes = [node for node in house.registry.nodes if node.station_type == "LP"]

    def document(self, **fields: Any) -> Json:
        return {
            "smart_contract_id": self.name,
            "title": "UV lamp",
            "description": "Irradiance before each shift",
            "equipment_types": ["uv_lamp"],
            "conditions": ["must-calibrate-before-test"],
            "calibration_interval_days": 180,
            **fields,
        }

    async def create(self, **fields: Any) -> httpx.Response:
        return await self.marta.post(PATH, json=self.document(**fields))

    async def created(self, **fields: Any) -> None:
        answer = await self.create(**fields)
        assert answer.status_code == 201, answer.text

    def path(self, version: str = "1.0", then: str = "") -> str:
        return f"{PATH}/{self.name}/versions/{version}{then}"

    async def show(self, version: str = "1.0") -> Json:
        answer = await self.marta.get(self.path(version))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def until(self, condition: Callable[[Json], bool], version: str = "1.0", *, patience: float = 20) -> Json:
        shown: Json = {}
        try:
            async with asyncio.timeout(patience):
                while not condition(shown := await self.show(version)):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pytest.fail(f"did not happen: {shown}")
        return shown

    async def improve(self, days: int, *, before: int = 180, parent: str = "1.0") -> httpx.Response:
        change = {"field": "/calibration_interval_days", "before": before, "after": days, "reason": "three failed"}
        body = {"parent_version": parent, "reason": "three failed", "changes": [change]}
        return await self.marta.post(f"{PATH}/{self.name}/versions", json=body)

    async def deploy(self, version: str = "1.0", nodes: list[str] | None = None) -> None:
        """Asked for by Marta, approved by Quentin."""
        assert (await self.marta.post(self.path(version, "/validate"))).json()["status"] == "validated"
        await self.approve(await self.ask_deployment(version, nodes))
        await self.until(lambda shown: shown["deployments"] != [], version)

    async def ask_deployment(self, version: str = "1.0", nodes: list[str] | None = None) -> str:
        """By Marta; the approval's ID."""
        answer = await self.marta.post(self.path(version, "/deploy"), json={"reason": "ready", "nodes": nodes})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["pending_approval"])

    async def approve(self, approval_id: str, decision: str = "approve") -> None:
        """By Quentin."""
        approval: Json = {}
        async with asyncio.timeout(20):
            while "content_hash" not in approval:
                await asyncio.sleep(0.05)
                approval = (await self.quentin.get(f"/api/v1/approvals/{approval_id}")).json()
        body = {"decision": decision, "content_hash": approval["content_hash"]}
        answer = await self.quentin.post(f"/api/v1/approvals/{approval_id}/respond", json=body)
        assert answer.is_success, answer.text

    @asynccontextmanager
    async def online(self, *numbers: int) -> AsyncIterator[list[NodeMaintenance]]:
        """The workers of these cells, or of all."""
        cells = [self.nodes[number] for number in numbers or range(len(self.nodes))]
        async with fleet(self.house.temporal, cells, self.house.settings.state_dir / "nodes") as disks:
            yield disks


@asynccontextmanager
async def open_lab(api: FastAPI, settings: Settings, caller: Caller) -> AsyncIterator[Lab]:
    """With its main worker."""
    house: House = api.state.house
    async with (
        caller(Role.MAINTENANCE_ENGINEER, "marta") as marta,
        caller(Role.QUALITY_MANAGER, "quentin") as quentin,
        Hubs(settings) as hubs,
        main_worker(house.temporal, house.engine, house.ledger, hubs, settings),
    ):
        yield Lab(house, marta, quentin)
