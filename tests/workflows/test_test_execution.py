"""A test from its start to its authorization: by signals here, whose senders can say what they like."""

from collections.abc import AsyncIterator
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import WorkflowExecutionStatus, WorkflowUpdateFailedError
from temporalio.testing import WorkflowEnvironment

from schemas import names
from schemas.ledger import LedgerEntry
from schemas.permission import Role
from schemas.signoff import Meaning, signoff_wanted
from schemas.test_execution import ESCALATE_AFTER, REMIND_AFTER, results_wanted
from schemas.test_results import Results
from schemas.transfer import Disposition
from tests.workflows.forgeries import FORGERIES, Forgery, signed_by_nobody_known
from tests.workflows.shop import (
    WITHOUT_TRANSFERS,
    MemoryLedger,
    Shop,
    Tested,
    check_histories,
    event_types,
    main_worker,
    result,
    until,
)

SECOND = timedelta(seconds=1)


@pytest_asyncio.fixture
async def shop(environment: WorkflowEnvironment, tmp_path: Path) -> AsyncIterator[Shop]:
    """Transfers that are started here only wait."""
    with closing(Shop(environment, MemoryLedger(), tmp_path)) as shop:
        async with main_worker(shop, WITHOUT_TRANSFERS):
            yield shop
            await check_histories(shop)


def one(test_id: str, *signoffs: str, equipment: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "test_id": test_id,
        "test_type": "liquid_penetrant",
        "procedure": {"procedure_id": "E1417", "revision": "2021"},
        "required_signoffs": signoffs or ("inspector", "quality_manager"),
        "equipment": equipment,
    }


async def released(shop: Shop, *tests: dict[str, Any]) -> Tested:
    return await shop.release(tests=[{**test, "assigned_node": shop.node} for test in tests])


@pytest_asyncio.fixture
async def tested(shop: Shop) -> AsyncIterator[Tested]:
    """One test that an inspector and a quality manager sign; its node is there."""
    tested = await released(shop, one("T-1"))
    async with shop.node_online():
        yield tested


@pytest_asyncio.fixture
async def begun(tested: Tested) -> Tested:
    """Ivan performs it."""
    await tested.start()
    await tested.is_("running")
    return tested


@pytest_asyncio.fixture
async def measured(begun: Tested) -> Tested:
    """Ivan has given results."""
    await begun.submit()
    await begun.is_("awaiting_signoff")
    return begun


async def signed_by_all(tested: Tested) -> None:
    await tested.sign()
    await tested.sign(by="quentin", role=Role.QUALITY_MANAGER, meaning="approved")


async def package_of(tested: Tested, revision: int = 1) -> str:
    """Waits for the authorization; the ID of its package."""
    package_id = f"PKG-{tested.name}-R{revision}"
    await until(lambda: package_id in tested.shop.ledger.transfers, lambda: f"{package_id}; {tested.shop}")
    return package_id


class TestATestIs:
    async def test_waiting_when_its_po_is_released(self, tested: Tested) -> None:
        assert (await tested.recorded("await_test")).metadata["tests"] == ["T-1"]
        await tested.shows("its start at")

    async def test_running_when_somebody_starts_it(self, tested: Tested) -> None:
        await tested.start("ivan")
        begun = (await tested.recorded("start_test")).metadata["begun"]
        assert begun["performer"] == tested.row["performer"] == "ivan"

    async def test_started_once(self, begun: Tested) -> None:
        await begun.start("eve")
        assert "started before" in (await begun.recorded("refuse_request")).details
        assert begun.row["performer"] == "ivan"

    async def test_waiting_for_all_of_its_results(self, shop: Shop) -> None:
        tested = await released(shop, one("T-1"), one("T-2"))
        async with shop.node_online():
            await tested.start()
            await tested.submit(result("T-1"))
            await tested.recorded("submit_results")
            assert tested.row["status"] == "running"
            await tested.submit(result("T-2"))
            await tested.is_("awaiting_signoff")
        assert tested.row["revision"] == 2

    async def test_waiting_for_sign_offs_that_it_names_with_their_hashes(self, measured: Tested) -> None:
        assert measured.row["open_signoffs"] == "T-1 by a inspector, T-1 by a quality_manager"
        await measured.shows(measured.hash())


class TestTheGate:
    @pytest_asyncio.fixture
    async def demanding(self, shop: Shop) -> AsyncIterator[Tested]:
        tested = await released(shop, one("T-1", equipment=("LAMP-1",)))
        async with shop.node_online():
            yield tested

    async def test_blocks_a_test_whose_equipment_is_not_ready(self, shop: Shop, demanding: Tested) -> None:
        shop.equip("LAMP-2")
        await demanding.start("ivan", "LAMP-1", "LAMP-2")
        await demanding.is_("blocked")
        assert "LAMP-1 is not in the register" in demanding.row["missing"]
        metadata = (await demanding.recorded("equipment_not_ready")).metadata
        assert metadata == {
            "issue_type": "equipment_not_ready",
            "node_id": shop.node,
            "clientpo_id": "CPO-1",
            "performer": "ivan",
            "instruments": ["LAMP-1", "LAMP-2"],
            "equipment_ids": ["LAMP-1"],
            "missing": [demanding.row["missing"]],
        }
        assert len(shop.open_alerts("equipment_not_ready")) == 1
        await demanding.shows("LAMP-1")

    async def test_lets_it_begin_when_the_equipment_is_ready(self, shop: Shop, demanding: Tested) -> None:
        await demanding.start("ivan", "LAMP-1")
        await demanding.is_("blocked")
        shop.equip("LAMP-1")
        await demanding.start("ivan", "LAMP-1")
        await demanding.is_("running")
        assert demanding.row["missing"] is None
        assert shop.open_alerts("equipment_not_ready") == []

    async def test_freezes_the_instruments_with_their_certificates(self, shop: Shop, demanding: Tested) -> None:
        shop.equip("LAMP-1")
        await demanding.start("ivan", "LAMP-1")
        (frozen,) = (await demanding.recorded("start_test")).metadata["begun"]["instruments"]
        assert frozen["certificate"] == "CERT-LAMP-1"

    async def test_writes_down_all_that_it_found(self, shop: Shop, demanding: Tested) -> None:
        """The words are those of specification 4, `link_contract_to_clientpo`."""
        await demanding.start("ivan", "LAMP-1")
        await demanding.is_("blocked")
        (entry,) = linked(shop)
        assert (entry.action_type, entry.target, entry.smart_id) == ("maintenance", "CPO-1", shop.node)
        found = {name: entry.metadata[name] for name in ("clientpo_id", "required_equipment", "all_equipment_ready")}
        assert found == {"clientpo_id": "CPO-1", "required_equipment": ["LAMP-1"], "all_equipment_ready": False}
        (check,) = entry.metadata["validation_checks"]
        assert check == {"equipment_id": "LAMP-1", "status": "not_found", "calibration_valid": False, "ready": False}

    async def test_lets_a_blocked_test_begin_by_itself(self, shop: Shop, demanding: Tested) -> None:
        await demanding.start("ivan", "LAMP-1")
        await demanding.is_("blocked")
        shop.equip("LAMP-1")
        await demanding.ask("equipment_changed")
        await demanding.is_("running")
        begun = (await demanding.recorded("start_test")).metadata["begun"]
        assert (begun["performer"], begun["instruments"][0]["equipment_id"]) == ("ivan", "LAMP-1")
        assert shop.open_alerts("equipment_not_ready") == []
        assert [entry.metadata["all_equipment_ready"] for entry in linked(shop)] == [False, True]

    async def test_lets_it_begin_where_the_equipment_came_while_it_was_being_blocked(
        self, shop: Shop, demanding: Tested
    ) -> None:
        """Nobody tells a test that is not blocked yet: it asks once more as soon as it is."""
        shop.ledger.away, before = True, shop.ledger.attempts
        await demanding.start("ivan", "LAMP-1")
        await until(lambda: shop.ledger.attempts > before, lambda: "it is being blocked")
        shop.equip("LAMP-1")
        shop.ledger.away = False
        await demanding.is_("running")

    async def test_lets_nothing_begin_with_what_went_out_of_service_while_its_node_was_away(self, shop: Shop) -> None:
        tested = await released(shop, one("T-1", equipment=("LAMP-1",)))
        shop.equip("LAMP-1")
        await tested.start("ivan", "LAMP-1")
        shop.ledger.register.goes_out_of_service("LAMP-1", shop.maintenance)
        async with shop.node_online():
            await tested.is_("blocked")
        assert "LAMP-1 is out of service: dropped" in tested.row["missing"]
        assert [entry.metadata["all_equipment_ready"] for entry in linked(shop)] == [False]

    async def test_that_says_the_same_again_is_not_written_down_again(self, shop: Shop, demanding: Tested) -> None:
        await demanding.start("ivan", "LAMP-1")
        await demanding.is_("blocked")
        before = len(shop.ledger.entries)
        for _ in range(5):
            await demanding.ask("equipment_changed")
        await demanding.ask("explode")
        await demanding.recorded("refuse_request")
        assert len(shop.ledger.entries) == before + 1

    async def test_is_asked_few_times_however_many_say_that_equipment_changed(
        self, shop: Shop, demanding: Tested
    ) -> None:
        await demanding.start("ivan", "LAMP-1")
        await demanding.is_("blocked")
        for _ in range(40):
            await demanding.ask("equipment_changed")
        await demanding.ask("explode")
        await demanding.recorded("refuse_request")
        asked = event_types(await demanding.handle.fetch_history()).count("ACTIVITY_TASK_SCHEDULED")
        assert asked < 20

    async def test_that_misses_something_else_now_says_so(self, shop: Shop, demanding: Tested) -> None:
        await demanding.start("ivan", "LAMP-1")
        await demanding.is_("blocked")
        shop.equip("LAMP-1", due_on=date(2021, 1, 1))
        await demanding.ask("equipment_changed")
        await demanding.recorded("equipment_not_ready", 2)
        assert "was due for calibration" in demanding.row["missing"]
        assert len(shop.open_alerts("equipment_not_ready")) == 1

    async def test_is_asked_again_when_a_hold_ends(self, shop: Shop, demanding: Tested) -> None:
        await demanding.start("ivan", "LAMP-1")
        await demanding.is_("blocked")
        await demanding.ask("hold", reason="because")
        await demanding.is_("hold")
        shop.equip("LAMP-1")
        await demanding.ask("equipment_changed")
        await demanding.ask("resume", reason="go on")
        await demanding.is_("running")
        assert [entry.action for entry in shop.ledger.entries.values()][-3:] == [
            "resume_test",
            "link_contracts",
            "start_test",
        ]

    async def test_is_not_asked_by_a_test_that_waits_for_nobody(self, shop: Shop, demanding: Tested) -> None:
        await demanding.ask("equipment_changed")
        await demanding.ask("explode")
        await demanding.recorded("refuse_request")
        assert demanding.row["status"] == "waiting"
        assert linked(shop) == []

    async def test_keeps_results_out_of_a_blocked_test(self, demanding: Tested) -> None:
        await demanding.start("ivan", "LAMP-1")
        await demanding.is_("blocked")
        await demanding.submit()
        assert "start it before" in (await demanding.recorded("refuse_request")).details


class TestAGateThatIsAskedWhileItsNodeIsAway:
    async def test_judges_by_the_day_on_which_it_is_back(self, shop: Shop) -> None:
        tested = await released(shop, one("T-1", "inspector", equipment=("LAMP-1",)))
        now = await shop.now()
        last_day = now.date()
        shop.equip("LAMP-1", due_on=last_day)
        await tested.start("ivan", "LAMP-1")
        shop.time_at_node = now + timedelta(days=1)
        async with shop.node_online():
            await tested.is_("blocked")
        assert f"was due for calibration on {last_day}" in (await tested.recorded("equipment_not_ready")).details

    async def test_again_refuses_nothing_that_is_done_where_the_test_is_aborted_meanwhile(self, shop: Shop) -> None:
        tested = await released(shop, one("T-1", equipment=("LAMP-1",)))
        async with shop.node_online():
            await tested.start("ivan", "LAMP-1")
            await tested.is_("blocked")
            await tested.ask("hold", reason="because")
            await tested.is_("hold")
        await tested.ask("resume", reason="go on")
        await tested.recorded("resume_test")
        await tested.ask("abort", reason="enough")
        assert (await tested.handle.result())["status"] == "aborted"
        assert tested.entries("refuse_request") == []


def linked(shop: Shop) -> list[LedgerEntry]:
    """What the gate found, each time that it was written down."""
    return [entry for entry in shop.ledger.entries.values() if entry.action == "link_contracts"]


class TestEquipmentThatLapsesWhileItIsUsed:
    @pytest_asyncio.fixture
    async def lapsed(self, shop: Shop) -> AsyncIterator[Tested]:
        """Its lamp went out of service after the test had begun."""
        tested = await released(shop, one("T-1", "inspector", equipment=("LAMP-1",)))
        async with shop.node_online():
            shop.equip("LAMP-1")
            await tested.start("ivan", "LAMP-1")
            await tested.is_("running")
            shop.equip()
            await tested.submit()
            await tested.is_("awaiting_signoff")
            yield tested

    async def test_is_flagged_on_the_results(self, shop: Shop, lapsed: Tested) -> None:
        (flag,) = (await lapsed.recorded("submit_results")).metadata["flags"]
        assert "LAMP-1 was out of service" in flag
        (found,) = [one for one in shop.ledger.results if one.smart_contract_id == lapsed.name]
        assert found.flags == flag
        (kept,) = shop.store.results(lapsed.name)
        assert kept.flags == (flag,)

    async def test_is_flagged_in_the_package(self, shop: Shop, lapsed: Tested) -> None:
        await lapsed.sign()
        package = shop.ledger.transfers[await package_of(lapsed)]
        assert "LAMP-1 was out of service" in package.package

    async def test_is_flagged_where_the_due_date_passes_meanwhile(self, shop: Shop) -> None:
        tested = await released(shop, one("T-1", "inspector", equipment=("LAMP-1",)))
        async with shop.node_online():
            last_day = (await shop.now()).date()
            shop.equip("LAMP-1", due_on=last_day)
            await tested.start("ivan", "LAMP-1")
            await tested.is_("running")
            await shop.pass_time(timedelta(days=1))
            await tested.submit()
            (flag,) = (await tested.recorded("submit_results")).metadata["flags"]
        assert flag.startswith(f"LAMP-1 was due for calibration on {last_day}, before results were given")

    async def test_is_not_flagged_where_nothing_lapsed(self, shop: Shop, measured: Tested) -> None:
        assert "flags" not in (await measured.recorded("submit_results")).metadata
        await signed_by_all(measured)
        assert '"flags"' not in shop.ledger.transfers[await package_of(measured)].package


class TestResults:
    async def test_are_recorded_with_the_declaration_of_whoever_performed(self, shop: Shop, measured: Tested) -> None:
        entry = await measured.recorded("submit_results")
        assert (entry.user_id, entry.metadata["decision"]["person"]) == ("ivan", "ivan")
        assert entry.metadata["content_hashes"] == {"T-1": measured.hash()}
        assert entry.metadata["proof"].count(".") == 2

    async def test_are_kept_by_the_node_itself(self, shop: Shop, measured: Tested) -> None:
        (kept,) = shop.store.results(measured.name)
        assert (kept.revision, kept.results) == (1, (result(),))

    async def test_before_the_start_are_refused(self, tested: Tested) -> None:
        await tested.submit()
        assert "start it before" in (await tested.recorded("refuse_request")).details

    async def test_of_somebody_else_than_the_performer_are_refused_and_alerted(self, shop: Shop, begun: Tested) -> None:
        await begun.submit(by="ines")
        assert "ivan performs this test" in (await begun.recorded("refuse_decision")).details
        assert len(shop.alerts("decision_refused")) == 1
        assert begun.row["status"] == "running"

    async def test_without_a_declaration_are_refused(self, begun: Tested) -> None:
        await begun.ask("submit_results", results=[result().model_dump(mode="json")])
        assert "decision token" in (await begun.recorded("refuse_decision")).details

    async def test_other_than_those_that_were_declared_are_refused(self, begun: Tested) -> None:
        declared = await begun.submission(result(verdict="reject"))
        await begun.ask("submit_results", **declared | {"results": [result().model_dump(mode="json")]})
        assert "other content" in (await begun.recorded("refuse_decision")).details
        assert begun.entries("submit_results") == []

    async def test_of_a_role_that_may_not_are_refused(self, begun: Tested) -> None:
        await begun.submit(role=Role.OPERATOR)
        assert "test:perform" in (await begun.recorded("refuse_decision")).details

    async def test_of_another_contract_are_refused(self, begun: Tested) -> None:
        await begun.submit(result("T-9"))
        assert "T-9: not of this contract" in (await begun.recorded("refuse_request")).details

    async def test_that_change_void_the_sign_offs_given_for_them(self, shop: Shop, measured: Tested) -> None:
        await measured.sign()
        await measured.recorded("sign_off")
        old = measured.hash()
        await measured.submit(result(value="0.20"))
        assert (await measured.recorded("submit_results", 2)).metadata["void"] == ["T-1: ines (inspector)"]
        assert measured.hash() != old
        assert measured.signoffs == []
        assert measured.row["open_signoffs"] == "T-1 by a inspector, T-1 by a quality_manager"
        await signed_by_all(measured)
        package = shop.ledger.transfers[await package_of(measured, 2)]
        assert '"0.20"' in package.package

    async def test_that_change_leave_the_sign_offs_of_other_tests(self, shop: Shop) -> None:
        tested = await released(shop, one("T-1", "inspector"), one("T-2", "inspector"))
        async with shop.node_online():
            await tested.start()
            await tested.submit(result("T-1"), result("T-2"))
            await tested.is_("awaiting_signoff")
            await tested.sign("T-1")
            await tested.recorded("sign_off")
            await tested.submit(result("T-2", value="0.20"))
            await tested.recorded("submit_results", 2)
            assert [signoff.test_id for signoff in tested.signoffs] == ["T-1"]
            await tested.sign("T-2")
            await package_of(tested, 2)


class TestASignOff:
    async def test_is_recorded_with_its_proof_and_the_certificate(self, measured: Tested) -> None:
        await measured.sign(by="ines")
        entry = await measured.recorded("sign_off")
        assert (entry.user_id, entry.metadata["qualification"]) == ("ines", "PT-ines")
        assert entry.metadata["decision"]["content_hash"] == measured.hash()
        assert entry.metadata["proof"].count(".") == 2
        (signoff,) = measured.signoffs
        assert (signoff.role, signoff.meaning) == ("inspector", "reviewed")
        assert measured.row["open_signoffs"] == "T-1 by a quality_manager"

    async def test_of_one_person_for_two_roles_is_refused(self, measured: Tested) -> None:
        await measured.sign(by="ines")
        await measured.sign(by="ines", role=Role.QUALITY_MANAGER)
        assert "ines has signed T-1 as inspector already" in (await measured.recorded("refuse_decision")).details

    async def test_of_a_role_that_has_signed_is_refused(self, measured: Tested) -> None:
        await measured.sign(by="ines")
        await measured.sign(by="ivan")
        assert "ines has signed T-1 as inspector already" in (await measured.recorded("refuse_decision")).details

    async def test_of_a_role_that_is_not_required_is_refused(self, measured: Tested) -> None:
        await measured.sign(by="ada", role=Role.ADMIN)
        assert "needs no sign-off of a admin" in (await measured.recorded("refuse_decision")).details

    async def test_of_a_role_that_may_not_sign_is_refused(self, measured: Tested) -> None:
        await measured.sign(by="olga", role=Role.OPERATOR)
        assert "test:sign" in (await measured.recorded("refuse_decision")).details

    async def test_of_old_content_is_refused(self, measured: Tested) -> None:
        old = measured.hash()
        await measured.submit(result(value="0.20"))
        await measured.recorded("submit_results", 2)
        await measured.sign(content_hash=old)
        assert "other content" in (await measured.recorded("refuse_decision")).details
        assert measured.signoffs == []

    @pytest.mark.parametrize("person", ["lena", "otto", "eve"])
    async def test_of_an_unqualified_person_is_refused_and_alerted(
        self, shop: Shop, measured: Tested, person: str
    ) -> None:
        await measured.sign(by=person)
        assert "liquid_penetrant" in (await measured.recorded("refuse_decision")).details
        assert len(shop.alerts("decision_refused")) == 1
        assert measured.signoffs == []

    async def test_before_there_are_results_is_refused(self, begun: Tested) -> None:
        await begun.sign(content_hash="0" * 64)
        assert "no results that could be signed" in (await begun.recorded("refuse_request")).details

    async def test_of_a_test_that_is_not_of_the_contract_is_refused(self, measured: Tested) -> None:
        await measured.sign("T-9", content_hash="0" * 64)
        assert "T-9: not of this contract" in (await measured.recorded("refuse_request")).details

    async def test_that_means_nothing_is_refused(self, measured: Tested) -> None:
        await measured.sign(meaning="seen")
        assert "a signature means" in (await measured.recorded("refuse_decision")).details

    async def test_by_somebody_whose_login_is_old_is_refused(self, measured: Tested) -> None:
        await measured.sign(logged_in=timedelta(minutes=16))
        assert "log in again" in (await measured.recorded("refuse_decision")).details

    async def test_after_the_authorization_is_refused(self, shop: Shop, begun: Tested) -> None:
        await begun.submit(result(verdict="reject"))
        await begun.is_("awaiting_signoff")
        await signed_by_all(begun)
        await package_of(begun)
        await begun.sign(by="ivan")
        assert "the test is authorized" in (await begun.recorded("refuse_request")).details


class TestATokenThatDoesNotCount:
    async def test_because_it_has_expired_is_refused(self, shop: Shop, measured: Tested) -> None:
        signature = await measured.signature()
        await shop.pass_time(timedelta(minutes=11))
        await measured.ask("sign_off", **signature)
        assert "expired" in (await measured.recorded("refuse_decision")).details

    async def test_because_it_was_used_is_refused(self, measured: Tested) -> None:
        submission = await measured.submission()
        await measured.ask("submit_results", **submission)
        await measured.recorded("submit_results", 2)
        await measured.ask("submit_results", **submission)
        assert "used before" in (await measured.recorded("refuse_decision")).details
        assert measured.row["revision"] == 2

    async def test_because_another_key_signed_it_is_refused(self, measured: Tested) -> None:
        signature = await measured.signature()
        await measured.ask("sign_off", **signature | {"token": signed_by_nobody_known(signature["token"])})
        assert "not valid" in (await measured.recorded("refuse_decision")).details

    async def test_because_it_is_for_another_test_is_refused(self, shop: Shop, measured: Tested) -> None:
        token = await shop.token(signoff_wanted("B", measured.hash()), "sign", by="ines", role=Role.INSPECTOR)
        await measured.ask("sign_off", test_id="T-1", token=token)
        assert "not for test/" in (await measured.recorded("refuse_decision")).details

    @pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
    async def test_by_update_signs_nothing(self, shop: Shop, measured: Tested, forge: Forgery) -> None:
        wanted = signoff_wanted(measured.name, measured.hash())
        token = await forge(shop, wanted, "sign", by="ines", role=Role.INSPECTOR, meaning=Meaning.REVIEWED)
        with pytest.raises(WorkflowUpdateFailedError):
            await measured.handle.execute_update("sign_off", {"test_id": "T-1", "token": token})
        await measured.recorded("refuse_decision")
        assert measured.signoffs == []
        await measured.sign()
        await measured.recorded("sign_off")

    @pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
    async def test_by_update_gives_no_results(self, shop: Shop, measured: Tested, forge: Forgery) -> None:
        results = Results(results=(result(value="0.90"),))
        wanted = results_wanted(measured.name, results.content_hash(measured.name))
        token = await forge(shop, wanted, "submit_results", by="ivan", role=Role.INSPECTOR)
        with pytest.raises(WorkflowUpdateFailedError):
            await measured.handle.execute_update("submit_results", {**results.model_dump(mode="json"), "token": token})
        await measured.recorded("refuse_decision")
        assert measured.row["revision"] == 1
        await measured.submit()
        await measured.recorded("submit_results", 2)

    async def test_is_recorded_when_what_was_wrong_with_it_cannot_change_any_more(self, measured: Tested) -> None:
        before = event_types(await measured.handle.fetch_history()).count("ACTIVITY_TASK_SCHEDULED")
        await measured.ask("sign_off", test_id="T-1")
        await measured.recorded("refuse_decision")
        assert event_types(await measured.handle.fetch_history()).count("ACTIVITY_TASK_SCHEDULED") == before + 1

    async def test_because_there_is_none_is_refused(self, measured: Tested) -> None:
        await measured.ask("sign_off", test_id="T-1")
        assert "decision token" in (await measured.recorded("refuse_decision")).details
        assert measured.signoffs == []


class TestARejectedSignOff:
    async def test_sends_the_test_back_for_rework(self, shop: Shop, measured: Tested) -> None:
        await measured.sign(decision="reject", meaning="rejected", reason="the lamp was off")
        entry = await measured.recorded("reject_results")
        assert (entry.user_id, entry.metadata["reason"]) == ("ines", "the lamp was off")
        await measured.is_("rework")
        assert "the lamp was off" in measured.row["rework_reason"]
        await measured.shows("the lamp was off")
        (alert,) = shop.open_alerts("results_rejected")
        assert "the lamp was off" in alert.text

    async def test_is_over_when_new_results_come(self, shop: Shop, measured: Tested) -> None:
        await measured.sign(decision="reject", meaning="rejected", reason="the lamp was off")
        await measured.is_("rework")
        await measured.submit()
        await measured.is_("awaiting_signoff")
        assert measured.row["rework_reason"] is None
        assert shop.open_alerts("results_rejected") == []
        await signed_by_all(measured)
        await package_of(measured, 2)

    async def test_voids_what_others_signed(self, measured: Tested) -> None:
        await measured.sign()
        await measured.sign(by="quentin", role=Role.QUALITY_MANAGER, decision="reject", meaning="rejected", reason="no")
        await measured.recorded("reject_results")
        assert [signoff.decision for signoff in measured.signoffs] == ["reject"]

    async def test_without_a_reason_is_refused(self, measured: Tested) -> None:
        await measured.sign(decision="reject", meaning="rejected")
        assert "give a reason" in (await measured.recorded("refuse_decision")).details
        assert measured.row["status"] == "awaiting_signoff"

    async def test_lets_the_test_begin_again_with_all_results_anew(self, shop: Shop) -> None:
        shop.equip("LAMP-2")
        tested = await released(shop, one("T-1", "inspector"), one("T-2", "inspector"))
        async with shop.node_online():
            await tested.start()
            await tested.submit(result("T-1"), result("T-2"))
            await tested.is_("awaiting_signoff")
            await tested.sign("T-2")
            await tested.sign("T-1", by="ivan", decision="reject", meaning="rejected", reason="another lamp")
            await tested.is_("rework")
            await tested.start("ines", "LAMP-2")
            await tested.is_("running")
            assert [signoff.decision for signoff in tested.signoffs] == []
            await tested.submit(result("T-1"), by="ines")
            await tested.recorded("submit_results", 2)
            assert tested.row["status"] == "running"


class TestWhenAllHaveSigned:
    async def test_the_guardian_authorizes_and_the_test_ends(self, shop: Shop, measured: Tested) -> None:
        await signed_by_all(measured)
        end = await measured.handle.result()
        package_id = await package_of(measured)
        assert end == {"smart_contract_id": measured.name, "status": "authorized", "package_id": package_id}
        entry = shop.ledger.entries[f"{package_id}:authorize"]
        assert (entry.action_type, entry.action, entry.smart_id) == ("guardian", "authorize_package", shop.node)
        transfer = shop.ledger.transfers[package_id]
        assert entry.metadata["content_hash"] == transfer.content_hash
        assert (measured.row["status"], measured.row["package_id"]) == ("authorized", package_id)

    async def test_the_transfer_is_started_with_the_package(self, shop: Shop, measured: Tested) -> None:
        await signed_by_all(measured)
        handle = shop.client.get_workflow_handle(names.transfer_id(await package_of(measured)))
        await measured.handle.result()
        assert (await handle.describe()).workflow_type == "TransferWorkflow"

    async def test_a_node_that_is_away_is_alerted_and_waited_for(self, shop: Shop) -> None:
        tested = await released(shop, one("T-1", "inspector"))
        async with shop.node_online():
            await tested.start()
            await tested.submit()
            await tested.is_("awaiting_signoff")
        await tested.sign()
        await tested.recorded("authorization_late")
        assert len(shop.open_alerts("authorization_late")) == 1
        await tested.shows("authorize")
        async with shop.node_online():
            await package_of(tested)
        assert shop.open_alerts("authorization_late") == []

    async def test_nothing_changes_it_any_more_while_the_guardian_is_asked(self, shop: Shop) -> None:
        tested = await released(shop, one("T-1", "inspector"))
        async with shop.node_online():
            await tested.start()
            await tested.submit()
            await tested.is_("awaiting_signoff")
        await tested.sign()
        await tested.is_("authorizing")
        await tested.ask("abort", reason="too late")
        await tested.submit(result(value="0.20"))
        async with shop.node_online():
            await package_of(tested)
            await tested.recorded("refuse_request", 2)
        assert tested.row["status"] == "authorized"

    async def test_a_guardian_that_refuses_sends_the_test_back_to_a_person(self, shop: Shop, measured: Tested) -> None:
        shop.alter_results_at_node()
        await signed_by_all(measured)
        await measured.is_("rework")
        assert "own copy" in (await measured.recorded("authorization_refused")).details
        assert len(shop.alerts("authorization_refused")) == 1
        assert shop.ledger.transfers == {}
        await measured.submit()
        await measured.is_("awaiting_signoff")
        await signed_by_all(measured)
        await package_of(measured, 2)


class TestResultsThatAreNotAccepted:
    @pytest_asyncio.fixture
    async def rejected(self, begun: Tested) -> Tested:
        await begun.submit(result(verdict="reject"))
        await begun.is_("awaiting_signoff")
        await signed_by_all(begun)
        await package_of(begun)
        await begun.is_("authorized")
        return begun

    async def test_are_transferred_and_wait_for_their_disposition(self, shop: Shop, rejected: Tested) -> None:
        package_id = await package_of(rejected)
        await rejected.shows(f"the disposition of {package_id}")  # which it says once the transfer is started
        handle = shop.client.get_workflow_handle(names.transfer_id(package_id))
        assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING

    @pytest.mark.parametrize("disposition", sorted(set(Disposition) - {Disposition.REWORK}))
    async def test_end_the_test_with_any_disposition_but_rework(
        self, shop: Shop, rejected: Tested, disposition: Disposition
    ) -> None:
        package_id = await package_of(rejected)
        shop.ledger.dispositions[package_id] = disposition
        await rejected.ask("disposed", package_id=package_id)
        assert (await rejected.handle.result())["status"] == "authorized"

    async def test_are_measured_anew_when_they_are_to_be_reworked(self, shop: Shop, rejected: Tested) -> None:
        package_id = await package_of(rejected)
        shop.ledger.dispositions[package_id] = Disposition.REWORK
        await rejected.ask("disposed", package_id=package_id)
        await rejected.is_("rework")
        assert (await rejected.recorded("reopen_test")).metadata["replaces"] == package_id
        await rejected.submit()
        assert "start it before" in (await rejected.recorded("refuse_request")).details
        await rejected.start("ines")
        await rejected.is_("running")
        await rejected.submit(by="ines")
        await rejected.is_("awaiting_signoff")
        await rejected.sign(by="ivan")
        await rejected.sign(by="quentin", role=Role.QUALITY_MANAGER)
        second = await package_of(rejected, 2)
        assert f'"replaces":"{package_id}"' in shop.ledger.transfers[second].package
        await rejected.handle.result()

    async def test_are_not_disposed_of_by_a_signal_that_says_so(self, shop: Shop, rejected: Tested) -> None:
        await rejected.ask("disposed", package_id=await package_of(rejected))
        assert "has no disposition" in (await rejected.recorded("refuse_request")).details
        await rejected.ask("disposed", package_id="PKG-other-R1")
        await rejected.recorded("refuse_request", 2)
        assert rejected.row["status"] == "authorized"
        assert len(shop.alerts("request_refused")) == 2

    async def test_before_they_are_authorized_have_no_disposition(self, measured: Tested) -> None:
        await measured.ask("disposed", package_id=f"PKG-{measured.name}-R1")
        assert "does not wait" in (await measured.recorded("refuse_request")).details
        assert measured.row["status"] == "awaiting_signoff"


class TestTime:
    async def test_reminds_the_role_whose_sign_off_is_missing(self, shop: Shop, measured: Tested) -> None:
        await shop.pass_time(REMIND_AFTER + SECOND)
        assert "T-1 by a inspector" in (await measured.recorded("remind_signoff")).details
        assert [alert.owner for alert in shop.open_alerts("signoff_waits")] == [Role.INSPECTOR]

    async def test_then_tells_the_production_manager(self, shop: Shop, measured: Tested) -> None:
        await shop.pass_time(ESCALATE_AFTER + SECOND)
        await measured.recorded("escalate_signoff")
        assert [alert.owner for alert in shop.open_alerts("signoff_waits")] == [Role.PRODUCTION_MANAGER]
        await shop.pass_time(ESCALATE_AFTER)
        assert len(measured.entries("remind_signoff")) == len(measured.entries("escalate_signoff")) == 1

    async def test_begins_anew_for_the_next_sign_off(self, shop: Shop, measured: Tested) -> None:
        await shop.pass_time(REMIND_AFTER + SECOND)
        await measured.recorded("remind_signoff")
        await measured.sign()
        await measured.recorded("sign_off")
        assert shop.open_alerts("signoff_waits") == []
        await shop.pass_time(REMIND_AFTER + SECOND)
        await measured.recorded("remind_signoff", 2)
        assert [alert.owner for alert in shop.open_alerts("signoff_waits")] == [Role.QUALITY_MANAGER]

    async def test_reminds_of_nothing_while_the_test_is_on_hold(self, shop: Shop, measured: Tested) -> None:
        await measured.ask("hold", reason="the client calls")
        await measured.is_("hold")
        await shop.pass_time(ESCALATE_AFTER + SECOND)
        assert measured.entries("remind_signoff") == []

    async def test_has_nobody_waiting_when_results_change(self, shop: Shop, measured: Tested) -> None:
        await shop.pass_time(REMIND_AFTER + SECOND)
        await measured.recorded("remind_signoff")
        await measured.submit(result(value="0.20"))
        await measured.recorded("submit_results", 2)
        assert shop.open_alerts("signoff_waits") == []


class TestAHold:
    async def test_keeps_everything_waiting_until_it_is_resumed(self, measured: Tested) -> None:
        await measured.ask("hold", reason="the client calls")
        await measured.is_("hold")
        assert (await measured.recorded("hold_test")).user_id == "unidentified"
        await measured.sign()
        await measured.submit()
        await measured.recorded("refuse_request", 2)
        await measured.ask("resume", reason="they agreed")
        await measured.is_("awaiting_signoff")
        await measured.recorded("resume_test")
        await signed_by_all(measured)
        await package_of(measured)

    async def test_twice_is_refused(self, tested: Tested) -> None:
        await tested.ask("hold", reason="one")
        await tested.ask("hold", reason="two")
        assert "already on hold: one" in (await tested.recorded("refuse_request")).details

    async def test_that_is_none_cannot_be_resumed(self, tested: Tested) -> None:
        await tested.ask("resume", reason="why not")
        assert "not on hold" in (await tested.recorded("refuse_request")).details


class TestAnAbort:
    async def test_ends_the_test_and_what_was_alerted(self, shop: Shop) -> None:
        tested = await released(shop, one("T-1", equipment=("LAMP-1",)))
        async with shop.node_online():
            await tested.start("ivan", "LAMP-1")
            await tested.is_("blocked")
            await tested.ask("abort", reason="the client cancels")
            assert (await tested.handle.result())["status"] == "aborted"
        assert (await tested.recorded("abort_test")).details == "Aborted: the client cancels"
        assert shop.open_alerts("equipment_not_ready") == []

    async def test_while_the_gate_is_asked_again_refuses_nothing(self, shop: Shop) -> None:
        """Nobody sent the news that the test gives up then."""
        tested = await released(shop, one("T-1", equipment=("LAMP-1",)))
        async with shop.node_online():
            await tested.start("ivan", "LAMP-1")
            await tested.is_("blocked")
        await tested.ask("equipment_changed")
        await tested.recorded("node_late")
        await tested.ask("abort", reason="the client cancels")
        assert (await tested.handle.result())["status"] == "aborted"
        assert shop.entries("refuse_request") == []

    async def test_is_what_temporals_cancel_is(self, tested: Tested) -> None:
        await tested.handle.cancel()
        assert (await tested.handle.result())["status"] == "aborted"
        assert "cancelled in Temporal" in (await tested.recorded("abort_test")).details

    async def test_is_not_kept_waiting_by_a_node_that_is_away(self, shop: Shop) -> None:
        tested = await released(shop, one("T-1"))
        await tested.start()
        assert "begin the test" in (await tested.recorded("node_late")).details
        assert len(shop.open_alerts("node_late")) == 1
        await tested.ask("abort", reason="enough")
        assert (await tested.handle.result())["status"] == "aborted"
        assert shop.open_alerts("node_late") == []


class TestANodeThatIsAway:
    async def test_begins_the_test_when_it_is_back(self, shop: Shop) -> None:
        tested = await released(shop, one("T-1"))
        await tested.start()
        await tested.recorded("node_late")
        await tested.shows(shop.node)
        async with shop.node_online():
            await tested.is_("running")
        assert shop.open_alerts("node_late") == []

    async def test_keeps_results_from_counting_until_it_has_its_copy(self, shop: Shop) -> None:
        tested = await released(shop, one("T-1"))
        async with shop.node_online():
            await tested.start()
            await tested.is_("running")
        await tested.submit()
        await tested.recorded("node_late")
        assert tested.entries("submit_results") == []
        async with shop.node_online():
            await tested.is_("awaiting_signoff")
