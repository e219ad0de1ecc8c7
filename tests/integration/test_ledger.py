"""The ledger on a real Postgres: order, idempotency, faults, protection and evidence."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner

from infra.alerts import AlertOutbox, Alerts
from infra.checkpoint import CheckpointKey, NoKey, NotCovered, checkpoint, prove
from infra.database import create_engine, is_away, migrate
from infra.embedded.shop import EmbeddedServers
from infra.embedded.temporal import Temporal
from infra.export import export
from infra.ledger import Ledger, LedgerClosed, LedgerConflict
from infra.merkle import verify_inclusion
from infra.settings import Settings
from infra.tables import metadata
from infra.verify import verify_ledger
from infra.verify_export import Broken, verify_export
from schemas.alert import Alert, Severity
from schemas.canonical import NotCanonical
from schemas.changes.alert import AlertRaised
from schemas.changes.client_po import ClientPOStaged
from schemas.changes.transfer import TransferOpened
from schemas.ledger import LedgerEntry
from schemas.record import Record
from tests.opened import opened_approval
from workers import checkpoints, worker
from workers.checkpoints import keep_checkpoints
from workers.ledger import app

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def record(key: str, *changes: Any, **fields: Any) -> Record:
    entry = {"action_type": "client_po", "action": "release", "target": "SC-1", "details": "released"} | fields
    return Record(entry=LedgerEntry(idempotency_key=key, **entry), changes=changes)


def alert(alert_id: str) -> AlertRaised:
    return AlertRaised(
        alert=Alert(
            alert_id=alert_id, alert_type="t", severity=Severity.LOW, source="s", subject="SC-1", text="look at it"
        )
    )


def staged(quantity: int) -> ClientPOStaged:
    return ClientPOStaged(
        smart_contract_id="SC-1",
        document="{}",
        document_hash="00",
        staging_id="ST-1",
        workflow_id="client-po/SC-1",
        clientpo_id="PO-1",
        client="ACME",
        part_id="P-1",
        part_number=None,
        quantity=quantity,
        priority=3,
        due_date=None,
        expected_arrival=None,
        arrival_location=None,
        sequence_number=1,
        target_node="NODE-1",
        status="staged",
    )


IMPOSSIBLE = staged(2**40)
"""A change that the database refuses: the column is a 32-bit integer."""


@pytest.fixture
def settings(database: Settings) -> Settings:
    """The database is all that a ledger needs."""
    return database


@pytest_asyncio.fixture
async def owner(settings: Settings) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(settings.database_url)
    yield engine
    await engine.dispose()


async def fetch(engine: AsyncEngine, sql: str) -> list[Any]:
    async with engine.connect() as connection:
        return list(await connection.execute(text(sql)))


async def execute(engine: AsyncEngine, *statements: str) -> None:
    async with engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))


async def tamper(owner: AsyncEngine, *statements: str, table: str = "ledger_entries") -> None:
    """What a database administrator can do: switch the protection off."""
    alter = f"ALTER TABLE {table} {{}} TRIGGER USER"
    await execute(owner, alter.format("DISABLE"), *statements, alter.format("ENABLE"))


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@contextmanager
def lost_answer_of_the_commit(engine: AsyncEngine) -> Iterator[None]:
    """The database commits, and the process hears nothing of it."""

    def lose(connection: Any) -> None:
        connection.exec_driver_sql("COMMIT")
        raise ConnectionError("the answer is lost")

    event.listen(engine.sync_engine, "commit", lose)
    try:
        yield
    finally:
        event.remove(engine.sync_engine, "commit", lose)


class TestSchema:
    async def test_is_the_one_that_the_tables_name(self, owner: AsyncEngine) -> None:
        def differences(connection: Connection) -> list[Any]:
            return list(compare_metadata(MigrationContext.configure(connection), metadata))

        async with owner.connect() as connection:
            assert await connection.run_sync(differences) == []

    async def test_can_be_migrated_again_and_by_several_at_once(self, settings: Settings) -> None:
        await asyncio.gather(*(migrate(settings.database_url, settings.database_writer_url) for _ in range(3)))

    async def test_is_not_given_to_a_writer_that_owns_it(self, settings: Settings) -> None:
        with pytest.raises(ValueError, match="role of its own"):
            await migrate(settings.database_url, settings.database_url)


class TestRecording:
    async def test_returns_after_the_commit_with_the_place_in_the_chain(self, ledger: Ledger) -> None:
        first = await ledger.record(record("SC-1:stage"))
        second = await ledger.record(record("SC-1:release", metadata={"node": "NODE-1"}))
        entry = await ledger.entry(1)
        assert entry is not None
        assert (first.seq, second.seq, first.repeated) == (0, 1, False)
        assert (entry.prev, entry.leaf, entry.recorded_at) == (first.leaf, second.leaf, second.recorded_at)
        assert (entry.smart_id, entry.recorded_by, entry.metadata) == ("FLOOR-HUB-01", "worker", {"node": "NODE-1"})

    async def test_keeps_when_it_happened_beside_when_it_was_recorded(self, ledger: Ledger) -> None:
        await ledger.record(record("SC-1:stage", occurred_at=NOW))
        head = await ledger.head()
        assert head is not None
        assert head.occurred_at == NOW
        assert head.recorded_at != NOW

    async def test_of_200_callers_at_once_makes_few_commits_and_one_chain(
        self, ledger: Ledger, engine: AsyncEngine, settings: Settings
    ) -> None:
        receipts = await asyncio.gather(*(ledger.record(record(f"SC-{n}:release")) for n in range(200)))
        assert [receipt.seq for receipt in receipts] == list(range(200))
        assert len({receipt.recorded_at for receipt in receipts}) <= 5
        assert [entry.recorder_seq for entry in await ledger.entries(after=-1, limit=500)] == list(range(200))
        assert (await verify_ledger(engine, settings)).entries == 200

    async def test_of_two_processes_at_once_makes_one_chain(self, engine: AsyncEngine, settings: Settings) -> None:
        async def work(ledger: Ledger, name: str, caller: int) -> None:
            for number in range(10):
                await ledger.record(record(f"{name}-{caller}-{number}"))

        names = ("worker-1", "worker-2")
        async with Ledger(engine, names[0], "HUB") as one, Ledger(engine, names[1], "HUB") as two:
            work_of_all = [work(led, name, n) for led, name in ((one, "a"), (two, "b")) for n in range(20)]
            await asyncio.gather(*work_of_all)
            entries = await one.entries(after=-1, limit=1000)
        assert (await verify_ledger(engine, settings)).entries == 400
        for name in names:
            assert [e.recorder_seq for e in entries if e.recorded_by == name] == list(range(200))

    async def test_never_goes_back_in_time(self, ledger: Ledger, owner: AsyncEngine) -> None:
        await ledger.record(record("first"))
        await tamper(owner, "UPDATE ledger_entries SET recorded_at = recorded_at + interval '1 hour'")
        receipt = await ledger.record(record("second"))
        assert receipt.recorded_at > datetime.now(UTC) + timedelta(minutes=50)

    async def test_changes_the_rows_in_the_same_transaction(self, ledger: Ledger, owner: AsyncEngine) -> None:
        receipt = await ledger.record(record("SC-1:hold", alert("A-1"), staged(3)))
        assert await fetch(owner, "SELECT alert_id, raised_at FROM alerts") == [("A-1", receipt.recorded_at)]
        assert await fetch(owner, "SELECT quantity FROM client_pos") == [(3,)]

    async def test_settles_who_waits_when_it_closes_and_refuses_who_comes_later(self, engine: AsyncEngine) -> None:
        ledger = Ledger(engine, "worker", "HUB")
        with pytest.raises(LedgerClosed):
            await ledger.record(record("too early"))
        async with ledger:
            waiting = [asyncio.create_task(ledger.record(record(f"SC-{n}"))) for n in range(20)]
            await asyncio.sleep(0)
        assert [task.result().seq for task in waiting] == list(range(20))
        with pytest.raises(LedgerClosed):
            await ledger.record(record("too late"))


class TestTheSameKey:
    async def test_with_the_same_content_returns_the_first_receipt(self, ledger: Ledger, owner: AsyncEngine) -> None:
        first = await ledger.record(record("SC-1:release", alert("A-1"), metadata={"n": 1}, occurred_at=NOW))
        again = await ledger.record(record("SC-1:release", alert("A-2"), metadata={"n": 1}))
        assert again == first.model_copy(update={"repeated": True})
        assert await fetch(owner, "SELECT alert_id FROM alerts") == [("A-1",)]

    async def test_at_the_same_time_is_recorded_once(self, ledger: Ledger, owner: AsyncEngine) -> None:
        receipts = await asyncio.gather(*(ledger.record(record("same", alert(f"A-{n}"))) for n in range(10)))
        assert {receipt.seq for receipt in receipts} == {0}
        assert [receipt.repeated for receipt in receipts] == [False] + [True] * 9
        assert await fetch(owner, "SELECT alert_id FROM alerts") == [("A-0",)]

    @pytest.mark.parametrize("other", [{"details": "else"}, {"metadata": {"n": True}}, {"smart_id": "NODE-1"}])
    async def test_with_other_content_is_a_conflict_that_changes_nothing(
        self, ledger: Ledger, owner: AsyncEngine, other: dict[str, Any]
    ) -> None:
        await ledger.record(record("SC-1:release", metadata={"n": 1}))
        conflicting = record("SC-1:release", alert("A-1"), **{"metadata": {"n": 1}} | other)
        outcomes = await asyncio.gather(
            ledger.record(record("before")),
            ledger.record(conflicting),
            ledger.record(record("after")),
            return_exceptions=True,
        )
        assert isinstance(outcomes[1], LedgerConflict)
        assert "as entry 0" in str(outcomes[1])
        assert [entry.idempotency_key for entry in await ledger.entries()] == ["after", "before", "SC-1:release"]
        assert await fetch(owner, "SELECT * FROM alerts") == []

    async def test_with_two_contents_at_once_records_the_first(self, ledger: Ledger) -> None:
        outcomes = await asyncio.gather(
            ledger.record(record("same")), ledger.record(record("same", details="else")), return_exceptions=True
        )
        assert [type(outcome).__name__ for outcome in outcomes] == ["Receipt", "LedgerConflict"]

    async def test_of_a_record_that_was_refused_is_free_for_the_next(self, ledger: Ledger) -> None:
        outcomes = await asyncio.gather(
            ledger.record(record("same", IMPOSSIBLE)),
            ledger.record(record("same", details="else")),
            return_exceptions=True,
        )
        assert [type(outcome).__name__ for outcome in outcomes] == ["DBAPIError", "Receipt"]


class TestFaults:
    async def test_of_one_record_fail_its_caller_alone(
        self, ledger: Ledger, engine: AsyncEngine, settings: Settings
    ) -> None:
        bad = {17: record("17", IMPOSSIBLE), 40: record("40", metadata={"n": 0.5}), 60: record("60", target="nul \0")}
        outcomes = await asyncio.gather(
            *(ledger.record(bad.get(n, record(str(n), alert(f"A-{n}")))) for n in range(100)), return_exceptions=True
        )
        failed = {n: outcome for n, outcome in enumerate(outcomes) if isinstance(outcome, BaseException)}
        assert failed.keys() == bad.keys()
        assert isinstance(failed[17], DBAPIError)
        assert isinstance(failed[40], NotCanonical)
        assert (await verify_ledger(engine, settings)).entries == 97
        assert [entry.recorder_seq for entry in await ledger.entries(after=-1, limit=500)] == list(range(97))

    async def test_of_a_cancelled_caller_do_not_reach_the_others(
        self, ledger: Ledger, engine: AsyncEngine, settings: Settings
    ) -> None:
        tasks = [asyncio.create_task(ledger.record(record(str(n)))) for n in range(50)]
        await asyncio.sleep(0)
        tasks[3].cancel()  # before its batch is taken
        await asyncio.sleep(0.001)
        tasks[30].cancel()  # most likely in the middle of its batch
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes) in (1, 2)
        assert (await ledger.record(record("next"))).seq in (48, 49, 50)
        await verify_ledger(engine, settings)

    async def test_of_the_connection_reach_all_callers_and_the_ledger_goes_on(
        self, ledger: Ledger, owner: AsyncEngine, engine: AsyncEngine, settings: Settings
    ) -> None:
        await ledger.record(record("before"))
        async with owner.connect() as blocker:
            await blocker.execute(text("LOCK TABLE ledger_entries IN ACCESS EXCLUSIVE MODE"))
            tasks = [asyncio.create_task(ledger.record(record(str(n)))) for n in range(10)]
            await asyncio.sleep(0.2)
            await blocker.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = "
                     "(SELECT oid FROM pg_database WHERE datname = current_database())")
            )  # fmt: skip
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(outcome, DBAPIError) for outcome in outcomes)
        receipts = await asyncio.gather(*(ledger.record(record(str(n))) for n in range(10)))
        assert [receipt.seq for receipt in receipts] == list(range(1, 11))
        assert [entry.recorder_seq for entry in await ledger.entries(after=-1)] == list(range(11))

    async def test_between_commit_and_answer_leave_no_gap_in_the_recorder_s_count(
        self, engine: AsyncEngine, settings: Settings
    ) -> None:
        async with Ledger(engine, "worker", "HUB") as ledger:
            with lost_answer_of_the_commit(engine), pytest.raises(ConnectionError):
                await ledger.record(record("first"))
            assert (await ledger.record(record("first"))).repeated
            assert (await ledger.record(record("second"))).seq == 1
            assert [entry.recorder_seq for entry in await ledger.entries(after=-1)] == [0, 1]

    async def test_of_connections_that_died_in_the_pool_are_not_seen(
        self, engine: AsyncEngine, owner: AsyncEngine
    ) -> None:
        async with Ledger(engine, "worker", "HUB") as ledger:
            await ledger.record(record("first"))
            await execute(owner, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename <> current_user "
                          "AND datname = current_database()")  # fmt: skip
            await asyncio.sleep(0.1)
            assert (await ledger.record(record("second"))).seq == 1

    async def test_of_an_absent_database_reach_the_caller_as_they_are(self) -> None:
        engine = create_engine("postgresql://smartfloor_writer@127.0.0.1:1/smartfloor")
        async with Ledger(engine, "worker", "HUB") as ledger:
            for _ in range(2):
                with pytest.raises(OSError, match="Connect call failed"):
                    await ledger.record(record("first"))
        await engine.dispose()


class TestReading:
    async def test_finds_entries_by_what_they_say(self, ledger: Ledger) -> None:
        for number in range(6):
            kind = "hold" if number % 2 else "release"
            await ledger.record(record(str(number), action=kind, target=f"SC-{number // 3}", user_id=f"u{number}"))
        times = [entry.recorded_at for entry in await ledger.timeline("SC-0") + await ledger.timeline("SC-1")]

        async def found(**filters: Any) -> list[int]:
            return [entry.seq for entry in await ledger.entries(**filters)]

        assert await found(limit=2) == [5, 4]
        assert await found(before=4, limit=2) == [3, 2]
        assert await found(after=1, limit=2) == [2, 3]
        assert await found(target="SC-0") == [2, 1, 0]
        assert await found(action="hold") == [5, 3, 1]
        assert await found(user="u4") == [4]
        assert await found(since=times[4]) == [5, 4]
        assert await found(until=times[1]) == [0]
        assert [entry.seq for entry in await ledger.timeline("SC-1")] == [3, 4, 5]

    async def test_finds_what_is_about_a_subject_under_other_names_too(self, ledger: Ledger) -> None:
        asked = opened_approval("SC-1.fewer-parts.1")
        moved = TransferOpened(
            package_id="PKG-SC-1-R1",
            smart_contract_id="SC-1",
            clientpo_id="CPO-1",
            node_id="NODE-1",
            revision=1,
            verdict="accept",
            package="{}",
            content_hash="00",
            signed_at=NOW,
            authorized_at=NOW,
        )
        await ledger.record(record("staged", target="SC-1"))
        await ledger.record(record("asked", asked, target="SC-1.fewer-parts.1"))
        await ledger.record(record("other", target="SC-2"))
        await ledger.record(record("moved", moved, target="PKG-SC-1-R1"))
        found = await ledger.entries(subject="SC-1")
        assert [entry.target for entry in found] == ["PKG-SC-1-R1", "SC-1.fewer-parts.1", "SC-1"]
        assert await ledger.entry(6) is None

    async def test_of_an_empty_ledger_finds_nothing(self, ledger: Ledger) -> None:
        assert await ledger.head() is None
        assert await ledger.entries() == []


class TestProtection:
    @pytest.mark.parametrize("table", ["ledger_entries", "ledger_checkpoints"])
    @pytest.mark.parametrize(
        "sql",
        [
            "UPDATE {} SET {} = 1",
            "DELETE FROM {}",
            "TRUNCATE {}",
            "ALTER TABLE {} DISABLE TRIGGER USER",
            "DROP TABLE {}",
        ],
    )
    async def test_refuses_the_writer_every_change(self, engine: AsyncEngine, table: str, sql: str) -> None:
        column = "seq" if table == "ledger_entries" else "size"
        with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
            await execute(engine, sql.format(table, column))

    @pytest.mark.parametrize("table", ["ledger_entries", "ledger_checkpoints"])
    @pytest.mark.parametrize("sql", ["UPDATE {} SET {} = 1", "DELETE FROM {}", "TRUNCATE {}"])
    async def test_stops_the_owner_by_triggers(
        self, ledger: Ledger, engine: AsyncEngine, owner: AsyncEngine, settings: Settings, table: str, sql: str
    ) -> None:
        await ledger.record(record("first"))
        await checkpoint(engine, settings)
        column = "seq" if table == "ledger_entries" else "size"
        with pytest.raises(ProgrammingError, match="only grows"):
            await execute(owner, sql.format(table, column))


class TestEvidence:
    @pytest_asyncio.fixture(autouse=True)
    async def thirty_entries_and_two_checkpoints(self, ledger: Ledger, engine: AsyncEngine, settings: Settings) -> None:
        for start in (0, 10, 20):
            await asyncio.gather(*(ledger.record(record(str(start + n), details="as it was")) for n in range(10)))
            if start:
                await checkpoint(engine, settings)

    async def test_of_an_honest_ledger_holds(self, engine: AsyncEngine, ledger: Ledger, settings: Settings) -> None:
        await ledger.record(record("one more"))
        seen: list[tuple[int, int]] = []
        verdict = await verify_ledger(engine, settings, lambda done, total: seen.append((done, total)))
        assert (verdict.entries, verdict.covered) == (31, 30)
        assert seen == [(31, 31)]

    @pytest.mark.parametrize(
        ("sql", "bad"),
        [
            ("UPDATE ledger_entries SET entry = replace(entry, 'as it', 'as he') WHERE seq = 7", 7),
            ("UPDATE ledger_entries SET entry = replace(entry, 'as it', 'as he'), leaf = "
             "sha256('\\x00'::bytea || convert_to(replace(entry, 'as it', 'as he'), 'UTF8')) WHERE seq = 7", 7),
            ("UPDATE ledger_entries SET target = 'SC-2' WHERE seq = 7", 7),
            ("UPDATE ledger_entries SET recorded_at = recorded_at - interval '1 day' WHERE seq = 7", 7),
            ("UPDATE ledger_entries SET occurred_at = 'infinity' WHERE seq = 7", 7),
            ("DELETE FROM ledger_entries WHERE seq = 7", 7),
            ("DELETE FROM ledger_entries WHERE seq = 0", 0),
            ("DELETE FROM ledger_entries WHERE seq >= 27", 27),
            ("TRUNCATE ledger_entries", 0),
            ("INSERT INTO ledger_entries SELECT 30, entry, leaf, 'other', action_type, action, target, user_id, "
             "smart_id, occurred_at, recorded_at FROM ledger_entries WHERE seq = 29", 30),
        ],
    )  # fmt: skip
    async def test_shows_the_first_bad_entry_after_tampering(
        self, engine: AsyncEngine, owner: AsyncEngine, settings: Settings, sql: str, bad: int
    ) -> None:
        await tamper(owner, sql)
        with pytest.raises(Broken) as broken:
            await verify_ledger(engine, settings)
        assert broken.value.seq == bad

    async def test_shows_between_which_checkpoints_a_chain_was_computed_anew(
        self, engine: AsyncEngine, owner: AsyncEngine, settings: Settings
    ) -> None:
        await tamper(owner, "DELETE FROM ledger_entries WHERE seq >= 25")
        async with Ledger(engine, "forger", "FLOOR-HUB-01") as forger:
            for number in range(25, 32):
                await forger.record(record(f"forged {number}"))
        with pytest.raises(Broken, match="computed anew") as broken:
            await verify_ledger(engine, settings)
        assert broken.value.seq == 20

    async def test_shows_a_checkpoint_that_was_changed(
        self, engine: AsyncEngine, owner: AsyncEngine, settings: Settings
    ) -> None:
        await tamper(owner, "UPDATE ledger_checkpoints SET size = 21 WHERE size = 20", table="ledger_checkpoints")
        with pytest.raises(Broken, match="21"):
            await verify_ledger(engine, settings)

    async def test_signs_nothing_new_while_nothing_is_added(
        self, engine: AsyncEngine, owner: AsyncEngine, settings: Settings
    ) -> None:
        assert await checkpoint(engine, settings) == await checkpoint(engine, settings)
        assert await fetch(owner, "SELECT size FROM ledger_checkpoints ORDER BY size") == [(20,), (30,)]

    async def test_is_signed_once_by_several_at_the_same_time(
        self, engine: AsyncEngine, ledger: Ledger, settings: Settings
    ) -> None:
        await ledger.record(record("one more"))
        notes = await asyncio.gather(*(checkpoint(engine, settings) for _ in range(4)))
        assert len(set(notes)) == 1

    @pytest.mark.parametrize(
        ("sql", "bad"),
        [
            ("UPDATE ledger_entries SET leaf = sha256(leaf) WHERE seq = 7", None),
            ("DELETE FROM ledger_entries WHERE seq = 7", None),
            ("DELETE FROM ledger_entries WHERE seq >= 27", 27),
            ("UPDATE ledger_entries SET entry = replace(entry, 'new', 'old') WHERE seq = 30", 30),
            ("DELETE FROM ledger_entries WHERE seq = 30", 30),
            ("UPDATE ledger_entries SET entry = 'no', leaf = sha256('\\x006e6f'::bytea) WHERE seq = 30", 30),
        ],
    )
    async def test_of_a_broken_ledger_is_not_signed(
        self, engine: AsyncEngine, owner: AsyncEngine, ledger: Ledger, settings: Settings, sql: str, bad: int | None
    ) -> None:
        for number in range(3):
            await ledger.record(record(f"more {number}", details="new"))
        await tamper(owner, sql)
        with pytest.raises(Broken) as broken:
            await checkpoint(engine, settings)
        assert broken.value.seq == bad
        assert await fetch(owner, "SELECT max(size) FROM ledger_checkpoints") == [(30,)]

    async def test_is_not_signed_by_a_second_key_where_the_first_is_missing(
        self, engine: AsyncEngine, ledger: Ledger, settings: Settings
    ) -> None:
        await ledger.record(record("one more"))
        settings.ledger_key_file.unlink()
        with pytest.raises(NoKey, match="put a copy of the key that signed the last checkpoint there"):
            await checkpoint(engine, settings)
        assert not settings.ledger_key_file.exists()

    async def test_under_another_key_is_not_continued(
        self, engine: AsyncEngine, ledger: Ledger, settings: Settings, tmp_path: Path
    ) -> None:
        await ledger.record(record("one more"))
        elsewhere = settings.model_copy(update={"state_dir": tmp_path / "elsewhere"})
        CheckpointKey.load_or_create(elsewhere)
        with pytest.raises(Broken, match="not signed by the key"):
            await checkpoint(engine, elsewhere)
        with pytest.raises(Broken, match="not signed by the key"):
            await verify_ledger(engine, elsewhere)

    async def test_is_checked_with_the_public_key_alone(self, engine: AsyncEngine, settings: Settings) -> None:
        settings.ledger_key_file.unlink()
        assert (await verify_ledger(engine, settings)).covered == 30
        settings.ledger_public_key_file.unlink()
        with pytest.raises(NoKey, match=r"ledger\.pub"):
            await verify_ledger(engine, settings)

    async def test_is_compared_also_when_a_cut_tail_has_grown_to_the_same_length(
        self, engine: AsyncEngine, owner: AsyncEngine, settings: Settings
    ) -> None:
        await tamper(owner, "DELETE FROM ledger_entries WHERE seq = 29")
        async with Ledger(engine, "forger", "FLOOR-HUB-01") as forger:
            await forger.record(record("forged"))
        with pytest.raises(Broken, match="not those of the last checkpoint"):
            await checkpoint(engine, settings)

    async def test_proves_one_entry_to_who_has_the_checkpoint(
        self, engine: AsyncEngine, ledger: Ledger, settings: Settings
    ) -> None:
        proof = await prove(engine, 7)
        assert verify_inclusion(proof.leaf, 7, proof.size, proof.path, proof.root)
        await ledger.record(record("one more"))
        with pytest.raises(NotCovered):
            await prove(engine, 30)

    async def test_of_a_new_ledger_has_the_key_of_one_machine(
        self, engine: AsyncEngine, owner: AsyncEngine, settings: Settings, tmp_path: Path
    ) -> None:
        await tamper(owner, "TRUNCATE ledger_checkpoints", table="ledger_checkpoints")
        machines = [settings.model_copy(update={"state_dir": tmp_path / name}) for name in ("one", "two", "three")]
        outcomes = await asyncio.gather(*(checkpoint(engine, machine) for machine in machines), return_exceptions=True)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NoKey", "NoKey", "str"]
        assert [machine.ledger_key_file.exists() for machine in machines].count(True) == 1

    async def test_can_be_taken_elsewhere(self, engine: AsyncEngine, settings: Settings, tmp_path: Path) -> None:
        assert await export(engine, settings, tmp_path / "ledger.jsonl") == 30
        assert verify_export(tmp_path / "ledger.jsonl").covered == 30
        assert names(tmp_path) == ["keys", "ledger.jsonl", "ledger.jsonl.checkpoint", "ledger.jsonl.pub"]


@asynccontextmanager
async def signing(
    engine: AsyncEngine, ledger: Ledger, settings: Settings, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """The worker's checkpoints, one right after the other; what it gives waits for so many that did not come about."""
    hurried = settings.model_copy(update={"checkpoint_every": timedelta(milliseconds=1)})

    async def failed(times: int) -> None:
        async with asyncio.timeout(20):
            while sum(record.name == checkpoints.__name__ for record in caplog.records) < times:
                assert not running.done(), running.result()
                await asyncio.sleep(0.01)

    with caplog.at_level(logging.WARNING):
        running = asyncio.create_task(keep_checkpoints(engine, ledger, hurried))
        try:
            yield failed
        finally:
            running.cancel()
            await asyncio.wait([running])


def key_missing(settings: Settings) -> str:
    """The cause of the alert, for a worker on this machine."""
    return f"ledger_key_missing:{socket.gethostname()}:{settings.ledger_key_file}"


class TestTheWorkerThatSigns:
    async def test_raises_one_alert_for_a_tail_that_was_cut_off_however_the_ledger_grows(
        self,
        engine: AsyncEngine,
        owner: AsyncEngine,
        ledger: Ledger,
        settings: Settings,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        for number in range(6):
            await ledger.record(record(str(number)))
        await checkpoint(engine, settings)
        await tamper(owner, "DELETE FROM ledger_entries WHERE seq >= 3")
        async with signing(engine, ledger, settings, caplog) as failed:
            await failed(2)
            for number in range(5):  # below, at and above the length that was signed
                await ledger.record(record(f"later {number}"))
                await failed(len(caplog.records) + 2)
        [alert] = [message.alert for message in await AlertOutbox(engine).unpublished()]
        assert (alert["alert_id"], alert["severity"]) == ("ledger_broken:ledger:0", Severity.CRITICAL)
        assert "entries 3 to 5 are missing" in alert["text"]
        assert "`smartfloor ledger verify`" in alert["text"]
        assert [entry.action for entry in await ledger.timeline("ledger")] == ["ledger_broken"]

    async def test_raises_an_alert_that_says_where_the_key_belongs(
        self, engine: AsyncEngine, ledger: Ledger, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        await ledger.record(record("one"))
        await checkpoint(engine, settings)
        settings.ledger_key_file.unlink()
        async with signing(engine, ledger, settings, caplog) as failed:
            await failed(3)
        [alert] = [message.alert for message in await AlertOutbox(engine).unpublished()]
        assert (alert["alert_id"], alert["severity"]) == (f"{key_missing(settings)}:0", Severity.CRITICAL)
        assert str(settings.ledger_key_file) in alert["text"]
        assert socket.gethostname() in alert["text"]

    async def test_resolves_the_alert_when_it_signs_again_and_raises_another_the_next_time(
        self, engine: AsyncEngine, ledger: Ledger, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def states() -> list[str]:
            return [alert["state"] for alert in (await Alerts(engine).page(limit=9, offset=0))[1]]

        async def become(wanted: list[str]) -> None:
            async with asyncio.timeout(20):
                while await states() != wanted:
                    await asyncio.sleep(0.01)

        await checkpoint(engine, settings)
        elsewhere = settings.ledger_key_file.with_suffix(".away")
        async with signing(engine, ledger, settings, caplog):
            settings.ledger_key_file.rename(elsewhere)
            await become(["raised"])
            elsewhere.rename(settings.ledger_key_file)
            await become(["resolved"])
            settings.ledger_key_file.rename(elsewhere)
            await become(["raised", "resolved"])

    async def test_leaves_the_alert_of_another_one_that_has_no_key(
        self, engine: AsyncEngine, ledger: Ledger, settings: Settings, caplog: pytest.LogCaptureFixture, tmp_path: Path
    ) -> None:
        await checkpoint(engine, settings)
        keyless = settings.model_copy(update={"state_dir": tmp_path / "elsewhere"})
        async with signing(engine, ledger, settings, caplog), signing(engine, ledger, keyless, caplog) as failed:
            await failed(20)
        [alert] = (await Alerts(engine).page(limit=9, offset=0))[1]
        assert alert["state"] == "raised"

    async def test_goes_on_when_the_alert_was_raised_in_other_words(
        self, engine: AsyncEngine, ledger: Ledger, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        await checkpoint(engine, settings)
        settings.ledger_key_file.unlink()
        await ledger.record(record(f"{key_missing(settings)}:0", details="in other words"))
        async with signing(engine, ledger, settings, caplog) as failed:
            await failed(3)

    async def test_waits_for_a_database_that_is_away(
        self, ledger: Ledger, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        nowhere = create_engine("postgresql://smartfloor_writer@127.0.0.1:1/smartfloor")
        async with signing(nowhere, ledger, settings, caplog) as failed:
            await failed(3)
        await nowhere.dispose()

    async def test_ends_the_worker_with_an_error_that_nobody_foresaw(
        self, settings: Settings, embedded: EmbeddedServers, temporal: Temporal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def fail(*_: object) -> None:
            raise ZeroDivisionError

        async def nothing(*_: object) -> None: ...

        monkeypatch.setattr(checkpoints, "checkpoint", fail)
        monkeypatch.setattr(worker, "stop_requested", asyncio.Event)  # no signal handlers in a test process
        monkeypatch.setattr(worker, "schedule_all", nothing)
        hurried = {"checkpoint_every": timedelta(milliseconds=1), "temporal_address": embedded.temporal.address}
        with pytest.raises(ExceptionGroup) as ended:
            await worker.run_main_worker(settings.model_copy(update=hurried))
        assert ended.group_contains(ZeroDivisionError)


class TestADatabaseThatIsAway:
    @pytest.mark.parametrize(
        "error",
        [
            ConnectionRefusedError(),
            TimeoutError(),
            asyncpg.CannotConnectNowError("the database system is starting up"),
            asyncpg.TooManyConnectionsError("sorry, too many clients already"),
        ],
    )
    def test_is_told_by_what_connecting_to_it_raises(self, error: Exception) -> None:
        assert is_away(error)

    @pytest.mark.parametrize("error", [ValueError(), asyncpg.UndefinedTableError(), asyncpg.InvalidPasswordError()])
    def test_is_not_one_that_refuses(self, error: Exception) -> None:
        assert not is_away(error)


@pytest.fixture
def smartfloor(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Runs `smartfloor ledger ...` against this database: exit status, output, errors."""
    monkeypatch.setenv("SMARTFLOOR_DATABASE_WRITER_URL", settings.database_writer_url)
    monkeypatch.setenv("SMARTFLOOR_STATE_DIR", str(settings.state_dir))

    def run(*arguments: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(app, arguments)
        return done.exit_code, done.stdout, done.stderr

    return run


class TestTheCommandLine:
    async def test_shows_signs_proves_verifies_and_exports(
        self, ledger: Ledger, smartfloor: Callable[..., tuple[int, str, str]], tmp_path: Path
    ) -> None:
        await asyncio.gather(*(ledger.record(record(str(n), target=f"SC-{n}")) for n in range(5)))

        async def run(*arguments: str) -> tuple[int, str, str]:
            return await asyncio.to_thread(smartfloor, *arguments)

        status, shown, _ = await run("show", "--limit", "2", "--json")
        assert status == 0
        assert [json.loads(line)["seq"] for line in shown.splitlines()] == [3, 4]
        status, shown, _ = await run("show", "--target", "SC-1")
        assert status == 0
        assert "SC-1" in shown
        assert "SC-2" not in shown
        status, _, error = await run("prove", "2")
        assert (status, error.count("\n")) == (1, 1)
        assert "smartfloor ledger checkpoint" in error
        status, note, _ = await run("checkpoint")
        assert (status, note.splitlines()[1]) == (0, "5")
        status, proof, _ = await run("prove", "2", "--json")
        assert (status, json.loads(proof)["size"]) == (0, 5)
        assert (await run("verify"))[:2] == (0, "5 entries hold; a signed checkpoint covers 5\n")
        file = str(tmp_path / "ledger.jsonl")
        assert (await run("export", file))[0] == 0
        assert (await run("verify-export", file))[:2] == (0, "5 entries hold; a signed checkpoint covers 5\n")

    async def test_fails_on_a_broken_ledger_with_the_first_bad_entry(
        self, ledger: Ledger, owner: AsyncEngine, smartfloor: Callable[..., tuple[int, str, str]], tmp_path: Path
    ) -> None:
        for number in range(5):
            await ledger.record(record(str(number)))
        await tamper(owner, "UPDATE ledger_entries SET user_id = 'nobody' WHERE seq = 3")
        status, _, error = await asyncio.to_thread(smartfloor, "verify")
        assert status == 1
        assert error.startswith("BROKEN: entry 3: ")
        file = tmp_path / "ledger.jsonl"
        assert (await asyncio.to_thread(smartfloor, "export", str(file)))[0] == 0
        file.write_text("".join(file.read_text().splitlines(keepends=True)[:2]))
        status, _, error = await asyncio.to_thread(smartfloor, "verify-export", str(file))
        assert status == 1
        assert error.startswith("BROKEN: entry 2: ")

    async def test_proves_and_verifies_where_only_the_public_key_is(
        self,
        ledger: Ledger,
        engine: AsyncEngine,
        settings: Settings,
        smartfloor: Callable[..., tuple[int, str, str]],
    ) -> None:
        await ledger.record(record("one"))
        await checkpoint(engine, settings)
        settings.ledger_key_file.unlink()
        for arguments in (("prove", "0"), ("verify",)):
            assert (await asyncio.to_thread(smartfloor, *arguments))[0] == 0
        settings.ledger_public_key_file.unlink()
        for arguments in (("prove", "0"), ("verify",), ("checkpoint",)):
            status, _, error = await asyncio.to_thread(smartfloor, *arguments)
            assert (status, error.count("\n")) == (1, 1)
            assert "put a copy of" in error
        assert list(settings.ledger_key_file.parent.iterdir()) == []

    async def test_does_not_prove_by_a_checkpoint_that_was_changed(
        self,
        ledger: Ledger,
        engine: AsyncEngine,
        owner: AsyncEngine,
        settings: Settings,
        smartfloor: Callable[..., tuple[int, str, str]],
    ) -> None:
        await ledger.record(record("one"))
        await checkpoint(engine, settings)
        await tamper(
            owner,
            "UPDATE ledger_checkpoints SET note = replace(note, E'\\n1\\n', E'\\n2\\n')",
            table="ledger_checkpoints",
        )
        status, _, error = await asyncio.to_thread(smartfloor, "prove", "0")
        assert status == 1
        assert error.startswith("BROKEN: ")

    @pytest.mark.parametrize(
        "arguments", [("show",), ("verify",), ("checkpoint",), ("prove", "0"), ("export", "ledger.jsonl")]
    )
    async def test_says_in_one_line_that_the_database_is_away(
        self,
        smartfloor: Callable[..., tuple[int, str, str]],
        monkeypatch: pytest.MonkeyPatch,
        arguments: tuple[str, ...],
    ) -> None:
        monkeypatch.setenv("SMARTFLOOR_DATABASE_WRITER_URL", "postgresql://writer:secret@127.0.0.1:1/smartfloor")
        status, _, error = await asyncio.to_thread(smartfloor, *arguments)
        assert (status, error.count("\n")) == (1, 1)
        assert "does not answer" in error
        assert "smartfloor up" in error
        assert "secret" not in error

    async def test_names_the_file_that_is_missing(self, smartfloor: Callable[..., tuple[int, str, str]]) -> None:
        status, _, error = await asyncio.to_thread(smartfloor, "verify-export", "missing.jsonl")
        assert status == 1
        assert "missing.jsonl.checkpoint" in error
