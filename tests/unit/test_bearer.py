"""Which bearer tokens count, and which attacks do not."""

import base64
import hashlib
import hmac
import json
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import ValidationError

from infra.bearer import LOCAL_ISSUER, TYPE, Bearer, BearerRefused, LocalKey, open_bearer
from infra.keys import load_or_create
from infra.settings import Settings
from schemas.identity import Identity
from schemas.permission import Role

Claims = dict[str, Any]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path)


@pytest.fixture
def bearer(settings: Settings) -> Bearer:
    return open_bearer(settings)


@pytest.fixture
def key(settings: Settings) -> Ed25519PrivateKey:
    return load_or_create(settings.token_key_file)


def claims(**changed: Any) -> Claims:
    """Those of a good token, in which None takes a claim away."""
    now = int(datetime.now(UTC).timestamp())
    good = {
        "iss": LOCAL_ISSUER,
        "aud": "smartfloor",
        "sub": "maria",
        "role": "supervisor",
        "iat": now,
        "exp": now + 60,
    }
    return {name: value for name, value in {**good, **changed}.items() if value is not None}


def signed(key: Ed25519PrivateKey, typ: str = TYPE, **changed: Any) -> str:
    return jwt.encode(claims(**changed), key, algorithm="EdDSA", headers={"typ": typ})


def segment(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


class TestATokenThatCounts:
    async def test_says_who_and_in_which_role(self, settings: Settings, bearer: Bearer) -> None:
        identity = await bearer.identity(LocalKey(settings).token(Role.INSPECTOR, "maria", timedelta(minutes=1)))
        assert (identity.user_id, identity.role) == ("maria", Role.INSPECTOR)

    async def test_says_when_the_person_logged_in(self, key: Ed25519PrivateKey, bearer: Bearer) -> None:
        login = datetime(2026, 1, 31, 8, tzinfo=UTC)
        identity = await bearer.identity(signed(key, auth_time=int(login.timestamp())))
        assert identity.auth_time == login

    async def test_was_no_fresh_login_where_it_does_not_say(self, key: Ed25519PrivateKey, bearer: Bearer) -> None:
        identity = await bearer.identity(signed(key, iat=int(datetime.now(UTC).timestamp())))
        assert identity.auth_time < datetime.now(UTC) - timedelta(days=365)

    async def test_may_be_for_others_too(self, key: Ed25519PrivateKey, bearer: Bearer) -> None:
        assert await bearer.identity(signed(key, aud=["erp", "smartfloor"]))

    async def test_is_not_made_for_a_name_that_the_ledger_cannot_keep(self, settings: Settings) -> None:
        with pytest.raises(ValidationError, match="user_id"):
            LocalKey(settings).token(Role.ADMIN, "maria; drop table", timedelta(minutes=1))


class TestATokenThatDoesNotCount:
    @pytest.mark.parametrize(
        ("changed", "reason"),
        [
            ({"exp": 1}, "expired"),
            ({"exp": None}, "lacks the claim exp"),
            ({"iat": None}, "lacks the claim iat"),
            ({"iat": 2**33}, "not valid yet"),
            ({"nbf": 2**33}, "not valid yet"),
            ({"sub": None}, "lacks the claim sub"),
            ({"sub": "maria@floor"}, "user_id"),
            ({"aud": "erp"}, "audience must be smartfloor"),
            ({"aud": None}, "lacks the claim aud"),
            ({"iss": "https://elsewhere.example"}, f"issuer must be {LOCAL_ISSUER}"),
            ({"iss": None}, "lacks the claim iss"),
            ({"role": None}, "role"),
            ({"role": "root"}, "role"),
            ({"role": ["operator", "admin"]}, "one role"),
            ({"auth_time": "yesterday"}, "auth_time"),
        ],
        ids=json.dumps,
    )
    async def test_is_refused_with_the_reason(
        self, key: Ed25519PrivateKey, bearer: Bearer, changed: Claims, reason: str
    ) -> None:
        with pytest.raises(BearerRefused, match=reason):
            await bearer.identity(signed(key, **changed))

    async def test_is_one_of_another_key(self, bearer: Bearer) -> None:
        with pytest.raises(BearerRefused, match="signature"):
            await bearer.identity(signed(Ed25519PrivateKey.generate()))

    async def test_is_one_without_a_signature(self, bearer: Bearer) -> None:
        for algorithm in ("none", "None", "NONE", ""):
            token = f"{segment({'alg': algorithm, 'typ': TYPE})}.{segment(claims())}."
            with pytest.raises(BearerRefused):
                await bearer.identity(token)

    @pytest.mark.parametrize(
        "public",
        [
            lambda key: key.public_bytes(Encoding.Raw, PublicFormat.Raw),
            lambda key: key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        ],
        ids=["raw", "PEM"],
    )
    async def test_is_one_that_takes_the_public_key_for_a_shared_secret(
        self, key: Ed25519PrivateKey, bearer: Bearer, public: Callable[[Any], bytes]
    ) -> None:
        head = f"{segment({'alg': 'HS256', 'typ': TYPE})}.{segment(claims())}"
        mac = hmac.digest(public(key.public_key()), head.encode(), hashlib.sha256)
        with pytest.raises(BearerRefused, match="algorithm"):
            await bearer.identity(f"{head}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}")

    async def test_is_one_whose_role_was_changed_after_it_was_signed(
        self, key: Ed25519PrivateKey, bearer: Bearer
    ) -> None:
        head, _, signature = signed(key, role="operator").split(".")
        with pytest.raises(BearerRefused, match="signature"):
            await bearer.identity(f"{head}.{segment(claims(role='admin'))}.{signature}")

    async def test_is_one_that_was_signed_for_another_purpose(self, key: Ed25519PrivateKey, bearer: Bearer) -> None:
        with pytest.raises(BearerRefused, match="decision"):
            await bearer.identity(signed(key, typ="decision+jwt"))

    @pytest.mark.parametrize(
        "text",
        ["", "x", "a.b.c", "ä.ö.ü", ".." * 1000, segment([]) + "..", segment({"alg": "EdDSA", "typ": []}) + ".e30."],
    )
    async def test_is_one_that_is_none(self, bearer: Bearer, text: str) -> None:
        with pytest.raises(BearerRefused):
            await bearer.identity(text)


class TestTheLocalKey:
    def test_can_be_read_by_its_owner_alone(self, settings: Settings) -> None:
        LocalKey(settings)
        assert stat.S_IMODE(settings.token_key_file.stat().st_mode) == 0o600

    async def test_stays_the_same(self, settings: Settings) -> None:
        token = LocalKey(settings).token(Role.OPERATOR, "maria", timedelta(minutes=1))
        assert (await open_bearer(settings).identity(token)).role is Role.OPERATOR

    async def test_is_worth_nothing_where_the_settings_name_an_issuer(self, settings: Settings) -> None:
        token = LocalKey(settings).token(Role.ADMIN, "mallory", timedelta(minutes=1))
        production = Settings(
            state_dir=settings.state_dir, oidc_issuer=LOCAL_ISSUER, oidc_jwks_url="https://127.0.0.1:1/jwks"
        )
        with pytest.raises(BearerRefused, match="kid"):
            await open_bearer(production).identity(token)


class TestTheSettings:
    def test_need_an_issuer_and_its_keys_together(self) -> None:
        with pytest.raises(ValidationError, match="oidc_jwks_url"):
            Settings(oidc_issuer="https://login.example")

    def test_take_no_keys_that_anybody_on_the_way_can_change(self) -> None:
        with pytest.raises(ValidationError, match="https"):
            Settings(oidc_issuer="https://login.example", oidc_jwks_url="http://login.example/jwks")

    def test_take_no_shared_secret(self) -> None:
        with pytest.raises(ValidationError, match="oidc_algorithms"):
            Settings.model_validate({"oidc_algorithms": ["HS256"]})


def test_an_identity_has_a_role_of_the_table() -> None:
    with pytest.raises(ValidationError, match="role"):
        Identity.model_validate({"user_id": "maria", "role": "root", "auth_time": datetime.now(UTC)})
