"""The life of a version of a maintenance contract, on the hub and on each of its nodes."""

import asyncio
from datetime import timedelta
from hashlib import sha256
from typing import Any
from unittest.mock import AsyncMock

import pytest
from temporalio.client import WorkflowUpdateFailedError

from schemas import names
from schemas.maintenance import ContractStatus
from schemas.maintenance_life import MONITORED, Progress
from schemas.policy_repository import Publication, Published
from tests.workflows.contracts import Contracts, ContractVersion
from tests.workflows.shop import DEADLINE, details, shows, until
from tests.workflows.test_foreign_messages import MALFORMED, send
from tests.workflows.test_forged_messages import handlers_at
from workflows.maintenance import MESSAGES


class TestADraft:
    async def test_with_faults_stays_a_draft_and_names_every_fault(self, contracts: Contracts) -> None:
        draft = await contracts.create(calibration_interval_days=None, checklist_steps=[], title="")
        await draft.ask(names.VALIDATE)
        entry = await draft.recorded("validate_contract")
        assert (entry.metadata["structure_valid"], entry.metadata["logic_valid"]) == (False, True)
        assert any("title" in fault for fault in entry.metadata["faults"])
        await draft.ask(names.REVISE, document=contracts.document(calibration_interval_days=None), reason="title")
        await draft.ask(names.VALIDATE)
        entry = await draft.recorded("validate_contract", 2)
        assert entry.metadata["conditions_valid"] is False
        assert entry.metadata["faults"] == [
            "must-calibrate-before-test: give calibration_interval_days, else nothing says when it is due"
        ]
        assert draft.row["status"] == "draft"
        await shows(draft.handle, "give calibration_interval_days")

    async def test_is_validated_by_an_update_that_says_so(self, contracts: Contracts) -> None:
        draft = await contracts.create()
        life = await draft.handle.execute_update(names.VALIDATE, {"user_id": "eve"})
        assert life["status"] == "validated"
        assert (await draft.recorded("validate_contract")).user_id == "eve"

    async def test_keeps_its_id_when_it_is_revised(self, contracts: Contracts) -> None:
        draft = await contracts.create()
        with pytest.raises(WorkflowUpdateFailedError):
            await draft.handle.execute_update(
                names.REVISE, {"document": contracts.document(smart_contract_id="LP-other"), "reason": "rename"}
            )

    async def test_of_a_later_version_says_what_it_changes_after_a_revision_too(self, contracts: Contracts) -> None:
        first = await contracts.create()
        draft = await contracts.improve(first, calibration_interval_days=90)
        revised = contracts.document(calibration_interval_days=90, warning_days=14)
        await draft.ask(names.REVISE, document=revised, reason="warn later")
        listed = (await draft.recorded("revise_contract")).metadata["changes"]
        assert [(change["field"], change["after"], change["reason"]) for change in listed] == [
            ("/calibration_interval_days", 90, "three alerts"),
            ("/warning_days", 14, "warn later"),
        ]

    async def test_cannot_be_deployed(self, contracts: Contracts) -> None:
        draft = await contracts.create()
        await draft.ask(names.DEPLOY, reason="now", token=await draft.deployment_token())
        assert "validate it first" in (await draft.recorded("refuse_request")).metadata["reason"]

    async def test_that_is_retired_is_archived_at_once(self, contracts: Contracts) -> None:
        draft = await contracts.create()
        await draft.retire()
        await draft.is_("archived")
        entry = await draft.recorded("retire_contract")
        assert entry.metadata["retirement_reason"] == "not needed"
        assert entry.metadata["active_duration_days"] == 0
        assert (await draft.handle.result())["status"] == "archived"


class TestADeployment:
    async def test_needs_a_second_person(self, contracts: Contracts) -> None:
        version = await contracts.create()
        await version.ask(names.VALIDATE)
        approval_id = await version.ask_deployment()
        await version.answer(approval_id, by="eve")
        await (await contracts.shop.approval(approval_id)).recorded("refuse_decision")
        assert version.row["status"] == "validated"
        async with contracts.online():
            await version.answer(approval_id)
            await version.is_("monitoring")

    async def test_that_is_refused_can_be_asked_for_again(self, contracts: Contracts) -> None:
        version = await contracts.create()
        await version.ask(names.VALIDATE)
        await version.answer(await version.ask_deployment(), "refuse")
        await version.recorded("keep_contract")
        assert (version.row["status"], version.row["pending_approval"]) == ("validated", None)
        assert await version.ask_deployment() == f"{version.ref.contract_id}.1.0.deploy.2"

    async def test_that_nobody_decided_is_refused(self, contracts: Contracts) -> None:
        version = await contracts.create()
        await version.ask(names.VALIDATE)
        await version.ask(names.DEPLOY, reason="now", user_id="maria")
        assert (await version.recorded("refuse_decision")).user_id == "unidentified"

    async def test_is_told_nothing_by_a_signal_that_says_it_is_approved(self, contracts: Contracts) -> None:
        version = await contracts.create()
        await version.ask(names.VALIDATE)
        approval_id = await version.ask_deployment()
        await version.ask(names.APPROVAL_ENDED, approval_id=approval_id)
        await version.recorded("refuse_request")
        assert version.row["status"] == "validated"

    async def test_goes_to_all_nodes_of_the_station_type_and_is_active_when_all_have_it(
        self, contracts: Contracts
    ) -> None:
        first, second = contracts.stations
        version = await contracts.create()
        async with contracts.online(first):
            await version.deploy()
            await version.is_on_nodes("acknowledged", "pending")
            assert version.row["status"] == "deployed"
            assert (first.in_force, second.in_force) == (["1.0"], [])
        async with contracts.online(second):
            await version.is_("monitoring")
        assert second.in_force == ["1.0"]
        entry = (await version.recorded("deploy_contract")).metadata
        assert entry["nodes"] == [station.node.node_id for station in contracts.stations]
        assert (await version.recorded("activate_contract")).metadata["success_count"] == 2
        assert [e.smart_id for e in version.entries("acknowledge_contract")] == entry["nodes"]

    async def test_to_a_node_of_another_type_is_refused(self, contracts: Contracts) -> None:
        version = await contracts.create()
        await version.ask(names.VALIDATE)
        await version.ask(names.DEPLOY, reason="now", nodes=[f"X-{contracts.shop.name}"])
        assert "station type LP" in (await version.recorded("refuse_request")).metadata["reason"]

    async def test_that_an_update_asks_in_vain_is_told_to_whoever_asked_alone(self, contracts: Contracts) -> None:
        version = await contracts.create()
        await version.ask(names.VALIDATE)
        await version.is_("validated")
        asked = {"reason": "now", "nodes": [f"X-{contracts.shop.name}"]}
        with pytest.raises(WorkflowUpdateFailedError):
            await version.handle.execute_update(names.DEPLOY, asked)
        assert "⚠" not in await details(version.handle)

    async def test_goes_to_the_named_nodes_alone(self, contracts: Contracts) -> None:
        first, second = contracts.stations
        version = await contracts.create()
        async with contracts.online():
            await version.deploy([first.node.node_id])
            await version.is_("monitoring")
        assert (first.in_force, second.in_force) == (["1.0"], [])

    async def test_that_a_node_does_not_acknowledge_is_alerted_until_it_does(self, contracts: Contracts) -> None:
        version = await contracts.create()
        await version.deploy()
        await version.recorded("deployment_late", 2)
        assert len(contracts.shop.open_alerts("deployment_late")) == 2
        async with contracts.online():
            await version.is_("monitoring")
        assert contracts.shop.open_alerts("deployment_late") == []

    async def test_is_watched_for_thirty_days(self, contracts: Contracts) -> None:
        version = await contracts.create()
        async with contracts.online():
            await version.deploy()
            await version.is_("monitoring")
        await contracts.shop.pass_time(MONITORED - timedelta(hours=1))
        assert version.row["status"] == "monitoring"
        await contracts.shop.pass_time(timedelta(hours=2))
        await version.is_("active")
        assert "a newer version" in await details(version.handle)


class TestThePolicyRepository:
    async def test_has_the_document_before_any_node(self, contracts: Contracts) -> None:
        version = await contracts.create()
        await version.deploy()
        file = contracts.folder / "v1.0" / f"{version.ref.contract_id}.yaml"
        assert "calibration_interval_days: 180" in file.read_text()
        assert file.stat().st_mode & 0o222 == 0
        written = (await version.recorded("deploy_contract")).metadata
        assert written["file_hash"] == sha256(file.read_bytes()).hexdigest()
        assert written["document_hash"] == version.row["document_hash"]

    async def test_that_holds_something_else_keeps_a_version_from_being_deployed(self, contracts: Contracts) -> None:
        version = await contracts.create()
        file = contracts.folder / "v1.0" / f"{version.ref.contract_id}.yaml"
        file.parent.mkdir(parents=True)
        file.write_text("another: one\n")
        await version.ask(names.VALIDATE)
        await version.answer(await version.ask_deployment())
        await version.recorded("policy_fault")
        assert version.row["status"] == "validated"
        assert len(contracts.shop.open_alerts("policy_fault")) == 1
        file.unlink()
        async with contracts.online():
            await contracts.shop.pass_time(timedelta(minutes=11))
            await version.is_("monitoring")
        assert contracts.shop.open_alerts("policy_fault") == []

    async def test_that_somebody_changed_is_sent_to_no_node(self, contracts: Contracts) -> None:
        version = await contracts.create()
        file = contracts.folder / "v1.0" / f"{version.ref.contract_id}.yaml"
        written = file.parent / "written"

        def tamper() -> None:
            file.rename(written)
            file.write_text(written.read_text().replace("180", "900"))

        contracts.repository.on_published = tamper
        async with contracts.online():
            await version.deploy()
            await version.recorded("policy_fault", 2)
            assert [station.in_force for station in contracts.stations] == [[], []]
            assert "changed after it was published" in version.entries("policy_fault")[0].details
            written.replace(file)
            await contracts.shop.pass_time(timedelta(minutes=11))
            await version.is_("monitoring")


async def in_force(contracts: Contracts) -> ContractVersion:
    version = await contracts.create()
    async with contracts.online():
        await version.deploy()
        await version.is_("monitoring")
    return version


class TestANewerVersion:
    async def test_takes_over_on_each_node_and_archives_the_old_one(self, contracts: Contracts) -> None:
        old = await in_force(contracts)
        new = await contracts.improve(old, calibration_interval_days=90)
        first, second = contracts.stations
        async with contracts.online(first):
            await new.deploy()
            await new.is_on_nodes("acknowledged", "pending")
            assert old.deployments == ["superseded", "acknowledged"]
            assert (first.in_force, second.in_force) == (["1.1"], ["1.0"])
            assert old.row["status"] == "monitoring"
        async with contracts.online(second):
            await new.is_("monitoring")
            await old.is_("archived")
        assert old.deployments == ["superseded", "superseded"]
        assert "superseded" in (await old.recorded("retire_contract")).metadata["retirement_reason"]
        assert (new.row["parent_version"], second.in_force) == ("1.0", ["1.1"])

    async def test_on_some_nodes_leaves_the_old_one_on_the_others(self, contracts: Contracts) -> None:
        old = await in_force(contracts)
        new = await contracts.improve(old, calibration_interval_days=90)
        async with contracts.online():
            await new.deploy([contracts.stations[0].node.node_id])
            await new.is_("monitoring")
        assert old.deployments == ["superseded", "acknowledged"]
        assert old.row["status"] == "monitoring"

    async def test_is_not_replaced_by_an_older_one_that_comes_late(self, contracts: Contracts) -> None:
        old = await contracts.create()
        await old.deploy()
        new = await contracts.improve(old, calibration_interval_days=90)
        await new.deploy()
        async with contracts.online():
            await new.is_("monitoring")
            await old.is_("archived")
        assert [station.in_force for station in contracts.stations] == [["1.1"], ["1.1"]]
        assert old.deployments == ["superseded", "superseded"]

    async def test_is_told_of_by_a_signal_that_is_not_believed(self, contracts: Contracts) -> None:
        version = await in_force(contracts)
        for _ in range(3):
            await version.ask(names.DEPLOYMENTS_CHANGED)
        await version.ask("explode")
        await version.recorded("refuse_request")
        assert version.row["status"] == "monitoring"

    async def test_that_the_same_review_asks_for_twice_is_one(self, contracts: Contracts) -> None:
        old = await contracts.create()
        first = await contracts.improve(old, calibration_interval_days=90)
        again = await contracts.improve(old, calibration_interval_days=90)
        other = await contracts.improve(old, calibration_interval_days=60)
        assert [version.ref.version for version in (first, again, other)] == ["1.1", "1.1", "1.2"]


async def on_the_first(contracts: Contracts) -> ContractVersion:
    """A version that is in force on the first node alone; their workers are away again."""
    version = await contracts.create()
    async with contracts.online():
        await version.deploy([contracts.stations[0].node.node_id])
        await version.is_("monitoring")
    return version


class TestFurtherNodes:
    async def test_get_a_version_that_is_in_force_after_a_second_person_approved(self, contracts: Contracts) -> None:
        first, second = contracts.stations
        version = await on_the_first(contracts)
        left = [second.node.node_id]
        await version.ask(names.DEPLOY, reason="it joined", token=await version.deployment_token(left))
        asked = (await version.recorded("ask_approval", 2)).metadata
        assert (asked["nodes"], version.row["pending_approval"]) == (left, asked["approval_id"])
        assert version.deployments == ["acknowledged"]
        await shows(version.handle, asked["approval_id"])
        await version.answer(asked["approval_id"])
        entry = (await version.recorded("deploy_contract", 2)).metadata
        assert (entry["nodes"], entry["approval_id"]) == (left, asked["approval_id"])
        await version.is_on_nodes("acknowledged", "pending")
        async with contracts.online(second):
            await version.is_on_nodes("acknowledged", "acknowledged")
        assert (first.in_force, second.in_force) == (["1.0"], ["1.0"])
        assert [e.smart_id for e in version.entries("acknowledge_contract")] == [first.node.node_id, *left]
        assert (version.row["status"], version.row["pending_approval"]) == ("monitoring", None)
        assert len(version.entries("activate_contract")) == 1

    async def test_keep_a_version_from_being_active_while_it_is_deployed(self, contracts: Contracts) -> None:
        first, second = contracts.stations
        version = await contracts.create()
        await version.deploy([first.node.node_id])
        await version.answer(await version.ask_deployment([second.node.node_id]))
        await version.is_on_nodes("pending", "pending")
        async with contracts.online(first):
            await version.is_on_nodes("acknowledged", "pending")
        assert version.row["status"] == "deployed"
        async with contracts.online(second):
            await version.is_("monitoring")

    async def test_get_it_also_while_a_newer_version_is_on_its_way_to_an_earlier_node(
        self, contracts: Contracts
    ) -> None:
        first, second = contracts.stations
        version = await contracts.create()
        await version.deploy([first.node.node_id])
        newer = await contracts.improve(version, calibration_interval_days=90)
        await newer.deploy([first.node.node_id])
        await version.answer(await version.ask_deployment([second.node.node_id]))
        await version.order(second)
        async with contracts.online():
            await version.is_("monitoring")
        assert (first.in_force, second.in_force) == (["1.1"], ["1.0"])

    async def test_are_refused_where_none_is_left(self, contracts: Contracts) -> None:
        version = await in_force(contracts)
        await version.ask(names.DEPLOY, reason="again", token=await version.deployment_token())
        assert "all of them have" in (await version.recorded("refuse_request")).metadata["reason"]

    async def test_may_be_refused_and_asked_for_again(self, contracts: Contracts) -> None:
        version = await on_the_first(contracts)
        left = [contracts.stations[1].node.node_id]
        await version.answer(await version.ask_deployment(left), "refuse")
        await version.recorded("keep_contract")
        assert (version.row["status"], version.row["pending_approval"]) == ("monitoring", None)
        assert version.deployments == ["acknowledged"]
        assert await version.ask_deployment(left) == f"{version.ref.contract_id}.1.0.deploy.3"

    async def test_get_it_once_its_file_is_in_the_repository_again(self, contracts: Contracts) -> None:
        version = await on_the_first(contracts)
        file = contracts.folder / "v1.0" / f"{version.ref.contract_id}.yaml"
        written = file.rename(file.parent / "written")
        file.write_text("another: one\n")
        await version.answer(await version.ask_deployment([contracts.stations[1].node.node_id]))
        await version.recorded("policy_fault")
        await shows(version.handle, "the policy repository")
        written.replace(file)
        async with contracts.online():
            await contracts.shop.pass_time(timedelta(minutes=11))
            await version.is_on_nodes("acknowledged", "acknowledged")
        assert contracts.shop.open_alerts("policy_fault") == []
        assert version.row["status"] == "monitoring"

    async def test_end_it_when_it_is_retired(self, contracts: Contracts) -> None:
        version = await on_the_first(contracts)
        async with contracts.online():
            await version.answer(await version.ask_deployment([contracts.stations[1].node.node_id]))
            await version.is_on_nodes("acknowledged", "acknowledged")
            await version.retire()
            await version.is_("archived")
        assert [station.in_force for station in contracts.stations] == [[], []]

    async def test_get_it_also_where_another_version_was_and_is_retired(self, contracts: Contracts) -> None:
        """Which has the higher number there than the first deployment of this one."""
        second = contracts.stations[1]
        version = await on_the_first(contracts)
        newer = await contracts.improve(version, calibration_interval_days=90)
        async with contracts.online():
            await newer.deploy([second.node.node_id])
            await newer.is_("monitoring")
            await newer.retire()
            await newer.is_("archived")
            await version.answer(await version.ask_deployment([second.node.node_id]))
            await version.is_on_nodes("acknowledged", "acknowledged")
        assert second.in_force == ["1.0"]

    async def test_that_another_version_came_to_meanwhile_do_not_get_it(self, contracts: Contracts) -> None:
        second = contracts.stations[1]
        version = await on_the_first(contracts)
        asked = await version.ask_deployment([second.node.node_id])
        newer = await contracts.improve(version, calibration_interval_days=90)
        async with contracts.online():
            await newer.deploy([second.node.node_id])
            await newer.is_("monitoring")
            await version.answer(asked)
            assert "would undo" in (await version.recorded("keep_contract")).metadata["reason"]
        assert (second.in_force, version.deployments) == (["1.1"], ["acknowledged"])

    async def test_that_another_version_comes_to_at_the_same_moment_do_not_get_it(
        self, contracts: Contracts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = contracts.stations
        version = await in_force(contracts)
        newer = await contracts.improve(version, calibration_interval_days=90)
        other = await contracts.improve(version, warning_days=10)
        publish, looked = contracts.repository.publish, asyncio.Event()

        async def after_the_other(publication: Publication) -> Published:
            if publication.version == newer.ref.version and newer.entries("deploy_contract"):
                looked.set()
                await until(lambda: bool(other.entries("deploy_contract")), lambda: str(contracts.shop))
            return await publish(publication)

        monkeypatch.setattr(contracts.repository, "publish", after_the_other)
        async with contracts.online():
            await newer.deploy([first.node.node_id])
            await newer.is_("monitoring")
            await other.ask(names.VALIDATE)
            await newer.answer(await newer.ask_deployment([second.node.node_id]))
            asked = await other.ask_deployment([second.node.node_id])
            async with asyncio.timeout(DEADLINE):
                await looked.wait()
            await other.answer(asked)
            assert "would undo" in (await newer.recorded("keep_contract")).metadata["reason"]
            await other.is_("monitoring")
        assert (first.in_force, second.in_force) == (["1.1"], ["1.2"])
        assert (newer.row["status"], newer.deployments) == ("monitoring", ["acknowledged", "retired"])

    async def test_are_not_waited_for_any_more_once_a_newer_version_has_taken_over(self, contracts: Contracts) -> None:
        first, second = contracts.stations
        version = await on_the_first(contracts)
        approval = await contracts.shop.approval(await version.ask_deployment([second.node.node_id]))
        newer = await contracts.improve(version, calibration_interval_days=90)
        async with contracts.online():
            await newer.deploy([first.node.node_id])
            await version.is_("archived")
        await approval.is_("cancelled")


class TestARetirement:
    async def test_ends_a_version_on_its_nodes_and_archives_it(self, contracts: Contracts) -> None:
        version = await in_force(contracts)
        await contracts.shop.pass_time(timedelta(days=3))
        await version.retire("the lamps are gone")
        await version.is_("deprecated")
        async with contracts.online():
            await version.is_("archived")
        assert [station.in_force for station in contracts.stations] == [[], []]
        assert version.deployments == ["retired", "retired"]
        entry = await version.recorded("retire_contract")
        assert (entry.user_id, entry.metadata["active_duration_days"]) == ("bob", 3)

    async def test_by_nobody_is_refused(self, contracts: Contracts) -> None:
        version = await in_force(contracts)
        await version.ask(names.RETIRE, reason="because", user_id="maria")
        await version.recorded("refuse_decision")
        assert version.row["status"] == "monitoring"

    async def test_before_a_node_has_it_keeps_it_from_ever_coming_into_force_there(self, contracts: Contracts) -> None:
        version = await contracts.create()
        await version.deploy()
        await version.sent()
        await version.retire()
        await version.recorded("end_order", 2)
        async with contracts.online():
            await version.is_("archived")
        assert [station.in_force for station in contracts.stations] == [[], []]

    async def test_that_a_killed_worker_has_recorded_to_its_end_is_ended_by_the_next_one(
        self, contracts: Contracts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        version = await contracts.create()
        recorded = Progress(status=ContractStatus.ARCHIVED, pending=0, acknowledged=0)
        monkeypatch.setattr(contracts.rows, "progress", AsyncMock(return_value=recorded))
        await version.retire()
        assert (await version.handle.result())["status"] == "archived"

    async def test_cancels_the_approval_that_is_open(self, contracts: Contracts) -> None:
        version = await contracts.create()
        await version.ask(names.VALIDATE)
        approval = await contracts.shop.approval(await version.ask_deployment())
        await version.retire()
        await version.is_("archived")
        await approval.is_("cancelled")

    async def test_by_temporals_cancel_is_refused(self, contracts: Contracts) -> None:
        version = await in_force(contracts)
        await version.handle.cancel()
        assert "retire it" in (await version.recorded("refuse_request")).metadata["reason"]


FORGED: dict[str, dict[str, Any]] = {
    names.DEPLOY: {"reason": "now", "user_id": "maria", "token": "forged"},
    names.RETIRE: {"reason": "now", "user_id": "maria", "token": "forged"},
    names.APPROVAL_ENDED: {"approval_id": "forged"},
    names.DEPLOYMENTS_CHANGED: {},
}
OF_DRAFTS = {names.REVISE, names.VALIDATE}
"""They do nothing that a deployment's approval does not look at, and are written down as by nobody known."""


class TestWhateverSomebodySends:
    @pytest.mark.parametrize("signal", sorted({*MESSAGES} - {names.VALIDATE, names.DEPLOYMENTS_CHANGED}))
    async def test_that_cannot_be_read_is_refused(self, contracts: Contracts, signal: str) -> None:
        version = await contracts.create()
        for payload in MALFORMED:
            await send(version.handle, signal, payload)
        await version.recorded("refuse_request", len(MALFORMED))
        assert version.row["status"] == "draft"

    @pytest.mark.parametrize("signal", FORGED)
    async def test_decides_nothing_without_a_decision(self, contracts: Contracts, signal: str) -> None:
        version = await contracts.create()
        await version.ask(names.VALIDATE)
        await version.ask_deployment()
        await version.ask(signal, **FORGED[signal])
        await version.ask("the last")
        await until(
            lambda: any("the last" in entry.details for entry in version.entries("refuse_request")),
            lambda: str(contracts.shop),
        )
        assert version.row["status"] == "validated"

    async def test_is_one_of_these(self, contracts: Contracts) -> None:
        version = await contracts.create()
        found = await handlers_at(version.handle)
        assert set(found["signal"]) == FORGED.keys() | OF_DRAFTS
        assert set(found["update"]) == {names.DEPLOY, names.RETIRE} | OF_DRAFTS

    async def test_to_what_a_node_is_to_do_is_refused(self, contracts: Contracts) -> None:
        version = await contracts.create()
        await version.deploy()
        on_node = await version.order(contracts.stations[0])
        await on_node.signal("acknowledged", {"version": "1.0"})
        await on_node.signal(names.DEPLOYMENTS_CHANGED, {})
        await on_node.cancel()
        await version.recorded("refuse_request", 2)
        assert version.deployments == ["pending", "pending"]
        assert await handlers_at(on_node) == {"signal": [names.DEPLOYMENTS_CHANGED], "update": []}
        async with contracts.online():
            await version.is_("monitoring")

    async def test_of_a_revision_is_by_nobody_known(self, contracts: Contracts) -> None:
        version = await contracts.create()
        await version.ask(names.REVISE, document=contracts.document(warning_days=7), reason="r", user_id="maria")
        assert (await version.recorded("revise_contract")).user_id == "unidentified"
