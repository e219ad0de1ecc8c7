"""What operators see of a workflow in the Temporal Web UI."""

from schemas import names
from schemas.part_arrival import PartArrivalStart, PartLine, PendingWithdrawal, WithdrawArrival
from tests.workflows.shop import Shop, details


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
