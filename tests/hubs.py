"""A real HTTP server on loopback that answers as a test says: the other end of the legs of a transfer."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from infra.settings import Settings
from schemas.canonical import document_hash
from schemas.transfer import Destination

Reply = tuple[int, Any]
"""A status, and a body: JSON, or bytes as they are."""
Behaviour = Callable[["Request", asyncio.StreamWriter], Awaitable[None]]
"""What a server does that does not simply reply."""
Answer = Callable[["Request"], Reply | Behaviour]


@dataclass(frozen=True)
class Request:
    """What came."""

    path: str
    headers: dict[str, str]
    content: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.content)


def receipt(request: Request, **other: Any) -> dict[str, Any]:
    """For exactly what came."""
    return {
        "package_id": request.body["package_id"],
        "content_hash": document_hash(request.body),
        "received_at": datetime(2026, 1, 1, tzinfo=UTC).isoformat(),
        **other,
    }


def taken(request: Request) -> Reply:
    return 200, receipt(request)


@dataclass
class HubServer:
    """Three hubs; each answers with `answers[destination]`, and keeps what it received."""

    port: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)
    received: dict[str, list[Request]] = field(default_factory=lambda: {leg: [] for leg in Destination})

    def settings(self, settings: Settings, **changes: Any) -> Settings:
        """With the addresses of these hubs."""
        url = f"http://127.0.0.1:{self.port}"
        addresses = {
            "vault_hub_url": f"{url}/{Destination.VAULT}",
            "floor_hub_url": f"{url}/{Destination.NEXT_NODE}",
            "business_hub_url": f"{url}/{Destination.BUSINESS_HUB}",
        }
        return settings.model_copy(update={**addresses, **changes})

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await _read(reader)
            destination = request.path.strip("/")
            self.received[destination].append(request)
            answer = self.answers.get(destination, taken)(request)
            if isinstance(answer, tuple):
                reply(writer, *answer)
            else:
                await answer(request, writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # whoever asked is gone
        finally:
            writer.close()


def reply(writer: asyncio.StreamWriter, status: int, body: Any, **headers: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = {"Content-Length": str(len(content)), "Connection": "close", **headers}
    lines = [f"HTTP/1.1 {status} Answer", *(f"{name}: {value}" for name, value in head.items()), "", ""]
    writer.write("\r\n".join(lines).encode() + content)


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return Request(first.split(" ")[1], headers, await reader.readexactly(int(headers["content-length"])))


@asynccontextmanager
async def hub_server() -> AsyncIterator[HubServer]:
    hubs = HubServer()
    server = await asyncio.start_server(hubs.serve, "127.0.0.1")
    hubs.port = server.sockets[0].getsockname()[1]
    try:
        yield hubs
    finally:
        server.close()
        await server.wait_closed()
