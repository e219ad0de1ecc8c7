"""The entity that matches the arrivals of one part with the POs that wait for it."""

from datetime import timedelta

import pytest
from temporalio.client import WorkflowExecutionStatus

from schemas.part_arrival import IDLE, MEMORY
from tests.workflows.shop import UNCLAIMED_AFTER, Shop

A_MOMENT = timedelta(minutes=1)


class TestABroadcast:
    async def test_that_is_repeated_is_recorded_and_changes_nothing(self, shop: Shop) -> None:
        number = f"PN-{shop.name}"
        for _ in range(2):
            await shop.scan(id="SAME", part_number=number)
        await shop.recorded("duplicate_broadcast")
        async with shop.node_online():
            first = await shop.stage("A", part_number=number)
            await first.is_("released")
            second = await shop.stage("B", part_number=number)
            await second.ask("hold")
            await second.is_("hold")
        assert second.entries("confirm_arrival") == []

    @pytest.mark.parametrize("age", [MEMORY + A_MOMENT, timedelta(minutes=-30)])
    async def test_out_of_its_time_is_refused_with_an_alert(self, shop: Shop, age: timedelta) -> None:
        po = await shop.stage()
        broadcast = await shop.scan(age=age)
        refused = await shop.recorded("refuse_arrival")
        [alert] = shop.alerts("arrival_refused")
        assert broadcast in alert.text
        assert refused.metadata["broadcast_id"] == broadcast
        assert po.row["status"] == "awaiting_arrival"

    async def test_out_of_its_time_is_refused_again_though_it_says_something_else(self, shop: Shop) -> None:
        when = await shop.now() - MEMORY - A_MOMENT
        await shop.scan(id="SAME", timestamp=when)
        await shop.scan("elsewhere", id="SAME", timestamp=when)
        await shop.recorded("refuse_arrival", 2)

    async def test_with_an_id_of_long_ago_counts(self, shop: Shop) -> None:
        await shop.scan(id="SAME")
        first = await shop.recorded("receive_arrival")
        await shop.pass_time(3 * IDLE)
        await shop.line.signal("withdraw", {"broadcast_id": "SAME", "reason": "gone"})
        await shop.recorded("withdraw_arrival")
        await shop.pass_time(2 * IDLE)
        await shop.scan("elsewhere", id="SAME")
        second = await shop.recorded("receive_arrival", 2)
        assert first.details != second.details

    async def test_of_a_part_that_lies_there_is_tracking(self, shop: Shop) -> None:
        await shop.scan()
        await shop.scan()
        await shop.recorded("track_arrival")
        assert len(shop.entries("receive_arrival")) == 1


class TestAnUnclaimedArrival:
    async def test_is_reported_once(self, shop: Shop) -> None:
        broadcast = await shop.scan()
        await shop.recorded("receive_arrival")
        await shop.pass_time(UNCLAIMED_AFTER - timedelta(hours=1))
        assert shop.entries("arrival_unclaimed") == []
        await shop.pass_time(timedelta(hours=2))
        entry = await shop.recorded("arrival_unclaimed")
        assert entry.metadata["broadcast_id"] == broadcast
        await shop.pass_time(2 * UNCLAIMED_AFTER)
        assert len(shop.entries("arrival_unclaimed")) == len(shop.alerts("arrival_unclaimed")) == 1

    async def test_still_serves_a_po(self, shop: Shop) -> None:
        await shop.scan()
        await shop.recorded("receive_arrival")
        await shop.pass_time(2 * UNCLAIMED_AFTER)
        await shop.recorded("arrival_unclaimed")
        assert len(shop.open_alerts("arrival_unclaimed")) == 1
        async with shop.node_online():
            po = await shop.stage()
            await po.is_("released")
        assert shop.open_alerts("arrival_unclaimed") == []

    async def test_of_which_a_po_took_all_is_said_to_be_claimed_by_the_line(self, shop: Shop) -> None:
        broadcast = await shop.scan()
        await shop.recorded("receive_arrival")
        await shop.pass_time(2 * UNCLAIMED_AFTER)
        await shop.recorded("arrival_unclaimed")
        async with shop.node_online():
            await shop.stage()
            entry = await shop.recorded("arrival_claimed")
        assert entry.metadata["broadcast_ids"] == [broadcast]

    async def test_of_which_a_rest_lies_there_is_open_until_that_is_taken_too(self, shop: Shop) -> None:
        number = f"PN-{shop.name}"
        await shop.scan(part_number=number, quantity=10)
        await shop.recorded("receive_arrival")
        await shop.pass_time(2 * UNCLAIMED_AFTER)
        await shop.recorded("arrival_unclaimed")
        first = await shop.stage("A", part_number=number, quantity=4)
        await first.is_("ready_for_release")
        await shop.client.get_workflow_handle(f"part-number/{number}").signal("nonsense")
        await shop.recorded("refuse_request")  # so the line has done all that the first one was cause to
        assert len(shop.open_alerts("arrival_unclaimed")) == 1
        assert shop.entries("arrival_claimed") == []
        second = await shop.stage("B", part_number=number, quantity=6)
        await second.is_("ready_for_release")
        await shop.recorded("arrival_claimed")
        assert shop.open_alerts("arrival_unclaimed") == []

    async def test_is_reported_again_when_the_po_that_claimed_it_gives_it_back(self, shop: Shop) -> None:
        await shop.scan()
        await shop.recorded("receive_arrival")
        await shop.pass_time(2 * UNCLAIMED_AFTER)
        await shop.recorded("arrival_unclaimed")
        po = await shop.stage()
        await po.is_("ready_for_release")
        await shop.recorded("arrival_claimed")
        await po.ask("cancel")
        await shop.recorded("arrival_unclaimed", 2)
        assert len(shop.open_alerts("arrival_unclaimed")) == 1

    async def test_is_not_unclaimed_any_more_when_it_is_withdrawn(self, shop: Shop) -> None:
        broadcast = await shop.scan()
        await shop.recorded("receive_arrival")
        await shop.pass_time(2 * UNCLAIMED_AFTER)
        await shop.recorded("arrival_unclaimed")
        await shop.line.signal("withdraw", {"broadcast_id": broadcast, "reason": "wrong label"})
        await shop.recorded("withdraw_arrival")
        await shop.recorded("arrival_claimed")
        assert shop.open_alerts("arrival_unclaimed") == []

    async def test_is_not_unclaimed_there_any_more_when_it_is_elsewhere(self, shop: Shop) -> None:
        await shop.scan("dock")
        await shop.recorded("receive_arrival")
        await shop.pass_time(2 * UNCLAIMED_AFTER)
        await shop.recorded("arrival_unclaimed")
        await shop.scan("shelf")
        await shop.recorded("receive_arrival", 2)
        await shop.recorded("arrival_claimed")
        assert shop.open_alerts("arrival_unclaimed") == []


class TestAWithdrawal:
    async def test_of_what_nobody_knows_is_refused(self, shop: Shop) -> None:
        await shop.scan()
        await shop.line.signal("withdraw", {"broadcast_id": "B-unknown", "reason": "wrong label"})
        refusal = await shop.recorded("refuse_request")
        assert "no arrival B-unknown" in refusal.details
        assert len(shop.alerts("request_refused")) == 1

    async def test_gives_the_other_units_to_the_next_in_line(self, shop: Shop) -> None:
        number = f"PN-{shop.name}"
        wrong = await shop.scan(part_number=number, quantity=1)
        await shop.scan(part_number=number, quantity=2)
        line = shop.client.get_workflow_handle(f"part-number/{number}")
        first = await shop.stage("A", part_number=number, quantity=3)
        await first.is_("ready_for_release")
        second = await shop.stage("B", part_number=number, quantity=2)
        await line.signal("withdraw", {"broadcast_id": wrong, "reason": "wrong label"})
        await first.is_("awaiting_arrival")
        await first.recorded("count_arrivals")
        assert (first.row["arrived"], second.row["status"]) == (2, "awaiting_arrival")
        await first.ask("cancel")
        await second.is_("ready_for_release")


class TestTheEntity:
    async def test_refuses_to_be_cancelled_and_loses_nothing(self, shop: Shop) -> None:
        await shop.scan()
        await shop.recorded("receive_arrival")
        await shop.line.cancel()
        refusal = await shop.recorded("refuse_request")
        assert "would be lost" in refusal.details
        async with shop.node_online():
            po = await shop.stage()
            await po.is_("released")

    async def test_stays_while_something_is_in_stock(self, shop: Shop) -> None:
        await shop.scan()
        await shop.recorded("receive_arrival")
        await shop.pass_time(5 * IDLE)
        assert (await shop.line.describe()).status is WorkflowExecutionStatus.RUNNING

    async def test_ends_after_its_idle_time_and_starts_afresh(self, shop: Shop) -> None:
        async with shop.node_online():
            po = await shop.stage("A")
            await shop.scan()
            await po.handle.result()
            await shop.pass_time(MEMORY - A_MOMENT)
            assert (await shop.line.describe()).status is WorkflowExecutionStatus.RUNNING
            await shop.pass_time(3 * IDLE)
            assert (await shop.line.describe()).status is WorkflowExecutionStatus.COMPLETED
            again = await shop.stage("B")
            await shop.scan()
            await again.is_("released")

    async def test_records_in_each_of_its_lives(self, shop: Shop) -> None:
        for life in range(1, 3):
            po = await shop.stage(f"PO{life}")
            await po.joined()
            await shop.line.signal("nonsense", f"of life {life}")
            await shop.recorded("refuse_request", life)
            await po.ask("cancel")
            await po.handle.result()
            await shop.pass_time(3 * IDLE)
            assert (await shop.line.describe()).status is WorkflowExecutionStatus.COMPLETED


class TestAPOWhoseWorkflowIsGone:
    async def test_does_not_keep_the_part_from_the_next_in_line(self, shop: Shop) -> None:
        first = await shop.stage("A")
        second = await shop.stage("B")
        await first.joined()
        await second.joined()
        await first.handle.terminate()
        async with shop.node_online():
            await shop.scan()
            await second.is_("released")

    async def test_gives_its_part_back_when_the_part_moves(self, shop: Shop) -> None:
        first = await shop.stage("A")
        await shop.scan("dock")
        await first.is_("ready_for_release")
        second = await shop.stage("B")
        await second.joined()
        await first.handle.terminate()
        async with shop.node_online():
            await shop.scan("shelf", age=timedelta(seconds=-1))
            await second.is_("released")
