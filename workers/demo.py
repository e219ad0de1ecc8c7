"""The main job, shown and checked: `smartfloor demo`.

Every scene stages a shipped sample under an ID of this run, so that the demo can be run again on the same state,
and says at its end whether the shop did what it must. Only public interfaces are used: HTTP, MQTT, and SIGKILL.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiomqtt
import httpx
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from infra.bearer import LocalKey
from infra.checkpoint import NoKey, checkpoint
from infra.database import create_engine
from infra.documents import read_document
from infra.embedded.addresses import api_url
from infra.embedded.shop import Shop
from infra.mqtt import publishing_client
from infra.node_store import NodeStore
from infra.settings import Settings
from infra.verify import verify_ledger
from infra.verify_export import Broken
from schemas import names
from schemas.client_po import ClientPOStatus
from schemas.permission import Role

SAMPLES = Path(__file__).parents[1] / "infra" / "samples"
PATIENCE = 20.0
"""Seconds until something that should happen counts as not happening."""
REFRESH = 0.25

COLOURS = {
    ClientPOStatus.AWAITING_ARRIVAL: "yellow",
    ClientPOStatus.ARRIVAL_CONFIRMED: "cyan",
    ClientPOStatus.READY_FOR_RELEASE: "cyan",
    ClientPOStatus.RELEASED: "green",
    ClientPOStatus.HOLD: "magenta",
    ClientPOStatus.CANCELLED: "red",
}

Body = dict[str, Any]


class Failed(AssertionError):
    """The shop did not do what it must."""


@dataclass
class Scene:
    """One thing the demo shows; `outcome` is None while it plays, else empty or what went wrong."""

    title: str
    outcome: str | None = None

    def line(self) -> Text:
        mark, style = {None: ("…", "bold"), "": ("✓", "green")}.get(self.outcome, ("✗", "red"))
        return Text(f"{mark} {self.title}" + (f": {self.outcome}" if self.outcome else ""), style=style)


@dataclass
class Demo:
    """The shop as somebody at the dock, somebody on the floor, and the Business Hub see it.

    `http` is Maria's, the supervisor, `admin` hers when she is administrator, `quality` the quality manager's, `hub`
    the Business Hub's: each has a token of its own, and may what its role may.
    """

    shop: Shop
    http: httpx.AsyncClient
    admin: httpx.AsyncClient
    quality: httpx.AsyncClient
    hub: httpx.AsyncClient
    mqtt: aiomqtt.Client
    run: str
    scenes: list[Scene] = field(default_factory=list)
    staged: list[str] = field(default_factory=list)
    queue: list[Body] = field(default_factory=list)

    # --- what people do -------------------------------------------------------------------------------------

    def sample(self, name: str) -> Body:
        """A shipped document under an ID and a part of this run."""
        document = read_document((SAMPLES / f"{name}.yaml").read_bytes(), is_yaml=True)
        for key in ("smart_contract_id", "part_id", "part_number"):
            if key in document:
                document[key] = f"{document[key]}-{self.run}"
        return document

    async def stage(self, document: Body) -> str:
        answer = await self.hub.post("/client-pos", json=document)
        answer.raise_for_status()
        name: str = document["smart_contract_id"]
        self.staged.append(name)
        return name

    async def scan(self, document: Body, broadcast_id: str, quantity: int = 1) -> None:
        """The dock scanner: at least once, so the same ID may come twice."""
        part = {"part_id": document["part_id"]} if "part_id" in document else {"part_number": document["part_number"]}
        body = {
            "id": f"{broadcast_id}-{self.run}",
            "event_type": "part_arrival",
            **part,
            "quantity": quantity,
            "location": "receiving-dock",
            "timestamp": datetime.now(UTC).isoformat(),
        }
        await self.mqtt.publish(names.PART_ARRIVAL_TOPIC, json.dumps(body), qos=1)

    async def act(self, name: str, verb: str, reason: str) -> None:
        answer = await self.http.post(f"/client-pos/{name}/{verb}", json={"reason": reason})
        answer.raise_for_status()

    async def answer(self, who: httpx.AsyncClient, approval_id: str) -> httpx.Response:
        """Somebody approves exactly what they see."""
        seen = await who.get(f"/approvals/{approval_id}")
        seen.raise_for_status()
        answer = {"decision": "approve", "content_hash": seen.json()["content_hash"]}
        return await who.post(f"/approvals/{approval_id}/respond", json=answer)

    async def see(self, name: str) -> Body:
        answer = await self.http.get(f"/client-pos/{name}")
        answer.raise_for_status()
        body: Body = answer.json()
        return body

    async def until(self, name: str, what: str, condition: Callable[[Body], bool]) -> Body:
        """Looks until it is so; raises `Failed` after `PATIENCE`."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not condition(po := await self.see(name)):
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise Failed(f"{name} is {(await self.see(name))['status']}, not {what}, after {PATIENCE:.0f} s") from None
        return po

    async def until_status(self, name: str, status: ClientPOStatus) -> Body:
        return await self.until(name, status, lambda po: po["status"] == status)

    async def entries(self, target: str, action: str) -> list[Body]:
        answer = await self.http.get("/ledger/entries", params={"target": target, "action": action})
        answer.raise_for_status()
        found: list[Body] = answer.json()
        return found

    async def until_recorded(self, target: str, action: str, count: int = 1) -> list[Body]:
        try:
            async with asyncio.timeout(PATIENCE):
                while len(found := await self.entries(target, action)) < count:
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise Failed(f"the ledger has no {action} of {target} after {PATIENCE:.0f} s") from None
        return found

    # --- the scenes -----------------------------------------------------------------------------------------

    async def gated(self) -> None:
        """Staged first, looked at last."""
        name = next(po for po in self.staged if "005" in po)
        po = await self.see(name)
        check(po["status"] == ClientPOStatus.AWAITING_ARRIVAL, f"{name} is {po['status']} though its part never came")
        check(not await self.entries(name, "release_client_po"), f"{name} has a release in the ledger")

    async def arrives(self) -> None:
        document = self.sample("lp-fan-blade")
        name = await self.stage(document)
        await self.scan(document, "BC-BLADE")
        await self.until_status(name, ClientPOStatus.RELEASED)

    async def came_early(self) -> None:
        document = self.sample("cp-landing-gear")
        await self.scan(document, "BC-PIN")
        early = await self.until_recorded(document["part_id"], "receive_arrival")
        name = await self.stage(document)
        po = await self.until_status(name, ClientPOStatus.RELEASED)
        check(early[0]["seq"] < po["timeline"][0]["seq"], "the part was not there before the PO")

    async def on_hold(self) -> None:
        document = self.sample("lp-compressor-hub")
        name = await self.stage(document)
        await self.act(name, "hold", "client request: drawing under revision")
        await self.scan(document, "BC-HUB")
        po = await self.until(name, "confirmed", lambda po: po["arrival_timestamp"] is not None)
        check(po["status"] == ClientPOStatus.HOLD, f"{name} is {po['status']} though it was on hold")
        await self.act(name, "resume", "drawing released")
        await self.until_status(name, ClientPOStatus.RELEASED)

    async def duplicate(self) -> None:
        document = self.sample("fi-fastener-lot")
        name = await self.stage(document)
        part = document["part_number"]
        await self.scan(document, "BC-LOT-1", 6)
        await self.until(name, "at 6 of 10", lambda po: po["arrived"] == 6)
        await self.scan(document, "BC-LOT-1", 6)
        await self.until_recorded(part, "duplicate_broadcast")
        po = await self.see(name)
        check(po["arrived"] == 6, f"the duplicate was counted: {po['arrived']} of 10")
        await self.scan(document, "BC-LOT-2", 4)
        await self.until_status(name, ClientPOStatus.RELEASED)

    async def four_eyes(self) -> None:
        document = self.sample("fi-fastener-lot") | {
            "smart_contract_id": f"SC-2026-007-FI-{self.run}",
            "part_number": f"PN-FASTENER-7-{self.run}",
        }
        name = await self.stage(document)
        await self.scan(document, "BC-LOT-3", 6)
        await self.until(name, "at 6 of 10", lambda po: po["arrived"] == 6)
        await self.act(name, "accept-quantity", "the client needs six now")
        approval_id = (await self.see(name))["pending_approval"]
        check(approval_id is not None, f"no approval is asked for {name}")
        await self.until_recorded(approval_id, "request_approval")
        own = await self.answer(self.admin, approval_id)
        check(own.status_code == 409, f"Maria could approve what she asked for: {own.status_code}")
        check("another person" in own.json()["detail"], own.json()["detail"])
        other = await self.answer(self.quality, approval_id)
        check(other.is_success, f"the quality manager could not approve: {other.text}")
        po = await self.until_status(name, ClientPOStatus.RELEASED)
        check(po["accepted_quantity"] == 6, f"{name} was released with {po['accepted_quantity']} of 10")

    async def worker_killed(self) -> None:
        """The node is stopped, so that the release is under way for sure when the worker is killed."""
        document = self.sample("cp-landing-gear") | {
            "smart_contract_id": f"SC-2026-006-CP-{self.run}",
            "part_id": f"PART-LGP-20872-{self.run}",
        }
        node_id = document["tests"][0]["assigned_node"]
        node, worker = self.shop.process(f"node-{node_id}"), self.shop.process("worker")
        await node.stop()
        name = await self.stage(document)
        await self.scan(document, "BC-PIN-2")
        await self.until_status(name, ClientPOStatus.READY_FOR_RELEASE)
        await worker.kill()
        await node.start()
        await worker.start()
        await self.until_status(name, ClientPOStatus.RELEASED)
        for action in ("confirm_arrival", "release_client_po"):
            found = await self.entries(name, action)
            check(len(found) == 1, f"the ledger has {len(found)} entries {action} for {name}")
        taken = [po.smart_contract_id for po in NodeStore(node_id, self.shop.settings.node_store(node_id)).inbox()]
        check(taken.count(name) == 1, f"{node_id} has {name} {taken.count(name)} times")

    async def ledger_verifies(self) -> None:
        engine = create_engine(self.shop.settings.database_writer_url)
        try:
            await checkpoint(engine, self.shop.settings)
            await verify_ledger(engine, self.shop.settings)
        except (Broken, NoKey) as problem:
            raise Failed(str(problem)) from problem
        finally:
            await engine.dispose()

    # --- playing --------------------------------------------------------------------------------------------

    async def play(self, title: str, scene: Callable[[], Awaitable[None]]) -> None:
        playing = Scene(title)
        self.scenes.append(playing)
        try:
            await scene()
        except (Failed, httpx.HTTPError, aiomqtt.MqttError) as error:
            playing.outcome = str(error) or type(error).__name__
        else:
            playing.outcome = ""

    def view(self) -> Group:
        table = Table(title="The staging queue", expand=True)
        for column in ("SmartClientPO", "Status", "Arrived", "Waits for"):
            table.add_column(column, no_wrap=column != "Waits for")
        for po in self.queue:
            status = ClientPOStatus(po["status"])
            table.add_row(
                po["smart_contract_id"],
                Text(status, style=COLOURS[status]),
                f"{po['arrived']} of {po['accepted_quantity'] or po['quantity']}",
                po["waits_for"],
            )
        return Group(table, *(scene.line() for scene in self.scenes))

    async def watch(self, live: Live) -> None:
        while True:
            with suppress(httpx.HTTPError):
                answer = await self.http.get("/staging-queue", params={"limit": 500})
                found = {po["smart_contract_id"]: po for po in answer.json().get("queue", [])}
                self.queue = [found[name] for name in self.staged if name in found]
            live.update(self.view())
            await asyncio.sleep(REFRESH)


def check(condition: bool, otherwise: str) -> None:
    """Raises `Failed`."""
    if not condition:
        raise Failed(otherwise)


@asynccontextmanager
async def _open(settings: Settings, console: Console) -> AsyncIterator[Demo]:
    run = f"{datetime.now(UTC):%H%M%S}"
    async with (
        Shop(settings, report=lambda line: console.print(line, style="dim")) as shop,
        _client(shop.settings, Role.SUPERVISOR, "maria") as http,
        _client(shop.settings, Role.ADMIN, "maria") as admin,
        _client(shop.settings, Role.QUALITY_MANAGER, "quentin") as quality,
        _client(shop.settings, Role.SERVICE, "business-hub") as hub,
        publishing_client(shop.settings) as mqtt,
    ):
        yield Demo(shop, http, admin, quality, hub, mqtt, run)


def _client(settings: Settings, role: Role, user_id: str) -> httpx.AsyncClient:
    token = LocalKey(settings).token(role, user_id, timedelta(hours=1))
    return httpx.AsyncClient(
        base_url=f"{api_url(settings)}/api/v1",
        headers={"Authorization": f"Bearer {token}"},
        timeout=PATIENCE,
        trust_env=False,
    )


async def demo(settings: Settings, console: Console) -> bool:
    """Plays all scenes with a live table; True when every one came out as it should."""
    async with _open(settings, console) as show:
        with Live(show.view(), console=console, refresh_per_second=8) as live:
            watching = asyncio.create_task(show.watch(live))
            await show.stage(show.sample("fi-actuator-rod"))
            await show.play("A PO is released when its part arrives", show.arrives)
            await show.play("A part that came before its PO waits for it", show.came_early)
            await show.play("A PO on hold is confirmed but not released, until it is resumed", show.on_hold)
            await show.play("A duplicate broadcast changes nothing: 6 of 10, and 10 with the rest", show.duplicate)
            await show.play("Two persons accept six of ten; who asked cannot answer", show.four_eyes)
            await show.play("A worker killed amid a release: nothing lost, nothing twice", show.worker_killed)
            await show.play("A PO whose part never comes stays gated", show.gated)
            await show.play("The ledger verifies", show.ledger_verifies)
            await asyncio.sleep(2 * REFRESH)
            watching.cancel()
            live.update(show.view())
        well = all(scene.outcome == "" for scene in show.scenes)
        console.print("\nEverything came out as it should." if well else "\nNot everything came out as it should.")
        console.print("The shop stops now; `make up` starts it again with all that happened here:")
        console.print(f"  Temporal Web UI  {show.shop.settings.temporal_ui}", highlight=False)
        console.print(f"  API docs         {api_url(show.shop.settings)}/docs", highlight=False)
    return well
