"""One running shop for all acceptance tests of a test process. Each test has parts and POs of its own in it."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from infra.embedded.addresses import USUAL_PORTS
from infra.embedded.ports import port
from infra.embedded.shop import Shop
from infra.settings import Settings
from infra.temporal import connect
from tests.acceptance.floor import Floor, client


@pytest_asyncio.fixture(scope="session")
async def floor(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Floor]:
    """Every process of the shop runs. A test that ends one starts it again."""
    state_dir = tmp_path_factory.mktemp("shop")
    # Not the usual ports: other test processes start a shop at the same moment.
    (state_dir / "ports.json").write_text(json.dumps({name: port() for name in USUAL_PORTS}))
    settings = Settings(
        state_dir=state_dir,
        release_alert_after=timedelta(seconds=2),
        checkpoint_every=timedelta(seconds=2),
        rate_limit="1000/second",  # one person stands for a whole floor here
    )
    async with Shop(settings, headless=True, report=print) as shop, client(shop.settings) as http:
        yield Floor(shop, http, await connect(shop.settings))
