"""`smartfloor ledger`: what people ask of the ledger at the command line."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import rich.progress
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.checkpoint import NoKey, NotCovered, checkpoint, prove, verifier_key
from infra.database import create_engine
from infra.export import export
from infra.ledger import Ledger
from infra.merkle import verify_inclusion
from infra.settings import Settings
from infra.verify import verify_ledger
from infra.verify_export import Broken, open_checkpoint, verify
from schemas.ledger import leaf_hash

UNDEFINED_TABLE = "42P01"

app = typer.Typer(no_args_is_help=True, help="Read, verify, sign and export the ledger.")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@app.command()
def show(
    limit: Annotated[int, typer.Option(min=1, help="At most so many entries, the newest.")] = 20,
    target: Annotated[str | None, typer.Option(help="Only what happened to this.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this action.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the newest entries, the oldest of them first."""

    async def read(engine: AsyncEngine, settings: Settings) -> None:
        ledger = Ledger(engine, recorder="smartfloor ledger", smart_id=settings.floor_hub_id)
        entries = await ledger.entries(limit=limit, target=target, action=action)
        if as_json:
            for entry in reversed(entries):
                typer.echo(entry.model_dump_json())
            return
        table = Table(
            *(Column(name, no_wrap=True) for name in ("seq", "recorded (UTC)")), "action", "target", "user", "details"
        )
        for entry in reversed(entries):
            recorded = f"{entry.recorded_at:%Y-%m-%d %H:%M:%S}"
            table.add_row(str(entry.seq), recorded, entry.action, entry.target, entry.user_id, entry.details)
        Console().print(table)

    _run(read)


@app.command(name="verify")
def verify_database() -> None:
    """Verify the chain, the columns beside it and every stored checkpoint."""

    async def check(engine: AsyncEngine, settings: Settings) -> None:
        with _progress("verifying") as progress:
            verdict = await verify_ledger(engine, settings, progress)
        typer.echo(verdict)

    _run(check)


@app.command(name="checkpoint")
def sign() -> None:
    """Sign the ledger as it is now and print the note: keep it where no database administrator can change it."""

    async def make(engine: AsyncEngine, settings: Settings) -> None:
        typer.echo(await checkpoint(engine, settings), nl=False)

    _run(make)


@app.command(name="prove")
def prove_entry(
    seq: Annotated[int, typer.Argument(min=0, help="The number of the entry.")], as_json: AsJson = False
) -> None:
    """Prove that an entry is covered by the newest checkpoint."""

    async def show_proof(engine: AsyncEngine, settings: Settings) -> None:
        proof = await prove(engine, seq)
        signed = open_checkpoint(proof.checkpoint, verifier_key(settings))
        leaf = leaf_hash(proof.entry.encode())
        if not verify_inclusion(leaf, seq, signed.size, proof.path, signed.root):
            raise Broken(seq, "it is not in the tree of the newest checkpoint: run `smartfloor ledger verify`")
        path = [node.hex() for node in proof.path]
        if as_json:
            fields = {"seq": seq, "size": signed.size, "leaf": leaf.hex(), "path": path, "root": signed.root.hex()}
            typer.echo(json.dumps(fields | {"entry": proof.entry, "checkpoint": proof.checkpoint}))
            return
        typer.echo(f"leaf  {leaf.hex()}")
        for node in path:
            typer.echo(f"path  {node}")
        typer.echo(f"root  {signed.root.hex()}\n\n{proof.checkpoint}")
        typer.echo(f"entry {seq} is one of the {signed.size} that the checkpoint covers")

    _run(show_proof)


@app.command(name="export")
def export_file(
    file: Annotated[Path, typer.Argument(help="FILE.checkpoint and FILE.pub are written beside it.")],
) -> None:
    """Write the ledger, a fresh checkpoint and the verifier key into files."""

    async def write(engine: AsyncEngine, settings: Settings) -> None:
        with _progress("exporting") as progress:
            entries = await export(engine, settings, file, progress)
        typer.echo(f"{entries} entries in {file}; check them anywhere: python -m infra.verify_export {file}")

    _run(write)


@app.command(name="verify-export")
def verify_file(file: Annotated[Path, typer.Argument(help="With FILE.checkpoint and FILE.pub beside it.")]) -> None:
    """Verify an exported ledger; needs no database."""
    with _one_line_errors():
        note, key = (Path(f"{file}{suffix}").read_text(encoding="utf-8") for suffix in (".checkpoint", ".pub"))
        with rich.progress.open(
            file, "rb", description="verifying", console=_errors, transient=True, disable=not _errors.is_terminal
        ) as lines:
            verdict = verify(lines, note, key.strip())
        typer.echo(verdict)


_errors = Console(stderr=True)


def _run(command: Callable[[AsyncEngine, Settings], Awaitable[None]]) -> None:
    settings = Settings()

    async def run() -> None:
        engine = create_engine(settings.database_writer_url)
        try:
            await command(engine, settings)
        finally:
            await engine.dispose()

    with _one_line_errors(settings):
        asyncio.run(run())


@contextmanager
def _one_line_errors(settings: Settings | None = None) -> Iterator[None]:
    try:
        yield
    except Broken as broken:
        _fail(f"BROKEN: {broken}")
    except NoKey as error:
        _fail(str(error))
    except NotCovered as error:
        _fail(f"{error}: run `smartfloor ledger checkpoint` and ask again")
    except (DBAPIError, OSError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            _fail(f"{error.filename}: {error.strerror}")
        if settings is None:
            raise
        if getattr(getattr(error, "orig", None), "sqlstate", None) == UNDEFINED_TABLE:
            _fail("this database holds no ledger yet: `smartfloor up` makes it")
        where = make_url(settings.database_writer_url).render_as_string(hide_password=True)
        reason = str(getattr(error, "orig", error)).splitlines()
        _fail(
            f"the database {where} does not answer ({reason[0] if reason else type(error).__name__}): start the shop "
            "with `smartfloor up`, or set SMARTFLOOR_DATABASE_WRITER_URL"
        )


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=_errors, transient=True, disable=not _errors.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
