"""The shop as the people and machines around it know it: over HTTP and MQTT, in the words of the business.

Whatever the shop acknowledges through here is written down, so that the invariants can ask afterwards whether it was
kept. A server that is away is asked again, as its answers tell; a refusal comes back as it is.
"""

import asyncio
import hashlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import uuid4

import aiomqtt
import httpx
from temporalio.client import Client, WorkflowExecution, WorkflowHandle

from infra.bearer import LocalKey
from infra.embedded.line import Line, pass_on
from infra.embedded.process import Process
from infra.embedded.shop import Shop
from infra.node_store import NodeStore
from infra.settings import Settings
from schemas import names
from schemas.canonical import document_hash
from schemas.node import NodeDelivery
from schemas.permission import Role
from schemas.transfer import Destination
from tests.workflows.shop import details

LP = "NOD-TestStation-LP-01"
LP_2 = "NOD-TestStation-LP-02"
CP = "NOD-TestStation-CP-01"
FI = "NOD-TestStation-FI-01"
DOCK = "dock-1"

ALERTS = (f"{names.ALERT_TOPIC}/#", f"{names.DEADLETTER_TOPIC}/#")

PATIENCE = 40.0
"""Seconds that the shop is given to do what it should: long enough for a workflow task of a killed worker."""

Json = dict[str, Any]
Found = TypeVar("Found")


def new(kind: str) -> str:
    """An identifier that no other test has."""
    return f"{kind}-{uuid4().hex[:10]}"


async def until(look: Callable[[], Awaitable[Found]], true: Callable[[Found], bool], within: float = PATIENCE) -> Found:
    """Looks again and again until what is seen is true; AssertionError with what was seen last."""
    deadline = time.monotonic() + within
    while True:
        found = await look()
        if true(found):
            return found
        assert time.monotonic() < deadline, f"not within {within} s; seen last: {found}"
        await asyncio.sleep(0.05)


def contract(**fields: Any) -> Json:
    """A SmartClientPO as the Business Hub sends it; for a part of its own where none is named."""
    name = fields.setdefault("smart_contract_id", new("SC"))
    node = fields.pop("node", LP)
    if "part_number" not in fields:
        fields.setdefault("part_id", new("PART"))
    return {
        "contract_type": "nondestructive_testing",
        "clientpo_id": f"CPO-{name}",
        "client": "Aeroturbine Overhaul GmbH",
        "tests": [
            {
                "test_id": f"{name}-TEST1",
                "test_type": "liquid_penetrant",
                "assigned_node": node,
                "procedure": {"procedure_id": "ASTM-E1417", "revision": "2021"},
                "required_signoffs": ["inspector"],
                "equipment": ["UV-LAMP-04"],
            }
        ],
        "routing_trigger": {"type": "workflow_complete"},
        **fields,
    }


def arrival(**fields: Any) -> Json:
    """The body of a part_arrival broadcast, from the dock and of now where nothing else is said."""
    return {
        "id": new("B"),
        "event_type": "part_arrival",
        "location": DOCK,
        "timestamp": datetime.now(UTC).isoformat(),
        **fields,
    }


@dataclass
class Acknowledged:
    """What the shop said yes to."""

    documents: dict[str, str] = field(default_factory=dict)
    """Hash of the document, by smart_contract_id."""
    broadcasts: set[str] = field(default_factory=set)
    malformed: set[str] = field(default_factory=set)
    """SHA-256 of the payloads."""
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often, by (smart_contract_id, ledger action)."""


@dataclass(frozen=True)
class PO:
    """One SmartClientPO in the shop."""

    floor: "Floor"
    document: Json

    @property
    def name(self) -> str:
        return str(self.document["smart_contract_id"])

    @property
    def part(self) -> str:
        return str(self.document.get("part_id") or self.document["part_number"])

    @property
    def workflow(self) -> WorkflowHandle[Any, Any]:
        """As an operator has it in the Temporal Web UI or CLI."""
        return self.floor.temporal.get_workflow_handle(names.client_po_id(self.name))

    async def look(self) -> Json:
        """The PO as the API shows it."""
        answer = await self.floor.ask("GET", f"/api/v1/client-pos/{self.name}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def until(self, status: str, within: float = PATIENCE, **fields: Any) -> Json:
        """Waits until it is in this state, and these fields are so."""
        wanted = {"status": status, **fields}
        return await until(self.look, lambda seen: wanted.items() <= seen.items(), within)

    async def timeline(self) -> list[str]:
        """The actions that the ledger has about it, in order."""
        return [event["action"] for event in (await self.look())["timeline"]]

    async def until_told(self, action: str, times: int = 1, within: float = PATIENCE) -> list[str]:
        """Waits until the ledger has this action so many times."""
        return await until(self.timeline, lambda seen: seen.count(action) >= times, within)

    async def hold(self, reason: str = "drawing is being checked") -> httpx.Response:
        return await self._ask("hold", "hold_client_po", reason=reason)

    async def resume(self, reason: str = "drawing is right") -> httpx.Response:
        return await self._ask("resume", "resume_client_po", reason=reason)

    async def cancel(self, reason: str = "client withdrew the order") -> httpx.Response:
        return await self._ask("cancel", "cancel_client_po", reason=reason)

    async def retry(self) -> httpx.Response:
        return await self._ask("retry", "retry_release")

    async def accept_quantity(self, quantity: int | None = None, reason: str = "client agreed") -> httpx.Response:
        return await self._ask("accept-quantity", "ask_approval", quantity=quantity, reason=reason)

    async def amend(self, reason: str = "client is in a hurry", **terms: Any) -> httpx.Response:
        return self._acknowledge(
            "amend_client_po",
            await self.floor.ask("PATCH", f"/api/v1/client-pos/{self.name}", json={"reason": reason, **terms}),
        )

    async def _ask(self, what: str, action: str, **body: Any) -> httpx.Response:
        answer = await self.floor.ask("POST", f"/api/v1/client-pos/{self.name}/{what}", json=body)
        return self._acknowledge(action, answer)

    def _acknowledge(self, action: str, answer: httpx.Response) -> httpx.Response:
        if answer.is_success:
            self.floor.acknowledged.requests[self.name, action] += 1
        return answer


def bearer(settings: Settings, role: Role, user_id: str) -> dict[str, str]:
    """The header of a person, or of a machine, for an hour."""
    token = LocalKey(settings).token(role, user_id, timedelta(hours=1))
    return {"Authorization": f"Bearer {token}"}


def client(settings: Settings) -> httpx.AsyncClient:
    """The production manager's, who is called maria: her role may everything that the main job needs."""
    headers = bearer(settings, Role.PRODUCTION_MANAGER, "maria")
    return httpx.AsyncClient(base_url=settings.api_url, headers=headers, trust_env=False, timeout=30)


class HubLine(Line):
    """The line to a hub. It can lose the answers of one that has heard all that was said."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.loses_answers = False

    @asynccontextmanager
    async def losing_answers(self, to: int) -> AsyncIterator[None]:
        """Also those to connections that were kept open from before."""
        self.loses_answers = True
        await self.cut()
        await self.join(to)
        try:
            yield
        finally:
            self.loses_answers = False

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.loses_answers:
            await reader.read(1)
            raise ConnectionAbortedError
        await pass_on(reader, writer)


class Floor:
    """A running shop, `http` for maria, and the lines over which its transfers go."""

    def __init__(
        self, shop: Shop, http: httpx.AsyncClient, temporal: Client, lines: Mapping[Destination, HubLine]
    ) -> None:
        self.shop = shop
        self.http = http
        self.temporal = temporal
        self.lines = lines
        self.acknowledged = Acknowledged()

    @property
    def settings(self) -> Settings:
        return self.shop.settings

    # --- the Business Hub, people ---------------------------------------------------------------------------

    async def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Asks until there is an answer: 503 and a broken connection say that it may be asked again, under its key."""
        request["headers"] = {"Idempotency-Key": uuid4().hex, **request.get("headers", {})}
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                answer = await self.http.request(method, path, **request)
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
            else:
                if answer.status_code != 503 or time.monotonic() > deadline:
                    return answer
            await asyncio.sleep(0.2)

    async def get(self, path: str, **parameters: Any) -> Any:
        answer = await self.ask("GET", path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def until_recorded(self, target: str, action: str, times: int = 1) -> list[Json]:
        """Waits until the ledger has this action about this thing so many times."""

        async def entries() -> list[Json]:
            return list(await self.get("/api/v1/ledger/entries", target=target, action=action))

        return await until(entries, lambda found: len(found) >= times)

    async def submit(self, document: Json) -> httpx.Response:
        """Sends a document to be staged."""
        answer = await self.ask("POST", "/api/v1/client-pos", json=document)
        if answer.is_success:
            self.acknowledged.documents[document["smart_contract_id"]] = document_hash(document)
        return answer

    async def stage(self, **fields: Any) -> PO:
        """A new PO; for a part of its own where none is named."""
        document = contract(**fields)
        answer = await self.submit(document)
        assert answer.is_success, answer.text
        return PO(self, document)

    async def in_line(self, po: PO) -> None:
        """Waits until it stands in the line of its part: staging answers before that."""
        line = self.temporal.get_workflow_handle(names.part_arrival_id(po.document.get("part_id"), po.part))
        await until(lambda: details(line), lambda shown: po.name in shown)

    async def scan(self, **fields: Any) -> Json:
        """An arrival by hand scanner."""
        body = arrival(**fields)
        answer = await self.ask("POST", "/api/v1/arrivals", json=body)
        assert answer.status_code == 202, answer.text
        self.acknowledged.broadcasts.add(body["id"])
        return body

    async def withdraw(self, broadcast: Json, reason: str = "scanned by mistake") -> httpx.Response:
        part = {name: broadcast[name] for name in ("part_id", "part_number") if name in broadcast}
        return await self.ask(
            "POST", f"/api/v1/arrivals/{quote(broadcast['id'], safe='')}/withdraw", json={"reason": reason, **part}
        )

    async def answer(
        self, approval_id: str, decision: str = "approve", *, by: str = "bob", role: Role = Role.QUALITY_MANAGER
    ) -> httpx.Response:
        """Somebody's answer for what the approval shows."""
        headers = bearer(self.settings, role, by)
        shown = (await self.http.get(f"/api/v1/approvals/{approval_id}")).json()
        body = {"decision": decision, "content_hash": shown["content_hash"], "note": "looked at it"}
        return await self.ask("POST", f"/api/v1/approvals/{approval_id}/respond", json=body, headers=headers)

    async def approved(self, answer: httpx.Response) -> None:
        """Of what was asked for in the body of this answer."""
        body = answer.json()
        approval_id = body.get("approval_id") or body["pending_approval"]

        async def asked() -> bool:
            return (await self.http.get(f"/api/v1/approvals/{approval_id}")).is_success

        await until(asked, bool)
        assert (await self.answer(approval_id)).status_code == 200

    # --- the machines around --------------------------------------------------------------------------------

    async def broadcast(self, **fields: Any) -> Json:
        """An arrival over MQTT, accepted by the broker."""
        body = arrival(**fields)
        await self.send(body)
        return body

    async def send(self, *bodies: Json) -> None:
        """These broadcasts, in this order, accepted by the broker."""
        await self.publish(names.PART_ARRIVAL_TOPIC, *(json.dumps(body).encode() for body in bodies))
        self.acknowledged.broadcasts |= {body["id"] for body in bodies}

    async def send_malformed(self, payload: bytes) -> str:
        """What cannot be read; its SHA-256."""
        await self.publish(names.PART_ARRIVAL_TOPIC, payload)
        digest = hashlib.sha256(payload).hexdigest()
        self.acknowledged.malformed.add(digest)
        return digest

    async def publish(self, topic: str, *payloads: bytes, qos: int = 1) -> None:
        """A broker that is away is tried again, so it may have a message twice."""
        deadline = time.monotonic() + PATIENCE
        waiting = list(payloads)
        while waiting:
            try:
                async with self._mqtt() as client:
                    while waiting:
                        await client.publish(topic, waiting[0], qos=qos)
                        waiting.pop(0)
            except aiomqtt.MqttError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.2)

    @asynccontextmanager
    async def listening(self, *topics: str) -> AsyncIterator[list[Json]]:
        """The alerts and dead letters that are published from now on, or what is on other topics."""
        heard: list[Json] = []

        async def listen(client: aiomqtt.Client) -> None:
            async for message in client.messages:
                letter = json.loads(bytes(message.payload))
                heard.append({"on": str(message.topic), **letter})

        async with self._mqtt() as client:
            await client.subscribe([(topic, 1) for topic in topics or ALERTS])
            listener = asyncio.create_task(listen(client))
            try:
                yield heard
            finally:
                listener.cancel()
                await asyncio.gather(listener, return_exceptions=True)

    def _mqtt(self) -> aiomqtt.Client:
        return aiomqtt.Client(
            self.settings.mqtt_host, self.settings.mqtt_port, protocol=aiomqtt.ProtocolVersion.V311, timeout=5
        )

    def inbox(self, node: str) -> dict[str, NodeDelivery]:
        """What is on a node's disk, by smart_contract_id."""
        with closing(NodeStore(node, self.settings.node_store(node))) as store:
            return {delivery.smart_contract_id: delivery for delivery in store.inbox()}

    # --- the operator in the Temporal Web UI ----------------------------------------------------------------

    async def list_workflows(self, query: str) -> list[WorkflowExecution]:
        return [execution async for execution in self.temporal.list_workflows(query)]

    async def reconcile(self) -> None:
        """Starts the reconcile at once, as its Schedule would in the night."""
        await self.temporal.get_schedule_handle(names.RECONCILE_ID).trigger()

    # --- its processes --------------------------------------------------------------------------------------

    def process(self, name: str) -> Process:
        return self.shop.process(name)

    @asynccontextmanager
    async def without(self, name: str, *, killed: bool = False) -> AsyncIterator[None]:
        """The shop while one of its processes is away: stopped, or killed with SIGKILL."""
        process = self.process(name)
        await (process.kill() if killed else process.stop())
        try:
            yield
        finally:
            await process.start()

    @asynccontextmanager
    async def without_hub(self, destination: Destination) -> AsyncIterator[None]:
        """The shop while nothing gets through to one end of its transfers."""
        line = self.lines[destination]
        await line.cut()
        try:
            yield
        finally:
            await line.join(self.settings.api_port)

    @asynccontextmanager
    async def replaced(self, name: str, by: Process) -> AsyncIterator[None]:
        """The shop with another process in the place of one of its own."""
        async with self.without(name):
            await by.start()
            try:
                yield
            finally:
                await by.stop()
