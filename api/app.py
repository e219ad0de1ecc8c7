"""The application: adapters opened once, routes by capability, problems for all errors."""

import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi_offline import FastAPIOffline
from opentelemetry.metrics import Histogram
from pydantic.json_schema import models_json_schema
from starlette.datastructures import Headers
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import (
    alert,
    analytics,
    approvals,
    client_order,
    client_po,
    contracts,
    equipment,
    health,
    hubs,
    ledger,
    maintenance,
    maintenance_analytics,
    maintenance_drafts,
    part_arrival,
    problems,
    reverse_trace,
    test_execution,
    transfer,
    vault,
)
from api.house import House
from api.security import AccessControl, permissions_of
from infra.alerts import Alerts
from infra.approvals import Approvals
from infra.bearer import open_bearer
from infra.business_hub import BusinessHub
from infra.client_order import ClientOrders
from infra.client_po import ClientPOs
from infra.contract_store import ContractStore
from infra.decisions import DecisionSigner
from infra.equipment_register import EquipmentRegister
from infra.floor_hub import FloorHub
from infra.gatekeeper import Gatekeeper
from infra.guardian import TrustList
from infra.hubs import OWN_ROUTES
from infra.maintenance import MaintenanceContracts
from infra.maintenance_alerts import MaintenanceReviews
from infra.maintenance_drafts import Drafts
from infra.policy_repository import PolicyRepository
from infra.reception import Reception
from infra.recorder import open_ledger
from infra.registry import load_registry
from infra.reverse_trace import ReverseTraces
from infra.settings import Settings
from infra.staging import Staging
from infra.telemetry import sdk_metrics, start_metrics
from infra.templates import Templates
from infra.temporal import ClientPOStarter, EquipmentDesk, PartArrivals, connect
from infra.test_execution import Tests
from infra.transfer import Transfers
from infra.vault import Vault
from schemas.client_po import SmartClientPO
from schemas.guardian import AuthorizationPackage
from schemas.maintenance import MaintenanceContract
from schemas.maintenance_version import FromTemplate

ROUTES = (
    *(client_po, client_order, part_arrival, test_execution, equipment, approvals, transfer, contracts, hubs, vault),
    *(maintenance, maintenance_drafts, maintenance_analytics, reverse_trace, alert, analytics, ledger, health),
)


READ_BY_ROUTES = (SmartClientPO, AuthorizationPackage, MaintenanceContract, FromTemplate, *hubs.TAKEN)
"""Bodies that FastAPI does not see in signatures."""

TAKE_PACKAGES = frozenset({*OWN_ROUTES.values(), "/api/v1/guardian/authorizations"})
PACKAGE_LIMIT = 1_500_000
"""Bytes: what Temporal can carry (2 MB), less what is added on the way."""


def create_app() -> FastAPI:
    """Reads its settings from the environment; needs the database and Temporal to be there when it starts."""
    settings = Settings()
    meter = start_metrics("api")

    @asynccontextmanager
    async def open_house(app: FastAPI) -> AsyncIterator[None]:
        sdk = sdk_metrics()
        temporal = await connect(settings, sdk.runtime)
        async with open_ledger(settings, "api") as (engine, ledger_):
            registry, client_pos_ = load_registry(settings.nodes_file), ClientPOs(engine)
            staging = Staging(client_pos_, ledger_, registry, ClientPOStarter(temporal, settings))
            transfers, trust = Transfers(engine), TrustList(settings.guardian_trust_dir)
            reception = Reception(ledger_, transfers)
            maintenance_contracts = MaintenanceContracts(engine)
            app.state.house = House(
                settings=settings,
                registry=registry,
                engine=engine,
                ledger=ledger_,
                client_pos=client_pos_,
                client_orders=ClientOrders(engine),
                tests=Tests(engine),
                equipment=EquipmentRegister(engine, registry),
                equipment_desk=EquipmentDesk(temporal),
                alerts=Alerts(engine),
                temporal=temporal,
                staging=staging,
                part_arrivals=PartArrivals(temporal, settings.unclaimed_after),
                approvals=Approvals(engine),
                decisions=DecisionSigner(settings),
                transfers=transfers,
                gatekeeper=Gatekeeper(trust, client_pos_, transfers, settings),
                contracts=ContractStore(settings.contracts_dir),
                vault=Vault(engine, reception, trust, client_pos_),
                traces=ReverseTraces(engine),
                floor_hub=FloorHub(reception, client_pos_, staging),
                business_hub=BusinessHub(reception),
                maintenance_contracts=maintenance_contracts,
                reviews=MaintenanceReviews(engine),
                drafts=Drafts(temporal, maintenance_contracts, ledger_, registry, settings),
                templates=Templates(),
                policy_repository=PolicyRepository(settings.policy_repository_dir),
                sdk_metrics=sdk,
                access=AccessControl(open_bearer(settings), settings, ledger_, meter),
            )
            yield

    # The documentation's scripts come from here: a shop floor may have no way out.
    app = FastAPIOffline(title="Smartfloor", version=version("smartfloor"), lifespan=open_house, redoc_url=None)
    app.state.settings = settings
    problems.install(app)
    for routes in ROUTES:
        app.include_router(routes.router, responses=problems.ANY_PROBLEM)
    _document(app)
    app.add_middleware(
        SizeLimit, limit=settings.request_limit, package_limit=PACKAGE_LIMIT, take_packages=TAKE_PACKAGES
    )
    duration = meter.create_histogram(
        "http.server.request.duration",
        unit="s",
        explicit_bucket_boundaries_advisory=[0.005, 0.01, 0.05, 0.1, 0.5, 1, 5],
    )
    app.add_middleware(Measured, duration=duration)
    return app


def _document(app: FastAPI) -> None:
    """Adds to the OpenAPI document what routes refer to and FastAPI does not see in their signatures."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            read_by_routes = [(model, "validation") for model in READ_BY_ROUTES]
            models = [*read_by_routes, (problems.ProblemDetails, "serialization")]
            _, definitions = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
            document["components"]["schemas"] |= definitions["$defs"]
            for route in iter_route_contexts(app.routes):
                for permission in permissions_of(route.dependant) if isinstance(route.original_route, APIRoute) else ():
                    for method in route.methods or ():
                        operation = document["paths"][route.path_format][method.lower()]
                        operation["description"] += f"\n\nNeeds the permission `{permission}`."
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]


class SizeLimit:
    """Bounds the body of every request, in bytes: by what its head says of it, else by what comes.

    Whole packages come to the paths that `take_packages`, with all that people said in many requests: they may be
    longer. Starlette's own answer to a head that says too much is plain text, whatever the application would answer.
    """

    def __init__(self, app: ASGIApp, *, limit: int, package_limit: int, take_packages: Collection[str]) -> None:
        self._requests = RequestBodyLimitMiddleware(app, limit)
        self._packages = RequestBodyLimitMiddleware(app, package_limit)
        self._take_packages = take_packages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        bound = self._packages if scope.get("path") in self._take_packages else self._requests
        if scope["type"] == "http":
            length = Headers(scope=scope).get("content-length", "0")
            if length.isdecimal() and int(length) > bound.max_body_size:
                await problems.too_large(bound.max_body_size).response()(scope, receive, send)
                return
        await bound(scope, receive, send)


class Measured:
    """How long each route takes, by route and status."""

    def __init__(self, app: ASGIApp, duration: Histogram) -> None:
        self._app = app
        self._duration = duration

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500  # what escapes from here is answered so

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        began = time.perf_counter()
        try:
            await self._app(scope, receive, note)
        finally:
            labels = {
                "http.route": getattr(scope.get("route"), "path", "none"),
                "http.response.status_code": status,
            }
            self._duration.record(time.perf_counter() - began, labels)
