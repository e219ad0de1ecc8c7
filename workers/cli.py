"""The command line: `smartfloor ...`."""

import asyncio
import os
from datetime import timedelta
from typing import Annotated

import typer
import uvicorn
from pydantic import ValidationError
from rich.console import Console

from infra.bearer import LocalKey
from infra.database import migrate
from infra.embedded.addresses import environment, running_settings
from infra.embedded.process import StartError
from infra.embedded.shop import ShopRunsError
from infra.registry import load_registry
from infra.settings import Settings
from schemas.faults import faults
from schemas.permission import Role
from workers import ledger
from workers import node as local_node
from workers.decide import NoToken, decision_token
from workers.demo.play import demo as play_demo
from workers.gateway import run_gateway
from workers.process import start_logging
from workers.up import up as run_shop
from workers.worker import run_main_worker, run_node_worker

KEEP_ALIVE = 75
"""Seconds: longer than clients (httpx: 5) and proxies (mostly 60) keep a connection that rests.

Whoever closes first must not be the API: a request that is on its way then is lost, and nobody knows how far it came.
"""

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="Smartfloor: the shop floor on Temporal.")
app.add_typer(ledger.app, name="ledger", help="Show, verify, sign and export the ledger.")
app.add_typer(local_node.app, name="node")


@app.callback()
def find_shop(context: typer.Context) -> None:
    """Commands that look into a shop find the embedded one that runs here; what the environment says goes first."""
    if context.invoked_subcommand in ("ledger", "token", "decide") and (
        running := running_settings(Settings().state_dir)
    ):
        os.environ.update(environment(running) | os.environ)


@app.command()
def up() -> None:
    """Run the embedded shop until Ctrl-C; its state is kept."""
    raise typer.Exit(asyncio.run(run_shop(Settings(), Console())))


@app.command()
def demo() -> None:
    """Play the main job, a chain and maintenance; exit status 0 only if all came out as it should."""
    console = Console()
    try:
        well = asyncio.run(play_demo(Settings(), console))
    except (ShopRunsError, StartError) as error:
        console.print(f"[red]{error}")
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    raise typer.Exit(0 if well else 1)


@app.command()
def token(
    role: Annotated[Role, typer.Option(help="What its bearer may is what this role may.")],
    user: Annotated[str, typer.Option(help="Who the ledger will say it was.")],
    ttl: Annotated[int, typer.Option(min=1, help="Seconds until it expires.")] = 8 * 3600,
) -> None:
    """Print a bearer token of the local development key, alone on the last line."""
    settings = Settings()
    if settings.oidc_issuer is not None:
        typer.echo(f"This shop takes tokens of {settings.oidc_issuer} alone: log in there.", err=True)
        raise typer.Exit(1)
    try:
        made = LocalKey(settings).token(role, user, timedelta(seconds=ttl))
    except ValidationError as error:
        raise typer.BadParameter("; ".join(str(fault) for fault in faults(error))) from error
    typer.echo(made)


@app.command()
def decide(
    workflow_id: Annotated[str, typer.Argument(help="The workflow that waits for the decision.")],
    decision: Annotated[str, typer.Argument(help="For example approve, refuse, accept_quantity, withdraw.")],
    content_hash: Annotated[str, typer.Option("--hash", help="The hash that the workflow shows.")],
    bearer: Annotated[str, typer.Option("--token", envvar="SMARTFLOOR_TOKEN", help="Your bearer token.")],
    meaning: Annotated[str | None, typer.Option(help="What it means, where that is more than the decision.")] = None,
) -> None:
    """Print a decision token, alone on the last line: the `token` of a signal in the Temporal Web UI or CLI."""
    try:
        token = decision_token(
            Settings(), bearer, workflow_id=workflow_id, content_hash=content_hash, decision=decision, meaning=meaning
        )
    except NoToken as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    typer.echo(token)


@app.command(name="migrate")
def migrate_database() -> None:
    """Bring the database's schema up to date, and make the role that may write and never change the ledger."""
    settings = Settings()
    asyncio.run(migrate(settings.database_url, settings.database_writer_url))


@app.command()
def worker(
    node: Annotated[str | None, typer.Option(help="serve this node of the registry instead of the main queue")] = None,
) -> None:
    """Run workflows and short activities, or what one node does, until Ctrl-C."""
    start_logging()
    settings = Settings()
    if node is None:
        asyncio.run(run_main_worker(settings))
        return
    if node not in load_registry(settings.nodes_file):
        raise typer.BadParameter(f"node {node} is not in the registry {settings.nodes_file}", param_hint="--node")
    asyncio.run(run_node_worker(settings, node))


@app.command()
def gateway() -> None:
    """Turn broadcasts into signals, and alerts into broadcasts, until Ctrl-C."""
    start_logging()
    asyncio.run(run_gateway(Settings()))


@app.command()
def api() -> None:
    """Serve HTTP until Ctrl-C."""
    settings = Settings()
    uvicorn.run(
        "api.app:create_app",
        factory=True,
        host=settings.api_host,
        port=settings.api_port,
        log_level="info",
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE,
    )


if __name__ == "__main__":
    app()
