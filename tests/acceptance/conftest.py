"""One running shop for all acceptance tests of a test process. Each test has parts and POs of its own in it."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydantic import SecretStr

from infra.bearer import LocalKey
from infra.embedded.addresses import USUAL_PORTS
from infra.embedded.ports import LOOPBACK, port
from infra.embedded.shop import Shop
from infra.settings import Settings
from infra.temporal import connect
from schemas.permission import Role
from schemas.transfer import Destination
from tests.acceptance.floor import Floor, HubLine, client

HUBS = {
    Destination.VAULT: ("vault_hub_url", "/vault-hub/receive-test-results"),
    Destination.NEXT_NODE: ("floor_hub_url", "/floor-hub/route-to-node"),
    Destination.BUSINESS_HUB: ("business_hub_url", "/business-hub/order-complete"),
}
"""The setting and the route of each."""


def over(lines: Mapping[Destination, HubLine], settings: Settings) -> dict[str, Any]:
    """The settings by which the shop's own hubs are reached over lines that tests can cut."""
    token = LocalKey(settings).token(Role.SERVICE, "handoff-dispatcher", timedelta(days=1))
    addresses = {setting: f"http://{LOOPBACK}:{lines[hub].port}{route}" for hub, (setting, route) in HUBS.items()}
    return {**addresses, "hub_token": SecretStr(token)}


@pytest_asyncio.fixture(scope="session")
async def floor(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Floor]:
    """Every process of the shop runs. A test that ends one starts it again."""
    async with running_shop(tmp_path_factory.mktemp("shop")) as floor:
        yield floor


@asynccontextmanager
async def running_shop(state_dir: Path) -> AsyncIterator[Floor]:
    # Not the usual ports: other test processes start a shop at the same moment.
    (state_dir / "ports.json").write_text(json.dumps({name: port() for name in USUAL_PORTS}))
    lines = {destination: HubLine(port()) for destination in Destination}
    settings = Settings(
        state_dir=state_dir,
        release_alert_after=timedelta(seconds=2),
        checkpoint_every=timedelta(seconds=2),
        rate_limit="1000/second",  # one person stands for a whole floor here
        transfer_first_pause=timedelta(seconds=0.2),
        transfer_timeout=timedelta(seconds=5),
    )
    settings = settings.model_copy(update=over(lines, settings))
    async with Shop(settings, headless=True, report=print) as shop, client(shop.settings) as http:
        for line in lines.values():
            await line.join(shop.settings.api_port)
        yield Floor(shop, http, await connect(shop.settings), lines)
        for line in lines.values():
            await line.cut()
