"""Who may what over HTTP: every route and every role, and what is answered to those who may not.

The application is the real one; the house behind it has a door and nothing else, so that whatever comes past the door
is seen.
"""

import asyncio
import base64
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import AsyncMock, Mock, patch

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from opentelemetry.metrics import NoOpMeter
from starlette.routing import Mount

from api.app import PACKAGE_LIMIT, create_app
from api.security import OPEN, AccessControl, permissions_of
from infra.bearer import LocalKey, open_bearer
from infra.settings import Settings
from schemas.alert import Severity
from schemas.changes.alert import AlertRaised
from schemas.permission import Permission, Role, may
from schemas.record import Record

PROBLEM = "application/problem+json"


class PastTheDoor(Exception):
    """Somebody was let in, and an adapter was touched."""


class StubLedger:
    """Keeps what is recorded; away while it says so."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.away = False

    async def record(self, record: Record) -> None:
        if self.away:
            raise ConnectionRefusedError
        self.records.append(record)


class Door:
    """A house of which nothing but the access control is there."""

    def __init__(self, settings: Settings, ledger: Any) -> None:
        self.settings = settings
        self.access = AccessControl(open_bearer(settings), settings, ledger, NoOpMeter("tests"))

    def __getattr__(self, adapter: str) -> Any:
        raise PastTheDoor(adapter)


class Operation(NamedTuple):
    """`path` as the documentation writes it, without what its parameters may hold."""

    method: str
    path: str
    permissions: tuple[Permission, ...]

    @property
    def url(self) -> str:
        return self.path.replace("{seq}", "1").replace("{", "").replace("}", "")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    with patch("api.app.Settings", return_value=Settings(state_dir=tmp_path_factory.mktemp("state"))):
        return create_app()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of the door."""
    return Settings(state_dir=tmp_path)


@pytest.fixture
def ledger() -> StubLedger:
    return StubLedger()


@pytest_asyncio.fixture
async def http(app: FastAPI, settings: Settings, ledger: StubLedger) -> AsyncIterator[httpx.AsyncClient]:
    app.state.house = Door(settings, ledger)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://smartfloor") as client:
        yield client


def operations(app: FastAPI) -> list[Operation]:
    """Everything that the application answers, its mounts as their path."""
    found = []
    for context in iter_route_contexts(app.routes):
        dependant = getattr(context.original_route, "dependant", None)
        permissions = tuple(permissions_of(dependant)) if dependant else ()
        path = context.original_route.path if isinstance(context.original_route, Mount) else context.path
        assert path is not None
        path = path.replace(":path}", "}")
        found += [Operation(method, path, permissions) for method in context.methods or {"GET"}]
    return found


def guarded(app: FastAPI) -> list[Operation]:
    return [operation for operation in operations(app) if operation.permissions]


def bearer(settings: Settings, role: Role, user: str = "maria") -> dict[str, str]:
    return {"Authorization": f"Bearer {LocalKey(settings).token(role, user, timedelta(minutes=5))}"}


class TestEveryRoute:
    def test_names_one_permission_or_is_on_the_list_of_the_open_ones(self, app: FastAPI) -> None:
        unnamed = {operation.path for operation in operations(app) if len(operation.permissions) != 1}
        assert unnamed == set(OPEN)

    def test_under_api_v1_is_open_for_probes_alone(self, app: FastAPI) -> None:
        assert {path for path in OPEN if path.startswith("/api/")} == {"/api/v1/health/ready", "/api/v1/health/live"}

    def test_of_the_documentation_is_one_of_the_application(self, app: FastAPI) -> None:
        documented = {(method.upper(), path) for path, methods in app.openapi()["paths"].items() for method in methods}
        assert documented >= {(operation.method, operation.path) for operation in guarded(app)}

    def test_with_a_permission_says_in_the_documentation_that_it_takes_a_bearer(self, app: FastAPI) -> None:
        for operation in guarded(app):
            documented = app.openapi()["paths"][operation.path][operation.method.lower()]
            assert documented["security"] == [{"HTTPBearer": []}], operation
            assert operation.permissions[0] in documented["description"], operation

    async def test_with_a_permission_asks_for_a_token_before_it_reads_the_body(
        self, app: FastAPI, http: httpx.AsyncClient
    ) -> None:
        for operation in guarded(app):
            answer = await http.request(
                operation.method, operation.url, content=b"{", headers={"Content-Type": "application/json"}
            )
            assert answer.status_code == 401, operation

    @pytest.mark.parametrize("role", Role)
    async def test_lets_in_the_roles_of_the_table_and_no_others(
        self, app: FastAPI, http: httpx.AsyncClient, settings: Settings, role: Role
    ) -> None:
        headers = bearer(settings, role)
        for operation in guarded(app):
            answer = await http.request(operation.method, operation.url, headers=headers)
            if may(role, operation.permissions[0]):
                assert answer.status_code not in (401, 403), operation
            else:
                assert answer.status_code == 403, operation
                assert operation.permissions[0] in answer.json()["detail"]

    async def test_that_reports_on_maintenance_lets_in_its_engineers(
        self, http: httpx.AsyncClient, settings: Settings
    ) -> None:
        answer = await http.get("/api/v1/analytics/maintenance", headers=bearer(settings, Role.MAINTENANCE_ENGINEER))
        assert answer.status_code != 403


class TestWhoHasNoToken:
    async def test_is_told_what_to_send(self, http: httpx.AsyncClient) -> None:
        answer = await http.get("/api/v1/staging-queue")
        assert answer.status_code == 401
        assert answer.headers["content-type"] == PROBLEM
        assert answer.headers["www-authenticate"] == 'Bearer realm="smartfloor"'
        assert answer.json()["type"] == "urn:smartfloor:problem:unauthenticated"
        assert answer.json()["errors"] == [
            {"field": "Authorization", "message": "send the header Authorization: Bearer TOKEN"}
        ]

    @pytest.mark.parametrize("header", ["Basic bWFyaWE6", "Bearer", "Bearer ", "Token x", "bearer x y"])
    async def test_is_not_let_in_with_something_else(self, http: httpx.AsyncClient, header: str) -> None:
        answer = await http.get("/api/v1/staging-queue", headers={"Authorization": header})
        assert answer.status_code == 401
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]

    async def test_is_not_let_in_with_one_in_the_url(self, http: httpx.AsyncClient, settings: Settings) -> None:
        token = LocalKey(settings).token(Role.ADMIN, "maria", timedelta(minutes=5))
        for name in ("access_token", "token", "Authorization"):
            assert (await http.get("/api/v1/staging-queue", params={name: token})).status_code == 401

    async def test_is_not_let_in_with_one_in_a_cookie(self, http: httpx.AsyncClient, settings: Settings) -> None:
        token = LocalKey(settings).token(Role.ADMIN, "maria", timedelta(minutes=5))
        answer = await http.get("/api/v1/staging-queue", headers={"Cookie": f"Authorization=Bearer {token}"})
        assert answer.status_code == 401


class TestWhoseRoleMayNot:
    async def test_is_told_what_is_missing_and_who_has_it(self, http: httpx.AsyncClient, settings: Settings) -> None:
        answer = await http.post("/api/v1/client-pos/SC-1/retry", headers=bearer(settings, Role.SUPERVISOR))
        assert answer.status_code == 403
        assert answer.headers["content-type"] == PROBLEM
        assert 'scope="job:release"' in answer.headers["www-authenticate"]
        assert answer.json()["detail"] == (
            "job:release is needed, which supervisor has not; roles that have it: production_manager, admin"
        )

    async def test_does_not_get_another_by_a_role_in_the_request(
        self, http: httpx.AsyncClient, settings: Settings
    ) -> None:
        answer = await http.post(
            "/api/v1/client-pos/SC-1/cancel?role=admin",
            headers={**bearer(settings, Role.OPERATOR), "Role": "admin", "X-Role": "admin"},
            json={"reason": "r", "role": "admin"},
        )
        assert answer.status_code == 403


class TestWhoMay:
    @pytest.mark.parametrize("field", ["user_id", "role"])
    async def test_cannot_say_in_the_body_that_they_are_somebody_else(
        self, http: httpx.AsyncClient, settings: Settings, field: str
    ) -> None:
        for path in ("client-pos/SC-1/hold", "client-pos/SC-1/accept-quantity", "arrivals/B-1/withdraw"):
            body = {"reason": "r", field: "ada"} | ({"part_id": "P-1"} if "arrivals" in path else {})
            answer = await http.post(f"/api/v1/{path}", headers=bearer(settings, Role.ADMIN), json=body)
            assert answer.status_code == 422, path
            assert [error["field"] for error in answer.json()["errors"]] == [field]


class TestAnIssuerThatIsAway:
    @pytest.fixture
    def settings(self, tmp_path: Path) -> Settings:
        return Settings(state_dir=tmp_path, oidc_issuer="https://login.example", oidc_jwks_url="http://127.0.0.1:1/")

    async def test_lets_nobody_in_and_nobody_down(self, http: httpx.AsyncClient, settings: Settings) -> None:
        head = base64.urlsafe_b64encode(b'{"alg":"RS256","kid":"1"}').decode().rstrip("=")
        answer = await http.get("/api/v1/staging-queue", headers={"Authorization": f"Bearer {head}.e30.e30"})
        assert (answer.status_code, answer.headers["content-type"]) == (503, PROBLEM)
        assert int(answer.headers["retry-after"]) > 0

    async def test_does_not_make_the_local_key_count(self, http: httpx.AsyncClient, settings: Settings) -> None:
        answer = await http.get("/api/v1/staging-queue", headers=bearer(settings, Role.ADMIN))
        assert answer.status_code == 401


class TestManyRequests:
    @pytest.fixture
    def settings(self, tmp_path: Path) -> Settings:
        return Settings(state_dir=tmp_path, rate_limit="3/minute")

    async def test_of_one_user_are_told_to_wait(self, http: httpx.AsyncClient, settings: Settings) -> None:
        for user in ("maria", "ada"):  # each for themselves
            headers = bearer(settings, Role.OPERATOR, user)
            answers = [await http.get("/api/v1/staging-queue", headers=headers) for _ in range(4)]
            assert [answer.status_code == 429 for answer in answers] == [False, False, False, True]
        assert answers[3].headers["content-type"] == PROBLEM
        assert 50 < int(answers[3].headers["retry-after"]) <= 60

    async def test_count_when_they_are_refused_too(self, http: httpx.AsyncClient, settings: Settings) -> None:
        headers = bearer(settings, Role.OPERATOR)
        answers = [await http.get("/api/v1/ledger/entries", headers=headers) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [403, 403, 403, 429]

    async def test_are_not_more_with_a_second_token(self, http: httpx.AsyncClient, settings: Settings) -> None:
        for _ in range(3):
            await http.get("/api/v1/staging-queue", headers=bearer(settings, Role.OPERATOR))
        answer = await http.get("/api/v1/staging-queue", headers=bearer(settings, Role.INSPECTOR))
        assert answer.status_code == 429

    async def test_without_a_token_take_nothing_from_those_with_one(
        self, http: httpx.AsyncClient, settings: Settings
    ) -> None:
        for _ in range(10):
            assert (await http.get("/api/v1/staging-queue")).status_code == 401
        answer = await http.get("/api/v1/staging-queue", headers=bearer(settings, Role.OPERATOR))
        assert answer.status_code != 429


class TestRefusals:
    @pytest.fixture
    def settings(self, tmp_path: Path) -> Settings:
        return Settings(state_dir=tmp_path, refusal_limit="3 per 1 second")

    async def refuse(self, http: httpx.AsyncClient, settings: Settings, times: int, user: str = "mallory") -> None:
        for _ in range(times):
            await http.get("/api/v1/ledger/entries", headers=bearer(settings, Role.OPERATOR, user))
        await asyncio.sleep(0)  # whoever is refused does not wait for the alert

    async def test_now_and_then_raise_no_alert(
        self, http: httpx.AsyncClient, settings: Settings, ledger: StubLedger
    ) -> None:
        await self.refuse(http, settings, 3)
        await self.refuse(http, settings, 3, user="ada")
        assert ledger.records == []

    async def test_again_and_again_raise_one_alert(
        self, http: httpx.AsyncClient, settings: Settings, ledger: StubLedger
    ) -> None:
        await self.refuse(http, settings, 10)
        [record] = ledger.records
        [change] = record.changes
        assert isinstance(change, AlertRaised)
        assert (change.alert.subject, change.alert.severity) == ("mallory", Severity.HIGH)
        assert "ledger:read" in change.alert.text

    async def test_without_a_token_are_those_of_an_address(self, http: httpx.AsyncClient, ledger: StubLedger) -> None:
        for _ in range(5):
            await http.get("/api/v1/ledger/entries")
        await asyncio.sleep(0)
        assert [record.entry.target for record in ledger.records] == ["127.0.0.1"]

    async def test_that_never_stop_stay_one_alert(
        self, http: httpx.AsyncClient, settings: Settings, ledger: StubLedger
    ) -> None:
        await self.refuse(http, settings, 5)
        for _ in range(4):
            await asyncio.sleep(0.4)
            await self.refuse(http, settings, 1)
        await self.refuse(http, settings, 5)
        assert len(ledger.records) == 1

    async def test_are_alerted_again_after_they_had_stopped(
        self, http: httpx.AsyncClient, settings: Settings, ledger: StubLedger
    ) -> None:
        await self.refuse(http, settings, 5)
        await asyncio.sleep(1.1)
        await self.refuse(http, settings, 5)
        assert len({record.entry.idempotency_key for record in ledger.records}) == 2

    async def test_are_alerted_later_when_the_ledger_is_away(
        self, http: httpx.AsyncClient, settings: Settings, ledger: StubLedger
    ) -> None:
        ledger.away = True
        await self.refuse(http, settings, 5)
        ledger.away = False
        await self.refuse(http, settings, 1)
        assert len(ledger.records) == 1


class TestWhatARequestIsAbout:
    """Asks for more than the route where an approval names its own permission, or a record is signed."""

    HASH = "0" * 64

    @pytest.fixture
    def settings(self, tmp_path: Path) -> Settings:
        return Settings(state_dir=tmp_path, refusal_limit="3 per 1 minute", login_lasts=timedelta())

    @pytest.fixture
    def refusals(self, app: FastAPI, http: httpx.AsyncClient) -> Counter[tuple[str, int]]:
        """Finds rows, whatever it is asked for; and what the metrics count."""
        counted: Counter[tuple[str, int]] = Counter()
        row = {"permission": "disposition:decide", "package_id": "PKG-1", "content_hash": self.HASH}
        house = app.state.house
        house.approvals = SimpleNamespace(get=AsyncMock(return_value=row))
        house.transfers = SimpleNamespace(nonconformance=AsyncMock(return_value=row))
        house.tests = SimpleNamespace(get=AsyncMock(return_value=Mock(current=lambda: {"T-1": self.HASH})))

        def count(_: int, labels: dict[str, Any]) -> None:
            counted[labels["permission"], labels["http.response.status_code"]] += 1

        house.access._refusals = SimpleNamespace(add=count)
        return counted

    async def test_is_refused_counted_and_alerted_like_a_route(
        self, http: httpx.AsyncClient, settings: Settings, ledger: StubLedger, refusals: Counter[tuple[str, int]]
    ) -> None:
        headers = bearer(settings, Role.MAINTENANCE_ENGINEER, "mallory")
        for _ in range(5):
            answer = await http.post(
                "/api/v1/approvals/A-1/respond",
                headers=headers,
                json={"decision": "approve", "content_hash": self.HASH},
            )
            assert answer.status_code == 403
            assert "disposition:decide" in answer.json()["detail"]
        await asyncio.sleep(0)
        assert refusals == {("disposition:decide", 403): 5}
        assert [record.entry.target for record in ledger.records] == ["mallory"]

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("approvals/A-1/respond", {"decision": "approve"}),
            ("nonconformances/1/disposition", {"disposition": "scrap", "reason": "r"}),
            ("tests/SC-1/signoffs", {"test_id": "T-1", "decision": "sign", "meaning": "reviewed"}),
        ],
    )
    async def test_is_signed_with_a_fresh_login_alone(
        self,
        http: httpx.AsyncClient,
        settings: Settings,
        ledger: StubLedger,
        refusals: Counter[tuple[str, int]],
        path: str,
        body: dict[str, str],
    ) -> None:
        headers = bearer(settings, Role.QUALITY_MANAGER)
        for _ in range(5):
            answer = await http.post(f"/api/v1/{path}", headers=headers, json={**body, "content_hash": self.HASH})
            assert (answer.status_code, answer.json()["type"]) == (401, "urn:smartfloor:problem:stale-login")
            assert 'error="insufficient_user_authentication"' in answer.headers["www-authenticate"]
        await asyncio.sleep(0)
        assert sum(refusals.values()) == 5
        assert [record.entry.target for record in ledger.records] == ["maria"]


class TestAProblem:
    """Of each kind that the framework and the middleware make."""

    @pytest.mark.parametrize(
        ("method", "path", "request_", "status", "kind", "hint"),
        [
            ("GET", "/api/v1/nowhere", {}, 404, "not-found", "/api/v1/nowhere"),
            ("PUT", "/api/v1/staging-queue", {}, 405, "method-not-allowed", "GET"),
            ("POST", "/static-offline-docs/x", {}, 405, "method-not-allowed", "GET, HEAD"),
            ("DELETE", "/api/v1/client-pos/SC-1", {}, 405, "method-not-allowed", "GET, PATCH"),
            ("POST", "/api/v1/client-pos", {"content": b"x" * 300_000}, 413, "too-large", "262144"),
            ("GET", "/health", {"content": b"x" * 300_000}, 413, "too-large", "262144"),
            ("POST", "/vault-hub/receive-test-results", {"content": b"x" * 1_600_000}, 413, "too-large", "1500000"),
            (
                "POST",
                "/api/v1/client-pos",
                {"content": b"{}", "headers": {"Content-Type": "text/csv"}},
                415,
                "unsupported-media-type",
                "application/json or application/yaml",
            ),
            (
                "POST",
                "/api/v1/client-pos/SC-1/hold",
                {"data": {"reason": "r"}},
                415,
                "unsupported-media-type",
                "application/json",
            ),
            ("POST", "/api/v1/client-pos/SC-1/hold", {"json": {}}, 422, "invalid", "reason"),
            ("GET", "/api/v1/staging-queue?limit=0", {}, 422, "invalid", "limit"),
            ("GET", "/api/v1/staging-queue", {}, 500, "internal-error", "log"),
        ],
    )
    async def test_has_a_stable_type_and_says_what_would_be_right(
        self,
        http: httpx.AsyncClient,
        settings: Settings,
        method: str,
        path: str,
        request_: dict[str, Any],
        status: int,
        kind: str,
        hint: str,
    ) -> None:
        headers = {**bearer(settings, Role.ADMIN), **request_.pop("headers", {})}
        answer = await http.request(method, path, headers=headers, **request_)
        assert answer.status_code == status
        assert answer.headers["content-type"] == PROBLEM
        assert answer.json()["type"] == f"urn:smartfloor:problem:{kind}"
        assert answer.json()["status"] == status
        assert hint in answer.json()["detail"]

    async def test_says_nothing_of_what_failed_inside(self, http: httpx.AsyncClient, settings: Settings) -> None:
        answer = await http.get("/api/v1/staging-queue", headers=bearer(settings, Role.ADMIN))
        assert "client_pos" not in answer.text

    async def test_of_a_body_that_does_not_say_how_long_it_is_comes_when_it_is_too_long(
        self, http: httpx.AsyncClient, settings: Settings
    ) -> None:
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            while sent < 10_000_000:
                sent += 50_000
                yield b"x" * 50_000

        headers = {**bearer(settings, Role.ADMIN), "Content-Type": "application/json"}
        for path in ("client-pos", "arrivals", "client-pos/SC-1/hold"):
            sent = 0
            answer = await http.post(f"/api/v1/{path}", headers=headers, content=endless())
            assert (answer.status_code, answer.headers["content-type"]) == (413, PROBLEM)
            assert "262144" in answer.json()["detail"]
            assert sent <= 350_000

    async def test_of_a_package_that_does_not_say_how_long_it_is_names_the_limit_of_packages(
        self, http: httpx.AsyncClient, settings: Settings
    ) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(40):
                yield b"x" * 50_000

        headers = {**bearer(settings, Role.SERVICE), "Content-Type": "application/json"}
        answer = await http.post("/api/v1/guardian/authorizations", headers=headers, content=chunks())
        assert (answer.status_code, answer.headers["content-type"]) == (413, PROBLEM)
        assert str(PACKAGE_LIMIT) in answer.json()["detail"]
