"""What operators see of a workflow in the Temporal Web UI."""

import pytest
from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateStage

from schemas import names
from schemas.part_arrival import PendingWithdrawal, WithdrawArrival
from schemas.part_line import PartArrivalStart, PartLine
from tests.workflows.shop import Shop, details, shows, until


class TestALineThatWaitsForTheApprovalOfAWithdrawal:
    async def test_shows_which_one_it_is_and_how_to_answer_it(self, shop: Shop) -> None:
        withdrawal = WithdrawArrival(broadcast_id="B1", reason="wrong label")
        start = PartArrivalStart(
            part_id=shop.part,
            part_number=None,
            unclaimed_after=300,
            line=PartLine(single=True),
            withdrawals={
                "withdrawal.1": PendingWithdrawal(withdrawal=withdrawal, released=("SC-1",), content_hash="c0ffee")
            },
        )
        await shop.client.start_workflow("PartArrivalWorkflow", start, id=shop.line.id, task_queue=names.MAIN_QUEUE)
        shop.workflow_ids.add(shop.line.id)
        shown = await details(shop.line)
        assert "withdrawal of B1 waits for the approval `withdrawal.1`" in shown
        assert "`smartfloor decide approval/withdrawal.1 approve --hash c0ffee`" in shown


class TestARefusal:
    async def test_of_a_signal_is_shown_since_nobody_hears_its_answer(self, shop: Shop) -> None:
        po = await shop.stage()
        await po.ask("resume")
        await shows(po.handle, "⚠ `resume` was refused")

    async def test_of_an_update_is_told_to_whoever_asked_alone(self, shop: Shop) -> None:
        po = await shop.stage()
        await po.joined()
        before = shop.ledger.attempts
        shop.ledger.away = True  # so that both are accepted before the first is done
        await po.ask("hold")
        await until(lambda: shop.ledger.attempts > before, lambda: "the hold is being recorded")
        resume = {"reason": "because", "user_id": "ada"}
        first, second = [
            await po.handle.start_update("resume", resume, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
            for _ in range(2)
        ]
        shop.ledger.away = False
        await first.result()
        with pytest.raises(WorkflowUpdateFailedError):
            await second.result()
        assert "⚠" not in await details(po.handle)
