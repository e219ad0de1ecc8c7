"""One attempt over real HTTP: whatever the network or the receiver does wrong is an answer, and never raised."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
import pytest_asyncio
from pydantic import SecretStr

from infra.bearer import open_bearer
from infra.hubs import LONGEST_ANSWER, Hubs
from infra.settings import Settings
from schemas.permission import Role
from schemas.transfer import Delivery, Destination, Sending
from tests.hubs import Answer, Behaviour, HubServer, Request, hub_server, receipt, reply

SENDING = Sending(destination=Destination.VAULT, package_id="PKG-1", body={"package_id": "PKG-1", "reading": 1.0})


@pytest_asyncio.fixture
async def server() -> AsyncIterator[HubServer]:
    async with hub_server() as server:
        yield server


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path, transfer_timeout=timedelta(seconds=2))


async def attempt(server: HubServer, settings: Settings, answer: Answer | None = None, **changes: Any) -> Delivery:
    if answer is not None:
        server.answers[Destination.VAULT] = answer
    async with Hubs(server.settings(settings, **changes)) as hubs:
        return await hubs.send(SENDING)


class TestWhatIsSent:
    async def test_is_the_canonical_form_of_the_body_under_one_key_for_every_attempt(
        self, server: HubServer, settings: Settings
    ) -> None:
        delivery = await attempt(server, settings)
        (request,) = server.received[Destination.VAULT]
        assert request.content == b'{"package_id":"PKG-1","reading":1}'
        assert request.headers["idempotency-key"] == "PKG-1:vault"
        assert delivery.error is None
        assert delivery.receipt is not None
        assert delivery.receipt.content_hash == SENDING.content_hash

    async def test_carries_the_token_of_the_settings(self, server: HubServer, settings: Settings) -> None:
        await attempt(server, settings, hub_token=SecretStr("secret"))
        assert server.received[Destination.VAULT][0].headers["authorization"] == "Bearer secret"

    async def test_carries_no_token_of_the_local_key_to_others(self, server: HubServer, settings: Settings) -> None:
        await attempt(server, settings, floor_hub_url=None)  # which leaves one hub that is this system's own
        assert "authorization" not in server.received[Destination.VAULT][0].headers

    async def test_carries_a_token_of_the_local_key_to_this_systems_own_hubs(
        self, server: HubServer, settings: Settings
    ) -> None:
        own = settings.model_copy(update={"api_port": server.port})
        server.received["vault-hub/receive-test-results"] = []
        async with Hubs(own) as hubs:
            assert (await hubs.send(SENDING)).error is None
        (request,) = server.received["vault-hub/receive-test-results"]
        token = request.headers["authorization"].removeprefix("Bearer ")
        identity = await open_bearer(own).identity(token)
        assert (identity.user_id, identity.role) == ("handoff-dispatcher", Role.SERVICE)
        claims = jwt.decode(token, options={"verify_signature": False})
        assert claims["exp"] - claims["iat"] == 120


class TestAReceipt:
    async def test_for_other_content_is_not_cured_by_repeating(self, server: HubServer, settings: Settings) -> None:
        delivery = await attempt(server, settings, lambda request: (200, receipt(request, content_hash="0" * 64)))
        assert not delivery.curable
        assert "other content" in (delivery.error or "")
        assert delivery.receipt is not None

    async def test_for_another_package_is_not_cured_by_repeating(self, server: HubServer, settings: Settings) -> None:
        delivery = await attempt(server, settings, lambda request: (200, receipt(request, package_id="PKG-2")))
        assert (delivery.error, delivery.curable) == ("the receipt is for PKG-2", False)


async def _says_nothing(_: Request, __: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def _hangs_up(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write_eof()


async def _stops_in_the_middle(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"package_id"')
    writer.write_eof()


async def _speaks_another_language(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 smtp.example ESMTP\r\n")


async def _never_ends(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    while True:
        writer.write(b" " * LONGEST_ANSWER)
        await writer.drain()


async def _drips(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


class TestWhatMayPass:
    @pytest.mark.parametrize(
        ("behaviour", "error"),
        [
            (_says_nothing, "has not answered within 0.3 s"),
            (_drips, "has not answered within 0.3 s"),
            (_hangs_up, "cannot be reached: RemoteProtocolError"),
            (_stops_in_the_middle, "cannot be reached: RemoteProtocolError"),
            (_speaks_another_language, "cannot be reached: RemoteProtocolError"),
            (_never_ends, f"more than {LONGEST_ANSWER} bytes"),
        ],
    )
    async def test_of_the_connection_is_tried_again(
        self, server: HubServer, settings: Settings, behaviour: Behaviour, error: str
    ) -> None:
        delivery = await attempt(server, settings, lambda _: behaviour, transfer_timeout=timedelta(seconds=0.3))
        assert error in (delivery.error or "")
        assert delivery.curable

    async def test_a_receiver_that_is_away_is_tried_again(self, settings: Settings) -> None:
        async with hub_server() as server:
            pass
        delivery = await attempt(server, settings)
        assert "cannot be reached: ConnectError" in (delivery.error or "")
        assert delivery.curable

    @pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
    async def test_of_what_the_receiver_says_is_tried_again(
        self, server: HubServer, settings: Settings, status: int
    ) -> None:
        delivery = await attempt(server, settings, lambda _: (status, {"detail": "later"}))
        assert f"answers {status}: later" in (delivery.error or "")
        assert delivery.curable

    @pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"package_id": "PKG-1"}', b"\xff\xfe"])
    async def test_an_answer_that_is_no_receipt_is_tried_again(
        self, server: HubServer, settings: Settings, body: bytes
    ) -> None:
        delivery = await attempt(server, settings, lambda _: (200, body))
        assert "what is no receipt" in (delivery.error or "")
        assert delivery.curable


class TestARefusal:
    @pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422])
    async def test_is_not_cured_by_repeating_and_says_why(
        self, server: HubServer, settings: Settings, status: int
    ) -> None:
        delivery = await attempt(server, settings, lambda _: (status, {"detail": "the part is not ours"}))
        assert f"answers {status}: the part is not ours" in (delivery.error or "")
        assert not delivery.curable

    @pytest.mark.parametrize("body", [b"", b"no", b"[1]", b'{"detail": [{"msg": "x"}]}', b"[" * 60_000])
    async def test_may_say_anything(self, server: HubServer, settings: Settings, body: bytes) -> None:
        delivery = await attempt(server, settings, lambda _: (422, body))
        assert (delivery.error or "").endswith("answers 422")

    async def test_a_redirect_is_not_followed(self, server: HubServer, settings: Settings) -> None:
        async def elsewhere(_: Request, writer: asyncio.StreamWriter) -> None:
            reply(writer, 307, {}, Location=f"http://127.0.0.1:{server.port}/next_node")

        delivery = await attempt(server, settings, lambda _: elsewhere)
        assert "redirects are not followed" in (delivery.error or "")
        assert not delivery.curable
        assert server.received[Destination.NEXT_NODE] == []


async def test_each_attempt_has_a_connection_of_its_own(server: HubServer, settings: Settings) -> None:
    """A receiver may close at any time what it offered to keep open: that must not look like one that is away."""

    async def keeps_it_open_and_hears_nothing_more(request: Request, writer: asyncio.StreamWriter) -> None:
        reply(writer, 200, receipt(request), Connection="keep-alive")
        await writer.drain()
        await asyncio.sleep(0.2)  # what comes by this connection until it is closed is lost

    server.answers[Destination.VAULT] = lambda _: keeps_it_open_and_hears_nothing_more
    async with Hubs(server.settings(settings)) as hubs:
        deliveries = [await hubs.send(SENDING) for _ in range(3)]
    assert [delivery.error for delivery in deliveries] == [None] * 3


async def test_the_environments_proxy_is_not_asked(
    server: HubServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert (await attempt(server, settings)).error is None
