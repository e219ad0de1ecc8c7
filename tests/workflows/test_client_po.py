"""The life of a SmartClientPO, from staging to its end, by signals; updates are tested on the real server."""

import threading
from datetime import timedelta

import pytest
from temporalio import activity
from temporalio.client import WorkflowExecutionStatus

from schemas import names
from schemas.client_po import ClientPOStatus
from schemas.node import NodeDelivery, NodeReceipt
from schemas.part_arrival import Count
from tests.workflows.nodes import SlowNode, occupy_node
from tests.workflows.shop import Shop, details, event_types, happened, until
from workflows import retry


class TestAPartAndItsPO:
    async def test_meet_when_the_po_comes_first(self, shop: Shop) -> None:
        async with shop.node_online():
            po = await shop.stage()
            await shop.scan()
            await po.is_("released")

    async def test_meet_when_the_part_comes_first(self, shop: Shop) -> None:
        async with shop.node_online():
            await shop.scan()
            po = await shop.stage()
            await po.is_("released")

    async def test_stay_apart_when_the_scan_is_somewhere_else(self, shop: Shop) -> None:
        async with shop.node_online():
            po = await shop.stage(arrival_location="gate-7")
            await shop.scan("dock")
            await shop.recorded("receive_arrival")
            assert po.row["status"] == "awaiting_arrival"
            await shop.scan("gate-7")
            await po.is_("released")

    async def test_of_a_first_contract_do_not_meet_at_a_node(self, shop: Shop) -> None:
        po = await shop.stage()
        await shop.scan(shop.node)
        await shop.recorded("receive_arrival")
        assert po.row["status"] == "awaiting_arrival"

    async def test_of_a_chained_contract_meet_at_its_node_only(self, shop: Shop) -> None:
        async with shop.node_online():
            po = await shop.stage(sequence_number=2)
            await shop.scan("dock")
            await shop.recorded("receive_arrival")
            assert po.row["status"] == "awaiting_arrival"
            await shop.scan(shop.node)
            await po.is_("released")


class TestARelease:
    async def test_is_recorded_with_what_the_node_took(self, shop: Shop) -> None:
        async with shop.node_online():
            po = await shop.stage()
            broadcast = await shop.scan()
            await po.is_("released")
        [delivery] = shop.store.inbox()
        entry = await po.recorded("release_client_po")
        assert entry.idempotency_key == f"{po.name}:release"
        assert entry.metadata["receipt_hash"] == delivery.content_hash() == po.row["receipt_hash"]
        assert entry.metadata["broadcast_ids"] == [broadcast]
        assert delivery.document == shop.document()

    async def test_ends_the_workflow_with_the_receipt(self, shop: Shop) -> None:
        async with shop.node_online():
            po = await shop.stage()
            await shop.scan()
            await po.is_("released")
            end = await po.handle.result()
        assert (end["status"], end["receipt_hash"]) == ("released", po.row["receipt_hash"])

    async def test_leaves_the_test_running_on_its_own(self, shop: Shop) -> None:
        async with shop.node_online():
            po = await shop.stage()
            await shop.scan()
            await po.handle.result()
        test = shop.client.get_workflow_handle(names.test_execution_id(po.name))
        assert (await test.describe()).status is WorkflowExecutionStatus.RUNNING

    async def test_hands_unknown_fields_on_untouched(self, shop: Shop) -> None:
        async with shop.node_online():
            po = await shop.stage(customer_note={"colour": "red", "weight": 1.5})
            await shop.scan()
            await po.is_("released")
        assert shop.store.inbox()[0].document["customer_note"] == {"colour": "red", "weight": 1.5}

    async def test_hands_the_terms_as_amended_on(self, shop: Shop) -> None:
        async with shop.node_online():
            po = await shop.stage()
            await po.ask("amend", priority=1, due_date="2027-01-31")
            await po.recorded("amend_client_po")
            await shop.scan()
            await po.is_("released")
        [delivery] = shop.store.inbox()
        assert (delivery.priority, delivery.number) == (1, 2)
        assert delivery.due_date is not None
        assert delivery.due_date.isoformat() == "2027-01-31T23:59:59+00:00"


class TestQuantities:
    async def test_are_confirmed_when_all_parts_are_there(self, shop: Shop) -> None:
        number = f"PN-{shop.name}"
        async with shop.node_online():
            po = await shop.stage(part_number=number, quantity=10)
            await shop.scan(part_number=number, quantity=6)
            await po.recorded("count_arrivals")
            assert (po.row["status"], po.row["arrived"]) == ("awaiting_arrival", 6)
            await shop.scan(part_number=number, quantity=4)
            await po.is_("released")
        assert po.row["arrived"] == 10

    async def test_that_were_there_first_are_shown_too(self, shop: Shop) -> None:
        number = f"PN-{shop.name}"
        await shop.scan(part_number=number, quantity=6)
        po = await shop.stage(part_number=number, quantity=10)
        await until(lambda: po.row["arrived"] == 6, lambda: str(po.row))

    async def test_that_grew_while_the_ledger_was_away_are_recorded_once(self, shop: Shop) -> None:
        po = await shop.stage(part_number=f"PN-{shop.name}", quantity=100)
        shop.ledger.away = True
        await po.ask("hold")
        for arrived in range(1, 6):
            count = Count(smart_contract_id=po.name, ticket=1, arrived=arrived)
            await po.handle.signal(names.PARTS_COUNTED, count)
        await details(po.handle)  # all of them have come to it: this server tells what was signalled late
        shop.ledger.away = False
        await until(lambda: po.row["arrived"] == 5, lambda: str(po.row))
        assert len(po.entries("count_arrivals")) == 1

    @pytest.mark.parametrize(("accepted", "expected"), [(None, 6), (4, 4)])
    async def test_can_be_accepted_smaller(self, shop: Shop, accepted: int | None, expected: int) -> None:
        number = f"PN-{shop.name}"
        async with shop.node_online():
            po = await shop.stage(part_number=number, quantity=10)
            await shop.scan(part_number=number, quantity=6)
            await po.recorded("count_arrivals")
            await po.accept(accepted)
            approval = await shop.approval(f"{po.name}.fewer-parts.1")
            await approval.answer()
            await po.is_("released")
        assert shop.store.inbox()[0].quantity == expected

    async def test_cannot_be_accepted_before_anything_is_there(self, shop: Shop) -> None:
        po = await shop.stage(part_number=f"PN-{shop.name}", quantity=10)
        await po.ask("accept_quantity")
        refusal = await po.recorded("refuse_request")
        assert "0 of 10 are there" in refusal.details

    async def test_serve_the_second_po_with_the_rest(self, shop: Shop) -> None:
        number = f"PN-{shop.name}"
        async with shop.node_online():
            first = await shop.stage("A", part_number=number, quantity=3)
            second = await shop.stage("B", part_number=number, quantity=3)
            await shop.scan(part_number=number, quantity=6)
            await first.is_("released")
            await second.is_("released")


class TestAHold:
    async def test_before_the_arrival_lets_it_be_confirmed_but_not_released(self, shop: Shop) -> None:
        async with shop.node_online():
            po = await shop.stage()
            await po.ask("hold")
            await po.is_("hold")
            await shop.scan()
            await po.recorded("confirm_arrival")
            assert po.row["status"] == "hold"
            await po.ask("resume")
            await po.is_("released")

    async def test_while_the_node_is_away_is_accepted_and_takes_the_offer_back(self, shop: Shop) -> None:
        po = await shop.stage()
        await shop.scan()
        await po.is_("ready_for_release")
        await po.ask("hold")
        await po.is_("hold")
        async with shop.node_online():
            await po.ask("resume")
            await po.is_("released")
        types = event_types(await po.handle.fetch_history())
        assert types.count("ACTIVITY_TASK_CANCELED") == 1

    async def test_twice_is_refused(self, shop: Shop) -> None:
        po = await shop.stage()
        await po.ask("hold")
        await po.ask("hold")
        assert "already on hold" in (await po.recorded("refuse_request")).details

    async def test_keeps_the_parts_from_others(self, shop: Shop) -> None:
        async with shop.node_online():
            first = await shop.stage("A")
            await first.joined()
            second = await shop.stage("B")
            await first.ask("hold")
            await shop.scan()
            await first.recorded("confirm_arrival")
            assert second.entries("confirm_arrival") == []

    async def test_comes_by_itself_when_the_part_is_damaged(self, shop: Shop) -> None:
        async with shop.node_online():
            po = await shop.stage()
            await shop.scan(condition="bent")
            await po.is_("hold")
            assert "bent at dock" in po.row["hold_reason"]
            await po.ask("resume")
            await po.is_("released")

    async def test_comes_by_itself_when_a_rescan_finds_the_part_damaged(self, shop: Shop) -> None:
        po = await shop.stage()
        await shop.scan()
        await po.is_("ready_for_release")
        await shop.scan(condition="bent")
        await po.is_("hold")


class TestACancel:
    async def test_gives_the_part_to_the_next_in_line(self, shop: Shop) -> None:
        first = await shop.stage("A")
        await shop.scan()
        await first.is_("ready_for_release")
        second = await shop.stage("B")
        await first.ask("cancel")
        await second.is_("ready_for_release")
        assert (await first.handle.result())["status"] == ClientPOStatus.CANCELLED

    async def test_by_temporal_is_the_same(self, shop: Shop) -> None:
        first = await shop.stage("A")
        await shop.scan()
        await first.is_("ready_for_release")
        second = await shop.stage("B")
        await first.handle.cancel()
        await second.is_("ready_for_release")
        assert (await first.recorded("cancel_client_po")).user_id == "temporal"
        assert (await first.handle.result())["status"] == ClientPOStatus.CANCELLED

    async def test_of_a_held_po_ends_it(self, shop: Shop) -> None:
        po = await shop.stage()
        await po.ask("hold")
        await po.ask("cancel")
        await po.is_("cancelled")

    async def test_is_answered_while_others_wait_to_be_refused(self, shop: Shop) -> None:
        po = await shop.stage()
        await po.is_("awaiting_arrival")
        for signal in ("cancel", "cancel", "hold"):
            await po.ask(signal)
        await po.handle.result()
        assert len(po.entries("cancel_client_po")) == 1


class TestAnAmendment:
    async def test_reorders_the_line(self, shop: Shop) -> None:
        first = await shop.stage("A")
        second = await shop.stage("B")
        await second.ask("amend", priority=1)
        await second.recorded("amend_client_po")
        await shop.pass_time(timedelta(seconds=1))
        await shop.scan()
        await second.is_("ready_for_release")
        assert first.row["status"] == "awaiting_arrival"

    async def test_says_what_was_before(self, shop: Shop) -> None:
        po = await shop.stage(due_date="2026-12-01")
        await po.ask("amend", due_date=None)
        entry = await po.recorded("amend_client_po")
        assert entry.metadata["changes"] == {"due_date": {"before": "2026-12-01T23:59:59Z", "after": None}}
        assert po.row["due_date"] is None


class TestAWithdrawnArrival:
    async def test_sends_a_po_back_to_waiting(self, shop: Shop) -> None:
        po = await shop.stage()
        broadcast = await shop.scan()
        await po.is_("ready_for_release")
        await shop.line.signal("withdraw", {"broadcast_id": broadcast, "reason": "wrong label"})
        await po.is_("awaiting_arrival")
        assert "wrong label" in (await po.recorded("withdraw_arrival")).details
        async with shop.node_online():
            again = await shop.scan()
            await po.is_("released")
        assert shop.store.inbox()[0].broadcast_ids == (again,)


class TestAPartThatMovesAway:
    async def test_before_the_release_makes_the_po_wait_again(self, shop: Shop) -> None:
        po = await shop.stage(arrival_location="dock")
        await shop.scan("dock")
        await po.is_("ready_for_release")
        await shop.scan("shelf")
        await po.is_("awaiting_arrival")
        assert "scanned at shelf" in (await po.recorded("part_moved")).details
        assert po.entries("withdraw_arrival") == []
        async with shop.node_online():
            await shop.scan("dock", age=timedelta(seconds=-1))
            await po.is_("released")

    async def test_to_the_node_of_its_po_and_is_found_damaged_puts_the_po_on_hold(self, shop: Shop) -> None:
        po = await shop.stage()
        await shop.scan("dock")
        await po.is_("ready_for_release")
        await shop.scan(shop.node, condition="cracked")
        await po.is_("hold")
        assert "cracked" in po.row["hold_reason"]

    async def test_to_another_good_place_stays_with_its_po(self, shop: Shop) -> None:
        first = await shop.stage("A", priority=1)
        second = await shop.stage("B")
        await first.joined()
        await shop.scan("dock")
        await first.recorded("confirm_arrival")
        await shop.scan("shelf", age=timedelta(seconds=-1))
        await first.recorded("confirm_arrival", 2)
        assert second.entries("confirm_arrival") == []


@pytest.fixture
def node_time(monkeypatch: pytest.MonkeyPatch) -> timedelta:
    """How long one attempt at a node may take: this server does not skip it."""
    monkeypatch.setattr(retry, "NODE_TIME", timedelta(seconds=1))
    return retry.NODE_TIME


class TestANode:
    async def test_that_is_away_is_alerted_and_takes_the_po_when_it_comes_back(self, shop: Shop) -> None:
        po = await shop.stage()
        await shop.scan()
        await po.is_("ready_for_release")
        failure = await po.recorded("release_failed")
        assert "has not taken the PO for 1 s" in failure.details
        assert len(shop.open_alerts("release_failed")) == 1
        async with shop.node_online():
            await po.is_("released")
        assert len(po.entries("release_failed")) == 1
        assert shop.open_alerts("release_failed") == []

    @pytest.mark.parametrize("ends", ["hold", "cancel", "withdraw"])
    async def test_that_is_away_is_nobodys_business_once_nothing_is_released_to_it(self, shop: Shop, ends: str) -> None:
        po = await shop.stage()
        broadcast = await shop.scan()
        await po.recorded("release_failed")
        if ends == "withdraw":
            await shop.line.signal("withdraw", {"broadcast_id": broadcast, "reason": "wrong label"})
            await po.recorded("withdraw_arrival")
        else:
            await po.ask(ends)
            await po.recorded(f"{ends}_client_po")
        assert shop.open_alerts("release_failed") == []

    async def test_that_refuses_after_it_was_away_is_another_cause(self, shop: Shop) -> None:
        occupy_node(shop)
        po = await shop.stage()
        await shop.scan()
        await po.recorded("release_failed")
        async with shop.node_online():
            await po.recorded("release_failed", 2)
        [alert] = shop.open_alerts("release_failed")
        assert "with other content" in alert.text

    async def test_that_holds_something_else_makes_the_po_wait_for_a_person(self, shop: Shop) -> None:
        occupy_node(shop)
        async with shop.node_online():
            po = await shop.stage()
            await shop.scan()
            failure = await po.recorded("release_failed")
            assert "with other content" in failure.details
            assert "with other content" in po.row["release_error"]
            assert len(shop.alerts("release_failed")) == 1

    async def test_that_was_mended_takes_the_po_on_a_retry(self, shop: Shop) -> None:
        occupy_node(shop)
        po = await shop.stage()
        await shop.scan()
        async with shop.node_online():
            await po.recorded("release_failed")
        shop.forget_at_node()
        async with shop.node_online():
            await po.ask("retry")
            await po.is_("released")
        assert po.row["release_error"] is None

    async def test_that_is_away_after_a_retry_is_alerted_again(self, shop: Shop) -> None:
        occupy_node(shop)
        po = await shop.stage()
        await shop.scan()
        await po.recorded("release_failed")  # it is away
        async with shop.node_online():
            await po.recorded("release_failed", 2)  # it refuses
        await po.ask("retry")
        await po.recorded("retry_release")
        assert [alert for alert in shop.ledger.open.values() if alert.alert_type == "release_failed"] == []
        assert "has not taken the PO for 1 s" in (await po.recorded("release_failed", 3)).details

    async def test_that_fails_for_a_moment_is_tried_again(self, shop: Shop) -> None:
        tries = []

        @activity.defn(name="take_client_po")
        def take(delivery: NodeDelivery) -> NodeReceipt:
            tries.append(delivery.number)
            if len(tries) < 3:
                raise OSError("disk full")
            return shop.store.take(delivery)

        async with shop.node_online(take):
            po = await shop.stage()
            await shop.scan()
            await po.is_("released")

    async def test_that_keeps_failing_is_alerted_in_time(self, shop: Shop) -> None:
        tries = []

        @activity.defn(name="take_client_po")
        def take(delivery: NodeDelivery) -> NodeReceipt:
            tries.append(delivery.number)
            raise OSError("disk full")

        async with shop.node_online(take):
            po = await shop.stage()
            await shop.scan()
            failure = await po.recorded("release_failed")
            assert "has not taken the PO for 1 s" in failure.details
            await until(lambda: len(tries) >= 3, lambda: "it is asked again")
            assert len(po.entries("release_failed")) == 1

    async def test_that_may_have_the_po_is_asked_again_before_a_hold_is_answered(
        self, shop: Shop, node_time: timedelta
    ) -> None:
        taken, answer = threading.Event(), threading.Event()

        @activity.defn(name="take_client_po")
        def take(delivery: NodeDelivery) -> NodeReceipt:
            receipt = shop.store.take(delivery)
            if not taken.is_set():
                taken.set()
                answer.wait(20)
            return receipt

        async with shop.node_online(take):
            po = await shop.stage()
            await shop.scan()
            await until(taken.is_set, lambda: "the node takes it")
            await shop.pass_time(node_time + timedelta(seconds=0.5))  # it is over, nobody knows whether it has it
            await po.ask("hold")
            answer.set()
            await shop.pass_time(timedelta(seconds=2))
            await po.is_("released")
            refusal = await po.recorded("refuse_request")
        assert "the PO is released" in refusal.details
        assert len(shop.store.inbox()) == 1

    async def test_that_may_have_the_po_is_asked_again_at_once_on_a_retry(
        self, shop: Shop, node_time: timedelta
    ) -> None:
        taken, answer = threading.Event(), threading.Event()
        tries: list[int] = []

        @activity.defn(name="take_client_po")
        def take(delivery: NodeDelivery) -> NodeReceipt:
            tries.append(delivery.number)
            if not taken.is_set():
                taken.set()
                answer.wait(20)
            if len(tries) < 8:
                raise OSError("disk full")
            return shop.store.take(delivery)

        async with shop.node_online(take):
            po = await shop.stage()
            await shop.scan()
            await until(taken.is_set, lambda: "the node takes it")
            await shop.pass_time(node_time + timedelta(seconds=0.5))
            answer.set()
            await po.ask("hold")
            while len(tries) < 8:
                before = len(tries)
                await po.ask("retry")
                await until(lambda: len(tries) > before, lambda: f"tried again after {tries}")  # noqa: B023
            await po.is_("released")
        assert po.entries("retry_release")

    async def test_that_is_taking_the_po_answers_before_a_hold_is_refused(self, shop: Shop) -> None:
        node = SlowNode(shop)
        async with shop.node_online(node.take):
            po = await shop.stage()
            await shop.scan()
            await node.begins()
            await po.ask("hold")
            await happened(po.handle, "ACTIVITY_TASK_CANCEL_REQUESTED")  # this server cannot take both at once
            node.finish()
            await po.is_("released")
            assert "the PO is released" in (await po.recorded("refuse_request")).details
