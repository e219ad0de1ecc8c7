"""The application: adapters opened once, routes by capability, problems for all errors."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI, Request, Response
from fastapi_offline import FastAPIOffline

from api import alert, analytics, client_po, health, ledger, part_arrival, problems
from api.house import House
from infra.alerts import Alerts
from infra.client_po import ClientPOs
from infra.recorder import open_ledger
from infra.registry import load_registry
from infra.settings import Settings
from infra.telemetry import sdk_metrics, start_metrics
from infra.temporal import ClientPOStarter, PartArrivals, connect


def create_app() -> FastAPI:
    """Reads its settings from the environment; needs the database and Temporal to be there when it starts."""
    settings = Settings()

    @asynccontextmanager
    async def open_house(app: FastAPI) -> AsyncIterator[None]:
        sdk = sdk_metrics(settings)
        temporal = await connect(settings, sdk.runtime)
        async with open_ledger(settings, "api") as (engine, ledger_):
            app.state.house = House(
                settings=settings,
                registry=load_registry(settings.nodes_file),
                engine=engine,
                ledger=ledger_,
                client_pos=ClientPOs(engine),
                alerts=Alerts(engine),
                temporal=temporal,
                starter=ClientPOStarter(temporal, settings),
                part_arrivals=PartArrivals(temporal, settings.unclaimed_after),
                sdk_metrics=sdk,
            )
            yield

    # The documentation's scripts come from here: a shop floor may have no way out.
    app = FastAPIOffline(title="Smartfloor", version=version("smartfloor"), lifespan=open_house, redoc_url=None)
    problems.install(app)
    for routes in (client_po, part_arrival, alert, analytics, ledger, health):
        app.include_router(routes.router)
    _measure(app)
    return app


def _measure(app: FastAPI) -> None:
    """How long each route takes, by route and status."""
    duration = start_metrics("api").create_histogram(
        "http.server.request.duration",
        unit="s",
        explicit_bucket_boundaries_advisory=[0.005, 0.01, 0.05, 0.1, 0.5, 1, 5],
    )

    @app.middleware("http")
    async def measure(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        began = time.perf_counter()
        response = await answer(request)
        route = request.scope.get("route")
        labels = {"http.route": getattr(route, "path", "none"), "http.response.status_code": response.status_code}
        duration.record(time.perf_counter() - began, labels)
        return response
