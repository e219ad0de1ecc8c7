"""The command line: `smartfloor ...`."""

import asyncio
from typing import Annotated

import typer
import uvicorn

from infra.registry import load_registry
from infra.settings import Settings
from workers import ledger
from workers.gateway import run_gateway
from workers.process import start_logging
from workers.worker import run_main_worker, run_node_worker

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="Smartfloor: the shop floor on Temporal.")
app.add_typer(ledger.app, name="ledger", help="Show, verify, sign and export the ledger.")


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
    )


if __name__ == "__main__":
    app()
