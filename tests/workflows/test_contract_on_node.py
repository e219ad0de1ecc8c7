"""What a node says of a contract, and what follows for the versions that it had before or never took."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from infra.settings import Settings
from infra.temporal import connect
from schemas import names
from tests.workflows.contracts import ContractLedger, Contracts, ContractVersion
from tests.workflows.eager import eager_server
from tests.workflows.shop import DEADLINE, Shop, check_histories, main_worker, until
from tests.workflows.test_maintenance import in_force
from workflows import retry

CHANGES: tuple[dict[str, int], ...] = ({"calibration_interval_days": 90}, {"warning_days": 10})


class TestARetirement:
    async def test_before_a_node_has_it_leaves_the_old_version_in_force_there(self, contracts: Contracts) -> None:
        old = await in_force(contracts)
        new = await contracts.improve(old, calibration_interval_days=90)
        await new.deploy()
        await new.sent()
        await new.retire("it was wrong")
        await new.recorded("end_order", 2)
        async with contracts.online():
            await new.is_("archived")
        assert [station.in_force for station in contracts.stations] == [["1.0"], ["1.0"]]
        assert (new.deployments, old.deployments) == (["retired", "retired"], ["acknowledged", "acknowledged"])
        assert old.row["status"] == "monitoring"

    async def test_of_the_old_version_leaves_the_new_one_in_force(self, contracts: Contracts) -> None:
        old = await in_force(contracts)
        new = await contracts.improve(old, calibration_interval_days=90)
        await new.deploy()
        await old.retire()
        async with contracts.online():
            await new.is_("monitoring")
            await old.is_("archived")
        assert [station.in_force for station in contracts.stations] == [["1.1"], ["1.1"]]

    async def test_of_a_version_that_took_over_unheard_brings_back_the_one_before_it(
        self, contracts: Contracts
    ) -> None:
        old = await in_force(contracts)
        new = await contracts.improve(old, calibration_interval_days=90)
        await new.deploy()
        new.take_unheard()
        await new.retire()
        await new.recorded("retire_contract")
        async with contracts.online():
            await new.is_("archived")
        assert (new.deployments, old.deployments) == (["retired", "retired"], ["acknowledged", "acknowledged"])
        assert [station.in_force for station in contracts.stations] == [["1.0"], ["1.0"]]

    async def test_leaves_no_node_without_a_version_that_comes_back_before_its_order_is_withdrawn(
        self, contracts: Contracts
    ) -> None:
        old = await in_force(contracts)
        new = await contracts.improve(old, calibration_interval_days=90)
        await new.deploy()
        await new.sent()
        told = contracts.ordering.told = asyncio.Event()
        await new.retire()
        await new.recorded("retire_contract")
        async with contracts.online():
            await new.recorded("acknowledge_contract", 2)
            assert [station.in_force for station in contracts.stations] == [["1.1"], ["1.1"]]
            told.set()
            await new.is_("archived")
        assert [station.in_force for station in contracts.stations] == [["1.0"], ["1.0"]]
        assert (new.deployments, old.deployments) == (["retired", "retired"], ["acknowledged", "acknowledged"])
        assert old.row["status"] == "monitoring"

    async def test_of_a_version_in_force_ends_also_what_it_took_over_from(self, contracts: Contracts) -> None:
        old = await in_force(contracts)
        new = await contracts.improve(old, calibration_interval_days=90)
        async with contracts.online():
            await new.deploy()
            await new.is_("monitoring")
            await new.retire()
            await new.is_("archived")
        assert [station.in_force for station in contracts.stations] == [[], []]


class TestANewerVersionThatIsRetiredUnheard:
    @pytest.mark.parametrize("taken", [["1.2"], ["1.1", "1.2"]])
    async def test_gives_way_to_the_one_before_it_that_is_still_on_its_way(
        self, contracts: Contracts, taken: list[str]
    ) -> None:
        old = await in_force(contracts)
        wanted = await contracts.improve(old, calibration_interval_days=90)
        await wanted.deploy()
        newer = await contracts.improve(wanted, calibration_interval_days=60)
        await newer.deploy()
        await wanted.sent()
        await newer.sent()
        for version in (wanted, newer):
            if version.ref.version in taken:
                version.take_unheard()
        told = contracts.ordering.told = asyncio.Event()
        await newer.retire()
        await newer.recorded("retire_contract")
        async with contracts.online():
            await wanted.is_answered()
            told.set()
            await newer.is_("archived")
            await contracts.shop.pass_time(2 * retry.LONGEST_PAUSE)
            await wanted.is_("monitoring")
        assert [station.in_force for station in contracts.stations] == [["1.1"], ["1.1"]]
        assert (wanted.deployments, newer.deployments) == (["acknowledged"] * 2, ["retired"] * 2)
        assert old.deployments == ["superseded", "superseded"]


class TestAnAnswerThatNobodyHeard:
    async def test_ends_all_versions_before_it_once_a_later_one_is_heard(self, contracts: Contracts) -> None:
        old = await in_force(contracts)
        lost = await contracts.improve(old, calibration_interval_days=90)
        await lost.deploy()
        new = await contracts.improve(lost, calibration_interval_days=60)
        await new.deploy()
        for version in (lost, new):
            version.take_unheard()
        async with contracts.online():
            await new.is_("monitoring")
            for version in (old, lost):
                await version.is_("archived")
        assert old.deployments == lost.deployments == ["superseded", "superseded"]


async def crossed(contracts: Contracts) -> tuple[ContractVersion, ContractVersion]:
    """Two drafts of one parent that are approved at once while the nodes are away: the second is retired."""
    old = await in_force(contracts)
    drafts = [await contracts.improve(old, **change) for change in CHANGES]
    contracts.repository.meeting = asyncio.Barrier(2)
    for draft in drafts:
        await draft.ask(names.VALIDATE)
    for draft, asked in [(draft, await draft.ask_deployment()) for draft in drafts]:
        await draft.answer(asked)
    await until(lambda: len(contracts.shop.entries("retire_contract")) == 1, lambda: str(contracts.shop))
    contracts.repository.meeting = None
    first, second = sorted(drafts, key=lambda draft: bool(draft.entries("retire_contract")))
    return first, second


class TestTwoDraftsOfOneParent:
    async def test_do_not_undo_each_other(self, contracts: Contracts) -> None:
        old = await in_force(contracts)
        one = await contracts.improve(old, calibration_interval_days=90)
        two = await contracts.improve(old, warning_days=10)
        await one.deploy()
        await two.ask(names.VALIDATE)
        await two.ask(names.DEPLOY, reason="ready", token=await two.deployment_token())
        assert "make it from 1.1" in (await two.recorded("refuse_request")).metadata["reason"]

    async def test_that_are_both_asked_for_are_looked_at_again_when_they_are_approved(
        self, contracts: Contracts
    ) -> None:
        old = await in_force(contracts)
        one = await contracts.improve(old, calibration_interval_days=90)
        two = await contracts.improve(old, warning_days=10)
        await two.ask(names.VALIDATE)
        asked = await two.ask_deployment()
        await one.deploy()
        await two.answer(asked)
        assert "make it from 1.1" in (await two.recorded("keep_contract")).details
        assert (two.row["status"], two.row["pending_approval"]) == ("validated", None)
        assert [alert.subject for alert in contracts.shop.open_alerts("request_refused")] == [two.ref.contract_id]
        assert not (contracts.folder / "v1.2").exists()

    async def test_that_are_approved_at_the_same_moment_do_not_undo_each_other(self, contracts: Contracts) -> None:
        first, second = await crossed(contracts)
        assert f"make it from {first.ref.version}" in second.row["retirement_reason"]
        async with contracts.online():
            await second.is_("archived")
            await first.is_("monitoring")
        assert [station.in_force for station in contracts.stations] == [[first.ref.version]] * 2
        assert (first.deployments, second.deployments) == (["acknowledged"] * 2, ["retired"] * 2)
        assert [alert.subject for alert in contracts.shop.open_alerts("request_refused")] == [second.ref.contract_id]

    async def test_may_go_to_different_nodes(self, contracts: Contracts) -> None:
        old = await in_force(contracts)
        one = await contracts.improve(old, calibration_interval_days=90)
        two = await contracts.improve(old, warning_days=10)
        async with contracts.online():
            for version, station in zip((one, two), contracts.stations, strict=True):
                await version.deploy([station.node.node_id])
            await old.is_("archived")
        assert [station.in_force for station in contracts.stations] == [["1.1"], ["1.2"]]

    async def test_keep_a_first_version_out_that_was_never_deployed(self, contracts: Contracts) -> None:
        old = await contracts.create()
        new = await contracts.improve(old, calibration_interval_days=90)
        await new.deploy()
        await old.ask(names.VALIDATE)
        await old.ask(names.DEPLOY, reason="ready", token=await old.deployment_token())
        assert "make it from 1.1" in (await old.recorded("refuse_request")).metadata["reason"]

    async def test_do_not_keep_a_node_back_that_has_what_both_were_made_from(self, contracts: Contracts) -> None:
        old = await in_force(contracts)
        one = await contracts.improve(old, calibration_interval_days=90)
        await one.deploy([contracts.stations[0].node.node_id])
        two = await contracts.improve(one, warning_days=10)
        async with contracts.online():
            await two.deploy()
            await two.is_("monitoring")
        assert [station.in_force for station in contracts.stations] == [["1.2"], ["1.2"]]


class TestAVersionThatWasRetiredOnItsWay:
    """While its nodes are away, and have not been told so."""

    async def test_is_no_parent_that_a_draft_must_have(self, contracts: Contracts) -> None:
        old = await in_force(contracts)
        wrong = await contracts.improve(old, calibration_interval_days=60)
        await wrong.deploy()
        await wrong.retire()
        await wrong.recorded("retire_contract")
        right = await contracts.improve(old, calibration_interval_days=90)
        await right.deploy()
        async with contracts.online():
            await right.is_("monitoring")
        assert [station.in_force for station in contracts.stations] == [["1.2"], ["1.2"]]

    async def test_because_two_crossed_gives_way_to_what_is_made_from_the_other_as_advised(
        self, contracts: Contracts
    ) -> None:
        first, _ = await crossed(contracts)
        both = await contracts.improve(first, description="Both")
        await both.deploy()
        async with contracts.online():
            await both.is_("monitoring")
        assert [station.in_force for station in contracts.stations] == [["1.3"], ["1.3"]]

    async def test_because_two_crossed_is_no_parent_that_lets_a_draft_undo_the_other(
        self, contracts: Contracts
    ) -> None:
        first, second = await crossed(contracts)
        draft = await contracts.improve(second, description="One alone")
        await draft.ask(names.VALIDATE)
        await draft.ask(names.DEPLOY, reason="ready", token=await draft.deployment_token())
        reason = (await draft.recorded("refuse_request")).metadata["reason"]
        assert f"make it from {first.ref.version}" in reason


async def unreadable(contracts: Contracts, version: ContractVersion) -> None:
    """Deployed to the first node, while somebody changes its file."""
    file = contracts.folder / "v1.0" / f"{version.ref.contract_id}.yaml"

    def tamper() -> None:
        file.chmod(0o644)
        file.write_text("x: 1\n")

    contracts.repository.on_published = tamper
    await version.deploy([contracts.stations[0].node.node_id])
    await version.recorded("policy_fault")


class TestAnOrderThatAPersonMustMend:
    async def test_ends_with_its_version_and_so_do_its_alerts(self, contracts: Contracts) -> None:
        version = await contracts.create()
        await unreadable(contracts, version)
        await version.retire()
        async with contracts.online():
            await version.is_("archived")
            await contracts.shop.pass_time(2 * retry.LONGEST_PAUSE)
            assert await (await version.order(contracts.stations[0])).result() is None
        assert contracts.shop.open_alerts("policy_fault") == []


@pytest_asyncio.fixture
async def short_runs(tmp_path: Path) -> AsyncIterator[Contracts]:
    """On a server that suggests to continue as new early, where a person is quick to mend something."""
    async with eager_server(tmp_path) as server:
        ledger = ContractLedger()
        client = await connect(Settings(temporal_address=server.address))
        shop = Shop(WorkflowEnvironment.from_client(client), ledger, tmp_path)
        with closing(Contracts(shop, ledger, tmp_path)) as contracts:
            async with main_worker(shop, more=contracts.activities()):
                yield contracts
                await check_histories(shop)


class TestAnOrderThatIsTriedForLong:
    async def test_continues_as_new_and_alerts_once(
        self, short_runs: Contracts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(retry, "LONGEST_PAUSE", timedelta(milliseconds=100))
        version = await short_runs.create()
        await unreadable(short_runs, version)
        order = await version.order(short_runs.stations[0])
        first = (await order.describe()).run_id
        await order.signal("acknowledged")
        async with asyncio.timeout(DEADLINE):
            while (await order.describe()).run_id == first:
                await asyncio.sleep(0.05)
        await order.signal("acknowledged")
        await until(
            lambda: len([e for e in version.entries("refuse_request") if "node_id" in e.metadata]) == 2,
            lambda: str(short_runs.shop),
        )
        assert len(version.entries("policy_fault")) == 1
        contents = short_runs.published(version)
        file = short_runs.folder / "v1.0" / f"{version.ref.contract_id}.yaml"
        file.unlink()
        await short_runs.repository.put(version.ref, contents)
        async with short_runs.online():
            await version.is_("monitoring")
        assert short_runs.shop.open_alerts("policy_fault") == []
