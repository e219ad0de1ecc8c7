"""The dual transfer: each leg for itself, until its receiver has it or a person must help."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from schemas import names
from schemas.permission import Role
from schemas.test_results import TestVerdict
from schemas.transfer import Destination, Preparation, disposition_wanted
from tests.hubs import Reply, Request, hub_server, receipt, taken
from tests.workflows.forgeries import FORGERIES, Forgery
from tests.workflows.shop import MemoryLedger, Shop, check_histories, details, main_worker, until
from tests.workflows.transfers import FINAL, Transfer

VAULT, NEXT_NODE, BUSINESS_HUB = Destination.VAULT, Destination.NEXT_NODE, Destination.BUSINESS_HUB

ATTEMPTS = {VAULT: "transfer_to_vault", NEXT_NODE: "transfer_to_next_node"}


@pytest_asyncio.fixture
async def transfer(environment: WorkflowEnvironment, tmp_path: Path) -> AsyncIterator[Transfer]:
    with closing(Shop(environment, MemoryLedger(), tmp_path)) as shop:
        async with hub_server() as hubs:
            transfer = Transfer(shop, hubs)
            async with transfer.activities() as activities, main_worker(shop, more=activities):
                yield transfer
                await check_histories(shop)


def down(_: Request) -> Reply:
    return 503, {"detail": "down"}


def refuses(_: Request) -> Reply:
    return 422, {"detail": "not like this"}


def wrong(request: Request) -> Reply:
    return 200, receipt(request, content_hash="0" * 64)


async def ask(transfer: Transfer, update: str, payload: dict[str, Any]) -> Any:
    return await transfer.handle.execute_update(update, payload)


class TestBothLegs:
    async def test_arrive_and_the_package_is_fully_complete(self, transfer: Transfer) -> None:
        await transfer.start()
        assert await transfer.handle.result() == {
            "package_id": transfer.package.package_id,
            "status": "fully_complete",
            "disposition": None,
        }
        assert (transfer.row["vault_status"], transfer.row["next_node_status"]) == ("complete", "complete")
        assert transfer.row["business_hub_status"] == "not_applicable"
        assert all(transfer.row[stamp] for stamp in ("received_now", "vault_now", "next_node_now", "ended_now"))
        assert (transfer.row["next_station"], transfer.row["next_contract"]) == ("NODE-NEXT", "SC-2.yaml")

    async def test_are_recorded_each_for_itself_under_the_node(self, transfer: Transfer) -> None:
        await transfer.start()
        await transfer.handle.result()
        entries = list(transfer.shop.ledger.entries.values())
        assert [entry.action for entry in entries[:2]] == ["receive_authorization", "read_routing"]
        assert {entry.action for entry in entries[2:4]} == set(ATTEMPTS.values())
        assert [entry.action for entry in entries[4:]] == ["execute_dual_transfer"]
        assert {(entry.action_type, entry.smart_id) for entry in entries} == {("handoff", transfer.shop.node)}
        for destination, action in ATTEMPTS.items():
            attempt = transfer.entries(action)[0].metadata
            assert (attempt["outcome"], attempt["attempt"], attempt["error"]) == ("success", 1, None)
            assert attempt["hash_sent"] == attempt["hash_received"]
            assert transfer.entries(action)[0].idempotency_key == f"{transfer.package.package_id}:{destination}:1"

    async def test_of_a_final_contract_are_the_vaults_and_then_the_business_hubs(self, transfer: Transfer) -> None:
        transfer.hubs.answers[VAULT] = down
        await transfer.start(trigger=FINAL)
        await transfer.is_(vault_status="waiting")
        assert transfer.sent(BUSINESS_HUB) == 0
        transfer.hubs.answers[VAULT] = taken
        await transfer.retry(VAULT)
        await transfer.handle.result()
        assert (transfer.sent(BUSINESS_HUB), transfer.sent(NEXT_NODE)) == (1, 0)
        assert (transfer.row["next_node_status"], transfer.row["business_hub_status"]) == ("not_applicable", "complete")
        assert len(transfer.entries("notify_business_hub")) == 1

    async def test_are_not_sent_twice_when_the_transfer_is_started_again(self, transfer: Transfer) -> None:
        await transfer.start()
        await transfer.handle.result()
        assert not await transfer.start()
        assert (transfer.sent(VAULT), transfer.sent(NEXT_NODE)) == (1, 1)

    async def test_show_what_they_wait_for_and_how_to_go_on(self, transfer: Transfer) -> None:
        transfer.hubs.answers[VAULT] = refuses
        await transfer.start()
        await transfer.is_(vault_status="waiting", next_node_status="complete")
        await until_details(transfer, "retry_pending", "not like this", '"destination": "vault"', "leg: **complete**")


async def until_details(transfer: Transfer, *texts: str) -> None:
    shown = ""
    try:
        async with asyncio.timeout(10):
            while not all(text in shown for text in texts):
                await asyncio.sleep(0.02)
                shown = await details(transfer.handle)
    except TimeoutError:
        pytest.fail(f"{texts} is not in {shown}")


class TestALegThatFails:
    @pytest.mark.parametrize(("failing", "other"), [(VAULT, NEXT_NODE), (NEXT_NODE, VAULT)])
    async def test_for_ever_delays_the_other_by_nothing(
        self, transfer: Transfer, failing: Destination, other: Destination
    ) -> None:
        for policy in (failing, other):
            transfer.doorkeeper.policies[policy] = transfer.doorkeeper.policies[policy].model_copy(
                update={"retries": 1000}
            )
        transfer.hubs.answers[failing] = down
        await transfer.start()
        await transfer.is_(**{f"{other}_status": "complete", f"{other}_attempts": 1})
        await transfer.recorded("retry_transfer", 2)
        assert transfer.row[f"{failing}_status"] in ("failed", "transferring")
        assert transfer.row["status"] != "fully_complete"
        await transfer.handle.terminate()

    async def test_that_never_answers_delays_the_other_by_nothing(self, transfer: Transfer) -> None:
        answered = asyncio.Event()

        async def hangs(request: Request, writer: asyncio.StreamWriter) -> None:
            await answered.wait()

        transfer.hubs.answers[VAULT] = lambda _: hangs
        await transfer.start()
        await transfer.is_(next_node_status="complete")
        assert transfer.row["vault_attempts"] == 0
        transfer.hubs.answers[VAULT] = taken
        answered.set()
        await transfer.handle.result()

    async def test_is_tried_four_times_and_then_waits_for_a_person(self, transfer: Transfer) -> None:
        transfer.hubs.answers[VAULT] = down
        await transfer.start()
        await transfer.is_(vault_status="waiting", next_node_status="complete")
        assert transfer.row["status"] == "retry_pending"
        assert (transfer.row["vault_attempts"], transfer.sent(VAULT)) == (4, 4)
        assert "503: down" in transfer.row["vault_error"]
        outcomes = [entry.metadata["outcome"] for entry in transfer.entries("transfer_to_vault")]
        assert outcomes == ["failed"] * 4
        assert [entry.metadata["retry_count"] for entry in transfer.entries("retry_transfer")] == [1, 2, 3]
        assert (await transfer.recorded("escalate_failure")).metadata["retry_count"] == 3
        assert transfer.open_alerts("transfer_failure") == [f"transfer_failure:{transfer.package.package_id}:vault"]

    async def test_sends_the_same_each_time_under_the_same_key(self, transfer: Transfer) -> None:
        answers = iter([down, down, taken])
        transfer.hubs.answers[VAULT] = lambda request: next(answers)(request)
        await transfer.start()
        await transfer.handle.result()
        requests = transfer.hubs.received[VAULT]
        assert len({request.content for request in requests}) == 1
        assert len({request.headers["idempotency-key"] for request in requests}) == 1
        assert transfer.row["vault_attempts"] == 3
        assert transfer.open_alerts("transfer_failure") == []

    async def test_pauses_longer_each_time(self, transfer: Transfer) -> None:
        transfer.hubs.answers[VAULT] = down
        policies = transfer.doorkeeper.policies
        policies[VAULT] = policies[VAULT].model_copy(update={"first_pause": 60.0})
        await transfer.start()
        await transfer.is_(vault_status="failed", next_node_status="complete")
        for attempts, pause in ((2, 60), (3, 120), (4, 240)):
            await transfer.shop.pass_time(timedelta(seconds=pause - 10))
            assert transfer.row["vault_attempts"] == attempts - 1
            await transfer.shop.pass_time(timedelta(seconds=10))
            await transfer.is_(vault_attempts=attempts)

    @pytest.mark.parametrize("answer", [refuses, wrong], ids=["refusal", "wrong receipt"])
    async def test_for_good_waits_for_a_person_at_once(self, transfer: Transfer, answer: Any) -> None:
        transfer.hubs.answers[NEXT_NODE] = answer
        await transfer.start()
        await transfer.is_(next_node_status="waiting", vault_status="complete")
        assert transfer.sent(NEXT_NODE) == 1
        assert transfer.entries("transfer_to_next_node")[0].metadata["outcome"] == "refused"
        assert len(transfer.open_alerts("transfer_failure")) == 1

    async def test_because_the_receipt_is_for_other_content_says_both_hashes(self, transfer: Transfer) -> None:
        transfer.hubs.answers[VAULT] = wrong
        await transfer.start()
        attempt = (await transfer.recorded("transfer_to_vault")).metadata
        assert attempt["hash_received"] == "0" * 64
        assert attempt["hash_sent"] not in (None, "0" * 64)

    async def test_because_its_activity_fails_is_a_failed_attempt(self, transfer: Transfer) -> None:
        transfer.packer.failing[VAULT] = "the disk is full"
        await transfer.start()
        await transfer.is_(vault_status="waiting", vault_attempts=4)
        attempt = transfer.entries("transfer_to_vault")[0].metadata
        assert (attempt["outcome"], attempt["error"]) == ("failed", "no outcome: the disk is full")
        assert attempt["hash_sent"] is None

    async def test_because_there_is_nothing_right_to_send_waits_for_a_person(self, transfer: Transfer) -> None:
        transfer.packer.instead[NEXT_NODE] = Preparation(refusal="the next contract is of another client order")
        await transfer.start()
        await transfer.is_(next_node_status="waiting", vault_status="complete")
        assert transfer.row["next_node_error"] == "the next contract is of another client order"
        assert transfer.sent(NEXT_NODE) == 0
        del transfer.packer.instead[NEXT_NODE]
        await transfer.retry(NEXT_NODE)
        await transfer.handle.result()

    async def test_while_the_ledger_is_away_is_recorded_when_it_is_back(self, transfer: Transfer) -> None:
        transfer.hubs.answers[VAULT] = down
        await transfer.start()
        await transfer.recorded("transfer_to_vault")
        ledger = transfer.shop.ledger
        ledger.away, before = True, ledger.attempts
        await until(lambda: ledger.attempts > before, lambda: "the record is tried")
        ledger.away = False
        await transfer.is_(vault_status="waiting", vault_attempts=4)


class TestARetry:
    @pytest_asyncio.fixture
    async def waiting(self, transfer: Transfer) -> Transfer:
        transfer.hubs.answers[VAULT] = down
        await transfer.start()
        await transfer.is_(vault_status="waiting", next_node_status="complete")
        return transfer

    async def test_by_update_begins_anew_and_says_who(self, waiting: Transfer) -> None:
        waiting.hubs.answers[VAULT] = taken
        await ask(waiting, "retry_transfer", {"destination": "vault", "reason": "it is up", "user_id": "sam"})
        await waiting.handle.result()
        entry = waiting.entries("retry_transfer")[-1]
        assert (entry.user_id, entry.details) == ("sam", "Retry of vault asked for: it is up")
        assert waiting.row["vault_attempts"] == 5
        assert waiting.open_alerts("transfer_failure") == []

    async def test_by_signal_is_of_nobody_who_is_known(self, waiting: Transfer) -> None:
        waiting.hubs.answers[VAULT] = taken
        await waiting.handle.signal("retry_transfer", {"destination": "vault", "user_id": "sam"})
        await waiting.handle.result()
        assert waiting.entries("retry_transfer")[-1].user_id == "unidentified"

    async def test_has_as_many_retries_as_the_first_time(self, waiting: Transfer) -> None:
        await waiting.retry(VAULT)
        await waiting.is_(vault_status="waiting", vault_attempts=8)
        assert len(waiting.entries("escalate_failure")) == 2
        assert len(waiting.open_alerts("transfer_failure")) == 1
        waiting.hubs.answers[VAULT] = taken
        await waiting.retry(VAULT)
        await waiting.handle.result()

    async def test_sends_again_what_may_have_been_stored(self, waiting: Transfer) -> None:
        waiting.hubs.answers[VAULT] = taken
        await waiting.retry(VAULT)
        await waiting.handle.result()
        assert len({request.content for request in waiting.hubs.received[VAULT]}) == 1

    async def test_of_what_was_refused_without_a_doubt_is_prepared_anew(self, transfer: Transfer) -> None:
        transfer.hubs.answers[NEXT_NODE] = refuses
        await transfer.start()
        await transfer.is_(next_node_status="waiting")
        transfer.hubs.answers[NEXT_NODE] = taken
        await transfer.retry(NEXT_NODE)
        await transfer.handle.result()
        assert transfer.packer.packed.count(NEXT_NODE) == 2

    async def test_ends_a_pause_at_once(self, transfer: Transfer) -> None:
        transfer.hubs.answers[VAULT] = down
        policies = transfer.doorkeeper.policies
        policies[VAULT] = policies[VAULT].model_copy(update={"first_pause": 3600.0})
        await transfer.start()
        await transfer.is_(vault_status="failed", next_node_status="complete")
        transfer.hubs.answers[VAULT] = taken
        await ask(transfer, "retry_transfer", {"destination": "vault"})
        await transfer.is_(vault_status="complete")

    async def test_of_a_leg_that_needs_none_is_refused(self, waiting: Transfer) -> None:
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await ask(waiting, "retry_transfer", {"destination": "next_node"})
        assert "the next-node leg is complete" in str(refused.value.cause)
        await waiting.retry(NEXT_NODE)
        assert "the next-node leg is complete" in (await waiting.recorded("refuse_request")).details
        assert waiting.sent(NEXT_NODE) == 1

    @pytest.mark.parametrize("payload", [None, {}, {"destination": "moon"}, "vault", {"destination": "vault", "x": 1}])
    async def test_by_a_signal_that_nobody_can_read_is_refused_and_alerted(
        self, waiting: Transfer, payload: Any
    ) -> None:
        await waiting.handle.signal("retry_transfer", payload)
        await waiting.recorded("refuse_request")
        assert len(waiting.open_alerts("request_refused")) == 1
        assert waiting.sent(VAULT) == 4


class TestAContractThatIsMissing:
    @pytest_asyncio.fixture
    async def missing(self, transfer: Transfer) -> Transfer:
        transfer.packer.instead[NEXT_NODE] = Preparation(refusal="SC-2.yaml is not in the store", missing=True)
        await transfer.start()
        await transfer.is_(next_node_status="waiting", vault_status="complete")
        return transfer

    async def test_is_recorded_and_alerted_as_such(self, missing: Transfer) -> None:
        entry = await missing.recorded("contract_missing")
        assert (entry.target, entry.metadata["package_id"]) == ("SC-2.yaml", missing.package.package_id)
        assert len(missing.open_alerts("contract_missing")) == 1
        assert missing.entries("escalate_failure") == []
        assert missing.open_alerts("transfer_failure") == []

    async def test_is_sent_once_it_is_there_and_somebody_retries(self, missing: Transfer) -> None:
        await missing.retry(NEXT_NODE)
        await missing.recorded("contract_missing", 2)
        del missing.packer.instead[NEXT_NODE]
        await missing.retry(NEXT_NODE)
        await missing.handle.result()
        assert missing.sent(NEXT_NODE) == 1
        assert missing.open_alerts("contract_missing") == []


class TestResultsThatAreNotAccepted:
    @pytest_asyncio.fixture
    async def rejected(self, transfer: Transfer) -> Transfer:
        await self.listen(transfer)
        await transfer.start(TestVerdict.REJECT)
        await transfer.is_(vault_status="complete", next_node_status="awaiting_disposition")
        return transfer

    async def listen(self, transfer: Transfer) -> None:
        """The test that is told; nobody plays it, so that its history shows what it was told."""
        await transfer.shop.client.start_workflow(
            "TestExecutionWorkflow",
            id=names.test_execution_id(transfer.package.test_data.smart_contract_id),
            task_queue="nobody",
        )

    async def told(self, transfer: Transfer) -> list[str]:
        handle = transfer.shop.client.get_workflow_handle(
            names.test_execution_id(transfer.package.test_data.smart_contract_id)
        )
        return [
            event.workflow_execution_signaled_event_attributes.signal_name
            async for event in handle.fetch_history_events()
            if event.HasField("workflow_execution_signaled_event_attributes")
        ]

    async def test_go_to_the_vault_while_the_part_waits(self, rejected: Transfer) -> None:
        assert (rejected.sent(VAULT), rejected.sent(NEXT_NODE)) == (1, 0)
        assert rejected.row["status"] == "vault_complete"
        record = rejected.shop.ledger.nonconformances[rejected.package.package_id]
        assert (record["tests"], record["content_hash"]) == ("T-1: reject", rejected.package.content_hash)
        assert len(rejected.open_alerts("disposition_waits")) == 1
        await until_details(rejected, "smartfloor decide", rejected.package.content_hash)

    async def test_that_are_used_as_they_are_let_the_part_go_on(self, rejected: Transfer) -> None:
        await rejected.dispose("use_as_is")
        result = await rejected.handle.result()
        assert (result["status"], result["disposition"]) == ("fully_complete", "use_as_is")
        assert rejected.sent(NEXT_NODE) == 1
        entry = await rejected.recorded("dispose_nonconformance")
        assert (entry.user_id, entry.metadata["disposition"]) == ("quinn", "use_as_is")
        assert entry.metadata["proof"].count(".") == 2
        assert rejected.shop.ledger.nonconformances[rejected.package.package_id]["decided_role"] == "quality_manager"
        assert rejected.row["disposition"] == "use_as_is"
        assert rejected.open_alerts("disposition_waits") == []
        assert await self.told(rejected) == ["disposed"]

    @pytest.mark.parametrize("disposition", ["rework", "scrap", "return_to_client"])
    async def test_that_are_disposed_otherwise_end_the_parts_way(self, rejected: Transfer, disposition: str) -> None:
        await rejected.dispose(disposition)
        assert (await rejected.handle.result())["disposition"] == disposition
        assert rejected.row["next_node_status"] == "not_applicable"
        assert rejected.sent(NEXT_NODE) == 0
        assert await self.told(rejected) == ["disposed"]

    @pytest.mark.parametrize(
        ("disposition", "told"), [("use_as_is", 1), ("scrap", 1), ("return_to_client", 1), ("rework", 0)]
    )
    async def test_of_a_final_contract_are_told_to_the_business_hub_unless_they_are_reworked(
        self, transfer: Transfer, disposition: str, told: int
    ) -> None:
        await transfer.start(TestVerdict.INCONCLUSIVE, FINAL)
        await transfer.is_(vault_status="complete", next_node_status="awaiting_disposition")
        assert transfer.sent(BUSINESS_HUB) == 0
        await transfer.dispose(disposition)
        await transfer.handle.result()
        assert transfer.sent(BUSINESS_HUB) == told
        assert transfer.row["business_hub_status"] == ("complete" if told else "not_applicable")

    async def test_may_be_disposed_while_the_vault_is_down(self, transfer: Transfer) -> None:
        transfer.hubs.answers[VAULT] = down
        await transfer.start(TestVerdict.REJECT)
        await transfer.is_(vault_status="waiting")
        await transfer.dispose("use_as_is")
        await transfer.is_(next_node_status="complete")
        transfer.hubs.answers[VAULT] = taken
        await transfer.retry(VAULT)
        await transfer.handle.result()

    async def test_whose_rework_nobody_hears_of_is_alerted(self, transfer: Transfer) -> None:
        await transfer.start(TestVerdict.REJECT)
        await transfer.is_(next_node_status="awaiting_disposition")
        await transfer.dispose("rework")
        await transfer.handle.result()
        assert len(transfer.open_alerts("disposition_unheard")) == 1

    async def test_stay_undecided_while_the_decision_is_not_in_the_ledger(self, transfer: Transfer) -> None:
        await transfer.start(TestVerdict.REJECT)
        await transfer.is_(vault_status="complete", next_node_status="awaiting_disposition")
        transfer.shop.ledger.refuses.add("dispose_nonconformance")
        await transfer.dispose("use_as_is")
        await until(lambda: bool(transfer.open_alerts("ledger_refused")), lambda: "the ledger refuses it")
        assert transfer.packer.packed == [VAULT]
        transfer.shop.ledger.refuses.clear()
        await transfer.shop.pass_time(timedelta(minutes=11))
        await transfer.is_(next_node_status="complete")


class TestADispositionThatDoesNotCount:
    @pytest_asyncio.fixture
    async def rejected(self, transfer: Transfer) -> Transfer:
        await transfer.start(TestVerdict.REJECT)
        await transfer.is_(vault_status="complete", next_node_status="awaiting_disposition")
        return transfer

    async def refused(self, transfer: Transfer, token: str | None, reason: str) -> None:
        await transfer.handle.signal("dispose", {"token": token, "reason": "good enough"})
        assert reason in (await transfer.recorded("refuse_decision")).details
        assert len(transfer.open_alerts("decision_refused")) == 1
        assert transfer.row["next_node_status"] == "awaiting_disposition"
        assert transfer.sent(NEXT_NODE) == 0
        await transfer.dispose("scrap")
        await transfer.handle.result()

    @pytest.mark.parametrize(("person", "why"), [("ina", "signed"), ("pia", "performed")])
    async def test_because_they_signed_or_performed_is_refused(self, rejected: Transfer, person: str, why: str) -> None:
        token = await rejected.token("use_as_is", by=person)
        await self.refused(rejected, token, f"{person} {why} the test: another person must decide")

    async def test_because_it_is_for_other_content_is_refused(self, rejected: Transfer) -> None:
        rejected.package, package = rejected.package.model_copy(update={"local_backup_path": "x"}), rejected.package
        token = await rejected.token("use_as_is")
        rejected.package = package
        await self.refused(rejected, token, "other content")

    async def test_because_their_role_may_not_is_refused(self, rejected: Transfer) -> None:
        token = await rejected.token("use_as_is", role=Role.SUPERVISOR)
        await self.refused(rejected, token, "disposition:decide")

    async def test_because_it_is_another_decision_is_refused(self, rejected: Transfer) -> None:
        await self.refused(rejected, await rejected.token("approve"), "cannot be decided here")

    @pytest.mark.parametrize(("token", "reason"), [("forged", "not valid"), (None, "needs a decision token")])
    async def test_because_there_is_no_token_is_refused(
        self, rejected: Transfer, token: str | None, reason: str
    ) -> None:
        await self.refused(rejected, token, reason)

    @pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
    async def test_by_update_changes_nothing(self, rejected: Transfer, forge: Forgery) -> None:
        wanted = disposition_wanted(rejected.package.package_id, rejected.package.content_hash)
        token = await forge(rejected.shop, wanted, "use_as_is", by="quinn", role=Role.QUALITY_MANAGER)
        with pytest.raises(WorkflowUpdateFailedError):
            await ask(rejected, "dispose", {"token": token, "reason": "good enough"})
        await rejected.recorded("refuse_decision")
        assert rejected.row["next_node_status"] == "awaiting_disposition"
        assert rejected.sent(NEXT_NODE) == 0
        await rejected.dispose("scrap")
        await rejected.handle.result()

    async def test_because_the_results_are_accepted_is_refused(self, transfer: Transfer) -> None:
        transfer.hubs.answers[VAULT] = down
        await transfer.start()
        await transfer.is_(vault_status="waiting")
        await transfer.dispose("scrap")
        assert "no disposition is waited for" in (await transfer.recorded("refuse_request")).details

    async def test_because_there_is_one_already_is_refused(self, rejected: Transfer) -> None:
        rejected.hubs.answers[NEXT_NODE] = refuses
        await rejected.dispose("use_as_is")
        await rejected.is_(next_node_status="waiting")
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await ask(rejected, "dispose", {"token": await rejected.token("scrap"), "reason": "no"})
        assert "use_as_is already" in str(refused.value.cause)


class TestAPackageThatIsRefused:
    async def test_moves_nothing_and_is_recorded_and_alerted(self, transfer: Transfer) -> None:
        transfer.doorkeeper.refusal = "its signature does not hold"
        await transfer.start()
        with pytest.raises(WorkflowFailureError) as failure:
            await transfer.handle.result()
        assert isinstance(failure.value.cause, ApplicationError)
        assert failure.value.cause.type == "AuthorizationRefused"
        entry = await transfer.recorded("refuse_authorization")
        assert entry.metadata["reason"] == "its signature does not hold"
        assert len(transfer.open_alerts("authorization_refused")) == 1
        assert transfer.packer.packed == []
        assert transfer.row == {}

    async def test_does_not_keep_the_true_one_from_being_moved(self, transfer: Transfer) -> None:
        transfer.doorkeeper.refusal = "its signature does not hold"
        await transfer.start()
        with pytest.raises(WorkflowFailureError):
            await transfer.handle.result()
        transfer.doorkeeper.refusal = None
        assert await transfer.start()
        assert (await transfer.handle.result())["status"] == "fully_complete"


class TestForeignMessages:
    async def test_are_refused_and_nothing_else_happens(self, transfer: Transfer) -> None:
        transfer.hubs.answers[VAULT] = down
        await transfer.start()
        await transfer.is_(vault_status="waiting", next_node_status="complete")
        await transfer.handle.signal("Attempted", {"destination": "vault", "delivery": {}})
        await transfer.handle.signal("complete")
        await transfer.recorded("refuse_request", 2)
        assert transfer.row["vault_status"] == "waiting"

    async def test_temporals_cancel_is_refused_and_alerted(self, transfer: Transfer) -> None:
        transfer.hubs.answers[VAULT] = down
        await transfer.start()
        await transfer.is_(vault_status="waiting", next_node_status="complete")
        await transfer.handle.cancel()
        assert "is not cancelled" in (await transfer.recorded("refuse_request")).details
        transfer.hubs.answers[VAULT] = taken
        await transfer.retry(VAULT)
        assert (await transfer.handle.result())["status"] == "fully_complete"
