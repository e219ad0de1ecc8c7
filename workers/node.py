"""`smartfloor node`: what a node answers with nothing but its own files, when everything else is away."""

from datetime import UTC, datetime
from typing import Annotated, NoReturn

import typer
import yaml
from rich import box
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from infra.equipment import CannotRead, EquipmentList, EquipmentStatus
from infra.registry import load_registry
from infra.settings import Settings
from schemas.base import excerpt
from schemas.calibration import CalibrationState
from schemas.node import Node

COLOURS = {
    CalibrationState.PENDING_CALIBRATION: "magenta",
    CalibrationState.CURRENT: "green",
    CalibrationState.EXPIRING_SOON: "yellow",
    CalibrationState.EXPIRED: "red",
}
BLOCKED = frozenset({CalibrationState.PENDING_CALIBRATION, CalibrationState.EXPIRED})

NO_ANSWER = 2
"""Exit status where nothing can be said of the instruments."""

app = typer.Typer(no_args_is_help=True)


@app.callback()
def local() -> None:
    """Ask a node, with nothing but its own files."""


@app.command()
def status(
    node_id: Annotated[str, typer.Option("--node", help="A node of the registry.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show the calibration of each instrument; exit status 1 when one is expired or pending, 2 without an answer."""
    settings = Settings()
    try:
        registry = load_registry(settings.nodes_file)
    except (OSError, ValueError, yaml.YAMLError) as error:
        _fail(excerpt(f"the registry of nodes {settings.nodes_file} cannot be read: {error}"))
    if node_id not in registry:
        raise typer.BadParameter(f"node {node_id} is not in the registry {settings.nodes_file}", param_hint="--node")
    node = registry[node_id]
    try:
        found = EquipmentList(settings.equipment_file, node.zone).status(datetime.now(UTC))
    except CannotRead as error:
        _fail(f"{settings.equipment_file}: {error}")
    if as_json:
        typer.echo(found.model_dump_json())
    else:
        _print(node, found)
    raise typer.Exit(1 if any(instrument.state in BLOCKED for instrument in found.equipment) else 0)


def _print(node: Node, found: EquipmentStatus) -> None:
    table = Table(
        *(Column(name, overflow="fold") for name in ("instrument", "type", "certificate")),
        Column("due on", no_wrap=True),
        Column("days left", justify="right", no_wrap=True),
        Column("state", no_wrap=True),
        title=Text(f"{node.node_id} on {found.day} ({node.time_zone})"),
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for instrument in found.equipment:
        table.add_row(
            *(instrument.equipment_id, instrument.equipment_type, Text(instrument.certificate or "-")),
            *("-" if value is None else str(value) for value in (instrument.due_on, instrument.days_left)),
            Text(instrument.state, style=COLOURS[instrument.state]),
        )
    console = Console()
    console.print(table)
    for instrument in found.equipment:
        if instrument.refusal is not None:
            console.print(Text(instrument.refusal, style=COLOURS[instrument.state]))
        if not instrument.fit:
            console.print(f"{instrument.equipment_id} is not fit for use", style="red", highlight=False)


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(NO_ANSWER)
