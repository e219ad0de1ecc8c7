"""The reverse trace: everything in doubt is found and decided on by somebody who may, and nothing else ends it."""

from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import WorkflowUpdateFailedError
from temporalio.testing import WorkflowEnvironment

from schemas import names
from schemas.permission import Role
from schemas.reverse_trace import TraceDisposition
from schemas.test_execution import TestStatus
from tests.workflows.shop import MemoryLedger, Shop, check_histories, main_worker, shows, until
from tests.workflows.stand_in import FindsItBad
from tests.workflows.traces import Trace
from workers.worker import WORKFLOWS


@pytest_asyncio.fixture
async def trace(environment: WorkflowEnvironment, tmp_path: Path) -> AsyncIterator[Trace]:
    with closing(Shop(environment, MemoryLedger(), tmp_path)) as shop:
        trace = Trace(shop)
        async with main_worker(shop, [*WORKFLOWS, FindsItBad], more=trace.activities):
            yield trace
            await check_histories(shop)


class TestACalibrationThatFindsAnInstrumentBad:
    async def test_starts_one_trace_however_often_it_is_recorded(self, trace: Trace) -> None:
        calibrations = [trace.calibration(), trace.calibration(), trace.calibration("CAL-WORSE")]
        found_by = f"bad-{trace.shop.name}"
        with trace.shop.environment.auto_time_skipping_disabled():
            await trace.shop.client.execute_workflow(
                FindsItBad.run, calibrations, id=found_by, task_queue=names.MAIN_QUEUE
            )
        await until(lambda: len(trace.shop.ledger.traces) == 2, lambda: str(trace.shop.ledger.traces))
        opened = [entry for entry in trace.shop.ledger.entries.values() if entry.action == "open_trace"]
        assert sorted(entry.metadata["certificate_number"] for entry in opened) == ["CAL-BAD", "CAL-WORSE"]
        assert opened[0].metadata["since"] == "2026-01-10"


class TestATrace:
    async def test_ends_when_every_result_has_its_disposition(self, trace: Trace) -> None:
        trace.put("SC-1", "SC-2")
        await trace.open()
        await trace.recorded("trace_results")
        await trace.dispose(smart_contract_id="SC-1")
        await trace.recorded("dispose_traced")
        assert trace.shop.ledger.traces[trace.id] == "open"
        await trace.dispose(TraceDisposition.WITHDRAW)
        assert await trace.ended() == 2
        assert trace.dispositions == {("SC-1", "T-1"): "use_as_is", ("SC-2", "T-1"): "withdraw"}
        assert trace.shop.ledger.traces[trace.id] == "closed"

    async def test_that_finds_nothing_searches_once_more_after_a_day_and_ends(self, trace: Trace) -> None:
        await trace.open()
        assert await trace.ended() == 0
        assert len(trace.search.searches) == 2
        assert [entry.action for entry in trace.shop.ledger.entries.values()] == ["open_trace", "trace_closed"]

    async def test_finds_a_test_whose_start_was_answered_before_its_node_had_heard_of_it(self, trace: Trace) -> None:
        """Nobody has recorded it by the first search: its worker is away, or the ledger."""
        await trace.open()
        await until(lambda: bool(trace.search.searches), lambda: "searched")
        trace.search.under_way = {"SC-1": TestStatus.RUNNING}
        await trace.shop.pass_time(timedelta(days=1))
        await until(lambda: len(trace.search.searches) == 2, lambda: "searched again")
        trace.put("SC-1")
        trace.search.under_way = {}
        await trace.shop.pass_time(timedelta(days=1))
        await trace.recorded("trace_results")
        await trace.dispose()
        assert await trace.ended() == 1

    async def test_waits_until_the_instruments_node_has_heard_of_it_and_a_day_more(self, trace: Trace) -> None:
        trace.search.news = True
        await trace.open()
        await trace.shop.pass_time(timedelta(days=3, hours=1))
        assert trace.shop.ledger.traces[trace.id] == "open"
        trace.search.news = False
        await trace.shop.pass_time(timedelta(days=1))
        assert trace.shop.ledger.traces[trace.id] == "open"
        trace.put("SC-1")
        await trace.shop.pass_time(timedelta(days=1))
        await trace.recorded("trace_results")
        await trace.dispose()
        assert await trace.ended() == 1

    async def test_searches_again_where_its_search_failed(self, trace: Trace) -> None:
        trace.put("SC-1")
        trace.search.failures = 2
        await trace.open()
        await trace.recorded("trace_results")
        [search] = trace.search.searches
        assert (search.after, search.known) == (-1, 0)
        await trace.dispose()
        await trace.ended()

    async def test_says_what_was_decided_by_whom_on_what_with_the_proof(self, trace: Trace) -> None:
        trace.put("SC-1")
        await trace.open()
        await trace.recorded("trace_results")
        token = await trace.token("retest")
        await trace.handle.signal(names.DISPOSE, {"token": token, "reason": "too near the limit"})
        entry = await trace.recorded("dispose_traced")
        assert (entry.user_id, entry.action_type) == ("quinn", "maintenance")
        told = {name: entry.metadata[name] for name in ("disposition", "results", "reason", "proof", "selection")}
        assert told == {
            "disposition": "retest",
            "results": 1,
            "reason": "too near the limit",
            "proof": token,
            "selection": {},
        }
        assert entry.metadata["decision"]["content_hash"] == entry.metadata["content_hash"]
        await trace.ended()

    async def test_is_not_ended_by_temporals_cancel(self, trace: Trace) -> None:
        trace.put("SC-1")
        await trace.open()
        await trace.recorded("trace_results")
        await trace.handle.cancel()
        assert "not cancelled" in (await trace.recorded("refuse_request")).details
        await trace.dispose()
        assert await trace.ended() == 1

    async def test_shows_what_waits_and_how_to_decide(self, trace: Trace) -> None:
        trace.put("SC-1", "SC-2")
        await trace.open()
        await trace.recorded("trace_results")
        await shows(trace.handle, "2 results in doubt, 2 of them wait")
        await shows(trace.handle, f"`smartfloor decide trace/{trace.id} use_as_is --hash")
        await trace.dispose()
        await trace.ended()


class TestATestUnderWay:
    async def test_is_held_once_and_the_trace_waits_for_its_end(self, trace: Trace) -> None:
        tested = await trace.shop.release("A")
        async with trace.shop.node_online():
            await tested.start()
            await tested.is_("running")
            trace.search.under_way = {tested.name: TestStatus.RUNNING}
            await trace.open()
            await tested.is_("hold")
            hold = await tested.recorded("hold_test")
            assert hold.user_id == "unidentified"
            assert f"decide on them in trace {trace.id}, then resume" in hold.details
            await tested.ask("resume", reason="looked at it")
            await tested.is_("running")
            await trace.shop.pass_time(timedelta(days=2, hours=1))
            assert len(trace.search.searches) == 3
            assert len(tested.entries("hold_test")) == 1
            await shows(trace.handle, "waits for their end")
            trace.put(tested.name)
            trace.search.under_way = {}
            await trace.shop.pass_time(timedelta(days=1))
            await trace.recorded("trace_results")
            await trace.dispose(TraceDisposition.RETEST)
            assert await trace.ended() == 1
            await tested.ask("abort", reason="over")
            await tested.handle.result()

    @pytest.mark.parametrize("status", [TestStatus.HOLD, TestStatus.AUTHORIZING])
    async def test_is_not_held_where_that_is_not_possible(self, trace: Trace, status: TestStatus) -> None:
        trace.search.under_way = {"SC-1": status}
        await trace.open()
        await until(lambda: bool(trace.search.searches), lambda: "searched")
        trace.search.under_way = {}
        await trace.shop.pass_time(timedelta(days=1))
        await trace.ended()
        history = await trace.handle.fetch_history()
        signals = [
            e for e in history.events if e.HasField("signal_external_workflow_execution_initiated_event_attributes")
        ]
        assert signals == []

    async def test_that_gave_results_after_the_last_decision_is_found_before_the_end(self, trace: Trace) -> None:
        trace.put("SC-1")
        await trace.open()
        await trace.recorded("trace_results")
        trace.put("SC-2")
        await trace.dispose()
        await trace.recorded("trace_results", 2)
        assert trace.shop.ledger.traces[trace.id] == "open"
        await trace.dispose()
        assert await trace.ended() == 2


class TestADisposition:
    async def test_of_a_client_order_decides_on_all_of_it_that_waits_and_ends_its_alert(self, trace: Trace) -> None:
        trace.put("SC-1", "SC-2", tests=("T-1", "T-2"))
        trace.put("SC-3", order="CPO-2")
        await trace.open()
        await trace.recorded("trace_results")
        assert [alert.subject for alert in trace.open_alerts("results_in_doubt")] == ["CPO-1", "CPO-2"]
        await trace.dispose(clientpo_id="CPO-1")
        entry = await trace.recorded("dispose_traced")
        assert (entry.metadata["results"], entry.metadata["selection"]) == (4, {"clientpo_id": "CPO-1"})
        assert [alert.subject for alert in trace.open_alerts("results_in_doubt")] == ["CPO-2"]
        await trace.dispose()
        await trace.ended()

    @pytest.mark.parametrize(
        ("disposition", "alerts"),
        [("use_as_is", []), ("retest", ["retest_wanted"]), ("withdraw", ["results_withdrawn"])],
    )
    async def test_amends_what_is_withdrawn_or_measured_again_and_says_what_to_do(
        self, trace: Trace, disposition: str, alerts: list[str]
    ) -> None:
        trace.put("SC-1", "SC-2")
        await trace.open()
        await trace.recorded("trace_results")
        await trace.dispose(disposition)
        await trace.ended()
        assert len(trace.shop.ledger.amended) == 2 * len(alerts)
        raised = [alert for kind in ("retest_wanted", "results_withdrawn") for alert in trace.open_alerts(kind)]
        assert [alert.alert_type for alert in raised] == alerts
        assert all(f"/api/v1/traces/{trace.id}" in alert.text for alert in raised)

    async def test_by_update_is_answered_and_the_same_token_counts_once(self, trace: Trace) -> None:
        trace.put("SC-1", "SC-2")
        await trace.open()
        await trace.recorded("trace_results")
        told: dict[str, Any] = {"smart_contract_id": "SC-1", "reason": "fine"}
        token = await trace.token(smart_contract_id="SC-1")
        answer = await trace.handle.execute_update(names.DISPOSE, {**told, "token": token})
        assert answer["count"] == 1
        with pytest.raises(WorkflowUpdateFailedError):
            await trace.handle.execute_update(names.DISPOSE, {**told, "token": token})
        await trace.dispose()
        await trace.ended()

    async def test_of_what_does_not_wait_is_refused(self, trace: Trace) -> None:
        trace.put("SC-1")
        await trace.open()
        await trace.recorded("trace_results")
        await trace.dispose(smart_contract_id="SC-9")
        assert "none of the selected results waits" in (await trace.recorded("refuse_request")).details
        await trace.dispose()
        await trace.ended()


class TestADispositionThatDoesNotCount:
    @pytest_asyncio.fixture
    async def opened(self, trace: Trace) -> Trace:
        trace.put("SC-1", "SC-2")
        await trace.open()
        await trace.recorded("trace_results")
        return trace

    async def refused(self, trace: Trace, told: dict[str, Any], reason: str) -> None:
        """By signal and by update; a real one counts after them."""
        await trace.handle.signal(names.DISPOSE, {"reason": "good enough", **told})
        assert reason in (await trace.recorded("refuse_decision")).details
        with pytest.raises(WorkflowUpdateFailedError):
            await trace.handle.execute_update(names.DISPOSE, {"reason": "good enough", **told})
        await trace.recorded("refuse_decision", 2)
        assert len(trace.open_alerts("decision_refused")) == 1
        assert set(trace.dispositions.values()) == {None}
        assert trace.shop.ledger.amended == []
        await trace.dispose()
        await trace.ended()

    async def test_because_there_is_no_token_is_refused(self, opened: Trace) -> None:
        await self.refused(opened, {}, "needs a decision token")

    async def test_because_it_is_forged_is_refused(self, opened: Trace) -> None:
        await self.refused(opened, {"token": "forged"}, "not valid")

    async def test_because_it_was_given_on_other_results_is_refused(self, opened: Trace) -> None:
        token = await opened.token(smart_contract_id="SC-1")
        await self.refused(opened, {"token": token}, "other content")

    @pytest.mark.parametrize("person", ["pia", "ina"])
    async def test_because_they_performed_or_signed_is_refused(self, opened: Trace, person: str) -> None:
        await self.refused(opened, {"token": await opened.token(by=person)}, "another person must decide")

    async def test_because_their_role_may_not_is_refused(self, opened: Trace) -> None:
        await self.refused(opened, {"token": await opened.token(role=Role.SUPERVISOR)}, "disposition:decide")

    async def test_because_it_is_another_decision_is_refused(self, opened: Trace) -> None:
        await self.refused(opened, {"token": await opened.token("scrap")}, "cannot be decided here")
