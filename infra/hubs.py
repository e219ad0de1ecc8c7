"""The other ends of the legs of a transfer, over HTTP: one attempt each time, and what became of it in words.

What is sent are the RFC 8785 bytes of the body, so that the hash in the receipt is the hash of exactly these bytes.
"""

import asyncio
import json
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import httpx
import rfc8785
from pydantic import ValidationError

from infra.bearer import LocalKey
from infra.settings import Settings
from schemas.base import excerpt
from schemas.permission import Role
from schemas.transfer import Delivery, Destination, Sending
from schemas.transfer_package import HubReceipt

LONGEST_ANSWER = 64 * 1024
"""Bytes: a receipt has some hundred, a problem seldom more."""

WHO = "handoff-dispatcher"
"""Whom the hubs see, where the local key says who it is."""

TOKEN_LASTS = timedelta(minutes=2)

CURABLE = frozenset({408, 425, 429})
"""Refusals that mean: not now."""

OWN_ROUTES: dict[Destination, str] = {
    Destination.VAULT: "/vault-hub/receive-test-results",
    Destination.NEXT_NODE: "/floor-hub/route-to-node",
    Destination.BUSINESS_HUB: "/business-hub/order-complete",
}
"""This system's own hubs, for the legs that have no other address."""


class Hubs:
    """Open while its process runs: `async with Hubs(settings) as hubs`."""

    def __init__(self, settings: Settings) -> None:
        own = settings.api_url
        others = {
            Destination.VAULT: settings.vault_hub_url,
            Destination.NEXT_NODE: settings.floor_hub_url,
            Destination.BUSINESS_HUB: settings.business_hub_url,
        }
        self._addresses = {leg: others[leg] or f"{own}{route}" for leg, route in OWN_ROUTES.items()}
        self._own = {leg for leg in Destination if others[leg] is None}
        self._token = settings.hub_token
        self._key = LocalKey(settings) if settings.hub_token is None and self._own else None
        self._patience = settings.transfer_timeout.total_seconds()
        self._client = httpx.AsyncClient(
            timeout=self._patience,
            trust_env=False,
            follow_redirects=False,
            # Each attempt has a connection of its own: one that was kept open may just have been closed at the other
            # end, and that would look like a hub that is away.
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def send(self, sending: Sending) -> Delivery:
        """One attempt. What the network or the receiver does wrong is the answer, and never raised."""
        address = self._addresses[sending.destination]
        try:
            async with asyncio.timeout(self._patience):
                status, answer = await self._post(address, sending)
        except TimeoutError:
            return Delivery(error=f"{address} has not answered within {self._patience:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return Delivery(error=excerpt(f"{address} cannot be reached: {type(error).__name__}: {error}"))
        return _read(sending, address, status, answer)

    async def _post(self, address: str, sending: Sending) -> tuple[int, bytes | None]:
        """The status, and the body unless it is longer than any that makes sense."""
        headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "Idempotency-Key": sending.idempotency_key,
            **self._authorization(sending.destination),
        }
        body = rfc8785.dumps(sending.body)
        async with self._client.stream("POST", address, content=body, headers=headers) as response:
            answer = b""
            async for chunk in response.aiter_raw():
                answer += chunk
                if len(answer) > LONGEST_ANSWER:
                    return response.status_code, None
            return response.status_code, answer

    def _authorization(self, destination: Destination) -> dict[str, str]:
        """The local key is for this system alone: who else is sent one of its tokens could be us."""
        if self._token is not None:
            return {"Authorization": f"Bearer {self._token.get_secret_value()}"}
        if self._key is not None and destination in self._own:
            return {"Authorization": f"Bearer {self._key.token(Role.SERVICE, WHO, TOKEN_LASTS)}"}
        return {}


def _read(sending: Sending, address: str, status: int, answer: bytes | None) -> Delivery:
    if 200 <= status < 300:
        return _receipt(sending, address, answer)
    if 300 <= status < 400:
        error = f"{address} answers {status}: redirects are not followed, set the address where it really is"
        return Delivery(error=error, curable=False)
    curable = status >= 500 or status in CURABLE
    return Delivery(error=excerpt(f"{address} answers {status}{_detail(answer)}"), curable=curable)


def _receipt(sending: Sending, address: str, answer: bytes | None) -> Delivery:
    if answer is None:
        return Delivery(error=f"{address} answers with more than {LONGEST_ANSWER} bytes, which is no receipt")
    try:
        return sending.answered(HubReceipt.model_validate_json(answer))
    except ValidationError as error:
        return Delivery(error=excerpt(f"{address} answers with what is no receipt: {error.errors()[0]['msg']}"))


def _detail(answer: bytes | None) -> str:
    """What a problem (RFC 9457) says of itself; nothing where it is none."""
    try:
        problem: Any = json.loads(answer or b"")
    except (ValueError, RecursionError):
        return ""
    detail = problem.get("detail") if isinstance(problem, dict) else None
    return f": {detail}" if isinstance(detail, str) else ""
