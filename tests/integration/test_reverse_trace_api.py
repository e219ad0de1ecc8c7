"""Reverse traces over HTTP, with the real database and a real Temporal server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from pypdf import PdfReader
from temporalio import workflow
from temporalio.client import WorkflowHandle
from temporalio.worker import Worker

from activities.decision import DecisionActivities
from activities.ledger import LedgerActivities
from activities.reverse_trace import ReverseTraceActivities
from infra import trace_search
from infra.decisions import DecisionVerifier
from infra.equipment_register import EquipmentRegister
from infra.repairs import Repairs
from infra.reverse_trace import ReverseTraces
from infra.settings import Settings
from infra.temporal import NodeSyncs
from infra.trace_reconcile import TraceReconciler
from infra.trace_search import Searcher
from schemas import names
from schemas.changes.equipment import EquipmentRegistered
from schemas.changes.reverse_trace import TraceOpened
from schemas.equipment_register import calibration_row
from schemas.ledger import LedgerEntry
from schemas.permission import Role
from schemas.record import Record
from schemas.reverse_trace import Search, Searched, TraceStart, trace_id
from schemas.test_execution import HoldRequest
from tests.integration.hubs import Hubs
from tests.past import Past, instrument, write
from tests.workflows.register import calibrated, point
from workers.worker import SANDBOX
from workflows.reverse_trace import ReverseTraceWorkflow


@workflow.defn(name="TestExecutionWorkflow", sandboxed=False)
class HeldTest:
    """Keeps why it was told to hold."""

    def __init__(self) -> None:
        self._reasons: list[str] = []

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.signal(name=names.HOLD)
    def hold(self, request: HoldRequest) -> None:
        self._reasons.append(request.reason)

    @workflow.query
    def reasons(self) -> list[str]:
        return self._reasons


class Floor:
    """One instrument that turned out to be bad, and what was measured with it."""

    def __init__(self, hubs: Hubs, settings: Settings, queue: str | None = None) -> None:
        self.hubs = hubs
        self.house = hubs.house
        self._settings = settings
        self.equipment_id = f"MIC-{hubs.name}"
        self.id = trace_id(self.equipment_id, "CAL-BAD")
        self.url = f"/api/v1/traces/{self.id}"
        self.searcher = Searcher(self.house.engine, self.house.ledger, self.house.registry)
        self._queue = queue or f"traces-{uuid4().hex[:8]}"

    async def measured(self, contract: str, *tests: str, order: str = "CPO-1", performer: str = "ines") -> None:
        """By a test that is authorized."""
        past = Past(contract, order=order).start(instrument(self.equipment_id), performer=performer).submit(*tests)
        await write(self.house.ledger, [past.authorize()])

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[None]:
        does = ReverseTraceActivities(ReverseTraces(self.house.engine), self.searcher, NodeSyncs(self.house.temporal))
        decisions = DecisionActivities(DecisionVerifier(self._settings))
        async with Worker(
            self.house.temporal,
            task_queue=self._queue,
            workflows=[ReverseTraceWorkflow, HeldTest],
            activities=[
                LedgerActivities(self.house.ledger).record,
                decisions.verify_decision,
                *(does.look, does.search, does.select),
            ],
            workflow_runner=SANDBOX,
        ):
            yield

    @property
    def start(self) -> TraceStart:
        return TraceStart(
            trace_id=self.id,
            equipment_id=self.equipment_id,
            certificate_number="CAL-BAD",
            calibrated_on=date(2026, 7, 1),
            since=date(2026, 1, 10),
            found_at=datetime(2026, 7, 2, 8, tzinfo=UTC),
        )

    async def open(self) -> WorkflowHandle[Any, Any]:
        return await self.house.temporal.start_workflow(
            ReverseTraceWorkflow.run, self.start, id=names.reverse_trace_id(self.id), task_queue=self._queue
        )

    async def under_way(self, contract: str) -> WorkflowHandle[Any, Any]:
        """A test that has begun with the instrument."""
        return await self.house.temporal.start_workflow(
            HeldTest.run, id=names.test_execution_id(contract), task_queue=self._queue
        )

    @property
    def first(self) -> tuple[str, str]:
        """The contract of the package that the vault is given, and its test."""
        return self.hubs.first["smart_contract_id"], self.hubs.first["tests"][0]["test_id"]

    async def shown(self, **params: Any) -> dict[str, Any]:
        answer = await self.hubs.quality.get(self.url, params=params)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def reconcile(self) -> list[str]:
        """The workflow of its trace, if that was started."""
        house, repairs = self.house, Repairs(self.house.alerts, self.house.ledger)
        register = EquipmentRegister(house.engine, house.registry)
        found = TraceReconciler(house.temporal, ReverseTraces(house.engine), register, house.ledger).repair(repairs)
        started = [name async for name, repaired in found if repaired]
        await repairs.finish()
        return [name for name in started if name == names.reverse_trace_id(self.id)]

    async def searched(self) -> dict[str, Any]:
        """The trace once its results are listed."""
        async with asyncio.timeout(20):
            while not (seen := (await self.hubs.quality.get(self.url)).json()).get("searched_at"):
                await asyncio.sleep(0.05)
        return dict(seen)

    async def dispose(
        self, disposition: str, who: httpx.AsyncClient | None = None, content_hash: str | None = None, **selection: Any
    ) -> httpx.Response:
        seen = await self.shown(**selection)
        decision = {"disposition": disposition, "reason": "too near the limit", **selection}
        body = {**decision, "content_hash": content_hash or seen["content_hash"]}
        return await (who or self.hubs.quality).post(f"{self.url}/dispositions", json=body)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace searches for the last time, as after its day."""
    monkeypatch.setattr("schemas.reverse_trace.SEARCH_AGAIN", timedelta(seconds=1))


@pytest_asyncio.fixture
async def floor(hubs: Hubs, settings: Settings) -> AsyncIterator[Floor]:
    floor = Floor(hubs, settings)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(floor.worker())
        yield floor


class TestWhatTheNodeHasHeard:
    """A trace ends only after its instrument's node has heard that it is bad."""

    @pytest.fixture
    def does(self, floor: Floor) -> ReverseTraceActivities:
        traces = ReverseTraces(floor.house.engine)
        return ReverseTraceActivities(traces, floor.searcher, NodeSyncs(floor.house.temporal))

    async def test_is_all_once_nothing_waits_to_be_told_there(self, floor: Floor, does: ReverseTraceActivities) -> None:
        await registered(floor, "NOD-heard")
        assert (await does.look(floor.start)).heard

    async def test_is_not_all_while_the_hub_still_tells_it(self, floor: Floor, does: ReverseTraceActivities) -> None:
        node_id = f"NOD-{floor.hubs.name}"
        await registered(floor, node_id)
        await NodeSyncs(floor.house.temporal).refresh(node_id)
        assert not (await does.look(floor.start)).heard
        await floor.house.temporal.get_workflow_handle(names.node_sync_id(node_id)).terminate()
        assert (await does.look(floor.start)).heard

    async def test_is_of_no_account_for_an_instrument_that_nobody_registered(
        self, floor: Floor, does: ReverseTraceActivities
    ) -> None:
        assert (await does.look(floor.start)).heard


async def registered(floor: Floor, node_id: str) -> None:
    line = EquipmentRegistered(
        equipment_id=floor.equipment_id,
        equipment_type="micrometer",
        description="Micrometer",
        node_id=node_id,
        home_node=node_id,
        work_center=None,
        calibration_interval_days=180,
        warning_days=30,
    )
    entry = LedgerEntry(
        idempotency_key=f"{floor.equipment_id}:registered",
        action_type="maintenance",
        action="register_equipment",
        target=floor.equipment_id,
        details="registered",
    )
    await floor.house.ledger.record(Record(entry=entry, changes=(line,)))


class TestATrace:
    async def test_lists_what_is_in_doubt_and_who_is_concerned(self, floor: Floor) -> None:
        await floor.measured("SC-1", "T-1", "T-2")
        await floor.measured("SC-2", order="CPO-2")
        handle = await floor.open()
        seen = await floor.searched()
        assert (seen["found"], seen["waiting"], seen["client_orders"], seen["closed_at"]) == (3, 3, 2, None)
        assert seen["orders"] == [
            {"clientpo_id": "CPO-1", "found": 2, "waiting": 2},
            {"clientpo_id": "CPO-2", "found": 1, "waiting": 1},
        ]
        assert [(one["smart_contract_id"], one["test_id"]) for one in seen["results"]] == [
            ("SC-1", "T-1"),
            ("SC-1", "T-2"),
            ("SC-2", "T-1"),
        ]
        second = await floor.shown(limit=1, offset=1, clientpo_id="CPO-1")
        assert [one["test_id"] for one in second["results"]] == ["T-2"]
        assert (second["selected"], second["selected_waiting"]) == (2, 2)
        listed = (await floor.hubs.quality.get("/api/v1/traces", params={"open": True})).json()
        assert [trace["trace_id"] for trace in listed["traces"]] == [floor.id]
        await handle.terminate()

    async def test_that_is_unknown_is_not_found(self, floor: Floor) -> None:
        assert (await floor.hubs.quality.get("/api/v1/traces/NONE")).status_code == 404

    async def test_closes_when_all_is_decided_and_says_by_whom(self, floor: Floor) -> None:
        await floor.measured("SC-1")
        await floor.measured("SC-2", order="CPO-2")
        handle = await floor.open()
        await floor.searched()
        first = await floor.dispose("use_as_is", clientpo_id="CPO-2")
        assert (first.status_code, first.json()["disposed"], first.json()["trace"]["waiting"]) == (200, 1, 1)
        assert (await floor.dispose("withdraw")).json()["disposed"] == 1
        assert await handle.result() == 2
        seen = await floor.shown()
        assert seen["closed_at"] is not None
        assert [(one["disposition"], one["decided_by"], one["reason"]) for one in seen["results"]] == [
            ("withdraw", "quentin", "too near the limit"),
            ("use_as_is", "quentin", "too near the limit"),
        ]
        again = await floor.dispose("withdraw", content_hash="0" * 64)
        assert (again.status_code, again.json()["type"]) == (409, "urn:smartfloor:problem:refused")


class TestATraceThatWasClosedFromOutside:
    async def test_goes_on_where_its_rows_stand(self, hubs: Hubs, settings: Settings) -> None:
        floor = Floor(hubs, settings, names.MAIN_QUEUE)
        house = floor.house

        async with floor.worker():
            await floor.measured("SC-1")
            await floor.measured("SC-2", order="CPO-2")
            handle = await floor.open()
            await floor.searched()
            assert (await floor.dispose("use_as_is", clientpo_id="CPO-2")).status_code == 200
            await handle.terminate()
            await floor.measured("SC-3")
            assert await floor.reconcile() == [names.reverse_trace_id(floor.id)]
            async with asyncio.timeout(20):
                while (await floor.shown())["found"] < 3:
                    await asyncio.sleep(0.05)
            assert await floor.reconcile() == []
            assert (await floor.dispose("withdraw")).json()["disposed"] == 2
            again: WorkflowHandle[Any, Any] = house.temporal.get_workflow_handle(names.reverse_trace_id(floor.id))
            assert await again.result() == 3
        [entry] = await house.ledger.entries(target=floor.id, action="restart_trace")
        assert entry.metadata["workflow"] == "terminated"
        assert (await floor.shown())["closed_at"] is not None

    async def test_alerts_the_client_orders_that_its_search_had_found_and_not_alerted(
        self, hubs: Hubs, settings: Settings
    ) -> None:
        floor = Floor(hubs, settings, names.MAIN_QUEUE)
        searcher = floor.searcher
        floor.searcher = Silent(floor.house.engine, floor.house.ledger, floor.house.registry)
        await floor.measured("SC-1")
        async with floor.worker():
            handle = await floor.open()
            async with asyncio.timeout(20):
                while (await floor.hubs.quality.get(floor.url)).json().get("found") != 1:
                    await asyncio.sleep(0.05)
            await handle.terminate()
        floor.searcher = searcher
        async with floor.worker():
            assert await floor.reconcile() == [names.reverse_trace_id(floor.id)]
            await floor.searched()
            await floor.house.temporal.get_workflow_handle(names.reverse_trace_id(floor.id)).terminate()
        raised = await floor.house.alerts.open_of_type("results_in_doubt")
        assert [alert["subject"] for alert in raised if floor.id in alert["cause"]] == ["CPO-1"]

    async def test_holds_no_test_again_that_it_had_held_and_somebody_has_resumed(
        self, hubs: Hubs, settings: Settings
    ) -> None:
        floor = Floor(hubs, settings, names.MAIN_QUEUE)
        first, second = (Past(f"SC-{number}-{hubs.name}").start(instrument(floor.equipment_id)) for number in (1, 2))
        async with floor.worker():
            await write(floor.house.ledger, [first])
            resumed, begun = await floor.under_way(first.contract), await floor.under_way(second.contract)
            handle = await floor.open()
            await write(floor.house.ledger, [first.hold(await told_to_hold(resumed)).resume()])
            await handle.terminate()
            await write(floor.house.ledger, [second])
            assert await floor.reconcile() == [names.reverse_trace_id(floor.id)]
            await told_to_hold(begun)  # after the first, by its name
            assert len(await resumed.query(HeldTest.reasons)) == 1
            for open_ in (resumed, begun, floor.house.temporal.get_workflow_handle(handle.id)):
                await open_.terminate()


async def told_to_hold(test: WorkflowHandle[Any, Any]) -> str:
    """Why; of a test that is told for the first time."""
    async with asyncio.timeout(20):
        while not (reasons := await test.query(HeldTest.reasons)):
            await asyncio.sleep(0.05)
    return str(reasons[0])


class TestATraceThatWasNotStarted:
    @pytest.mark.parametrize("points", [(), (point("103", "103"),)], ids=["as found not given", "out of tolerance"])
    async def test_is_started_though_who_recorded_the_calibration_was_terminated(
        self, hubs: Hubs, settings: Settings, points: tuple[dict[str, Any], ...]
    ) -> None:
        floor = Floor(hubs, settings, names.MAIN_QUEUE)
        good = calibrated(floor.equipment_id, "CAL-GOOD", on="2026-01-10")
        bad = calibrated(floor.equipment_id, "CAL-BAD", on="2026-07-01", result="failed", points=points)
        for record in (good, bad):
            entry = LedgerEntry(
                idempotency_key=f"{floor.equipment_id}:{record.certificate_number}",
                action_type="maintenance",
                action="record_calibration",
                target=floor.equipment_id,
                details="recorded",
            )
            await floor.house.ledger.record(Record(entry=entry, changes=(calibration_row(record, "NODE-1"),)))
        async with floor.worker():
            assert await floor.reconcile() == [names.reverse_trace_id(floor.id)]
            seen = await floor.searched()
            assert (seen["certificate_number"], seen["since"]) == ("CAL-BAD", "2026-01-10")
            assert await floor.reconcile() == []


class TestADisposition:
    @pytest_asyncio.fixture
    async def opened(self, floor: Floor) -> AsyncIterator[Floor]:
        await floor.measured("SC-1")
        handle = await floor.open()
        await floor.searched()
        yield floor
        await handle.terminate()

    async def refused(self, floor: Floor, answer: httpx.Response, status: int, reason: str) -> None:
        assert (answer.status_code, reason in answer.text) == (status, True), answer.text
        assert (await floor.shown())["waiting"] == 1

    async def test_of_whoever_performed_the_test_is_refused(self, floor: Floor) -> None:
        await floor.measured("SC-1", performer="quentin")
        handle = await floor.open()
        await floor.searched()
        await self.refused(floor, await floor.dispose("use_as_is"), 409, "another person must decide")
        await handle.terminate()

    async def test_before_the_ledger_is_searched_is_refused(self, hubs: Hubs, settings: Settings) -> None:
        floor = Floor(hubs, settings)
        opened = TraceOpened(**floor.start.model_dump(exclude={"life", "signals"}))
        entry = LedgerEntry(
            idempotency_key="open", action_type="maintenance", action="open_trace", target=floor.id, details="found bad"
        )
        await floor.house.ledger.record(Record(entry=entry, changes=(opened,)))
        answer = await floor.dispose("use_as_is", content_hash="0" * 64)
        assert (answer.status_code, "still searches" in answer.text) == (409, True)

    async def test_on_other_results_than_those_that_wait_is_refused(self, opened: Floor) -> None:
        await self.refused(opened, await opened.dispose("use_as_is", content_hash="0" * 64), 409, "other content")

    async def test_by_a_role_that_may_not_is_refused(
        self, opened: Floor, caller: Callable[..., httpx.AsyncClient]
    ) -> None:
        async with caller(Role.INSPECTOR, "ivan") as inspector:
            answer = await opened.dispose("use_as_is", inspector)
        await self.refused(opened, answer, 403, "disposition:decide")


class TestAWithdrawnResult:
    async def test_is_amended_in_the_vault_and_on_its_report(self, floor: Floor) -> None:
        contract, test = floor.first
        await floor.measured(contract, test)
        await floor.hubs.store(floor.hubs.package())
        handle = await floor.open()
        await floor.searched()
        assert (await floor.dispose("withdraw")).status_code == 200
        await handle.result()
        [revision] = (await floor.hubs.quality.get(f"/api/v1/vault/{contract}")).json()["revisions"]
        [amendment] = revision["amendments"]
        assert (amendment["test_id"], amendment["revision"], amendment["amendment"]) == (test, 1, "withdraw")
        assert (amendment["decided_by"], amendment["trace_id"]) == ("quentin", floor.id)
        [entry] = await floor.hubs.entries("dispose_traced")
        assert amendment["ledger_entry"] == entry.seq
        report = await floor.hubs.quality.get(f"/api/v1/vault/{contract}/report")
        printed = " ".join(PdfReader(BytesIO(report.content)).pages[0].extract_text().split())
        assert f"The result of {test} is withdrawn: too near the limit" in printed
        assert printed.index("is withdrawn") < printed.index("Client order")

    async def test_is_amended_where_its_package_comes_into_the_vault_afterwards(self, floor: Floor) -> None:
        contract, test = floor.first
        await floor.measured(contract, test)
        handle = await floor.open()
        await floor.searched()
        await floor.dispose("retest")
        await handle.result()
        await floor.hubs.store(floor.hubs.package())
        [revision] = (await floor.hubs.quality.get(f"/api/v1/vault/{contract}")).json()["revisions"]
        assert [amendment["amendment"] for amendment in revision["amendments"]] == ["retest"]

    async def test_that_was_replaced_amends_no_package(self, floor: Floor) -> None:
        contract, test = floor.first
        past = Past(contract).start(instrument(floor.equipment_id)).submit(test).submit(test).authorize()
        await write(floor.house.ledger, [past])
        await floor.hubs.store(floor.hubs.package(revision=2))
        handle = await floor.open()
        await floor.searched()
        shown, first = [], {"smart_contract_id": contract, "revision": 1}
        selections: list[dict[str, Any]] = [first, {}]
        for selection in selections:
            assert (await floor.dispose("withdraw", **selection)).status_code == 200
            [revision] = (await floor.hubs.quality.get(f"/api/v1/vault/{contract}")).json()["revisions"]
            shown.append([amendment["revision"] for amendment in revision["amendments"]])
        assert shown == [[], [2]]
        await handle.result()


class Silent(Searcher):
    """Dies between listing what it found and alerting anybody."""

    async def _alert(self, search: Search) -> None:
        raise ConnectionError("killed")


class Killed(Searcher):
    """Dies behind the second stretch, the first time."""

    tried_from: list[int]

    async def search(self, search: Search, goes_on: int, reached: Callable[[int], None]) -> Searched:
        first, stretches = not self.tried_from, 0
        self.tried_from.append(goes_on)

        def dies(at: int) -> None:
            nonlocal stretches
            reached(at)
            stretches += 1
            if first and stretches == 2:
                raise ConnectionError("killed")

        return await super().search(search, goes_on, dies)


class TestASearchWhoseWorkerIsKilled:
    async def test_goes_on_behind_what_it_had_recorded(
        self, hubs: Hubs, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(trace_search, "STRETCH", 5)
        floor = Floor(hubs, settings)
        killed = Killed(floor.house.engine, floor.house.ledger, floor.house.registry)
        killed.tried_from = []
        floor.searcher = killed
        for number in range(10):
            await floor.measured(f"SC-{number}")
        async with floor.worker():
            handle = await floor.open()
            seen = await floor.searched()
            await handle.terminate()
        assert (killed.tried_from, seen["found"]) == ([0, 10], 10)
