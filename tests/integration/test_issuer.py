"""Tokens of an OpenID Connect provider: a real server on loopback that publishes its keys."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from infra.bearer import Bearer, BearerRefused, IssuerAway, PublishedKeys
from schemas.permission import Role

ISSUER = "https://login.example"
ALGORITHMS = ("RS256", "ES256")


class Provider:
    """Serves its keys; `fetches` counts how often they were asked for."""

    def __init__(self) -> None:
        self.private: dict[str, Any] = {}
        self.jwks: list[dict[str, Any]] = []
        self.fetches = 0
        self.delay = 0.0
        self.server: asyncio.Server | None = None
        self.url = ""

    def publish(self, kid: str, **members: Any) -> None:
        """A new RSA key."""
        self.private[kid] = rsa.generate_private_key(65537, 2048)
        self.jwks.append({**RSAAlgorithm.to_jwk(self.private[kid].public_key(), as_dict=True), "kid": kid, **members})

    def token(self, kid: str, algorithm: str = "RS256", **changed: Any) -> str:
        now = int(datetime.now(UTC).timestamp())
        claims = {"iss": ISSUER, "aud": "smartfloor", "sub": "maria", "role": "operator", "iat": now, "exp": now + 60}
        return jwt.encode({**claims, **changed}, self.private[kid], algorithm, headers={"kid": kid})

    async def start(self, port: int = 0) -> None:
        self.server = await asyncio.start_server(self._answer, "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/jwks"

    async def stop(self) -> None:
        if self.server is not None:
            self.server.close()
            await self.server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.fetches += 1
        await asyncio.sleep(self.delay)
        body = json.dumps({"keys": self.jwks}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = Provider()
    provider.publish("first")
    await provider.start()
    yield provider
    await provider.stop()


def bearer(provider: Provider, *, fresh: float = 300, cooldown: float = 0, **claims: str) -> Bearer:
    keys = PublishedKeys(provider.url, ALGORITHMS, fresh=fresh, cooldown=cooldown)
    return Bearer(keys, issuer=ISSUER, audience="smartfloor", algorithms=ALGORITHMS, **claims)


class TestATokenOfAProvider:
    async def test_counts_when_it_is_signed_by_a_published_key(self, provider: Provider) -> None:
        identity = await bearer(provider).identity(provider.token("first"))
        assert (identity.user_id, identity.role) == ("maria", Role.OPERATOR)

    async def test_does_not_count_when_its_key_was_never_published(self, provider: Provider) -> None:
        stranger = Provider()
        stranger.publish("first")
        with pytest.raises(BearerRefused, match="signature"):
            await bearer(provider).identity(stranger.token("first"))
        stranger.publish("second")
        with pytest.raises(BearerRefused, match="kid"):
            await bearer(provider).identity(stranger.token("second"))

    async def test_does_not_count_when_its_key_is_published_for_encryption(self, provider: Provider) -> None:
        provider.publish("sealing", use="enc")
        with pytest.raises(BearerRefused, match="kid"):
            await bearer(provider).identity(provider.token("sealing"))

    async def test_does_not_count_by_an_algorithm_that_its_key_is_not_for(self, provider: Provider) -> None:
        provider.private["curve"] = ec.generate_private_key(ec.SECP256R1())
        curve = ECAlgorithm.to_jwk(provider.private["curve"].public_key(), as_dict=True)
        provider.jwks.append({**curve, "kid": "curve"})
        checking = bearer(provider)
        assert await checking.identity(provider.token("curve", "ES256"))
        token = jwt.encode({}, provider.private["first"], "RS256", headers={"kid": "curve"})
        with pytest.raises(BearerRefused, match="algorithm"):
            await checking.identity(token)

    async def test_may_name_role_and_user_in_other_claims(self, provider: Provider) -> None:
        token = provider.token("first", roles=["offline_access", "inspector"], upn="m.curie", role="admin")
        identity = await bearer(provider, role_claim="roles", user_claim="upn").identity(token)
        assert (identity.user_id, identity.role) == ("m.curie", Role.INSPECTOR)


class TestTheKeysOfAProvider:
    async def test_are_fetched_once_however_many_ask(self, provider: Provider) -> None:
        provider.delay = 0.1
        checking, token = bearer(provider), provider.token("first")
        await asyncio.gather(*(checking.identity(token) for _ in range(20)))
        await checking.identity(token)
        assert provider.fetches == 1

    async def test_are_fetched_while_others_are_served(self, provider: Provider) -> None:
        provider.delay = 0.3
        fetching = asyncio.create_task(bearer(provider).identity(provider.token("first")))
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(0.05)
        assert asyncio.get_running_loop().time() - began < 0.2
        assert not fetching.done()
        await fetching

    async def test_are_fetched_again_for_a_key_that_is_new(self, provider: Provider) -> None:
        checking = bearer(provider)
        await checking.identity(provider.token("first"))
        provider.publish("second")
        assert await checking.identity(provider.token("second"))

    async def test_are_not_fetched_again_and_again_for_keys_that_nobody_has(self, provider: Provider) -> None:
        checking = bearer(provider, cooldown=60)
        await checking.identity(provider.token("first"))
        provider.private["unknown"] = provider.private["first"]
        for _ in range(5):
            with pytest.raises(BearerRefused, match="kid"):
                await checking.identity(provider.token("unknown"))
        assert provider.fetches == 1

    async def test_are_not_fetched_for_a_token_that_none_of_them_could_make_good(self, provider: Provider) -> None:
        token = jwt.encode({}, "a shared secret that is long enough", "HS256", headers={"kid": "first"})
        with pytest.raises(BearerRefused, match="algorithm"):
            await bearer(provider).identity(token)
        assert provider.fetches == 0

    async def test_no_longer_count_when_they_are_taken_away(self, provider: Provider) -> None:
        checking = bearer(provider, fresh=0)
        await checking.identity(provider.token("first"))
        provider.publish("second")
        del provider.jwks[0]
        with pytest.raises(BearerRefused, match="kid"):
            await checking.identity(provider.token("first"))

    async def test_still_count_while_the_provider_is_away(self, provider: Provider) -> None:
        checking = bearer(provider, fresh=0)
        await checking.identity(provider.token("first"))
        await provider.stop()
        assert await checking.identity(provider.token("first"))

    async def test_that_were_never_fetched_say_nothing_about_a_token(self, provider: Provider) -> None:
        await provider.stop()
        with pytest.raises(IssuerAway):
            await bearer(provider).identity(provider.token("first"))
