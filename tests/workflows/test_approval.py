"""One person asks, another one answers: by signals here, whose senders can say what they like."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.approvals import ask_approval
from schemas import names
from schemas.approval import RULES, ApprovalRequest, ApprovalType, Difference
from schemas.client_po_life import acceptance_wanted
from schemas.decision import Wanted
from schemas.part_arrival import withdrawal_wanted
from schemas.permission import Role
from tests.workflows.shop import PO, Approval, Shop, details, until

RULE = RULES[ApprovalType.FEWER_PARTS]


@pytest_asyncio.fixture
async def po(shop: Shop) -> PO:
    """Six of ten are there."""
    number = f"PN-{shop.name}"
    po = await shop.stage(part_number=number, quantity=10)
    await shop.scan(part_number=number, quantity=6)
    await po.recorded("count_arrivals")
    return po


@pytest_asyncio.fixture
async def approval(shop: Shop, po: PO) -> Approval:
    """Ada asks that the six be accepted."""
    await po.accept(by="ada")
    return await shop.approval(f"{po.name}.fewer-parts.1")


class TestAsking:
    async def test_opens_an_approval_that_says_what_would_change(self, po: PO, approval: Approval) -> None:
        assert approval.row["summary"] == f"{po.name}: parts that confirm it: 10 → 6"
        assert (approval.row["requested_by"], approval.row["owner"]) == ("ada", Role.QUALITY_MANAGER)
        entry = await approval.recorded("request_approval")
        assert entry.metadata["content_hash"] == approval.row["content_hash"]

    async def test_changes_nothing_yet(self, shop: Shop, po: PO, approval: Approval) -> None:
        await po.recorded("ask_approval")
        assert po.row["pending_approval"] == approval.id
        assert approval.id in await details(po.handle)
        assert po.entries("accept_quantity") == []

    async def test_pauses_nothing_else(self, shop: Shop, po: PO, approval: Approval) -> None:
        await po.ask("hold")
        await po.is_("hold")

    async def test_twice_is_refused(self, po: PO, approval: Approval) -> None:
        await po.accept(5)
        assert "already asks for 6" in (await po.recorded("refuse_request")).details

    async def test_without_a_decision_token_is_refused_and_alerted(self, shop: Shop, po: PO) -> None:
        await po.ask("accept_quantity")
        assert "decision token" in (await po.recorded("refuse_decision")).details
        assert len(shop.alerts("decision_refused")) == 1
        assert shop.ledger.approvals == {}

    async def test_with_a_token_for_another_quantity_is_refused(self, shop: Shop, po: PO) -> None:
        token = await shop.token(acceptance_wanted(po.name, 5, 10), names.ACCEPT_QUANTITY, by="ada")
        await po.ask("accept_quantity", token=token)
        assert "other content" in (await po.recorded("refuse_decision")).details

    async def test_by_somebody_who_may_not_is_refused(self, shop: Shop, po: PO) -> None:
        wanted = acceptance_wanted(po.name, 6, 10)
        token = await shop.token(wanted, names.ACCEPT_QUANTITY, by="ada", role=Role.OPERATOR)
        await po.ask("accept_quantity", token=token)
        assert "po:amend" in (await po.recorded("refuse_decision")).details


class TestAnAnswer:
    async def test_that_approves_takes_effect_and_says_who(self, shop: Shop, po: PO, approval: Approval) -> None:
        async with shop.node_online():
            await approval.answer(by="bob", note="the client agrees")
            await po.is_("released")
        entry = await po.recorded("accept_quantity")
        assert (entry.user_id, entry.metadata["accepted"]) == ("bob", 6)
        answer = await approval.recorded("respond_approval")
        assert (answer.user_id, answer.details) == ("bob", "approved by bob (production_manager): the client agrees")
        assert answer.metadata["decision"]["meaning"] == "approve"
        assert answer.metadata["proof"].count(".") == 2
        assert (await approval.handle.result())["status"] == "approved"

    async def test_that_refuses_leaves_everything_as_it_was(self, po: PO, approval: Approval) -> None:
        await approval.answer("refuse", by="bob")
        assert "is refused" in (await po.recorded("keep_quantity")).details
        assert po.row["pending_approval"] is None
        assert po.row["status"] == "awaiting_arrival"

    async def test_can_be_asked_for_again(self, shop: Shop, po: PO, approval: Approval) -> None:
        await approval.answer("refuse", by="bob")
        await po.recorded("keep_quantity")
        await po.accept(by="ada")
        again = await shop.approval(f"{po.name}.fewer-parts.2")
        await again.answer(by="bob")
        await po.recorded("accept_quantity")

    async def test_of_whoever_asked_is_refused(self, shop: Shop, approval: Approval) -> None:
        await approval.answer(by="ada")
        assert "another person must answer" in (await approval.recorded("refuse_decision")).details
        assert approval.row["status"] == "open"
        assert len(shop.alerts("decision_refused")) == 1

    async def test_of_a_role_that_may_not_is_refused(self, approval: Approval) -> None:
        await approval.answer(by="bob", role=Role.SUPERVISOR)
        assert "disposition:decide" in (await approval.recorded("refuse_decision")).details

    async def test_by_somebody_whose_login_is_old_is_refused(self, approval: Approval) -> None:
        await approval.answer(by="bob", logged_in=timedelta(minutes=16))
        assert "log in again" in (await approval.recorded("refuse_decision")).details

    async def test_that_comes_after_another_is_refused(self, shop: Shop, approval: Approval) -> None:
        shop.ledger.away = True  # so that the first one has not ended the workflow yet
        await approval.answer("refuse", by="bob")
        await approval.answer("approve", by="eve")
        shop.ledger.away = False
        assert "is refused" in (await approval.recorded("refuse_request")).details
        outcome = await approval.handle.result()
        assert (outcome["status"], outcome["decided_by"]) == ("refused", "bob")


Forge = Callable[[Shop, Wanted], Awaitable[str]]


async def for_another_hash(shop: Shop, wanted: Wanted) -> str:
    return await shop.token(wanted.model_copy(update={"content_hash": "0" * 64}), "approve", by="bob")


async def for_another_workflow(shop: Shop, wanted: Wanted) -> str:
    return await shop.token(wanted.model_copy(update={"workflow_id": "approval/other"}), "approve", by="bob")


async def for_something_else(shop: Shop, wanted: Wanted) -> str:
    return await shop.token(wanted, "sign", by="bob")


async def that_expired(shop: Shop, wanted: Wanted) -> str:
    token = await shop.token(wanted, "approve", by="bob")
    await shop.pass_time(timedelta(minutes=11))
    return token


async def by_another_key(shop: Shop, wanted: Wanted) -> str:
    claims = jwt.decode(await shop.token(wanted, "approve", by="bob"), options={"verify_signature": False})
    return jwt.encode(claims, Ed25519PrivateKey.generate(), algorithm="EdDSA", headers={"typ": "decision+jwt"})


async def without_signature(shop: Shop, wanted: Wanted) -> str:
    claims = jwt.decode(await shop.token(wanted, "approve", by="bob"), options={"verify_signature": False})
    return jwt.encode(claims, "", algorithm="none", headers={"typ": "decision+jwt"})


async def that_is_no_decision(shop: Shop, wanted: Wanted) -> str:
    claims = jwt.decode(await shop.token(wanted, "approve", by="bob"), options={"verify_signature": False})
    return jwt.encode(claims, shop.signer._key, algorithm="EdDSA", headers={"typ": "at+jwt"})


async def that_is_nothing(shop: Shop, wanted: Wanted) -> str:
    return "nothing"


FORGERIES: list[Forge] = [
    for_another_hash,
    for_another_workflow,
    for_something_else,
    that_expired,
    by_another_key,
    without_signature,
    that_is_no_decision,
    that_is_nothing,
]


class TestATokenThatDoesNotCount:
    @pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
    async def test_is_refused_recorded_and_alerted_and_the_approval_stays_open(
        self, shop: Shop, approval: Approval, forge: Forge
    ) -> None:
        await approval.handle.signal("respond", {"token": await forge(shop, approval.wanted)})
        await approval.recorded("refuse_decision")
        assert approval.row["status"] == "open"
        assert len(shop.alerts("decision_refused")) == 1
        await approval.answer(by="bob")
        await approval.is_("approved")

    async def test_because_it_was_used_before_is_refused(self, shop: Shop, po: PO, approval: Approval) -> None:
        await approval.answer("refuse", by="bob")
        await po.recorded("keep_quantity")
        used = po.entries("ask_approval")[0].metadata["proof"]
        await po.ask("accept_quantity", token=used)
        assert "used before" in (await po.recorded("refuse_decision")).details


class TestASignalWithoutAToken:
    async def test_that_says_the_approval_has_ended_is_not_believed(
        self, shop: Shop, po: PO, approval: Approval
    ) -> None:
        await po.handle.signal("approval_ended", {"approval_id": approval.id})
        assert "has not ended" in (await po.recorded("refuse_request")).details
        assert po.entries("accept_quantity") == []
        await approval.answer(by="bob")
        await po.recorded("accept_quantity")

    @pytest.mark.parametrize("payload", [None, {}, {"decision": "approve", "person": "bob"}, {"token": None}])
    async def test_answers_nothing(self, shop: Shop, approval: Approval, payload: Any) -> None:
        await approval.handle.signal("respond", payload)
        await approval.recorded("refuse_request")
        assert approval.row["status"] == "open"

    async def test_that_says_to_the_line_that_fewer_are_enough_does_not_release_the_po(
        self, shop: Shop, po: PO
    ) -> None:
        line = shop.client.get_workflow_handle(names.part_arrival_id(None, f"PN-{shop.name}"))
        await line.signal("accept", {"smart_contract_id": po.name, "ticket": 1, "quantity": 6})
        refused = await po.recorded("refuse_decision")
        assert "6 parts were given to it, 10 are needed" in refused.details
        assert po.row["status"] == "awaiting_arrival"
        async with shop.node_online():
            await shop.scan(part_number=f"PN-{shop.name}", quantity=4)
            await po.is_("released")
        assert shop.store.inbox()[0].quantity == 10

    async def test_that_cancels_an_approval_is_not_taken_for_whom_it_names(self, po: PO, approval: Approval) -> None:
        await approval.handle.signal("cancel", {"reason": "no", "user_id": "ada"})
        assert (await approval.recorded("cancel_approval")).user_id == "unidentified"


class TestAnApprovalThatSomebodyElseStarted:
    async def test_is_not_taken_for_the_one_that_is_asked_for(self, shop: Shop, po: PO) -> None:
        request = ApprovalRequest(
            approval_id=f"{po.name}.fewer-parts.1",
            request_type=ApprovalType.FEWER_PARTS,
            subject=po.name,
            requested_by="eve",
            changes=(Difference(field="nothing", before=1, after=2),),
            reason="mine",
            wakes=po.handle.id,
        )
        await ask_approval(shop.client, request)
        foreign = await shop.approval(request.approval_id)
        await foreign.answer(by="ada")
        await foreign.is_("approved")
        await po.accept(by="ada")
        assert "was not asked for here" in (await po.recorded("refuse_decision")).details
        await po.handle.signal("approval_ended", {"approval_id": request.approval_id})
        await po.accept(by="ada")
        await shop.approval(f"{po.name}.fewer-parts.2")
        assert po.entries("accept_quantity") == []


class TestTime:
    async def test_reminds_escalates_and_expires(self, shop: Shop, po: PO, approval: Approval) -> None:
        await shop.pass_time(RULE.remind_after + timedelta(seconds=1))
        await approval.recorded("remind_approval")
        await shop.pass_time(RULE.escalate_after)
        await approval.recorded("escalate_approval")
        assert approval.row["owner"] == Role.PRODUCTION_MANAGER
        await shop.pass_time(RULE.expires_after)
        await approval.is_("expired")
        assert "is expired" in (await po.recorded("keep_quantity")).details
        assert len(approval.entries("remind_approval")) == len(RULE.owners)
        assert len(approval.entries("escalate_approval")) == len(RULE.owners) - 1

    async def test_has_one_alert_open_of_whoever_is_asked_now_until_somebody_answers(
        self, shop: Shop, approval: Approval
    ) -> None:
        def waiting() -> list[Any]:
            return [alert.owner for alert in shop.ledger.open.values() if alert.alert_type == "approval_waits"]

        assert waiting() == [Role.QUALITY_MANAGER]
        await shop.pass_time(RULE.escalate_after + timedelta(seconds=1))
        await approval.recorded("escalate_approval")
        assert waiting() == [Role.PRODUCTION_MANAGER]
        await approval.answer(by="bob")
        await approval.is_("approved")
        assert waiting() == []

    async def test_does_not_pass_over_an_answer(self, shop: Shop, po: PO, approval: Approval) -> None:
        await shop.pass_time(RULE.remind_after + timedelta(seconds=1))
        await approval.answer(by="bob")
        await po.recorded("accept_quantity")
        await approval.handle.result()
        assert approval.entries("expire_approval") == []


class TestWhoAskedIs:
    async def test_no_longer_in_need_of_it_when_all_parts_come(self, shop: Shop, po: PO, approval: Approval) -> None:
        await shop.scan(part_number=f"PN-{shop.name}", quantity=4)
        await approval.is_("cancelled")
        await approval.handle.result()  # the PO was told: what interrupts it when its node is done, this server loses
        async with shop.node_online():
            await po.is_("released")
        assert shop.store.inbox()[0].quantity == 10

    async def test_cancelled(self, po: PO, approval: Approval) -> None:
        await po.ask("cancel")
        await approval.is_("cancelled")
        assert po.row["pending_approval"] is None

    async def test_gone(self, shop: Shop, po: PO, approval: Approval) -> None:
        await po.handle.terminate()
        await approval.answer(by="bob")
        await approval.recorded("approval_unheard")
        assert len(shop.alerts("approval_unheard")) == 1

    async def test_able_to_cancel_it_and_ask_again(self, shop: Shop, po: PO, approval: Approval) -> None:
        await approval.handle.cancel()
        await approval.is_("cancelled")
        assert "is cancelled" in (await po.recorded("keep_quantity")).details
        assert po.row["pending_approval"] is None
        await po.accept(by="ada")
        await shop.approval(f"{po.name}.fewer-parts.2")

    async def test_not_told_of_an_answer_that_came_with_the_last_parts(
        self, shop: Shop, po: PO, approval: Approval
    ) -> None:
        await shop.scan(part_number=f"PN-{shop.name}", quantity=4)
        await approval.answer(by="bob")
        await po.recorded("confirm_arrival")
        await approval.handle.result()
        await po.ask("hold")
        await po.is_("hold")
        assert shop.alerts("request_refused") == []


class TestNotes:
    async def test_may_be_many_and_decide_nothing(self, approval: Approval) -> None:
        for number in range(5):
            await approval.handle.signal("note", {"note": f"note {number}", "user_id": "eve"})
        entry = await approval.recorded("note_approval", 5)
        assert (entry.details, entry.user_id) == ("note 4", "unidentified")
        assert approval.row["status"] == "open"


class TestAWithdrawalAfterTheRelease:
    async def released(self, shop: Shop) -> tuple[PO, str]:
        async with shop.node_online():
            po = await shop.stage()
            broadcast = await shop.scan()
            await po.handle.result()
        await until(lambda: bool(shop.entries("receive_arrival")), lambda: str(shop))
        return po, broadcast

    async def ask(self, shop: Shop, broadcast: str) -> Approval:
        token = await shop.token(withdrawal_wanted(shop.line.id, broadcast), names.WITHDRAW, by="ada")
        await shop.line.signal("withdraw", {"broadcast_id": broadcast, "reason": "wrong label", "token": token})
        asked = await shop.recorded("ask_approval")
        return await shop.approval(asked.metadata["approval_id"])

    async def test_needs_a_second_person(self, shop: Shop) -> None:
        po, broadcast = await self.released(shop)
        approval = await self.ask(shop, broadcast)
        assert shop.entries("withdraw_arrival") == []
        await approval.answer(by="bob")
        entry = await shop.recorded("withdraw_arrival")
        assert (entry.user_id, entry.metadata["already_released"]) == ("bob", [po.name])
        assert len(shop.alerts("withdrawn_after_release")) == 1

    async def test_that_concerns_more_pos_by_now_is_asked_again(self, shop: Shop) -> None:
        number = f"PN-{shop.name}"
        line = shop.client.get_workflow_handle(names.part_arrival_id(None, number))
        async with shop.node_online():
            first = await shop.stage("A", part_number=number, quantity=4)
            broadcast = await shop.scan(part_number=number, quantity=10)
            await first.handle.result()
            await until(lambda: bool(shop.entries("receive_arrival")), lambda: str(shop))
            token = await shop.token(withdrawal_wanted(line.id, broadcast), names.WITHDRAW, by="ada")
            await line.signal("withdraw", {"broadcast_id": broadcast, "reason": "wrong label", "token": token})
            asked = await shop.recorded("ask_approval")
            second = await shop.stage("B", part_number=number, quantity=6)
            await second.handle.result()
        await (await shop.approval(asked.metadata["approval_id"])).answer(by="bob")
        assert "ask again" in (await shop.recorded("keep_arrival")).details
        assert shop.entries("withdraw_arrival") == []

    async def test_that_is_refused_leaves_the_arrival(self, shop: Shop) -> None:
        _, broadcast = await self.released(shop)
        approval = await self.ask(shop, broadcast)
        await approval.answer("refuse", by="bob")
        await shop.recorded("keep_arrival")
        assert shop.entries("withdraw_arrival") == []

    async def test_without_a_token_is_refused(self, shop: Shop) -> None:
        _, broadcast = await self.released(shop)
        await shop.line.signal("withdraw", {"broadcast_id": broadcast, "reason": "wrong label"})
        assert "decision token" in (await shop.recorded("refuse_decision")).details
