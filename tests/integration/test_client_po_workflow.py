"""What only a real server does: updates and their refusals, cancellation, search attributes, continue-as-new.

The server suggests continue-as-new after some dozen events instead of thousands, so that the parts' entities do it
all the time.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import WorkflowUpdateFailedError
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from infra.settings import Settings
from infra.temporal import DUE, STATUS, connect
from schemas import names
from schemas.client_po import REQUESTS
from schemas.part_arrival import withdrawal_wanted
from tests.workflows.eager import EagerTemporal
from tests.workflows.nodes import SlowNode, occupy_node
from tests.workflows.shop import (
    PO,
    MemoryLedger,
    Shop,
    check_histories,
    details,
    event_types,
    happened,
    main_worker,
    until,
)


@pytest_asyncio.fixture
async def shop(eager: EagerTemporal, tmp_path: Path) -> AsyncIterator[Shop]:
    client = await connect(Settings(temporal_address=eager.address))
    with closing(Shop(WorkflowEnvironment.from_client(client), MemoryLedger(), tmp_path)) as shop:
        async with main_worker(shop):
            yield shop
            await check_histories(shop)


async def ask(po: PO, update: str, **payload: Any) -> dict[str, Any]:
    answer: dict[str, Any] = await po.handle.execute_update(update, {"reason": "because", "user_id": "ada", **payload})
    return answer


async def refusal(po: PO, update: str, payload: Any) -> str:
    """Why an update is refused; fails where it is not."""
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await po.handle.execute_update(update, payload)
    assert isinstance(refused.value.cause, ApplicationError)
    assert refused.value.cause.type == "Refused"
    return refused.value.cause.message


async def attribute(po: PO, key: SearchAttributeKey[Any]) -> Any:
    return (await po.handle.describe()).typed_search_attributes.get(key)


BECAUSE = {"reason": "because"}


class TestAnUpdate:
    async def test_holds_and_resumes(self, shop: Shop) -> None:
        po = await shop.stage()
        assert (await ask(po, "hold"))["hold_reason"] == "because"
        assert (await ask(po, "resume"))["hold_reason"] is None
        assert [len(po.entries(action)) for action in ("hold_client_po", "resume_client_po")] == [1, 1]

    async def test_is_answered_after_it_is_recorded(self, shop: Shop) -> None:
        po = await shop.stage()
        await ask(po, "hold")
        assert po.row["status"] == "hold"

    async def test_cancels(self, shop: Shop) -> None:
        po = await shop.stage()
        assert (await ask(po, "cancel"))["cancelled"] is True
        assert (await po.handle.result())["status"] == "cancelled"

    async def test_amends_only_what_it_says(self, shop: Shop) -> None:
        po = await shop.stage(due_date="2026-12-01", priority=2)
        assert (await ask(po, "amend", priority=1))["due_date"] == "2026-12-01T23:59:59Z"
        assert (await ask(po, "amend", due_date=None))["priority"] == 1
        assert po.row["due_date"] is None

    async def test_accepts_fewer_parts(self, shop: Shop) -> None:
        number = f"PN-{shop.name}"
        async with shop.node_online():
            po = await shop.stage(part_number=number, quantity=10)
            await shop.scan(part_number=number, quantity=6)
            await po.recorded("count_arrivals")
            asked = await ask(po, "accept_quantity", token=await po.acceptance_token(6))
            assert asked["acceptance"]["quantity"] == 6
            approval = await shop.approval(f"{po.name}.fewer-parts.1")
            assert asked["acceptance"]["content_hash"] == approval.row["content_hash"]
            answer = {"token": await shop.token(approval.wanted, "approve", by="bob")}
            assert (await approval.handle.execute_update("respond", answer))["status"] == "approved"
            await po.is_("released")

    async def test_retries_what_the_node_refused(self, shop: Shop) -> None:
        occupy_node(shop)
        async with shop.node_online():
            po = await shop.stage()
            await shop.scan()
            await po.recorded("release_failed")
            shop.forget_at_node()
        async with shop.node_online():
            await ask(po, "retry")
            await po.is_("released")

    async def test_withdraws_an_arrival(self, shop: Shop) -> None:
        po = await shop.stage()
        broadcast = await shop.scan()
        await po.is_("ready_for_release")
        withdrawn = await shop.line.execute_update("withdraw", {"broadcast_id": broadcast, "reason": "wrong label"})
        assert [revocation["smart_contract_id"] for revocation in withdrawn["revocations"]] == [po.name]
        await po.is_("awaiting_arrival")

    async def test_by_many_at_once_holds_once(self, shop: Shop) -> None:
        po = await shop.stage()
        answers = await asyncio.gather(*(ask(po, "hold") for _ in range(8)), return_exceptions=True)
        assert sum(not isinstance(answer, BaseException) for answer in answers) == 1
        assert len(po.entries("hold_client_po")) == 1


class TestAnUpdateIsRefused:
    @pytest.mark.parametrize("update", sorted(REQUESTS))
    async def test_when_it_cannot_be_read(self, shop: Shop, update: str) -> None:
        po = await shop.stage()
        payloads: list[Any] = ["text", [], {"unknown": 1}, {"reason": "", "user_id": "no body"}]
        for payload in payloads:
            assert await refusal(po, update, payload)
        types = event_types(await po.handle.fetch_history())
        assert "WORKFLOW_EXECUTION_UPDATE_ACCEPTED" not in types

    @pytest.mark.parametrize(
        ("update", "payload", "why"),
        [
            ("resume", BECAUSE, "not on hold, it is awaiting_arrival"),
            ("retry", BECAUSE, "only a PO that is ready_for_release"),
            ("accept_quantity", BECAUSE, "a part_id is one part"),
            ("amend", BECAUSE, "give at least one of"),
            ("amend", {**BECAUSE, "priority": None}, "priority: give a number"),
            ("amend", {**BECAUSE, "due_date": "soon"}, "due_date"),
        ],
    )
    async def test_where_the_state_forbids_it(self, shop: Shop, update: str, payload: dict[str, Any], why: str) -> None:
        assert why in await refusal(await shop.stage(), update, payload)

    async def test_when_the_po_is_on_hold_already(self, shop: Shop) -> None:
        po = await shop.stage()
        await ask(po, "hold")
        assert await refusal(po, "hold", BECAUSE) == "the PO is already on hold: because"

    async def test_when_nothing_of_a_broadcast_is_known(self, shop: Shop) -> None:
        await shop.scan()
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await shop.line.execute_update("withdraw", {"broadcast_id": "B-unknown", "reason": "wrong label"})
        assert "no arrival B-unknown" in str(refused.value.cause)
        assert shop.alerts("request_refused") == []

    async def test_when_the_node_took_the_po_meanwhile(self, shop: Shop) -> None:
        node = SlowNode(shop)
        async with shop.node_online(node.take):
            po = await shop.stage()
            await shop.scan()
            await node.begins()
            asked = asyncio.create_task(refusal(po, "hold", BECAUSE))
            await happened(po.handle, "WORKFLOW_EXECUTION_UPDATE_ACCEPTED")
            assert not asked.done()
            node.finish()
            assert await asked == "the PO is released: nothing can be changed any more"
            await po.is_("released")


class TestAHoldDuringTheDispatch:
    async def test_is_accepted_while_the_node_has_not_taken_the_po(self, shop: Shop) -> None:
        po = await shop.stage()
        await shop.scan()
        await po.is_("ready_for_release")
        await ask(po, "hold")
        assert shop.store.inbox() == []
        async with shop.node_online():
            await ask(po, "resume")
            await po.is_("released")


class TestTemporalsCancel:
    async def test_is_the_businesss(self, shop: Shop) -> None:
        po = await shop.stage()
        await po.handle.cancel()
        assert (await po.handle.result())["status"] == "cancelled"
        assert len(po.entries("cancel_client_po")) == 1

    async def test_that_is_repeated_is_one(self, shop: Shop) -> None:
        po = await shop.stage()
        for _ in range(3):
            await po.handle.cancel()
        assert (await po.handle.result())["status"] == "cancelled"
        assert len(po.entries("cancel_client_po")) == 1

    async def test_while_the_node_takes_the_po_comes_too_late(self, shop: Shop) -> None:
        node = SlowNode(shop)
        async with shop.node_online(node.take):
            po = await shop.stage()
            await shop.scan()
            await node.begins()
            await po.handle.cancel()
            node.finish()
            assert (await po.handle.result())["status"] == "released"
        assert "the PO is released" in (await po.recorded("refuse_request")).details

    async def test_while_the_ledger_is_away_waits_for_it(self, shop: Shop) -> None:
        shop.ledger.away = True
        po = await shop.stage()
        await ask_by_signal_and_wait_for_the_attempt(shop, po)
        await po.handle.cancel()
        shop.ledger.away = False
        assert (await po.handle.result())["status"] == "cancelled"
        assert len(po.entries("hold_client_po")) == len(po.entries("cancel_client_po")) == 1

    async def test_aborts_a_test_once_the_ledger_is_back_that_it_waits_for(self, shop: Shop) -> None:
        async with shop.node_online():
            po = await shop.stage()
            await shop.scan()
            await po.handle.result()
        test = shop.client.get_workflow_handle(names.test_execution_id(po.name))
        shop.ledger.away = True
        attempts = shop.ledger.attempts
        await test.signal("explode")
        await until(lambda: shop.ledger.attempts > attempts, lambda: "the refusal is about to be recorded")
        await test.cancel()
        shop.ledger.away = False
        assert (await asyncio.wait_for(test.result(), 20))["status"] == "aborted"
        assert len(shop.entries("abort_test", po.name)) == 1


async def ask_by_signal_and_wait_for_the_attempt(shop: Shop, po: PO) -> None:
    await po.ask("hold")
    await until(lambda: shop.ledger.attempts > 0, lambda: "the hold is tried to be recorded")


class TestSearchAttributes:
    async def test_follow_the_state(self, shop: Shop) -> None:
        po = await shop.stage()
        assert await attribute(po, STATUS) == "awaiting_arrival"
        await ask(po, "hold")
        await eventually(po, STATUS, "hold")

    async def test_follow_the_due_date(self, shop: Shop) -> None:
        po = await shop.stage(due_date="2026-12-01")
        await ask(po, "amend", due_date="2027-01-31")
        await eventually(po, DUE, datetime(2027, 1, 31, 23, 59, 59, tzinfo=UTC))
        await ask(po, "amend", due_date=None)
        await eventually(po, DUE, None)


async def eventually(po: PO, key: SearchAttributeKey[Any], value: Any) -> None:
    async with asyncio.timeout(10):
        while await attribute(po, key) != value:
            await asyncio.sleep(0.05)


class TestAnUpdateID:
    @pytest.mark.parametrize("update_id", ["1", "x" * 900])
    async def test_of_any_caller_names_its_update_alone(self, shop: Shop, update_id: str) -> None:
        po = await shop.stage()
        await po.ask("hold")
        await po.is_("hold")
        await ask(po, "resume")
        await po.handle.execute_update("hold", {"reason": "another"}, id=update_id)
        assert [entry.details for entry in po.entries("hold_client_po")] == ["On hold: because", "On hold: another"]


class TestContinueAsNew:
    async def test_forgets_nothing(self, shop: Shop) -> None:
        """Stock, the line, what was given, and which broadcasts were seen."""
        number = f"PN-{shop.name}"
        waiting = await shop.stage("A", part_number=number, quantity=300)
        late = await shop.stage("B", part_number=number, quantity=10, priority=4)
        scans = [await shop.scan(part_number=number) for _ in range(80)]
        await shop.recorded("receive_arrival", len(scans))
        line = shop.client.get_workflow_handle(f"part-number/{number}")
        first = (await line.describe()).run_id
        for broadcast in scans:
            await shop.scan(id=broadcast, part_number=number)
        await shop.recorded("duplicate_broadcast", len(scans))
        async with shop.node_online():
            await waiting.accept(80)
            await (await shop.approval(f"{waiting.name}.fewer-parts.1")).answer()
            await waiting.is_("released")
            assert late.entries("confirm_arrival") == []
            await shop.scan(part_number=number, quantity=10)
            await late.is_("released")
        runs = [e async for e in shop.client.list_workflows(f"WorkflowId = '{line.id}'")]
        assert len(runs) > 2, "the entity never continued as new"
        assert (await line.describe()).run_id != first
        token = await shop.token(withdrawal_wanted(line.id, scans[0]), "withdraw", by="ada")
        withdrawn = await line.execute_update(
            "withdraw", {"broadcast_id": scans[0], "reason": "wrong label", "token": token}
        )
        assert withdrawn["released"] == [waiting.name]

    async def test_of_a_po_forgets_nothing(self, shop: Shop) -> None:
        """What has arrived, the amended terms, the hold, how many signals there were."""
        number = f"PN-{shop.name}"
        po = await shop.stage(part_number=number, quantity=100)
        await ask(po, "amend", priority=1)
        first = (await po.handle.describe()).run_id
        for scanned in range(1, 31):
            await shop.scan(part_number=number)
            await until(lambda: po.row["arrived"] == scanned, lambda: str(po.row))  # noqa: B023
        await po.ask("hold")
        await po.is_("hold")
        await po.ask("hold")
        await po.recorded("refuse_request")
        await shop.scan(part_number=number, quantity=20)
        await until(lambda: po.row["arrived"] == 50, lambda: str(po.row))
        assert (await po.handle.describe()).run_id != first, "the PO never continued as new"
        await po.accept(50)
        await (await shop.approval(f"{po.name}.fewer-parts.1")).answer()
        await po.recorded("accept_quantity")
        async with shop.node_online():
            await ask(po, "resume")
            await po.is_("released")
        [delivery] = shop.store.inbox()
        assert (delivery.quantity, delivery.priority) == (50, 1)
        assert len({entry.idempotency_key for entry in po.entries("count_arrivals")}) == 31

    async def test_of_an_approval_with_many_notes_leaves_it_open_to_an_answer(self, shop: Shop) -> None:
        number = f"PN-{shop.name}"
        po = await shop.stage(part_number=number, quantity=10)
        await shop.scan(part_number=number, quantity=6)
        await po.recorded("count_arrivals")
        await po.accept(6)
        approval = await shop.approval(f"{po.name}.fewer-parts.1")
        await approval.answer(by="ada")
        assert "another person" in (await approval.recorded("refuse_decision")).details
        first_run = (await approval.handle.describe()).run_id
        for count in range(1, 13):
            await approval.handle.execute_update("note", {"note": f"note {count}", "user_id": "eve"})
        assert (await approval.handle.describe()).run_id != first_run
        assert "another person" in await details(approval.handle)
        await approval.answer(by="ada")
        await approval.recorded("refuse_decision", 2)
        await approval.answer(by="bob")
        assert (await po.recorded("accept_quantity")).user_id == "bob"
        assert len(approval.entries("note_approval")) == 12

    async def test_answers_every_update_that_came_before_it(self, shop: Shop) -> None:
        number = f"PN-{shop.name}"
        scans = [await shop.scan(part_number=number) for _ in range(40)]
        line = shop.client.get_workflow_handle(f"part-number/{number}")
        answers = []
        for start in range(0, len(scans), 6):
            answers += await asyncio.gather(
                *(
                    line.execute_update("withdraw", {"broadcast_id": broadcast, "reason": "wrong label"})
                    for broadcast in scans[start : start + 6]
                )
            )
        assert len(answers) == len(shop.entries("withdraw_arrival")) == len(scans)
