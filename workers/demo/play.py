"""`smartfloor demo`: plays all scenes before a live picture; each says at its end whether the shop did what it must."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import httpx
from pydantic import SecretStr
from rich.console import Console
from rich.live import Live

from infra.bearer import LocalKey
from infra.embedded.line import Line
from infra.embedded.ports import LOOPBACK, port
from infra.embedded.shop import Shop
from infra.mqtt import publishing_client
from infra.settings import Settings
from schemas.permission import Role
from workers.demo.chain import Chain
from workers.demo.main_job import MainJob
from workers.demo.maintenance import Maintenance
from workers.demo.stage import PATIENCE, Stage

FIRST_PAUSE = timedelta(seconds=0.4)
"""Before a leg's first retry: short, so that all of them are seen."""


@asynccontextmanager
async def _open(settings: Settings, console: Console) -> AsyncIterator[Stage]:
    run = f"{datetime.now(UTC):%H%M%S}"
    vault = Line(port())
    async with (
        Shop(_with_a_line(settings, vault), report=lambda line: console.print(line, style="dim")) as shop,
        _client(shop.settings, Role.SUPERVISOR, "maria") as http,
        _client(shop.settings, Role.ADMIN, "maria") as admin,
        _client(shop.settings, Role.INSPECTOR, "ines") as ines,
        _client(shop.settings, Role.QUALITY_MANAGER, "quentin") as quality,
        _client(shop.settings, Role.MAINTENANCE_ENGINEER, "mike") as mike,
        _client(shop.settings, Role.SERVICE, "business-hub") as hub,
        publishing_client(shop.settings) as mqtt,
    ):
        await vault.join(shop.settings.api_port)
        try:
            yield Stage(shop, http, admin, ines, quality, mike, hub, mqtt, vault, run)
        finally:
            await vault.cut()


def _with_a_line(settings: Settings, vault: Line) -> Settings:
    """The shop's own vault hub, but over a line; whom the local key is not for must be given a token."""
    token = LocalKey(settings).token(Role.SERVICE, "handoff-dispatcher", timedelta(hours=1))
    return settings.model_copy(
        update={
            "vault_hub_url": f"http://{LOOPBACK}:{vault.port}/vault-hub/receive-test-results",
            "hub_token": SecretStr(token),
            "transfer_first_pause": FIRST_PAUSE,
        }
    )


def _client(settings: Settings, role: Role, user_id: str) -> httpx.AsyncClient:
    token = LocalKey(settings).token(role, user_id, timedelta(hours=1))
    return httpx.AsyncClient(
        base_url=f"{settings.api_url}/api/v1",
        headers={"Authorization": f"Bearer {token}"},
        timeout=PATIENCE,
        trust_env=False,
    )


async def demo(settings: Settings, console: Console) -> bool:
    """Plays all scenes with a live table; True when every one came out as it should."""
    async with _open(settings, console) as show:
        job, chain, maintenance = MainJob(show), Chain(show), Maintenance(show)
        show.pictures = [job]  # those of one act at a time: all of them are longer than most terminals
        with Live(show.view(), console=console, refresh_per_second=8) as live:
            watching = asyncio.create_task(show.watch(live))
            await show.stage(show.sample("fi-actuator-rod"))
            await show.play("A PO is released when its part arrives", chain.arrives)
            await show.play("A part that came before its PO waits for it", job.came_early)
            await show.play("A PO on hold is confirmed but not released, until it is resumed", job.on_hold)
            await show.play("A duplicate broadcast changes nothing: 6 of 10, and 10 with the rest", job.duplicate)
            await show.play("Two persons accept six of ten; who asked cannot answer", job.four_eyes)
            await show.play("A worker killed amid a release: nothing lost, nothing twice", job.worker_killed)
            show.pictures = [chain]
            await show.play("Two sign, the Guardian authorizes; no vault, and the part moves on", chain.vault_away)
            await show.play("The vault's leg tries four times, then a person retries it", chain.vault_back)
            await show.play("Three contracts, three stations: the client order is complete", chain.chain_ends)
            show.pictures = [maintenance]
            await show.play(
                "An expired thermometer blocks a test, until its calibration is recorded",
                maintenance.expired_thermometer,
            )
            await show.play("Three alerts on two nodes open a review of their contract", maintenance.three_alerts)
            await show.play("The better version takes over on both nodes", maintenance.improved)
            await show.play("A PO whose part never comes stays gated", job.gated)
            await show.play("The ledger verifies", job.ledger_verifies)
            watching.cancel()
            show.pictures = [job, chain, maintenance]
            await show.look(live)
        well = all(scene.outcome == "" for scene in show.scenes)
        console.print("\nEverything came out as it should." if well else "\nNot everything came out as it should.")
        console.print("The shop stops now; `make up` starts it again with all that happened here:")
        console.print(f"  Temporal Web UI  {show.shop.settings.temporal_ui}", highlight=False)
        console.print(f"  API docs         {show.shop.settings.api_url}/docs", highlight=False)
    return well
