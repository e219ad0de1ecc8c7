"""A node's own disk: one SQLite file, written through to the disk before anything is answered."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

PATIENCE = 5.0
"""Seconds to wait for somebody else who is writing."""


class NodeDisk:
    """Nothing is kept in memory, so a killed node forgets nothing.

    The node's worker and its local commands use it at the same time; who reads waits for nobody, and finds the file
    open: to open and close it takes far longer than to look something up.
    """

    def __init__(self, file: Path, schema: Iterable[str]) -> None:
        self.file = file
        self._idle: list[sqlite3.Connection] = []
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(self._connect()) as database:
            database.execute("PRAGMA journal_mode = WAL")
        with self.writing() as database:
            for statement in schema:
                database.execute(statement)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, alone: all of it is on the disk afterwards, or none."""
        with closing(self._connect()) as database:
            database.execute("PRAGMA synchronous = FULL")
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """What was there at one moment."""
        try:
            database = self._idle.pop()
        except IndexError:
            database = self._connect()
        database.execute("BEGIN")
        try:
            yield database
        finally:
            database.execute("ROLLBACK")
            self._idle.append(database)

    def close(self) -> None:
        """Lets go of the file; whoever reads opens it again."""
        while self._idle:
            self._idle.pop().close()

    def _connect(self) -> sqlite3.Connection:
        # Any thread may read next, but one at a time.
        return sqlite3.connect(self.file, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
