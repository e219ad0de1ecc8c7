"""The search of the ledger on a real database: compared with another reading of it, and interrupted."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio
from sqlalchemy import select, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from infra import trace_search
from infra.ledger import Ledger
from infra.registry import Registry
from infra.reverse_trace import ReverseTraces
from infra.tables.alert import alerts
from infra.tables.reverse_trace import traced_results, traces, vault_amendments
from infra.trace_search import Searcher
from schemas.changes.reverse_trace import TraceAlertsResolved, TracedResultsDisposed, TraceOpened, VaultAmended
from schemas.ledger import LedgerEntry, RecordedEntry
from schemas.node import Node
from schemas.record import Record
from schemas.reverse_trace import Search, Searched, Selection, TraceDisposition, TraceStart, decided_content, trace_id
from schemas.test_execution import TestStatus
from tests.past import BAD, CALIBRATED, GOOD, Past, instrument, write

EAST, WEST, GONE = "NODE-EAST", "NODE-WEST", "NODE-GONE"
ZONES = {EAST: "Pacific/Auckland", WEST: "America/Los_Angeles"}
BAD_ON = date(2026, 7, 1)

Key = tuple[str, int, str]


def trace(since: date | None = CALIBRATED, calibrated_on: date = BAD_ON) -> TraceStart:
    return TraceStart(
        trace_id=trace_id(BAD, f"CAL-BAD-{since}-{calibrated_on}"),
        equipment_id=BAD,
        certificate_number=f"CAL-BAD-{since}-{calibrated_on}",
        calibrated_on=calibrated_on,
        since=since,
        found_at=datetime(2026, 7, 2, 8, tzinfo=UTC),
    )


class Shop:
    """The adapters over one database, and what is asked of them."""

    def __init__(self, engine: AsyncEngine, ledger: Ledger) -> None:
        self.engine = engine
        self.ledger = ledger
        nodes = tuple(Node(node_id=name, station_type="LP", name=name, time_zone=zone) for name, zone in ZONES.items())
        self.searcher = Searcher(engine, ledger, Registry(nodes=nodes))
        self.traces = ReverseTraces(engine)

    async def open(self, start: TraceStart) -> Search:
        entry = LedgerEntry(
            idempotency_key=f"trace/{start.trace_id}:open",
            action_type="maintenance",
            action="open_trace",
            target=start.trace_id,
            details="found bad",
        )
        opened = TraceOpened(**start.model_dump(exclude={"life", "signals"}))
        await self.ledger.record(Record(entry=entry, changes=(opened,)))
        return Search(trace=start, after=-1, until=(await self.searcher.look(start)).until, known=0)

    async def search(self, start: TraceStart) -> Searched:
        return await self.searcher.search(await self.open(start), 0, lambda _: None)

    async def found(self, start: TraceStart) -> set[Key]:
        row = traced_results.c
        return {tuple(key) for key in await self.rows(row.smart_contract_id, row.revision, row.test_id, of=start)}

    async def rows(self, *columns: Any, of: TraceStart) -> Sequence[Any]:
        async with self.engine.connect() as connection:
            query = select(*columns).where(traced_results.c.trace_id == of.trace_id)
            return (await connection.execute(query)).all()

    async def all(self, query: Any) -> list[dict[str, Any]]:
        async with self.engine.connect() as connection:
            return [dict(row) for row in (await connection.execute(query)).mappings()]

    async def decide(self, start: TraceStart, disposition: TraceDisposition, **selection: Any) -> int:
        """As the trace's workflow records it; returns the number of the entry."""
        selected = Selection(**selection)
        disposed = TracedResultsDisposed(
            trace_id=start.trace_id,
            selection=selected,
            disposition=disposition,
            decided_role="quality_manager",
            reason="looked at it",
        )
        entry = LedgerEntry(
            idempotency_key=f"trace/{start.trace_id}:dispose:{selected}",
            action_type="maintenance",
            action="dispose_traced",
            target=start.trace_id,
            details="decided",
            user_id="quinn",
        )
        amended = () if disposition is TraceDisposition.USE_AS_IS else (VaultAmended(trace_id=start.trace_id),)
        changes = (disposed, TraceAlertsResolved(trace_id=start.trace_id), *amended)
        return (await self.ledger.record(Record(entry=entry, changes=changes))).seq


@pytest_asyncio.fixture
async def shop(engine: AsyncEngine, ledger: Ledger) -> AsyncIterator[Shop]:
    yield Shop(engine, ledger)


# --- another reading of the ledger -----------------------------------------------------------------------------------


async def whole(ledger: Ledger) -> list[RecordedEntry]:
    read: list[RecordedEntry] = []
    while page := await ledger.entries(after=read[-1].seq if read else -1, limit=1000):
        read += page
    return read


def naive(entries: Sequence[RecordedEntry], start: TraceStart) -> set[Key]:
    """From the first entry to the last: what each test had begun with when its results came."""
    relied_on: dict[str, bool] = {}
    found: set[Key] = set()
    for entry in entries:
        if entry.action == "start_test":
            begun = entry.metadata["begun"]
            relied_on[entry.target] = False
            for one in begun["instruments"]:
                if one["equipment_id"] != start.equipment_id:
                    continue
                day, bad = one["calibrated_on"], start.calibrated_on.isoformat()
                early = datetime.fromisoformat(begun["started_at"]) <= start.found_at
                relied_on[entry.target] = day < bad or (day == bad and early)
        if entry.action == "submit_results" and relied_on[entry.target]:
            if start.since is not None:
                if entry.smart_id in ZONES:
                    day_there = entry.occurred_at.astimezone(ZoneInfo(ZONES[entry.smart_id])).date()
                else:
                    day_there = (entry.occurred_at + timedelta(hours=14)).date()
                if day_there < start.since:
                    continue
            found |= {(entry.target, entry.metadata["revision"], test) for test in entry.metadata["content_hashes"]}
    return found


def made_up(chance: random.Random) -> list[Past]:
    """Tests of all kinds, whose steps come in any order among each other."""
    pasts = []
    for number in range(60):
        past = Past(f"SC-{number}", order=f"CPO-{number % 7}", node=chance.choice((EAST, WEST, GONE)))
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=chance.randrange(24 * 240))
        for _ in range(chance.randrange(4)):
            used = [
                instrument(name, chance.choice((date(2025, 6, 1), CALIBRATED, BAD_ON, date(2026, 7, 3))))
                for name in (BAD, GOOD, f"{BAD}-B", BAD.replace("-", "_"))
                if chance.random() < 0.5
            ]
            past.start(*used, at=at)
            for _ in range(chance.randrange(3)):
                at += timedelta(hours=chance.randrange(1, 40))
                past.submit(*chance.sample(("T-1", "T-2", "T-3"), chance.randrange(1, 4)), at=at)
                if chance.random() < 0.3:
                    past.authorize()
            at += timedelta(hours=1)
        pasts.append(past)
    return pasts


async def written_in_disorder(ledger: Ledger, pasts: list[Past], chance: random.Random) -> None:
    """Each test's steps in order, in few transactions."""
    records = []
    while waiting := [past for past in pasts if past.records]:
        records.append(chance.choice(waiting).records.pop(0))
    await asyncio.gather(*(ledger.record(record) for record in records))


class TestTheSearch:
    @pytest.mark.parametrize("seed", range(4))
    async def test_finds_what_another_reading_of_the_ledger_finds(
        self, shop: Shop, seed: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        chance = random.Random(seed)
        monkeypatch.setattr(trace_search, "STRETCH", 37)
        monkeypatch.setattr(trace_search, "PAGE", 5)
        await written_in_disorder(shop.ledger, made_up(chance), chance)
        entries = await whole(shop.ledger)
        sizes = []
        days = [date(2026, 1, 1) + timedelta(days=chance.randrange(240)) for _ in range(10)]
        for since in (None, CALIBRATED, *days):
            for bad_on in (BAD_ON, date(2026, 7, 3)):
                start = trace(since, bad_on)
                searched = await shop.search(start)
                expected = naive(entries, start)
                assert await shop.found(start) == expected
                assert searched == Searched(found=len(expected), waiting=len(expected))
                sizes.append(len(expected))
        assert len(set(sizes)) > 8  # the windows differ
        assert max(sizes) > 30

    async def test_counts_the_day_of_the_last_good_calibration_where_the_node_is(self, shop: Shop) -> None:
        """At 11:30 UTC on the 9th the 10th has begun in Auckland, and nowhere else that is known."""
        at = datetime(2026, 1, 9, 11, 30, tzinfo=UTC)
        pasts = [Past(f"SC-{node}", node=node).start(instrument(), at=at).submit(at=at) for node in (EAST, WEST, GONE)]
        await write(shop.ledger, pasts)
        start = trace(date(2026, 1, 10))
        await shop.search(start)
        assert {contract for contract, _, _ in await shop.found(start)} == {f"SC-{EAST}", f"SC-{GONE}"}

    async def test_finds_results_that_were_replaced_and_those_of_an_aborted_test(self, shop: Shop) -> None:
        past = Past("SC-1").start(instrument()).submit().submit().authorize()
        again = Past("SC-2").start(instrument()).submit().start(instrument(GOOD)).submit()
        await write(shop.ledger, [past, again])
        start = trace()
        await shop.search(start)
        assert await shop.found(start) == {("SC-1", 1, "T-1"), ("SC-1", 2, "T-1"), ("SC-2", 1, "T-1")}

    async def test_finds_what_the_rows_have_lost(self, shop: Shop, database: Any) -> None:
        past = Past("SC-1").start(instrument()).submit()
        past.records = [record.model_copy(update={"changes": ()}) for record in past.records]
        await write(shop.ledger, [past])
        start = trace()
        await shop.search(start)
        row = traced_results.c
        assert [tuple(one) for one in await shop.rows(row.clientpo_id, row.verdict, of=start)] == [
            ("unknown", "unknown")
        ]

    async def test_that_comes_later_finds_what_came_since(self, shop: Shop) -> None:
        past = Past("SC-1").start(instrument())
        await write(shop.ledger, [past])
        start = trace()
        first = await shop.open(start)
        assert await shop.searcher.search(first, 0, lambda _: None) == Searched(found=0, waiting=0)
        await write(shop.ledger, [past.submit()])
        until = (await shop.searcher.look(start)).until
        later = Search(trace=start, after=first.until, until=until, known=0)
        assert await shop.searcher.search(later, 0, lambda _: None) == Searched(found=1, waiting=1)


class TestAnInterruptedSearch:
    @pytest.fixture
    def short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(trace_search, "STRETCH", 10)
        monkeypatch.setattr(trace_search, "PAGE", 2)
        monkeypatch.setattr(trace_search, "ALERTS", 2)

    @pytest.mark.parametrize("heartbeats", [True, False])
    async def test_goes_on_and_has_recorded_everything_once(self, shop: Shop, short: None, heartbeats: bool) -> None:
        pasts = [Past(f"SC-{number}", order=f"CPO-{number % 5}").start(instrument()).submit() for number in range(20)]
        await write(shop.ledger, pasts)
        start = trace()
        search = await shop.open(start)
        attempts, reached = 0, [0]

        def dies(at: int) -> None:
            reached.append(at)
            raise ConnectionError("killed")

        while True:
            attempts += 1
            try:
                searched = await shop.searcher.search(search, reached[-1] if heartbeats else 0, _after(attempts, dies))
                break
            except ConnectionError:
                continue
        assert attempts > 3
        assert searched == Searched(found=20, waiting=20)
        assert len(await shop.found(start)) == 20
        listed = [entry for entry in await shop.ledger.timeline(start.trace_id) if ":found:" in entry.idempotency_key]
        assert sum(entry.metadata["results"] for entry in listed) == 20
        raised = await shop.all(select(alerts).where(alerts.c.alert_type == "results_in_doubt"))
        assert sorted((alert["subject"], alert["count"]) for alert in raised) == [(f"CPO-{n}", 1) for n in range(5)]


def _after(stretches: int, dies: Any) -> Any:
    """Dies behind so many stretches; later attempts live longer."""
    done = 0

    def reached(at: int) -> None:
        nonlocal done
        done += 1
        if done == stretches:
            dies(at)

    return reached


class TestTheLook:
    async def test_names_tests_that_may_still_give_results_with_it(self, shop: Shop) -> None:
        pasts = [
            Past("RUNNING").start(instrument()),
            Past("SIGNED").start(instrument()).submit(),
            Past("DONE").start(instrument()).submit().authorize(),
            Past("OTHER").start(instrument(GOOD)),
            Past("ANEW").start(instrument(calibrated_on=date(2026, 7, 3))),
            Past("CHANGED").start(instrument()).start(instrument(GOOD)),
            Past("WAITING"),
        ]
        await write(shop.ledger, pasts)
        horizon = await shop.searcher.look(trace())
        assert {test.smart_contract_id: test.status for test in horizon.tests} == {
            "RUNNING": TestStatus.RUNNING,
            "SIGNED": TestStatus.AWAITING_SIGNOFF,
        }


class TestAClientOrder:
    async def test_is_alerted_once_whatever_number_of_its_results_is_in_doubt(self, shop: Shop) -> None:
        pasts = [Past(f"SC-{n}", order=f"CPO-{n % 2}").start(instrument()).submit("T-1", "T-2") for n in range(10)]
        await write(shop.ledger, pasts)
        start = trace()
        await shop.search(start)
        raised = await shop.all(select(alerts).order_by(alerts.c.subject))
        assert [(alert["subject"], alert["owner"], alert["count"]) for alert in raised] == [
            ("CPO-0", "quality_manager", 1),
            ("CPO-1", "quality_manager", 1),
        ]
        assert raised[0]["text"].startswith("10 results of client order CPO-0")
        assert f"/api/v1/traces/{start.trace_id}/dispositions" in raised[0]["text"]

    async def test_has_no_alert_any_more_when_its_last_result_is_decided(self, shop: Shop) -> None:
        pasts = [Past(f"SC-{n}", order=f"CPO-{n % 2}").start(instrument()).submit() for n in range(4)]
        await write(shop.ledger, pasts)
        start, other = trace(), trace(None)
        await shop.search(start)
        await shop.search(other)
        open_ = select(alerts.c.cause).where(alerts.c.state != "resolved")
        await shop.decide(start, TraceDisposition.USE_AS_IS, smart_contract_id="SC-0")
        assert len(await shop.all(open_)) == 4
        await shop.decide(start, TraceDisposition.USE_AS_IS, clientpo_id="CPO-0")
        left = {
            alert["cause"].rpartition(":")[2] for alert in await shop.all(open_) if start.trace_id in alert["cause"]
        }
        assert (left, len(await shop.all(open_))) == ({"CPO-1"}, 3)


class TestADecision:
    async def test_is_on_exactly_the_selected_results_that_wait(self, shop: Shop) -> None:
        pasts = [Past(f"SC-{n}", order=f"CPO-{n % 2}").start(instrument()).submit("T-1", "T-2") for n in range(4)]
        await write(shop.ledger, [past.sign("ivan", "T-2") for past in pasts])
        start = trace()
        await shop.search(start)
        await shop.decide(start, TraceDisposition.USE_AS_IS, smart_contract_id="SC-0", test_id="T-1", revision=1)
        row = traced_results.c
        columns = (row.smart_contract_id, row.revision, row.test_id, row.content_hash)
        waiting = [tuple(one) for one in await shop.rows(*columns, of=start) if one[0] != "SC-0" or one[2] != "T-1"]
        order = [one for one in waiting if one[0] in {"SC-0", "SC-2"}]
        selected = await shop.traces.select(start.trace_id, Selection(clientpo_id="CPO-0"))
        assert (selected.count, selected.content_hash) == (3, decided_content(start.trace_id, order))
        assert selected.involved == ("ines", "ivan")
        first = await shop.traces.select(start.trace_id, Selection(smart_contract_id="SC-1", test_id="T-1"))
        assert first.involved == ("ines",)

    async def test_leaves_its_number_at_each_result_so_that_its_proof_can_be_checked(self, shop: Shop) -> None:
        await write(shop.ledger, [Past(f"SC-{n}").start(instrument()).submit() for n in range(3)])
        start = trace()
        await shop.search(start)
        wanted = await shop.traces.select(start.trace_id, Selection())
        entry = await shop.decide(start, TraceDisposition.WITHDRAW)
        row = traced_results.c
        columns = (row.smart_contract_id, row.revision, row.test_id, row.content_hash, row.decided_entry)
        decided = [tuple(one) for one in await shop.rows(*columns, of=start)]
        assert {one[-1] for one in decided} == {entry}
        assert decided_content(start.trace_id, [one[:4] for one in decided]) == wanted.content_hash


class TestAnAmendment:
    async def test_is_made_of_each_result_that_is_withdrawn_or_measured_again(self, shop: Shop) -> None:
        await write(shop.ledger, [Past(f"SC-{n}").start(instrument()).submit() for n in range(3)])
        start = trace()
        await shop.search(start)
        for contract, disposition in zip(("SC-0", "SC-1", "SC-2"), TraceDisposition, strict=True):
            await shop.decide(start, disposition, smart_contract_id=contract)
        made = await shop.all(select(vault_amendments).order_by(vault_amendments.c.smart_contract_id))
        assert [(one["smart_contract_id"], one["amendment"], one["decided_by"]) for one in made] == [
            ("SC-1", "retest", "quinn"),
            ("SC-2", "withdraw", "quinn"),
        ]

    @pytest.mark.parametrize("change", ["UPDATE vault_amendments SET amendment = ''", "DELETE FROM vault_amendments"])
    async def test_cannot_be_changed_or_removed_by_a_process(
        self, shop: Shop, engine: AsyncEngine, change: str
    ) -> None:
        await write(shop.ledger, [Past("SC-1").start(instrument()).submit()])
        start = trace()
        await shop.search(start)
        await shop.decide(start, TraceDisposition.WITHDRAW)
        with pytest.raises(ProgrammingError, match="permission denied"):
            async with engine.begin() as connection:
                await connection.execute(text(change))


class TestTheLists:
    async def test_say_in_which_package_a_result_stands(self, shop: Shop) -> None:
        handed_on = Past("SC-1").start(instrument()).submit("T-1", "T-2").submit("T-2").authorize()
        open_ = Past("SC-2").start(instrument()).submit()
        await write(shop.ledger, [handed_on, open_])
        start = trace()
        await shop.search(start)
        total, rows = await shop.traces.results(start.trace_id, Selection(), limit=10, offset=0)
        assert total == 4
        assert [(row["smart_contract_id"], row["revision"], row["test_id"], row["package_id"]) for row in rows] == [
            ("SC-1", 1, "T-1", "PKG-SC-1-R2"),
            ("SC-1", 1, "T-2", None),
            ("SC-1", 2, "T-2", "PKG-SC-1-R2"),
            ("SC-2", 1, "T-1", None),
        ]
        assert [row["test_status"] for row in rows] == [*["authorized"] * 3, "awaiting_signoff"]

    async def test_count_what_waits_and_whose_it_is(self, shop: Shop) -> None:
        pasts = [Past(f"SC-{n}", order=f"CPO-{n % 2}").start(instrument()).submit() for n in range(5)]
        await write(shop.ledger, pasts)
        start = trace()
        await shop.search(start)
        await shop.decide(start, TraceDisposition.USE_AS_IS, clientpo_id="CPO-0")
        total, [row] = await shop.traces.find(equipment_id=BAD, open_=True, limit=10, offset=0)
        assert (total, row["found"], row["waiting"], row["client_orders"]) == (1, 5, 2, 2)
        assert await shop.traces.orders(start.trace_id, limit=10) == [
            {"clientpo_id": "CPO-1", "found": 2, "waiting": 2},
            {"clientpo_id": "CPO-0", "found": 3, "waiting": 0},
        ]
        assert (await shop.all(select(traces.c.searched_at)))[0]["searched_at"] is not None
