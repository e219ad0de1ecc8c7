"""The stage of the demo: the shop as the people in it see it, what they do, and how a scene is played.

Only public interfaces are used: HTTP, MQTT, local commands of a node, and SIGKILL; and a line to the vault hub that is
cut for a while. Every scene works on IDs of this run, so that the demo can be run again on the same state.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

import aiomqtt
import httpx
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from infra.documents import read_document
from infra.embedded.line import Line
from infra.embedded.shop import Shop
from infra.mqtt import publish
from schemas import names
from schemas.client_po import ClientPOStatus
from schemas.permission import Role
from schemas.routing import document_name

SAMPLES = Path(__file__).parents[2] / "infra" / "samples"
PATIENCE = 20.0
"""Seconds until something that should happen counts as not happening."""
REFRESH = 0.25

Body = dict[str, Any]
Found = TypeVar("Found")


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


class Picture(Protocol):
    """What people watch while scenes are played: fetched again and again, and drawn."""

    async def fetch(self) -> None: ...

    def draw(self) -> Table: ...


@dataclass
class Stage:
    """The shop as somebody at the dock, somebody on the floor, and the Business Hub see it.

    `http` is Maria's, the supervisor, `admin` hers when she is administrator, `ines` an inspector's, `quality` the
    quality manager's, `mike` the maintenance engineer's, `hub` the Business Hub's: each has a token of its own, and may
    what its role may. Results go to the vault over the line `vault`.
    """

    shop: Shop
    http: httpx.AsyncClient
    admin: httpx.AsyncClient
    ines: httpx.AsyncClient
    quality: httpx.AsyncClient
    mike: httpx.AsyncClient
    hub: httpx.AsyncClient
    mqtt: aiomqtt.Client
    vault: Line
    run: str
    scenes: list[Scene] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    staged: list[str] = field(default_factory=list)

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
        await publish(self.mqtt, names.PART_ARRIVAL_TOPIC, body)

    async def act(self, name: str, verb: str, reason: str) -> None:
        answer = await self.http.post(f"/client-pos/{name}/{verb}", json={"reason": reason})
        answer.raise_for_status()

    async def answer(self, who: httpx.AsyncClient, approval_id: str) -> httpx.Response:
        """Somebody approves exactly what they see."""
        seen = await who.get(f"/approvals/{approval_id}")
        seen.raise_for_status()
        answer = {"decision": "approve", "content_hash": seen.json()["content_hash"]}
        return await who.post(f"/approvals/{approval_id}/respond", json=answer)

    async def sign(self, who: httpx.AsyncClient, role: Role, name: str, meaning: str) -> None:
        """Somebody signs exactly what they see, wherever their role is asked."""
        for asked in (await get(who, f"/tests/{name}"))["to_sign"]:
            if asked["role"] == role:
                seen = {"test_id": asked["test_id"], "content_hash": asked["content_hash"]}
                await post(who, f"/tests/{name}/signoffs", decision="sign", meaning=meaning, **seen)

    # --- what they see --------------------------------------------------------------------------------------

    async def eventually(
        self, look: Callable[[], Awaitable[Found]], true: Callable[[Found], bool], fault: Callable[[Found], str]
    ) -> Found:
        """Looks until it is so; raises `Failed` after `PATIENCE`, with the `fault` in what was seen last."""
        found = await look()
        try:
            async with asyncio.timeout(PATIENCE):
                while not true(found):
                    await asyncio.sleep(0.1)
                    found = await look()
        except TimeoutError:
            raise Failed(f"{fault(found)}, after {PATIENCE:.0f} s") from None
        return found

    async def see(self, name: str) -> Body:
        answer = await self.http.get(f"/client-pos/{name}")
        answer.raise_for_status()
        body: Body = answer.json()
        return body

    async def until(self, name: str, what: str, condition: Callable[[Body], bool]) -> Body:
        return await self.eventually(
            lambda: self.see(name), condition, lambda po: f"{name} is {po['status']}, not {what}"
        )

    async def until_status(self, name: str, status: ClientPOStatus) -> Body:
        return await self.until(name, status, lambda po: po["status"] == status)

    async def entries(self, target: str, action: str) -> list[Body]:
        answer = await self.http.get("/ledger/entries", params={"target": target, "action": action})
        answer.raise_for_status()
        found: list[Body] = answer.json()
        return found

    async def until_recorded(self, target: str, action: str, count: int = 1) -> list[Body]:
        return await self.eventually(
            lambda: self.entries(target, action),
            lambda found: len(found) >= count,
            lambda found: f"the ledger has {len(found)} entries {action} of {target}, not {count}",
        )

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
        return Group(*(picture.draw() for picture in self.pictures), *(scene.line() for scene in self.scenes))

    async def watch(self, live: Live) -> None:
        while True:
            await self.look(live)
            await asyncio.sleep(REFRESH)

    async def look(self, live: Live) -> None:
        """Shows the pictures as they are now."""
        for picture in self.pictures:
            with suppress(httpx.HTTPError):
                await picture.fetch()
        live.update(self.view())


def check(condition: bool, otherwise: str) -> None:
    """Raises `Failed`."""
    if not condition:
        raise Failed(otherwise)


async def get(who: httpx.AsyncClient, path: str) -> Body:
    answer = await who.get(path)
    answer.raise_for_status()
    body: Body = answer.json()
    return body


async def post(who: httpx.AsyncClient, path: str, **body: Any) -> None:
    """Raises `Failed` with what a refusal says."""
    answer = await who.post(path, json=body)
    check(answer.is_success, f"POST {path}: {answer.status_code} {answer.text}")
