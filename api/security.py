"""Who may: every route names its permission, and gives nothing before the bearer's role is known to have it.

    router = APIRouter(route_class=GuardedRoute)

    @router.post("/client-pos/{smart_contract_id}/hold")
    async def hold(who: Annotated[Identity, requires(Permission.PO_HOLD)], ...): ...

Nothing of a request but its head is read before that: who may not, is not told what was wrong with the body.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import limits
from fastapi import Depends, Request, Response, Security
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from opentelemetry.metrics import Meter

from api.problems import Problem
from infra.bearer import Bearer, BearerRefused, IssuerAway
from infra.ledger import Ledger
from infra.settings import Settings
from schemas.alert import Alert, Severity
from schemas.base import excerpt
from schemas.changes.alert import AlertRaised
from schemas.decision import Wanted
from schemas.faults import Fault
from schemas.identity import Identity
from schemas.ledger import LedgerEntry
from schemas.permission import ROLE_PERMISSIONS, Permission, may
from schemas.record import Record

log = logging.getLogger(__name__)

OPEN = {
    "/health": "probes have no token, and are told no more than what is away",
    "/api/v1/health/ready": "the same",
    "/api/v1/health/live": "the same",
    "/metrics": "a scraper has no token; there are counts in it by route, and no person, part or PO",
    "/docs": "how to ask, not what is answered",
    "/docs/oauth2-redirect": "the same",
    "/openapi.json": "the same",
    "/static-offline-docs": "the scripts of the documentation",
}
"""The paths without a permission, and why."""

_scheme = HTTPBearer(
    auto_error=False,
    bearerFormat="JWT",
    description="Development: `smartfloor token --role ROLE --user NAME`. Production: your OpenID Connect provider.",
)


class Requires:
    """A dependency that names a route's permission, and gives the route whoever has it."""

    def __init__(self, permission: Permission) -> None:
        self.permission = permission

    async def __call__(
        self, request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_scheme)]
    ) -> Identity:
        identity: Identity = request.state.identity  # not there unless a GuardedRoute let the request in
        return identity


def requires(permission: Permission) -> Any:
    """Lets in whose role has it, else answers 401 or 403 with what is missing."""
    return Depends(Requires(permission))


def permissions_of(dependant: Dependant) -> Iterator[Permission]:
    """Those that a route or its dependencies name."""
    if isinstance(dependant.call, Requires):
        yield dependant.call.permission
    for dependency in dependant.dependencies:
        yield from permissions_of(dependency)


class GuardedRoute(APIRoute):
    """Looks at the token, and at the kind of body, before the body is read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        needed = list(permissions_of(self.dependant))
        takes_json = self.body_field is not None

        async def guarded(request: Request) -> Response:
            for permission in needed:
                request.state.identity = await request.app.state.house.access.admit(request, permission)
            if takes_json:
                only(request, "application/json")
            return await handle(request)

        return guarded


def only(request: Request, *media_types: str) -> str:
    """The media type of the request's body, empty where it has none; any other than these is answered with 415."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    if given not in media_types and (given or has_body):
        wanted = " or ".join(media_types)
        raise Problem(
            415,
            "unsupported-media-type",
            "Another kind of body is needed",
            f"send the header Content-Type: {wanted}",
            errors=[Fault(field="Content-Type", message=f"{given or 'nothing'} was given; {wanted} is taken")],
            headers={"Accept": ", ".join(media_types)},
        )
    return given


class AccessControl:
    """Lets requests in, at most so many of one user, and watches those that are not let in."""

    def __init__(self, bearer: Bearer, settings: Settings, ledger: Ledger, meter: Meter) -> None:
        self._bearer = bearer
        self._window = MovingWindowRateLimiter(MemoryStorage())
        self._rate = limits.parse(settings.rate_limit)
        self._watch = RefusalWatch(settings, ledger)
        self._refusals = meter.create_counter(
            "smartfloor.access.refused", description="requests without token, permission, or patience"
        )

    async def admit(self, request: Request, permission: Permission) -> Identity:
        """Raises `Problem`: 401, 403 or 429, or 503 while nobody can say whether the token is good."""
        address = excerpt(request.client.host, 100) if request.client else "unknown"
        try:
            identity = await self._bearer.identity(_token(request))
        except BearerRefused as refusal:
            self._refused(permission, 401)
            self._watch.refused(address, str(refusal))
            raise _unauthenticated(str(refusal), invalid="authorization" in request.headers) from refusal
        except IssuerAway as away:
            raise Problem(503, "away", "Nobody can check your token", str(away), retry_after=10) from away
        # By user and not by token, else a second token would double the rate.
        if not self._window.hit(self._rate, identity.user_id):
            self._refused(permission, 429)
            stats = self._window.get_window_stats(self._rate, identity.user_id)
            pause = max(1, round(stats.reset_time - datetime.now(UTC).timestamp()))
            detail = f"{identity.user_id} has used up {self._rate}; ask again in {pause} s"
            raise Problem(429, "too-many-requests", "Too many requests", detail, retry_after=pause)
        self.demand(identity, permission)
        return identity

    def demand(self, identity: Identity, permission: Permission) -> None:
        """Raises `Problem`, 403, also where what a request is about asks for more than its route."""
        if not may(identity.role, permission):
            self._refused(permission, 403)
            self._watch.refused(identity.user_id, f"role {identity.role} lacks {permission}")
            raise _forbidden(identity, permission)

    def demand_login(self, identity: Identity, wanted: Wanted, at: datetime, lasts: timedelta) -> None:
        """Raises `Problem`, 401, where the decision is a signature and the login is older than that."""
        if wanted.needs_login(identity.auth_time, at, lasts):
            self._refused(wanted.permission, 401)
            self._watch.refused(identity.user_id, f"the login is too old for {wanted.permission}")
            raise _stale_login(lasts)

    def _refused(self, permission: Permission, status: int) -> None:
        self._refusals.add(1, {"permission": permission, "http.response.status_code": status})


class RefusalWatch:
    """Raises one alert for one burst of refusals of a user, or of an address where no token says who it is.

    A burst is over when none was refused for the whole window.
    """

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._ledger = ledger
        self._window = MovingWindowRateLimiter(MemoryStorage())
        self._limit = limits.parse(settings.refusal_limit)
        self._alerted: dict[str, float] = {}
        """When each was refused last, of those of whom it was said."""
        self._recording: set[asyncio.Task[None]] = set()

    def refused(self, who: str, reason: str) -> None:
        """Counts one; whoever was refused does not wait for the alert."""
        now = time.monotonic()
        if now - self._alerted.get(who, float("-inf")) <= self._limit.get_expiry():
            self._alerted[who] = now
            return
        if self._window.hit(self._limit, who):
            return
        self._alerted[who] = now
        recording = asyncio.create_task(self._alert(who, reason), name=f"alert: {who} is refused again and again")
        self._recording.add(recording)
        recording.add_done_callback(self._recording.discard)

    async def _alert(self, who: str, reason: str) -> None:
        event = f"access_refused:{who}:{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        text = (
            f"{who} was refused more than {self._limit}, the last time because {reason}. Ask them what they tried; "
            "if it was not them, have the token revoked or the address blocked."
        )
        alert = Alert(
            alert_id=event,
            alert_type="access_refused",
            severity=Severity.HIGH,
            source="api",
            subject=who,
            text=text,
        )
        entry = LedgerEntry(
            idempotency_key=event,
            action_type="access",
            action="refuse_access",
            target=who,
            details=f"Refused more than {self._limit}: {reason}",
            metadata={"limit": str(self._limit), "reason": reason},
        )
        try:
            await self._ledger.record(Record(entry=entry, changes=(AlertRaised(alert=alert),)))
        except Exception:
            log.exception("%s is refused again and again, and the alert could not be recorded", who)
            self._alerted.pop(who, None)  # the next refusal tries again


def _token(request: Request) -> str:
    """From the header alone: what stands in a URL gets into logs and histories."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if not scheme:
        raise BearerRefused("send the header Authorization: Bearer TOKEN")
    if scheme.lower() != "bearer" or not token.strip():
        raise BearerRefused("the header Authorization must read: Bearer TOKEN")
    return token.strip()


def _unauthenticated(reason: str, *, invalid: bool) -> Problem:
    challenge = 'error="invalid_token"' if invalid else ""
    return _challenged(401, "unauthenticated", "Who are you?", "Authorization", reason, challenge)


def _stale_login(lasts: timedelta) -> Problem:
    """401 of RFC 9470: a signature needs a fresh login, and clients that know the rule ask for one by themselves."""
    seconds = int(lasts.total_seconds())
    reason = f"your login is older than {seconds} s: log in again, get a new token, and send the same request with it"
    challenge = f'error="insufficient_user_authentication", error_description="log in again", max_age="{seconds}"'
    return _challenged(401, "stale-login", "This signs a record: log in again", "Authorization", reason, challenge)


def _forbidden(identity: Identity, permission: Permission) -> Problem:
    """403, with the roles that have what is missing."""
    having = ", ".join(role for role, permissions in ROLE_PERMISSIONS.items() if permission in permissions)
    reason = f"{permission} is needed, which {identity.role} has not; roles that have it: {having}"
    challenge = f'error="insufficient_scope", scope="{permission}"'
    return _challenged(403, "forbidden", "Your role may not do this", "role", reason, challenge)


def _challenged(status: int, kind: str, title: str, field: str, reason: str, challenge: str) -> Problem:
    """Says in the header, for clients, what it says in the body for people (RFC 6750)."""
    parts = ('realm="smartfloor"', challenge)
    return Problem(
        status,
        kind,
        title,
        reason,
        errors=[Fault(field=field, message=reason)],
        headers={"WWW-Authenticate": f"Bearer {', '.join(part for part in parts if part)}"},
    )
