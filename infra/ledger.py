"""The ledger: one growing, hash-chained sequence of entries in Postgres, and the rows that change with it.

Callers of one process wait in a queue; one sequencer takes whatever waits as soon as the commit before it has
returned, so a batch is as large as the database is slow. In the transaction of a batch an advisory lock makes it the
only writer of the whole ledger: a role that may only insert and select is refused every other lock.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import asyncpg
from sqlalchemy import CompoundSelect, Select, literal, select, text, union_all
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from infra.database import is_away
from infra.rows import statement
from infra.rows.base import Reason
from infra.tables.approval import approvals
from infra.tables.ledger import ledger_entries
from infra.tables.transfer import transfers
from schemas.base import timestamp
from schemas.ledger import GENESIS, Draft, LedgerEntry, Receipt, RecordedEntry, RecordRefused, leaf_hash
from schemas.record import Change, Record

MAX_BATCH = 1024

_LOCK = text("SELECT pg_advisory_xact_lock(:lock)").bindparams(lock=0x1ED6E4)
# Read by a statement after the lock, so that its snapshot holds what the writer before us committed. One row, or one
# for each key that is already recorded.
_HEAD = text("""
    SELECT clock_timestamp() AS now, head.seq, head.leaf, head.recorded_at,
        (SELECT leaf FROM ledger_entries WHERE seq = :doubtful) AS doubtful,
        known.idempotency_key AS known_key, known.seq AS known_seq, known.entry AS known_entry,
        known.leaf AS known_leaf, known.recorded_at AS known_recorded_at
    FROM (VALUES (1)) AS always
    LEFT JOIN (SELECT * FROM ledger_entries ORDER BY seq DESC LIMIT 1) AS head ON true
    LEFT JOIN ledger_entries AS known ON known.idempotency_key = ANY(CAST(:keys AS text[]))
""")
_COLUMNS = tuple(ledger_entries.columns.keys())
# What the driver raises by its own names, since COPY goes past SQLAlchemy.
_GONE = (asyncpg.InterfaceError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError)


class LedgerConflict(RecordRefused):
    """Other content is recorded under this idempotency key; nothing was changed, and a person must look."""


class LedgerClosed(Exception):
    """This process is stopping and records nothing more."""


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A caller and what it wants recorded; it may be cancelled at any moment."""

    record: Record
    draft: Draft
    outcome: asyncio.Future[Receipt]

    def settle(self, result: Receipt | Exception) -> None:
        if self.outcome.done():
            return
        if isinstance(result, Exception):
            self.outcome.set_exception(result)
        else:
            self.outcome.set_result(result)


@dataclass(frozen=True)
class _Doubt:
    """The last entry of a batch whose commit may or may not have happened, and how many entries it had."""

    seq: int
    leaf: bytes
    entries: int


class _Page:
    """The entries of one batch, while they are sealed one after the other and before they are committed."""

    def __init__(self, recorder: str, recorder_seq: int, seq: int, prev: str, now: datetime) -> None:
        self._recorder = recorder
        self._recorder_seq = recorder_seq
        self._seq = seq
        self._prev = prev
        self._recorded_at = timestamp(now)
        self.now = now
        self.rows: list[tuple[Any, ...]] = []
        self.changes: list[tuple[Change, Reason]] = []
        self.known: dict[str, tuple[str, Receipt]] = {}  # the entry's text and its receipt, by idempotency key

    def write(self, record: Record, draft: Draft) -> Receipt:
        """Seals the entry, or finds it already recorded; raises `LedgerConflict`."""
        entry = record.entry
        if known := self.known.get(entry.idempotency_key):
            return _repeated(entry, draft, *known)
        sealed = draft.seal(
            seq=self._seq,
            prev=self._prev,
            recorded_at=self._recorded_at,
            recorded_by=self._recorder,
            recorder_seq=self._recorder_seq,
        )
        leaf = leaf_hash(sealed.encode())
        receipt = Receipt(seq=self._seq, leaf=leaf.hex(), recorded_at=self.now)
        self.rows.append(
            (
                self._seq,
                sealed,
                leaf,
                entry.idempotency_key,
                entry.action_type,
                entry.action,
                entry.target,
                entry.user_id,
                draft.smart_id,
                entry.occurred_at or self.now,
                self.now,
            )
        )
        reason = Reason(entry, self._seq, self.now)
        self.changes += [(change, reason) for change in record.changes]
        self.known[entry.idempotency_key] = sealed, receipt
        self._seq += 1
        self._recorder_seq += 1
        self._prev = receipt.leaf
        return receipt

    def doubt(self) -> _Doubt:
        """How to recognise this page later, from the moment that its commit begins."""
        seq, _, leaf, *_ = self.rows[-1]
        return _Doubt(seq, leaf, len(self.rows))


def _repeated(entry: LedgerEntry, draft: Draft, recorded: str, receipt: Receipt) -> Receipt:
    if not draft.is_content_of(recorded):
        raise LedgerConflict(
            f"{entry.idempotency_key} was recorded with other content as entry {receipt.seq} "
            f"at {timestamp(receipt.recorded_at)}"
        )
    return receipt.model_copy(update={"repeated": True})


def _about(subject: str) -> CompoundSelect[str]:
    """All that entries about this subject may be about."""
    return union_all(
        select(literal(subject)),
        select(approvals.c.approval_id).where(approvals.c.subject == subject),
        select(transfers.c.package_id).where(transfers.c.smart_contract_id == subject),
    )


class Ledger:
    """Appends to and reads the ledger, in the name of one process.

    `recorder` names this process; each of its entries carries that name and its number among them, from 0 and without
    gaps. `smart_id` is the hub or node that acted where an entry does not say so.

        async with Ledger(engine, recorder="worker-1", smart_id="FLOOR-HUB-01") as ledger:
            receipt = await ledger.record(Record(entry=entry))
    """

    def __init__(self, engine: AsyncEngine, recorder: str, smart_id: str) -> None:
        self._engine = engine
        self._recorder = recorder
        self._smart_id = smart_id
        self._waiting: list[_Waiting] = []
        self._awake = asyncio.Event()
        self._closing = False
        self._sequencer: asyncio.Task[None] | None = None
        self._recorder_seq = 0
        self._doubt: _Doubt | None = None

    async def __aenter__(self) -> Self:
        self._sequencer = asyncio.create_task(self._sequence(), name=f"ledger sequencer of {self._recorder}")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Settles whoever waits, then stops; later callers get `LedgerClosed`."""
        self._closing = True
        self._awake.set()
        if self._sequencer is not None:
            await self._sequencer

    # Writing

    async def record(self, record: Record) -> Receipt:
        """Returns after the commit of the entry and its row changes.

        The same key with the same content changes nothing and returns the first receipt, `repeated`. Raises
        `LedgerConflict` for the same key with other content, `NotCanonical` for what cannot be hashed, `DBAPIError`
        when the database refuses a row change, and `DBAPIError`, `OSError` or `TimeoutError` when it is away: then the
        entry may or may not be recorded, and the same record again settles it.
        """
        if self._closing or self._sequencer is None:
            raise LedgerClosed("this ledger is not open")
        draft = Draft(record.entry, self._smart_id)  # here, while the database is busy with the batch before
        waiting = _Waiting(record, draft, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._awake.set()
        return await waiting.outcome

    async def _sequence(self) -> None:
        while self._waiting or not self._closing:
            await self._awake.wait()
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            if not self._waiting and not self._closing:
                self._awake.clear()
            await self._append(batch)

    async def _append(self, batch: list[_Waiting]) -> None:
        """Commits a batch; one that the database refuses is halved until only those who are to blame fail."""
        batch = [waiting for waiting in batch if not waiting.outcome.done()]
        if not batch:
            return
        try:
            results = await self._commit(batch)
        except Exception as error:
            if len(batch) > 1 and not is_away(error):
                await self._append(batch[: len(batch) // 2])
                await self._append(batch[len(batch) // 2 :])
                return
            results = [error] * len(batch)
        for waiting, result in zip(batch, results, strict=True):
            waiting.settle(result)

    async def _commit(self, batch: list[_Waiting]) -> Sequence[Receipt | Exception]:
        """One transaction; its results hold only when it returns."""
        async with self._engine.connect() as connection:
            await connection.execute(_LOCK)
            page = await self._page(connection, [waiting.record.entry.idempotency_key for waiting in batch])
            results: list[Receipt | Exception] = []
            for waiting in batch:
                try:
                    results.append(page.write(waiting.record, waiting.draft))
                except LedgerConflict as refusal:
                    results.append(refusal)
            if page.rows:
                driver: Any = (await connection.get_raw_connection()).driver_connection
                try:
                    await driver.copy_records_to_table("ledger_entries", columns=_COLUMNS, records=page.rows)
                except _GONE as gone:
                    raise ConnectionResetError(f"the database went away: {gone}") from gone  # nobody else names these
                for change, reason in page.changes:
                    await connection.execute(statement(change, reason))
                self._doubt = page.doubt()
                await connection.commit()
                self._settle_doubt(committed=True)
            return results

    async def _page(self, connection: AsyncConnection, keys: list[str]) -> _Page:
        """An empty page after the head of the ledger, which the lock keeps where it is."""
        doubt = self._doubt
        result = await connection.execute(_HEAD, {"doubtful": doubt.seq if doubt else None, "keys": keys})
        head, *others = result.all()
        if doubt:
            self._settle_doubt(committed=head.doubtful == doubt.leaf)
        page = _Page(
            self._recorder,
            self._recorder_seq,
            seq=0 if head.seq is None else head.seq + 1,
            prev=GENESIS if head.leaf is None else head.leaf.hex(),
            now=head.now if head.recorded_at is None else max(head.now, head.recorded_at),
        )
        if head.known_key is not None:
            for row in (head, *others):
                receipt = Receipt(seq=row.known_seq, leaf=row.known_leaf.hex(), recorded_at=row.known_recorded_at)
                page.known[row.known_key] = row.known_entry, receipt
        return page

    def _settle_doubt(self, *, committed: bool) -> None:
        if self._doubt and committed:
            self._recorder_seq += self._doubt.entries
        self._doubt = None

    # Reading

    async def head(self) -> RecordedEntry | None:
        """The newest entry."""
        newest = await self.entries(limit=1)
        return newest[0] if newest else None

    async def entry(self, seq: int) -> RecordedEntry | None:
        """The entry with this number."""
        found = await self._read(_ENTRIES.where(ledger_entries.c.seq == seq))
        return found[0] if found else None

    async def entries(
        self,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int = 100,
        target: str | None = None,
        subject: str | None = None,
        action: str | None = None,
        user: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[RecordedEntry]:
        """A page of entries: those that follow the number `after` in order, or else the newest first.

        Those about a `subject` are about itself, the approvals asked for it, and the packages of its results.
        `since` and `until` bound the time of recording, `until` excluded.
        """
        column = ledger_entries.c
        query = _ENTRIES.limit(limit).order_by(column.seq.desc() if after is None else column.seq)
        for value, compare in (
            (after, column.seq.__gt__),
            (before, column.seq.__lt__),
            (target, column.target.__eq__),
            (action, column.action.__eq__),
            (user, column.user_id.__eq__),
            (since, column.recorded_at.__ge__),
            (until, column.recorded_at.__lt__),
        ):
            if value is not None:
                query = query.where(compare(value))
        if subject is not None:
            query = query.where(column.target.in_(_about(subject)))
        return await self._read(query)

    async def timeline(self, *targets: str) -> list[RecordedEntry]:
        """Everything that happened to these things, in order."""
        return await self._read(_ENTRIES.where(ledger_entries.c.target.in_(targets)).order_by(ledger_entries.c.seq))

    async def under(self, idempotency_key: str) -> RecordedEntry | None:
        """The entry of one domain event."""
        found = await self._read(_ENTRIES.where(ledger_entries.c.idempotency_key == idempotency_key))
        return found[0] if found else None

    async def _read(self, query: Select[str, bytes]) -> list[RecordedEntry]:
        async with self._engine.connect() as connection:
            rows = await connection.execute(query)
            return [RecordedEntry.read(entry, leaf) for entry, leaf in rows]


_ENTRIES = select(ledger_entries.c.entry, ledger_entries.c.leaf)
