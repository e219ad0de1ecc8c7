"""Verifies the ledger in the database: its chain, the columns beside the entries, and every checkpoint."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from infra.checkpoint import stored_checkpoints, verifier_key
from infra.settings import Settings
from infra.tables.ledger import ledger_entries
from infra.verify_export import Broken, Chain, Checkpoint, Verdict

_CHUNK = 1000
_TEXTS = ("idempotency_key", "action_type", "action", "target", "user_id", "smart_id")
_TIMES = ("occurred_at", "recorded_at")


async def verify_ledger(
    engine: AsyncEngine, settings: Settings, progress: Callable[[int, int], None] = lambda done, total: None
) -> Verdict:
    """Checks everything; raises `Broken` with the first bad entry, `NoKey` when there are checkpoints and no key.

    `progress` is told (entries done, entries).
    """
    async with engine.connect() as connection:
        chain = Chain(*await _signed_checkpoints(connection, settings))
        total: int = (await connection.execute(select(func.count()).select_from(ledger_entries))).scalar_one()
        result = await connection.stream(select(ledger_entries).order_by(ledger_entries.c.seq))
        async for rows in result.partitions(_CHUNK):
            for row in rows:
                _compare_columns(row, chain.append(row.seq, row.entry, row.leaf))
            progress(chain.size, max(total, chain.size))
        chain.finish()
        return Verdict(chain.size, chain.covered)


async def _signed_checkpoints(connection: AsyncConnection, settings: Settings) -> list[Checkpoint]:
    stored = await stored_checkpoints(connection)
    if not stored:
        return []
    key = verifier_key(settings)
    return [row.open(key) for row in stored]


def _compare_columns(row: Row[Any], fields: dict[str, Any]) -> None:
    """What people search by must be what was hashed."""
    for name in _TEXTS:
        if getattr(row, name) != fields.get(name):
            raise Broken(row.seq, f"the column {name} does not say what the entry says")
    for name in _TIMES:
        try:
            same = getattr(row, name) == datetime.fromisoformat(fields[name])
        except (ValueError, TypeError, KeyError):
            same = False
        if not same:
            raise Broken(row.seq, f"the column {name} does not say what the entry says")
