"""Writes the ledger into files that can be verified anywhere; `infra.verify_export` says what is in them."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.checkpoint import checkpoint, verifier_key
from infra.settings import Settings
from infra.tables.ledger import ledger_entries
from infra.verify_export import open_checkpoint

_CHUNK = 1000


async def export(
    engine: AsyncEngine, settings: Settings, file: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> int:
    """Writes FILE, FILE.checkpoint and FILE.pub and returns the number of entries; makes a checkpoint first.

    Each file appears whole, FILE last. Raises `infra.verify_export.Broken` when the ledger is not fit to be signed,
    `infra.checkpoint.NoKey` when there is no key to sign it with.
    `progress` is told (entries written, entries).
    """
    note = await checkpoint(engine, settings)
    key = verifier_key(settings)
    size = open_checkpoint(note, key).size
    query = (
        select(ledger_entries.c.seq, ledger_entries.c.entry, ledger_entries.c.leaf)
        .where(ledger_entries.c.seq < size)
        .order_by(ledger_entries.c.seq)
    )
    done = 0
    with _whole(file) as lines:
        async with engine.connect() as connection:
            async for rows in (await connection.stream(query)).partitions(_CHUNK):
                for seq, entry, leaf in rows:
                    lines.write(json.dumps({"seq": seq, "entry": entry, "leaf": leaf.hex()}) + "\n")
                done += len(rows)
                progress(done, size)
        for suffix, content in ((".checkpoint", note), (".pub", key + "\n")):
            with _whole(Path(f"{file}{suffix}")) as beside:
                beside.write(content)
    return done


@contextmanager
def _whole(file: Path) -> Iterator[IO[str]]:
    """A file that takes its place when all of it is on disk, and leaves nothing behind otherwise."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with unfinished.open("w", encoding="utf-8") as content:
            yield content
            content.flush()
            os.fsync(content.fileno())
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
