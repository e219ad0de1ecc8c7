"""`smartfloor node`: what a node does and answers with nothing but its own disk, when everything else is away."""

import sqlite3
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
import yaml
from pydantic import ValidationError
from rich import box
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from infra.machine_readings import read_machine
from infra.node_maintenance import NodeMaintenance, Refused
from infra.registry import load_registry
from infra.settings import Settings
from schemas.base import Model, excerpt
from schemas.equipment import CalibrationRecord, CalibrationResult, EquipmentState, Standing
from schemas.faults import faults
from schemas.maintenance import CheckStep, StepKind
from schemas.maintenance_check import CheckResult, CheckWork, GivenReading, StepStatus

COLOURS = {
    EquipmentState.CURRENT: "yellow",
    EquipmentState.EXPIRING_SOON: "yellow",
    EquipmentState.EXPIRED: "red",
    EquipmentState.PENDING_CALIBRATION: "magenta",
    EquipmentState.CALIBRATION_FAILED: "red",
    EquipmentState.OUT_OF_SERVICE: "dim",
    EquipmentState.READY: "green",
}

NO_ANSWER = 2
"""Exit status where nothing was done, or nothing can be said."""

AtNode = Annotated[str, typer.Option("--node", help="A node of the registry.")]
Equipment = Annotated[str, typer.Option("--equipment", help="An instrument that is at this node.")]
Person = Annotated[str, typer.Option(help="Who does it: the ledger will say so.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

Value = TypeVar("Value")

app = typer.Typer(no_args_is_help=True)


class ContractStatus(Model):
    """A contract that the node executes."""

    contract_id: str
    version: str
    title: str


class NodeStatus(Model):
    """What a node says of itself on one day."""

    node_id: str
    day: date
    register_revision: int
    reports_waiting: int
    contracts: tuple[ContractStatus, ...]
    equipment: tuple[Standing, ...]


@app.callback()
def local() -> None:
    """Work at a node, with nothing but its own disk."""


@contextmanager
def _answering() -> Iterator[None]:
    """Ends a command in a sentence where nothing can be done; then nothing was recorded."""
    try:
        yield
    except ValidationError as error:
        _fail("; ".join(str(fault) for fault in faults(error)))
    except Refused as refused:
        _fail(str(refused))
    except typer.Abort:
        _fail("stopped: nothing was recorded")
    except sqlite3.DatabaseError as error:
        _fail(
            f"the node's disk cannot be used ({error}), and nothing was recorded: do it again in a moment; where it"
            " says the same then, look whether the disk is full, and who else holds it"
        )


@app.command()
@_answering()
def status(
    node_id: AtNode,
    equipment_id: Annotated[
        str | None, typer.Option("--equipment", help="Validate this one alone; that goes into the ledger.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show where the node's instruments stand; exit status 1 when one in service is not ready, 2 without an answer."""
    maintenance = _maintenance(node_id)
    at = datetime.now(UTC)
    if equipment_id is not None:
        equipment: tuple[Standing, ...] = (maintenance.validate_calibration(equipment_id),)
    else:
        equipment = tuple(known.standing(maintenance.node, at) for known in maintenance.here().values())
    waiting, _ = maintenance.waiting()
    found = NodeStatus(
        node_id=node_id,
        day=maintenance.node.day(at),
        register_revision=maintenance.register_revision(),
        reports_waiting=waiting,
        contracts=tuple(
            ContractStatus(contract_id=each.contract.smart_contract_id, version=each.version, title=each.contract.title)
            for each in maintenance.contracts()
        ),
        equipment=equipment,
    )
    if as_json:
        typer.echo(found.model_dump_json())
    else:
        _print_status(found, maintenance.node.time_zone)
    raise typer.Exit(any(not each.ready and each.state is not EquipmentState.OUT_OF_SERVICE for each in equipment))


@app.command()
@_answering()
def check(
    node_id: AtNode,
    equipment_id: Equipment,
    check_type: Annotated[str, typer.Option("--type", help="As its contract calls it, such as daily or checklist.")],
    person: Person,
    reading: Annotated[list[str] | None, typer.Option(help='A reading: STEP="VALUE UNIT".')] = None,
    confirm: Annotated[list[str] | None, typer.Option(help="A step that this person confirms.")] = None,
    wrong: Annotated[
        list[str] | None, typer.Option(help='A step that is not as it must be: STEP="what is wrong".')
    ] = None,
    contract: Annotated[str | None, typer.Option(help="Where more than one asks for this type of check.")] = None,
    as_json: AsJson = False,
) -> None:
    """Do a check of an instrument; exit status 0 only if it is passed, 2 if nothing was recorded.

    Steps that the machine gives are read from it; at a terminal, what is left is asked. A step that was not done fails
    the check.
    """
    maintenance = _maintenance(node_id)
    asked = maintenance.asked(equipment_id, check_type, contract)
    procedure = asked.contract.procedure(check_type)
    steps = procedure.steps if procedure else ()
    readings = _each_once(map(_given, reading or ()), "--reading")
    work = CheckWork(
        person=person,
        readings=readings,
        confirmed=frozenset(confirm or ()),
        wrong=_each_once((_named(text, "--wrong") for text in wrong or ()), "--wrong"),
    )
    work = _ask(steps, from_machine(maintenance.node.opcua_url, steps, work))
    result = maintenance.check(equipment_id, check_type, work, asked.contract.smart_contract_id, asked.version)
    if as_json:
        typer.echo(result.model_dump_json())
    else:
        _print_check(result)
    raise typer.Exit(0 if result.success else 1)


@app.command()
@_answering()
def calibrate(
    node_id: AtNode,
    person: Person,
    file: Annotated[
        Path | None, typer.Option(help="The whole calibration as YAML or JSON, with its points; - is stdin.")
    ] = None,
    equipment_id: Annotated[str | None, typer.Option("--equipment", help="An instrument at this node.")] = None,
    certificate: Annotated[str | None, typer.Option(help="The certificate's number.")] = None,
    certificate_for: Annotated[str | None, typer.Option(help="The instrument that the certificate names.")] = None,
    on: Annotated[str | None, typer.Option(help="The day of the calibration, such as 2026-01-31.")] = None,
    due: Annotated[str | None, typer.Option(help="The day until which the laboratory says it is good.")] = None,
    result: Annotated[CalibrationResult | None, typer.Option(help="What the laboratory found.")] = None,
    provider: Annotated[str | None, typer.Option(help="The laboratory.")] = None,
    technician: Annotated[str | None, typer.Option(help="Who calibrated it.")] = None,
    traceability: Annotated[str | None, typer.Option(help="To which standards, such as DAkkS or NIST.")] = None,
    corrects: Annotated[str | None, typer.Option(help="The certificate that was recorded wrongly.")] = None,
    as_json: AsJson = False,
) -> None:
    """Record a calibration; exit status 0 if its instrument is ready then, 1 if not, 2 if nothing was recorded."""
    options = {
        "equipment_id": equipment_id,
        "certificate_number": certificate,
        "certificate_for": certificate_for,
        "calibrated_on": on,
        "due_on": due,
        "result": result,
        "provider": provider,
        "technician": technician,
        "traceability": traceability,
        "corrects": corrects,
    }
    maintenance = _maintenance(node_id)
    fields = {**_document(file), **{name: value for name, value in options.items() if value is not None}}
    standing = maintenance.record_calibration(CalibrationRecord.model_validate(fields), person)
    if as_json:
        typer.echo(standing.model_dump_json())
    else:
        _print_standing(standing)
    raise typer.Exit(0 if standing.ready else 1)


# --- what is asked


def _maintenance(node_id: str) -> NodeMaintenance:
    settings = Settings()
    try:
        registry = load_registry(settings.nodes_file)
    except (OSError, ValueError, yaml.YAMLError) as error:
        _fail(excerpt(f"the registry of nodes {settings.nodes_file} cannot be read: {error}"))
    if node_id not in registry:
        raise typer.BadParameter(f"node {node_id} is not in the registry {settings.nodes_file}", param_hint="--node")
    disk = settings.node_store(node_id)
    if not disk.exists():
        _fail(f"{node_id} has no disk at {disk}: run it once, smartfloor worker --node {node_id}, or name state_dir")
    return NodeMaintenance(registry[node_id], disk)


def _named(text: str, option: str) -> tuple[str, str]:
    step, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text} names no step: write STEP=...", param_hint=option)
    return step.strip(), value.strip()


def _each_once(given: Iterable[tuple[str, Value]], option: str) -> dict[str, Value]:
    """By step: of two words on the same, nobody knows which one holds."""
    found: dict[str, Value] = {}
    for step, value in given:
        if step in found:
            raise typer.BadParameter(f"step {step} is named twice: say one", param_hint=option)
        found[step] = value
    return found


def _given(text: str) -> tuple[str, GivenReading]:
    step, reading = _named(text, "--reading")
    return step, _reading(reading)


def _reading(text: str) -> GivenReading:
    value, _, unit = text.strip().partition(" ")
    try:
        return GivenReading.model_validate({"value": value, "unit": unit})
    except ValidationError:
        reason = f"{text} is no reading: write its value and its unit, such as 1250 uW/cm2"
        raise typer.BadParameter(reason, param_hint="--reading") from None


def _document(file: Path | None) -> dict[str, Any]:
    """Every value as it is written: a measured value loses no digit."""
    if file is None:
        return {}
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
        document = yaml.load(text, yaml.BaseLoader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        _fail(excerpt(f"{file} cannot be read: {error}"))
    if not isinstance(document, dict):
        _fail(f"{file} is no calibration: give its fields by name")
    return document


def from_machine(url: str | None, steps: tuple[CheckStep, ...], work: CheckWork) -> CheckWork:
    """With what the machine gives where nobody said anything."""
    wanted = {step.step_id: step.opcua_node for step in steps if step.opcua_node and step.step_id not in work.steps}
    found = read_machine(url, wanted)
    readings = {step: reading for step, reading in found.items() if isinstance(reading, GivenReading)}
    unread = {step: why for step, why in found.items() if isinstance(why, str)}
    return work.model_copy(update={"readings": {**work.readings, **readings}, "unread": unread})


def _ask(steps: tuple[CheckStep, ...], work: CheckWork) -> CheckWork:
    """With what somebody at a terminal answers to the steps that are left; an empty answer leaves a step undone."""
    if not sys.stdin.isatty():
        return work
    readings, confirmed, wrong = dict(work.readings), set(work.confirmed), dict(work.wrong)
    for step in steps:
        if step.step_id in work.steps:
            continue
        if why := work.unread.get(step.step_id):
            typer.echo(f"{step.step_id}: {why}")
        if step.kind is StepKind.READING:
            asked = f"{step.description} (value and unit)"
            if reading := typer.prompt(
                asked, default="", show_default=False, value_proc=lambda text: text.strip() and _reading(text)
            ):
                readings[step.step_id] = reading
        elif typer.confirm(f"{step.description}: is it so?", default=False):
            confirmed.add(step.step_id)
        elif text := typer.prompt("What is wrong? (empty: it was not done)", default="", show_default=False):
            wrong[step.step_id] = text
    return work.model_copy(update={"readings": readings, "confirmed": frozenset(confirmed), "wrong": wrong})


# --- what is shown


def _print_status(found: NodeStatus, time_zone: str) -> None:
    table = Table(
        *(Column(name, overflow="fold") for name in ("instrument", "type", "certificate")),
        Column("due on", no_wrap=True),
        Column("days left", justify="right", no_wrap=True),
        Column("state", no_wrap=True),
        title=Text(f"{found.node_id} on {found.day} ({time_zone})"),
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for each in found.equipment:
        table.add_row(
            *(each.equipment_id, each.equipment_type, Text(each.certificate_number or "-")),
            *("-" if value is None else str(value) for value in (each.due_on, each.days_left)),
            Text(each.state, style=COLOURS[each.state]),
        )
    console = Console()
    console.print(table)
    for each in found.equipment:
        for sentence in each.missing:
            console.print(Text(sentence, style=COLOURS[each.state]))
    for contract in found.contracts:
        console.print(Text(f"in force: {contract.contract_id} {contract.version}, {contract.title}"))
    if not found.equipment:
        console.print(Text("no instrument of the register is at this node", style="magenta"))
    if found.reports_waiting:
        console.print(Text(f"{found.reports_waiting} reports wait for the hub", style="yellow"))


def _print_check(result: CheckResult) -> None:
    console = Console()
    for step in result.checks_performed:
        style = "green" if step.status is StepStatus.COMPLETED else "red"
        console.print(Text(f"{step.status:14} {step.step_id}: {step.notes}", style=style))
    style, what = ("green", "is passed") if result.success else ("red", "is not passed")
    console.print(
        Text(
            f"{result.check_type} of {result.equipment_id} ({result.contract_id} {result.version}) {what}", style=style
        )
    )


def _print_standing(found: Standing) -> None:
    console = Console()
    console.print(Text(f"{found.equipment_id} is {found.state}", style=COLOURS[found.state]))
    for sentence in found.missing:
        console.print(Text(sentence, style=COLOURS[found.state]))


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(NO_ANSWER)
