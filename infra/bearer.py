"""Bearer tokens (RFC 6750): JSON Web Tokens that say who is asking, and in which role.

Two issuers, of which the settings choose one. In production it is an OpenID Connect provider, whose keys are fetched
where it publishes them; the local key is then worth nothing. Without one it is the shop itself: a key beside its
state, and `smartfloor token`, which only somebody can use who can read that file.

A token counts when its algorithm, signature, issuer, audience and times are right (RFC 8725). The role is in the
token or nowhere. Whatever else is signed here as well (a decision, for example) says so in its `typ`, and is no
bearer token.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import ValidationError

from infra.keys import load_or_create
from infra.settings import Settings
from schemas.faults import faults
from schemas.identity import Identity
from schemas.permission import Role

log = logging.getLogger(__name__)

LOCAL_ISSUER = "smartfloor-local"
TYPE = "at+jwt"
"""RFC 9068: an access token."""
_TYPES = ("jwt", TYPE, f"application/{TYPE}")
LEEWAY = timedelta(seconds=10)
"""By how much an issuer's clock may differ from ours."""

FRESH = 300.0
"""Seconds for which fetched keys are used without asking whether there are new ones."""
COOLDOWN = 10.0
"""Seconds between two fetches at least: whoever sends unknown key IDs does not make us hammer the issuer."""
KEPT = 3600.0
"""Seconds for which keys are used while the issuer does not answer: its absence must not stop the shop at once."""


class BearerRefused(Exception):
    """The token does not count; the text says why, for whoever sent it."""


class IssuerAway(Exception):
    """Nothing can be said about the token: the issuer's keys cannot be fetched."""


class Keys(Protocol):
    """Where the key is that must have signed a token."""

    async def key(self, key_id: str | None) -> "jwt.PyJWK | Ed25519PublicKey":
        """Raises `BearerRefused` or `IssuerAway`."""


class Bearer:
    """Checks the tokens of one issuer."""

    def __init__(
        self,
        keys: Keys,
        *,
        issuer: str,
        audience: str,
        algorithms: Sequence[str],
        role_claim: str = "role",
        user_claim: str = "sub",
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._algorithms = list(algorithms)
        self._role_claim = role_claim
        self._user_claim = user_claim

    async def identity(self, token: str) -> Identity:
        """Who sent it; raises `BearerRefused` or `IssuerAway`."""
        try:
            header = jwt.get_unverified_header(token)
            if (kind := str(header.get("typ", "JWT")).lower()) not in _TYPES:
                raise BearerRefused(f"this is a {kind}, not a bearer token")
            # Before a key is looked for: nobody fetches keys for a token that no key could make good.
            if header.get("alg") not in self._algorithms:
                raise jwt.InvalidAlgorithmError
            claims = jwt.decode(
                token,
                await self._keys.key(header.get("kid")),
                algorithms=self._algorithms,
                issuer=self._issuer,
                audience=self._audience,
                leeway=LEEWAY,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise BearerRefused(self._reason(error)) from error
        return self._read(claims)

    def _read(self, claims: Mapping[str, Any]) -> Identity:
        try:
            return Identity.model_validate(
                {
                    "user_id": claims.get(self._user_claim),
                    "role": self._role(claims.get(self._role_claim)),
                    "auth_time": datetime.fromtimestamp(claims.get("auth_time", 0), UTC),
                }
            )
        except ValidationError as error:
            reasons = "; ".join(str(fault) for fault in faults(error))
            raise BearerRefused(f"the token does not say who you are: {reasons}") from error
        except (TypeError, ValueError, OverflowError, OSError) as error:
            raise BearerRefused("the token's auth_time is not a time in seconds") from error

    def _role(self, claim: Any) -> Any:
        """Providers that keep roles in a list may have others in it; ours must be one."""
        if not isinstance(claim, list):
            return claim
        ours = [role for role in claim if isinstance(role, str) and role in set(Role)]
        if len(ours) != 1:
            raise BearerRefused(f"the token's {self._role_claim} must hold one role of {', '.join(Role)}")
        return ours[0]

    def _reason(self, error: jwt.PyJWTError) -> str:
        match error:
            case jwt.ExpiredSignatureError():
                return "the token has expired: get a new one"
            case jwt.ImmatureSignatureError():
                return "the token is not valid yet: compare the clocks"
            case jwt.MissingRequiredClaimError():
                return f"the token lacks the claim {error.claim}"
            case jwt.InvalidAudienceError():
                return f"the token is for somebody else: its audience must be {self._audience}"
            case jwt.InvalidIssuerError():
                return f"the token is from somebody else: its issuer must be {self._issuer}"
            case jwt.InvalidAlgorithmError():
                return f"the token's algorithm must be one of {', '.join(self._algorithms)}"
            case jwt.InvalidSignatureError():
                return f"the token's signature is not by a key of {self._issuer}"
            case _:
                return "the token is not a JSON Web Token that can be read"


class LocalKey:
    """The shop's own issuer, for development: one Ed25519 key in a file."""

    def __init__(self, settings: Settings) -> None:
        """Makes the key where there is none."""
        self._private = load_or_create(settings.token_key_file)
        self._audience = settings.token_audience

    def token(self, role: Role, user_id: str, lifetime: timedelta) -> str:
        """For somebody who is taken at their word; raises `ValidationError` where the ledger could not name them so."""
        now = datetime.now(UTC)
        identity = Identity(user_id=user_id, role=role, auth_time=now)
        claims = {
            "iss": LOCAL_ISSUER,
            "aud": self._audience,
            "sub": identity.user_id,
            "role": identity.role,
            "iat": now,
            "auth_time": int(now.timestamp()),
            "exp": now + lifetime,
        }
        return jwt.encode(claims, self._private, algorithm="EdDSA", headers={"typ": TYPE})

    async def key(self, _key_id: str | None) -> Ed25519PublicKey:
        return self._private.public_key()


class PublishedKeys:
    """What an issuer publishes (JWKS): fetched when needed, kept, and fetched again when it may have changed."""

    def __init__(self, url: str, algorithms: Sequence[str], *, fresh: float = FRESH, cooldown: float = COOLDOWN):
        self._url = url
        self._algorithms = algorithms
        self._for = fresh
        self._cooldown = cooldown
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched = self._tried = float("-inf")
        self._fetching = asyncio.Lock()

    async def key(self, key_id: str | None) -> jwt.PyJWK:
        if key_id is None:
            raise BearerRefused("the token does not name its key (kid)")
        if self._due(key_id):
            async with self._fetching:
                if self._due(key_id):
                    await self._fetch()
        age = time.monotonic() - self._fetched
        if age > KEPT:
            raise IssuerAway(f"the keys of the token's issuer cannot be fetched from {self._url}")
        if key_id not in self._keys:
            raise BearerRefused("the token's key (kid) is none of its issuer's")
        return self._keys[key_id]

    def _due(self, key_id: str) -> bool:
        now = time.monotonic()
        return (now - self._fetched > self._for or key_id not in self._keys) and now - self._tried > self._cooldown

    async def _fetch(self) -> None:
        self._tried = time.monotonic()
        try:
            async with httpx.AsyncClient(timeout=3) as client:
                answer = await client.get(self._url)
            answer.raise_for_status()
            found = jwt.PyJWKSet.from_dict(answer.json())
        except (httpx.HTTPError, jwt.PyJWTError, ValueError, AttributeError) as error:
            log.warning("the keys of the token's issuer cannot be fetched from %s: %s", self._url, error)
            return
        # What is published for anything but these signatures never checks one.
        self._keys = {
            key.key_id: key
            for key in found
            if key.key_id and key.public_key_use in ("sig", None) and key.algorithm_name in self._algorithms
        }
        self._fetched = time.monotonic()


def open_bearer(settings: Settings) -> Bearer:
    """Of the issuer that the settings name, else of the local key. Raises `OSError` where that cannot be made."""
    if settings.oidc_issuer is None or settings.oidc_jwks_url is None:
        return Bearer(LocalKey(settings), issuer=LOCAL_ISSUER, audience=settings.token_audience, algorithms=("EdDSA",))
    return Bearer(
        PublishedKeys(settings.oidc_jwks_url, settings.oidc_algorithms),
        issuer=settings.oidc_issuer,
        audience=settings.token_audience,
        algorithms=settings.oidc_algorithms,
        role_claim=settings.oidc_role_claim,
        user_claim=settings.oidc_user_claim,
    )
