"""What the permission check costs: a request with it beside the same route bare.

Both are routes of one application in this process, so that neither network nor server is in the figures. They take
turns, and the medians are compared.
"""

import statistics
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import httpx
from fastapi import APIRouter, FastAPI
from opentelemetry.metrics import NoOpMeter
from rich.console import Console
from rich.table import Table

from api import client_po
from api.security import AccessControl, GuardedRoute, requires
from infra.bearer import LocalKey, open_bearer
from infra.client_po import ClientPOs
from infra.recorder import open_ledger
from infra.settings import Settings
from infra.temporal import workflow_url
from schemas.permission import Permission, Role

REQUESTS = 1000


async def nothing() -> dict[str, str]:
    """A route without work of its own."""
    return {}


ROUTES: dict[str, Callable[..., Any]] = {"/nothing": nothing, "/staging-queue": client_po.staging_queue}


async def run(settings: Settings, console: Console) -> None:
    """Prints a table; the database of `settings` is only read."""
    guarded, bare = APIRouter(prefix="/guarded", route_class=GuardedRoute), APIRouter(prefix="/bare")
    for path, endpoint in ROUTES.items():
        guarded.get(path, dependencies=[requires(Permission.JOB_VIEW)])(endpoint)
        bare.get(path)(endpoint)
    app = FastAPI()
    app.include_router(guarded)
    app.include_router(bare)
    settings = settings.model_copy(update={"rate_limit": "1000000/minute"})
    token = LocalKey(settings).token(Role.OPERATOR, "maria", timedelta(hours=1))
    table = Table("", "bare", "with the check", "ratio", title="Permission check (median of a request)")
    async with open_ledger(settings, "benchmark") as (engine, ledger):
        access = AccessControl(open_bearer(settings), settings, ledger, NoOpMeter("benchmark"))
        app.state.house = SimpleNamespace(
            settings=settings,
            client_pos=ClientPOs(engine),
            access=access,
            workflow_url=partial(workflow_url, settings),
        )
        transport, headers = httpx.ASGITransport(app), {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers) as http:
            for path in ROUTES:
                with_check, without = await _measure(http, f"/guarded{path}", f"/bare{path}")
                ratio = with_check / without
                table.add_row(path, f"{without * 1e6:,.0f} µs", f"{with_check * 1e6:,.0f} µs", f"{ratio:.2f}")
    console.print(table)


async def _measure(http: httpx.AsyncClient, *paths: str) -> tuple[float, ...]:
    """Seconds, the median for each path."""
    taken: dict[str, list[float]] = {path: [] for path in paths}
    for _ in range(REQUESTS):
        for path in paths:
            began = perf_counter()
            answer = await http.get(path)
            taken[path].append(perf_counter() - began)
            answer.raise_for_status()
    return tuple(statistics.median(taken[path]) for path in paths)
