"""What only a real server does with a test: updates and their refusals, search attributes, continue-as-new."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from infra.ledger import Ledger
from infra.recorder import open_ledger
from infra.settings import Settings
from infra.temporal import NODE, ORDER, PART, STATUS, connect
from infra.test_execution import Tests
from schemas import names
from schemas.changes.test_execution import ResultSubmitted, SignedOff, SignOffsVoided, TestChanged, TestOpened
from schemas.ledger import LedgerEntry
from schemas.permission import Role
from schemas.record import Change, Record
from schemas.test_execution import TestLife
from schemas.test_results import Begun
from tests.workflows.eager import eager_server
from tests.workflows.shop import (
    WITHOUT_TRANSFERS,
    MemoryLedger,
    Shop,
    Tested,
    check_histories,
    happened,
    main_worker,
    result,
)


@asynccontextmanager
async def opened(client: Client, state: Path) -> AsyncIterator[Shop]:
    with closing(Shop(WorkflowEnvironment.from_client(client), MemoryLedger(), state)) as shop:
        async with main_worker(shop, WITHOUT_TRANSFERS):
            yield shop
            await check_histories(shop)


@pytest_asyncio.fixture
async def shop(client: Client, tmp_path: Path) -> AsyncIterator[Shop]:
    async with opened(client, tmp_path) as shop:
        yield shop


@pytest_asyncio.fixture
async def tested(shop: Shop) -> AsyncIterator[Tested]:
    """Signed by an inspector alone; its node is there."""
    tested = await shop.release()
    async with shop.node_online():
        yield tested


async def ask(tested: Tested, update: str, **payload: Any) -> dict[str, Any]:
    answer: dict[str, Any] = await tested.handle.execute_update(update, payload)
    return answer


async def refusal(tested: Tested, update: str, **payload: Any) -> str:
    """Why an update is refused; fails where it is not."""
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await tested.handle.execute_update(update, payload)
    assert isinstance(refused.value.cause, ApplicationError)
    return refused.value.cause.message


async def begin(tested: Tested) -> None:
    await ask(tested, "start", performer="ivan", instruments=[], user_id="maria")


class TestAnUpdate:
    async def test_carries_a_test_to_its_authorization(self, shop: Shop, tested: Tested) -> None:
        started = await ask(tested, "start", performer="ivan", instruments=[], user_id="maria")
        assert started["begun"]["performer"] == "ivan"
        assert (await tested.recorded("start_test")).user_id == "maria"
        submitted = await ask(tested, "submit_results", **await tested.submission())
        assert submitted["revision"] == 1
        signed = await ask(tested, "sign_off", **await tested.signature())
        assert [signoff["person"] for signoff in signed["signoffs"]] == ["ines"]
        end = await tested.handle.result()
        assert end["status"] == "authorized"
        assert end["package_id"] in shop.ledger.transfers

    async def test_holds_resumes_and_aborts(self, tested: Tested) -> None:
        why = {"reason": "because", "user_id": "ada"}
        assert (await ask(tested, "hold", **why))["hold_reason"] == "because"
        assert tested.row["status"] == "hold"
        assert (await ask(tested, "resume", **why))["hold_reason"] is None
        assert (await ask(tested, "abort", **why))["aborted"] is True
        assert (await tested.recorded("abort_test")).user_id == "ada"

    async def test_that_does_not_open_the_gate_is_answered_with_what_is_missing(self, tested: Tested) -> None:
        answer = await ask(tested, "start", performer="ivan", instruments=["LAMP-9"])
        (missing,) = answer["missing"]
        assert missing.startswith("LAMP-9 is not in the register of ")
        assert tested.row["status"] == "blocked"

    async def test_is_done_once_under_one_id(self, tested: Tested) -> None:
        await begin(tested)
        submission = await tested.submission()
        for _ in range(2):
            answer = await tested.handle.execute_update("submit_results", submission, id="first")
            assert answer["revision"] == 1
        assert len(tested.entries("submit_results")) == 1


class TestAnUpdateIsRefused:
    async def test_when_the_state_forbids_it(self, tested: Tested) -> None:
        assert "start it before" in await refusal(tested, "submit_results", **await tested.submission())
        await begin(tested)
        assert "started before" in await refusal(tested, "start", performer="eve", instruments=[])
        assert "no results" in await refusal(tested, "sign_off", test_id="T-1", token="t")

    async def test_when_it_cannot_be_read(self, tested: Tested) -> None:
        bare = {"test_id": "T-1", "verdict": "accept", "procedure_followed": True}
        assert "a bare verdict is no evidence" in await refusal(tested, "submit_results", results=[bare])

    async def test_and_recorded_where_it_was_a_decision(self, shop: Shop, tested: Tested) -> None:
        await begin(tested)
        assert "ivan performs" in await refusal(tested, "submit_results", **await tested.submission(by="ines"))
        assert (await tested.recorded("refuse_decision")).user_id == "ines"
        await ask(tested, "submit_results", **await tested.submission())
        signature = await tested.signature(by="lena")
        assert "liquid_penetrant" in await refusal(tested, "sign_off", **signature)
        assert "level 2" in (await tested.recorded("refuse_decision", 2)).details

    async def test_and_a_rejection_answers_with_the_rework(self, tested: Tested) -> None:
        await begin(tested)
        await ask(tested, "submit_results", **await tested.submission())
        rejection = await tested.signature(decision="reject", meaning="rejected", reason="the lamp was off")
        assert "the lamp was off" in (await ask(tested, "sign_off", **rejection))["rework_reason"]


class TestSearchAttributes:
    async def test_say_where_it_stands(self, shop: Shop, tested: Tested) -> None:
        found = (await tested.handle.describe()).typed_search_attributes
        assert [found.get(key) for key in (STATUS, PART, NODE, ORDER)] == ["waiting", shop.part, shop.node, "CPO-1"]
        await begin(tested)
        await ask(tested, "submit_results", **await tested.submission())
        assert (await tested.handle.describe()).typed_search_attributes.get(STATUS) == "awaiting_signoff"
        await ask(tested, "sign_off", **await tested.signature())
        end = await tested.handle.result()
        transfer = shop.client.get_workflow_handle(names.transfer_id(end["package_id"]))
        found = (await transfer.describe()).typed_search_attributes
        assert [found.get(key) for key in (STATUS, PART, NODE, ORDER)] == ["authorized", shop.part, shop.node, "CPO-1"]


class TestContinueAsNew:
    @pytest_asyncio.fixture
    async def eager(self, tmp_path: Path) -> AsyncIterator[Shop]:
        async with eager_server(tmp_path) as server:
            client = await connect(Settings(temporal_address=server.address))
            async with opened(client, tmp_path / "shop") as shop:
                yield shop

    async def test_forgets_nothing(self, eager: Shop) -> None:
        """What was frozen, which results count, who signed, and which tokens counted."""
        tests = [
            {**eager.document()["tests"][0], "required_signoffs": ["inspector", "quality_manager"]},
        ]
        tested = await eager.release(tests=tests)
        first = (await tested.handle.describe()).run_id
        async with eager.node_online():
            await begin(tested)
            used = await tested.submission()
            await ask(tested, "submit_results", **used)
            await ask(tested, "sign_off", **await tested.signature())
            for _ in range(10):
                await ask(tested, "hold", reason="because")
                await ask(tested, "resume", reason="because")
            assert (await tested.handle.describe()).run_id != first, "the test never continued as new"
            assert "used before" in await refusal(tested, "submit_results", **used)
            again = await tested.signature(by="ines", role=Role.QUALITY_MANAGER)
            assert "ines has signed" in await refusal(tested, "sign_off", **again)
            await ask(tested, "sign_off", **await tested.signature(by="quentin", role=Role.QUALITY_MANAGER))
            assert (await tested.handle.result())["status"] == "authorized"


class TestTheRowsOfATest:
    """As people see it, in a real database."""

    NAME = "SC-1"

    @pytest_asyncio.fixture
    async def ledger(self, database: Settings) -> AsyncIterator[tuple[Ledger, Tests]]:
        async with open_ledger(database, "test") as (engine, ledger):
            yield ledger, Tests(engine)

    def begun(self, lamp: str = "one") -> Begun:
        return Begun.model_validate(
            {
                "performer": "ivan",
                "started_at": "2026-11-21T08:00:00Z",
                "instruments": [],
                "document_hash": lamp,
            }
        )

    async def write(self, ledger: Ledger, action: str, *changes: Change) -> None:
        entry = LedgerEntry(
            idempotency_key=f"{self.NAME}:{action}", action_type="test", action=action, target=self.NAME, details=action
        )
        await ledger.record(Record(entry=entry, changes=changes))

    def submitted(self, life: TestLife) -> tuple[ResultSubmitted, TestChanged]:
        life.submit((result(),))
        content_hash = life.content_hash(self.NAME, "T-1")
        assert content_hash is not None
        assert life.begun is not None
        return (
            ResultSubmitted(
                smart_contract_id=self.NAME,
                revision=life.revision,
                test_id="T-1",
                verdict="accept",
                result=result().model_dump_json(),
                content_hash=content_hash,
                submitted_by="ivan",
            ),
            TestChanged(smart_contract_id=self.NAME, begun=life.begun.model_dump_json(), revision=life.revision),
        )

    def decided(self, content_hash: str, decision: str) -> SignedOff:
        return SignedOff(
            smart_contract_id=self.NAME,
            test_id="T-1",
            role="inspector",
            person="ines",
            decision=decision,
            meaning="reviewed",
            reason=None,
            content_hash=content_hash,
            qualification="PT-ines",
        )

    @pytest.fixture
    def life(self) -> TestLife:
        return TestLife(begun=self.begun())

    async def test_show_what_a_sign_off_signs_now(self, ledger: tuple[Ledger, Tests], life: TestLife) -> None:
        book, tests = ledger
        row = TestOpened(smart_contract_id=self.NAME, clientpo_id="CPO-1", node_id="N", status="waiting")
        await self.write(book, "await_test", row)
        assert (record := await tests.get(self.NAME)) is not None
        assert record.current() == {}
        first = self.submitted(life)
        await self.write(book, "submit", *first)
        assert (record := await tests.get(self.NAME)) is not None
        assert record.current() == {"T-1": first[0].content_hash}

        await self.write(book, "sign", self.decided(first[0].content_hash, "sign"))
        assert (record := await tests.get(self.NAME)) is not None
        assert record.signed() == {("T-1", "inspector")}

        void = SignOffsVoided(smart_contract_id=self.NAME, test_id="T-1")
        second = self.submitted(life)
        await self.write(book, "again", *second, void)
        assert (record := await tests.get(self.NAME)) is not None
        assert record.current() == {"T-1": second[0].content_hash}
        assert (len(record.results), record.signed()) == (2, set())

        await self.write(book, "reject", void, self.decided(second[0].content_hash, "reject"))
        assert (record := await tests.get(self.NAME)) is not None
        assert (record.current(), record.signed()) == ({}, set())

    async def test_show_no_results_of_before_it_began_anew(self, ledger: tuple[Ledger, Tests], life: TestLife) -> None:
        book, tests = ledger
        row = TestOpened(smart_contract_id=self.NAME, clientpo_id="CPO-1", node_id="N", status="waiting")
        await self.write(book, "submit", row, *self.submitted(life))
        anew = TestChanged(smart_contract_id=self.NAME, begun=self.begun("two").model_dump_json())
        await self.write(book, "start", anew)
        assert (record := await tests.get(self.NAME)) is not None
        assert record.current() == {}
        assert json.loads(record.results[0]["result"])["test_id"] == "T-1"

    async def test_are_found_by_state_node_and_client_order(self, ledger: tuple[Ledger, Tests]) -> None:
        book, tests = ledger
        for number, node in enumerate(("N", "M", "N")):
            row = TestOpened(
                smart_contract_id=f"SC-{number}", clientpo_id=f"CPO-{number}", node_id=node, status="waiting"
            )
            await self.write(book, f"open{number}", row)
        found = [
            await tests.find(node="N", limit=1, offset=1),
            await tests.find(clientpo_id="CPO-1", limit=9, offset=0),
            await tests.find(status="blocked", limit=9, offset=0),
        ]
        assert [(total, [row["smart_contract_id"] for row in rows]) for total, rows in found] == [
            (2, ["SC-2"]),
            (1, ["SC-1"]),
            (0, []),
        ]


async def test_a_node_is_not_late_whose_answer_is_there_when_anybody_looks(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answered while no main worker was there: the next one sees the answer and the end of its time at once."""
    monkeypatch.setattr("tests.workflows.shop.ALERT_AFTER", timedelta(seconds=5))  # the node is back in less
    async with opened(client, tmp_path) as shop:
        tested = await shop.release()
        await tested.ask("start", performer="ivan", instruments=[])
        await happened(tested.handle, "TIMER_STARTED")
    async with shop.node_online():
        await happened(tested.handle, "ACTIVITY_TASK_COMPLETED")
        await happened(tested.handle, "TIMER_FIRED")
    async with main_worker(shop, WITHOUT_TRANSFERS):
        await tested.is_("running")
        await check_histories(shop)
    shop.close()
    assert tested.entries("node_late") == []
