"""The main job and a chain of contracts, shown and checked: `smartfloor demo`.

Every scene stages a shipped sample under an ID of this run, so that the demo can be run again on the same state,
and says at its end whether the shop did what it must. Only public interfaces are used: HTTP, MQTT, and SIGKILL; and a
line to the vault hub that is cut for a while.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import aiomqtt
import httpx
from pydantic import SecretStr
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from infra.bearer import LocalKey
from infra.checkpoint import NoKey, checkpoint
from infra.database import create_engine
from infra.documents import read_document
from infra.embedded.line import Line
from infra.embedded.ports import LOOPBACK, port
from infra.embedded.shop import Shop
from infra.mqtt import publishing_client
from infra.node_store import NodeStore
from infra.settings import Settings
from infra.verify import verify_ledger
from infra.verify_export import Broken
from schemas import names
from schemas.client_order import Standing
from schemas.client_po import ClientPOStatus
from schemas.permission import Role
from schemas.routing import document_name
from schemas.transfer import Destination, LegStatus

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

STANDING_COLOURS = {
    Standing.STUCK: "red",
    Standing.UNDER_WAY: "cyan",
    Standing.TO_COME: "dim",
    Standing.ENDED: "magenta",
    Standing.COMPLETE: "green",
}

LEG_COLOURS = {
    LegStatus.COMPLETE: "green",
    LegStatus.FAILED: "yellow",
    LegStatus.WAITING: "red",
    LegStatus.AWAITING_DISPOSITION: "magenta",
    LegStatus.NOT_APPLICABLE: "dim",
}

CHAIN = ("lp-fan-blade", "cp-fan-blade", "fi-fan-blade")
"""The samples of one client order, in their order."""

READINGS = {
    "liquid_penetrant": {"name": "longest indication", "value": "0.4", "unit": "mm"},
    "nital_etch": {"name": "etching time", "value": "45", "unit": "s"},
    "dimensional": {"name": "chord length", "value": "87.012", "unit": "mm"},
}
"""What is measured, by the type of the test."""

FIRST_PAUSE = timedelta(seconds=0.4)
"""Before a leg's first retry: short, so that all of them are seen."""

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

    `http` is Maria's, the supervisor, `admin` hers when she is administrator, `ines` an inspector's, `quality` the
    quality manager's, `hub` the Business Hub's: each has a token of its own, and may what its role may. Results go to
    the vault over the line `vault`.
    """

    shop: Shop
    http: httpx.AsyncClient
    admin: httpx.AsyncClient
    ines: httpx.AsyncClient
    quality: httpx.AsyncClient
    hub: httpx.AsyncClient
    mqtt: aiomqtt.Client
    vault: Line
    run: str
    scenes: list[Scene] = field(default_factory=list)
    staged: list[str] = field(default_factory=list)
    queue: list[Body] = field(default_factory=list)
    chain: list[Body] = field(default_factory=list)

    # --- what people do -------------------------------------------------------------------------------------

    def sample(self, name: str) -> Body:
        """A shipped document under an ID, an order and a part of this run."""
        document = read_document((SAMPLES / f"{name}.yaml").read_bytes(), is_yaml=True)
        for key in ("smart_contract_id", "clientpo_id", "part_id", "part_number"):
            if key in document:
                document[key] = f"{document[key]}-{self.run}"
        trigger = document["routing_trigger"]
        if "next_contract" in trigger:
            trigger["next_contract"] = f"{document_name(trigger['next_contract'])}-{self.run}.yaml"
        return document

    @cached_property
    def blade(self) -> list[Body]:
        """The contracts of the fan blade: penetrant test, etch inspection, final inspection."""
        return [self.sample(name) for name in CHAIN]

    async def stage(self, document: Body) -> str:
        answer = await self.hub.post("/client-pos", json=document)
        answer.raise_for_status()
        name: str = document["smart_contract_id"]
        self.staged.append(name)
        return name

    async def scan(self, document: Body, broadcast_id: str, quantity: int = 1, place: str = "receiving-dock") -> None:
        """The scanner at the dock, or at a station: at least once, so the same ID may come twice."""
        part = {"part_id": document["part_id"]} if "part_id" in document else {"part_number": document["part_number"]}
        body = {
            "id": f"{broadcast_id}-{self.run}",
            "event_type": "part_arrival",
            **part,
            "quantity": quantity,
            "location": place,
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

    async def perform(self, contract: Body) -> None:
        """Ines performs the tests of a contract and signs for them, then Quentin does."""
        name = contract["smart_contract_id"]
        await self.until_in_chain(name, "at its node", lambda found: found["test"] is not None)
        instruments = [instrument for test in contract["tests"] for instrument in test["equipment"]]
        await post(self.ines, f"/tests/{name}/start", instruments=instruments)
        results = [
            {
                "test_id": test["test_id"],
                "verdict": "accept",
                "readings": [READINGS[test["test_type"]]],
                "procedure_followed": True,
            }
            for test in contract["tests"]
        ]
        await post(self.ines, f"/tests/{name}/results", results=results)
        await self.sign(self.ines, Role.INSPECTOR, name, "performed")
        check((await self.in_chain(name))["transfers"] == [], f"{name} was authorized with one of two signatures")
        await self.sign(self.quality, Role.QUALITY_MANAGER, name, "approved")

    async def sign(self, who: httpx.AsyncClient, role: Role, name: str, meaning: str) -> None:
        """Somebody signs exactly what they see, wherever their role is asked."""
        for asked in (await get(who, f"/tests/{name}"))["to_sign"]:
            if asked["role"] == role:
                seen = {"test_id": asked["test_id"], "content_hash": asked["content_hash"]}
                await post(who, f"/tests/{name}/signoffs", decision="sign", meaning=meaning, **seen)

    async def order(self) -> Body:
        """The client order of the fan blade."""
        return await get(self.http, f"/client-orders/{self.blade[0]['clientpo_id']}")

    async def in_chain(self, name: str) -> Body:
        """One contract of it; empty where the chain does not know it yet."""
        return next((found for found in (await self.order())["contracts"] if found["smart_contract_id"] == name), {})

    async def until_in_chain(self, name: str, what: str, condition: Callable[[Body], bool]) -> Body:
        """Looks at a contract of the chain until it is so; raises `Failed` after `PATIENCE`."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not ((found := await self.in_chain(name)) and condition(found)):
                    await asyncio.sleep(0.1)
        except TimeoutError:
            waits_for = (await self.in_chain(name)).get("waits_for", "nobody, nobody knows it")
            raise Failed(f"{name} is not {what} after {PATIENCE:.0f} s; it waits for {waits_for}") from None
        return found

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
        document = self.blade[0]
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

    async def vault_away(self) -> None:
        """The dispatcher takes the next contract from the store, and stages it whatever becomes of the vault."""
        first, second, third = self.blade
        for contract in (second, third):
            stored = await self.hub.put(f"/contracts/{contract['smart_contract_id']}", json=contract)
            stored.raise_for_status()
        await self.vault.cut()
        await self.perform(first)
        name = first["smart_contract_id"]
        moved = await self.until_in_chain(name, "at the next node", leg(Destination.NEXT_NODE, LegStatus.COMPLETE))
        check(leg_status(moved, Destination.VAULT) != LegStatus.COMPLETE, "the vault has what it cannot have got")
        await self.scan(second, "BC-BLADE-CP", place=second["tests"][0]["assigned_node"])
        await self.until_in_chain(
            second["smart_contract_id"], "released", lambda found: found["po_status"] == ClientPOStatus.RELEASED
        )

    async def vault_back(self) -> None:
        name = self.blade[0]["smart_contract_id"]
        stuck = await self.until_in_chain(name, "waiting for a person", leg(Destination.VAULT, LegStatus.WAITING))
        package_id = stuck["transfers"][-1]["package_id"]
        check((await self.order())["standing"] == Standing.STUCK, "the client order does not say that it is stuck")
        check(len(await self.entries(package_id, "transfer_to_vault")) == 4, "one attempt and three retries are four")
        await self.until_recorded(package_id, "escalate_failure")
        await self.vault.join(self.shop.settings.api_port)
        await post(self.http, f"/transfers/{package_id}/retry", destination=Destination.VAULT)
        await self.until_in_chain(name, "complete", lambda found: found["standing"] == Standing.COMPLETE)

    async def chain_ends(self) -> None:
        _, second, third = self.blade
        await self.perform(second)
        await self.until_in_chain(third["smart_contract_id"], "staged", lambda found: found["po_status"] is not None)
        await self.scan(third, "BC-BLADE-FI", place=third["tests"][0]["assigned_node"])
        await self.perform(third)
        for contract in self.blade:
            name = contract["smart_contract_id"]
            await self.until_in_chain(name, "complete", lambda found: found["standing"] == Standing.COMPLETE)
            revisions = (await get(self.http, f"/vault/{name}"))["revisions"]
            check(len(revisions) == 1, f"the vault has {len(revisions)} packages of {name}")
            report = await self.http.get(f"/vault/{name}/report")
            report.raise_for_status()
            check(report.content.startswith(b"%PDF"), f"the report of {name} is no PDF")
        order = await self.order()
        check(order["standing"] == Standing.COMPLETE, f"the client order is {order['standing']}")
        check(order["notified_at"] is not None, "the Business Hub does not know that the client order is complete")

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
        return Group(table, self.chain_view(), *(scene.line() for scene in self.scenes))

    def chain_view(self) -> Table:
        """The contracts of the fan blade, each with both legs of its transfer."""
        table = Table(title="The chain of the fan blade", expand=True)
        for column in ("Contract, station", "Stands", "Vault", "Next node", "Waits for"):
            table.add_column(column, no_wrap=column != "Waits for")
        for contract in self.chain:
            standing = Standing(contract["standing"])
            table.add_row(
                f"{contract['smart_contract_id']}\n{contract['node']}",
                Text(standing, style=STANDING_COLOURS[standing]),
                *(_leg(contract, destination) for destination in (Destination.VAULT, Destination.NEXT_NODE)),
                contract["waits_for"],
            )
        return table

    async def watch(self, live: Live) -> None:
        while True:
            with suppress(httpx.HTTPError):
                answer = await self.http.get("/staging-queue", params={"limit": 500})
                found = {po["smart_contract_id"]: po for po in answer.json().get("queue", [])}
                self.queue = [found[name] for name in self.staged if name in found]
                self.chain = (await self.order())["contracts"]
            live.update(self.view())
            await asyncio.sleep(REFRESH)


def check(condition: bool, otherwise: str) -> None:
    """Raises `Failed`."""
    if not condition:
        raise Failed(otherwise)


def leg_status(contract: Body, destination: Destination) -> LegStatus | None:
    """Of the last package of a contract; None while there is none."""
    legs = (
        {leg["destination"]: leg["status"] for leg in contract["transfers"][-1]["legs"]}
        if contract["transfers"]
        else {}
    )
    return LegStatus(legs[destination]) if legs else None


def leg(destination: Destination, status: LegStatus) -> Callable[[Body], bool]:
    """Whether a contract's leg is in this state."""
    return lambda contract: leg_status(contract, destination) is status


def _leg(contract: Body, destination: Destination) -> Text:
    status = leg_status(contract, destination)
    return Text("") if status is None else Text(status, style=LEG_COLOURS.get(status, "cyan"))


async def get(who: httpx.AsyncClient, path: str) -> Body:
    answer = await who.get(path)
    answer.raise_for_status()
    body: Body = answer.json()
    return body


async def post(who: httpx.AsyncClient, path: str, **body: Any) -> None:
    """Raises `Failed` with what a refusal says."""
    answer = await who.post(path, json=body)
    check(answer.is_success, f"POST {path}: {answer.status_code} {answer.text}")


@asynccontextmanager
async def _open(settings: Settings, console: Console) -> AsyncIterator[Demo]:
    run = f"{datetime.now(UTC):%H%M%S}"
    vault = Line(port())
    async with (
        Shop(_with_a_line(settings, vault), report=lambda line: console.print(line, style="dim")) as shop,
        _client(shop.settings, Role.SUPERVISOR, "maria") as http,
        _client(shop.settings, Role.ADMIN, "maria") as admin,
        _client(shop.settings, Role.INSPECTOR, "ines") as ines,
        _client(shop.settings, Role.QUALITY_MANAGER, "quentin") as quality,
        _client(shop.settings, Role.SERVICE, "business-hub") as hub,
        publishing_client(shop.settings) as mqtt,
    ):
        await vault.join(shop.settings.api_port)
        try:
            yield Demo(shop, http, admin, ines, quality, hub, mqtt, vault, run)
        finally:
            await vault.cut()


def _with_a_line(settings: Settings, vault: Line) -> Settings:
    """The shop's own vault hub, but over a line; whom the local key is not for must be given a token."""
    token = LocalKey(settings).token(Role.SERVICE, "handoff-dispatcher", timedelta(hours=1))
    return settings.model_copy(
        update={
            "vault_hub_url": f"http://{LOOPBACK}:{vault.port}/vault-hub/receive-test-results",
            "hub_token": SecretStr(token),
            "transfer_first_pause": FIRST_PAUSE,
        }
    )


def _client(settings: Settings, role: Role, user_id: str) -> httpx.AsyncClient:
    token = LocalKey(settings).token(role, user_id, timedelta(hours=1))
    return httpx.AsyncClient(
        base_url=f"{settings.api_url}/api/v1",
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
            await show.play("Two sign, the Guardian authorizes; no vault, and the part moves on", show.vault_away)
            await show.play("The vault's leg tries four times, then a person retries it", show.vault_back)
            await show.play("Three contracts, three stations: the client order is complete", show.chain_ends)
            await show.play("A PO whose part never comes stays gated", show.gated)
            await show.play("The ledger verifies", show.ledger_verifies)
            await asyncio.sleep(2 * REFRESH)
            watching.cancel()
            live.update(show.view())
        well = all(scene.outcome == "" for scene in show.scenes)
        console.print("\nEverything came out as it should." if well else "\nNot everything came out as it should.")
        console.print("The shop stops now; `make up` starts it again with all that happened here:")
        console.print(f"  Temporal Web UI  {show.shop.settings.temporal_ui}", highlight=False)
        console.print(f"  API docs         {show.shop.settings.api_url}/docs", highlight=False)
    return well
