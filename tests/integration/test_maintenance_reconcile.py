"""Maintenance contracts whose workflows were closed from outside, and nodes that are gone."""

import asyncio
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from infra.approvals import Approvals
from infra.database import Row
from infra.maintenance_missing import MissingDeployments
from infra.maintenance_order_reconcile import NodeOrderReconciler
from infra.maintenance_orders import NodeOrdering
from infra.maintenance_reconcile import MaintenanceReconciler
from infra.node_maintenance import NodeMaintenance
from infra.registry import Registry
from infra.repairs import Repairs
from infra.settings import Settings
from infra.temporal import workflow_status
from schemas import names
from schemas.changes.maintenance import ContractChanged, DeploymentOpened
from schemas.ledger import LedgerEntry
from schemas.maintenance import ContractDelivery
from schemas.maintenance_life import DeployContract
from schemas.maintenance_version import VersionRef
from schemas.node import Node
from schemas.record import Record
from tests.integration.lab import Lab, with_cells
from tests.integration.test_maintenance import acknowledged


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return with_cells(settings, tmp_path)


async def reconcile(lab: Lab) -> list[str]:
    """The workflows that it starts or closes."""
    house = lab.house
    rows = house.maintenance_contracts
    ordering = NodeOrdering(house.temporal, rows, house.registry)
    repairs = Repairs(house.alerts, house.ledger)
    found = []
    for reconciler in (
        NodeOrderReconciler(house.temporal, rows, house.ledger, ordering, house.registry, house.settings),
        MaintenanceReconciler(house.temporal, rows, house.ledger, house.drafts),
        MissingDeployments(rows, ordering, house.alerts, house.ledger),
    ):
        found += [workflow_id async for workflow_id, repaired in reconciler.repair(repairs) if repaired]
    await repairs.finish()
    return [workflow_id for workflow_id in found if lab.name in workflow_id]


async def until_there(lab: Lab, *workflow_ids: str) -> None:
    async with asyncio.timeout(20):
        for workflow_id in workflow_ids:
            while await workflow_status(lab.house.temporal, workflow_id) is None:
                await asyncio.sleep(0.05)


async def close(lab: Lab, workflow_id: str) -> None:
    """As somebody does in the Temporal Web UI, once it is there."""
    await until_there(lab, workflow_id)
    await lab.house.temporal.get_workflow_handle(workflow_id).terminate()


async def until_unheard(lab: Lab, approval_id: str) -> None:
    """It has ended, and is known to have told nobody."""
    approvals = Approvals(lab.house.engine)
    async with asyncio.timeout(20):
        while approval_id not in [row["approval_id"] for row in await approvals.unheard()]:
            await asyncio.sleep(0.05)


class TestAVersion:
    async def test_starts_a_draft_that_was_recorded_while_temporal_was_away(self, lab: Lab) -> None:
        await lab.house.drafts.create(lab.document(), "marta")
        assert await reconcile(lab) == [f"maintenance/{lab.name}/1.0"]
        assert (await lab.marta.post(lab.path(then="/validate"))).json()["status"] == "validated"
        assert await reconcile(lab) == []

    async def test_starts_a_version_again_where_it_stood(self, lab: Lab) -> None:
        await lab.created()
        async with lab.online(0, 1):
            await lab.deploy()
            await lab.until(lambda shown: acknowledged(shown) == 2)
        await lab.house.temporal.get_workflow_handle(f"maintenance/{lab.name}/1.0").terminate()
        async with lab.online(2):
            await lab.until(lambda shown: acknowledged(shown) == 3)
        answer = await lab.marta.post(lab.path(then="/retire"), json={"reason": "r"})
        assert (answer.status_code, "reconcile" in answer.json()["detail"]) == (409, True)
        assert await reconcile(lab) == [f"maintenance/{lab.name}/1.0"]
        await lab.until(lambda shown: shown["status"] == "monitoring")
        async with lab.online():
            await lab.marta.post(lab.path(then="/retire"), json={"reason": "r"})
            await lab.until(lambda shown: shown["status"] == "archived")
        [entry] = await lab.house.ledger.entries(target=lab.name, action="restart_contract")
        assert entry.metadata["workflow"] == "terminated"

    async def test_whose_deployment_waits_is_approved_after_it(self, lab: Lab) -> None:
        await lab.created()
        await lab.marta.post(lab.path(then="/validate"))
        approval_id = await lab.ask_deployment()
        await close(lab, f"maintenance/{lab.name}/1.0")
        assert await reconcile(lab) == [f"maintenance/{lab.name}/1.0"]
        shown = await lab.show()
        assert (shown["pending_approval"], approval_id in shown["waits_for"]) == (approval_id, True)
        await lab.approve(approval_id)
        async with lab.online():
            await lab.until(lambda shown: shown["status"] == "monitoring")

    async def test_hears_of_an_approval_that_was_given_while_it_was_closed(self, lab: Lab) -> None:
        await lab.created()
        await lab.marta.post(lab.path(then="/validate"))
        approval_id = await lab.ask_deployment()
        await close(lab, f"maintenance/{lab.name}/1.0")
        await lab.approve(approval_id)
        await until_unheard(lab, approval_id)
        await reconcile(lab)
        async with lab.online():
            await lab.until(lambda shown: shown["status"] == "monitoring")

    async def test_takes_no_decision_token_a_second_time_after_it(self, lab: Lab) -> None:
        version = lab.house.temporal.get_workflow_handle(f"maintenance/{lab.name}/1.0")

        async def refused(reason: str) -> None:
            async with asyncio.timeout(20):
                while reason not in str(await lab.house.ledger.entries(target=lab.name, action="refuse_decision")):
                    await asyncio.sleep(0.05)

        await lab.created()
        await lab.marta.post(lab.path(then="/validate"))
        approval_id = await lab.ask_deployment()
        [asked] = await lab.house.ledger.entries(target=lab.name, action="ask_approval")
        await lab.approve(approval_id, "refuse")
        await lab.until(lambda shown: shown["pending_approval"] is None)
        await version.signal(names.DEPLOY, DeployContract(reason="without a token"))
        await refused("needs a decision token")
        await close(lab, version.id)
        await reconcile(lab)
        again = DeployContract(reason="once more", token=asked.metadata["proof"], nodes=asked.metadata["nodes"])
        await version.signal(names.DEPLOY, again)
        await refused("used before")

    async def test_that_is_approved_and_cannot_be_published_says_so_and_goes_on(
        self, lab: Lab, settings: Settings
    ) -> None:
        await lab.created()
        file = settings.policy_repository_dir / "v1.0" / f"{lab.name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("another: one\n")
        await lab.marta.post(lab.path(then="/validate"))
        await lab.approve(await lab.ask_deployment())
        shown = await lab.until(lambda shown: shown["policy_fault"] is not None)
        assert (shown["status"], shown["pending_approval"]) == ("validated", None)
        assert "exists with other content" in shown["waits_for"]
        assert "by itself" in shown["moved_on_by"]
        file.unlink()
        await close(lab, f"maintenance/{lab.name}/1.0")
        await reconcile(lab)
        async with lab.online():
            shown = await lab.until(lambda shown: shown["status"] == "monitoring")
        assert shown["policy_fault"] is None

    async def test_in_force_whose_deployment_to_further_nodes_waits_is_approved_after_it(self, lab: Lab) -> None:
        await lab.created()
        async with lab.online():
            await lab.deploy(nodes=[lab.nodes[0].node_id])
            await lab.until(lambda shown: shown["status"] == "monitoring")
            approval_id = await lab.ask_deployment()
            await close(lab, f"maintenance/{lab.name}/1.0")
            await reconcile(lab)
            await lab.approve(approval_id)
            await lab.until(lambda shown: acknowledged(shown) == 3)
            await close(lab, f"maintenance/{lab.name}/1.0")
            await reconcile(lab)
            assert (await lab.marta.post(lab.path(then="/retire"), json={"reason": "r"})).status_code == 200
            await lab.until(lambda shown: shown["status"] == "archived")


class TestWhatANodeIsTold:
    async def test_is_told_again_where_its_workflow_was_closed(self, lab: Lab) -> None:
        await lab.created()
        await lab.deploy()
        order = f"maintenance/{lab.name}/1.0/{lab.nodes[0].node_id}"
        await close(lab, order)
        assert await reconcile(lab) == [order]
        assert await reconcile(lab) == []
        async with lab.online():
            await lab.until(lambda shown: shown["status"] == "monitoring")
        [entry] = await lab.house.ledger.entries(target=lab.name, action="restart_order")
        assert entry.smart_id == lab.nodes[0].node_id

    async def test_is_told_again_each_time_that_it_was_closed(self, lab: Lab) -> None:
        await lab.created()
        await lab.deploy()
        order = f"maintenance/{lab.name}/1.0/{lab.nodes[0].node_id}"
        for _ in range(2):
            await close(lab, order)
            assert await reconcile(lab) == [order]
        assert len(await lab.house.ledger.entries(target=lab.name, action="restart_order")) == 2

    async def test_of_a_retirement_is_told_again_too(self, lab: Lab) -> None:
        await lab.created()
        async with lab.online():
            await lab.deploy()
            await lab.until(lambda shown: shown["status"] == "monitoring")
        await lab.marta.post(lab.path(then="/retire"), json={"reason": "lamps are gone"})
        orders = [f"maintenance/{lab.name}/1.0/{node.node_id}/end" for node in lab.nodes]
        await until_there(lab, *orders)
        await close(lab, orders[0])
        assert await reconcile(lab) == [orders[0]]
        async with lab.online():
            await lab.until(lambda shown: shown["status"] == "archived")

    async def test_of_a_retirement_brings_back_what_its_node_had_where_nobody_heard_of_the_newer_version(
        self, lab: Lab
    ) -> None:
        await lab.created()
        async with lab.online():
            await lab.deploy()
            await lab.until(lambda shown: shown["status"] == "monitoring")
        await lab.improve(90)
        await lab.deploy("1.1")
        newer, key = await lab.show("1.1"), {"contract_id": lab.name, "version": "1.1"}
        [deployed, *_] = await lab.house.maintenance_contracts.deployments(VersionRef(**key))
        taken = {"document": newer["document"], "document_hash": newer["document_hash"], "number": deployed["number"]}
        with closing(NodeMaintenance(lab.nodes[0], lab.house.settings.node_store(lab.nodes[0].node_id))) as node:
            assert node.take_contract(ContractDelivery(**key, **taken)).version == "1.1"
        await lab.marta.post(lab.path("1.1", "/retire"), json={"reason": "it was wrong"})
        orders = [f"maintenance/{lab.name}/1.1/{node.node_id}/end" for node in lab.nodes]
        await until_there(lab, *orders)
        await close(lab, orders[0])
        assert await reconcile(lab) == [orders[0]]
        async with lab.online() as [node, *_]:
            await lab.until(lambda shown: shown["status"] == "archived", "1.1")
            assert [contract.version for contract in node.contracts()] == ["1.0"]
        assert {one["status"] for one in (await lab.show())["deployments"]} == {"acknowledged"}

    async def test_is_not_told_where_it_was_never_sent_and_would_undo_another_version(self, lab: Lab) -> None:
        await lab.created()
        await lab.improve(90)
        await lab.improve(60)
        await lab.deploy("1.1")
        nodes = [node.node_id for node in lab.nodes]
        opened = (DeploymentOpened(contract_id=lab.name, version="1.2", node_id=node_id) for node_id in nodes)
        about = {"action_type": "maintenance", "action": "deploy_contract", "target": lab.name, "details": "crossed"}
        entry = LedgerEntry(idempotency_key=f"{lab.name}:crossed", **about)
        await lab.house.ledger.record(Record(entry=entry, changes=tuple(opened)))
        assert not [order for order in await reconcile(lab) if "/1.2/" in order]
        for node_id in nodes:
            assert await workflow_status(lab.house.temporal, f"maintenance/{lab.name}/1.2/{node_id}") is None

    async def test_of_an_extension_that_was_never_sent_and_would_undo_another_version_is_taken_back(
        self, lab: Lab
    ) -> None:
        first, *further = [node.node_id for node in lab.nodes]
        await lab.created()
        await lab.improve(90)
        async with lab.online(0):
            await lab.deploy(nodes=[first])
            await lab.until(lambda shown: shown["status"] == "monitoring")
        await close(lab, f"maintenance/{lab.name}/1.0")
        await recorded(lab, "1.1", further[:1])
        await recorded(lab, "1.0", further)
        version = f"maintenance/{lab.name}/1.0"
        assert [name for name in await reconcile(lab) if "/1.0" in name] == [f"{version}/{further[0]}", version]
        shown = await lab.until(lambda shown: shown["status"] == "monitoring")
        assert [one["status"] for one in shown["deployments"]] == ["acknowledged", "retired", "retired"]
        for node_id in further:
            assert await workflow_status(lab.house.temporal, f"maintenance/{lab.name}/1.0/{node_id}") is None
        alerts = await lab.house.alerts.open_of_type("request_refused")
        [text] = [alert["text"] for alert in alerts if alert["subject"] == lab.name]
        assert "is not deployed to 2 further nodes" in text
        assert f"{further[0]} has 1.1, whose changes 1.0 would undo" in text


async def recorded(lab: Lab, version: str, nodes: list[str]) -> None:
    """That a version goes to these nodes, as its workflow records it that sends nothing any more."""
    opened = (DeploymentOpened(contract_id=lab.name, version=version, node_id=node_id) for node_id in nodes)
    entry = LedgerEntry(
        idempotency_key=f"maintenance/{lab.name}/{version}:deploy:A-2",
        action_type="maintenance",
        action="deploy_contract",
        target=lab.name,
        details="deployed",
        metadata={"version": version, "nodes": nodes, "approval_id": "A-2"},
    )
    await lab.house.ledger.record(Record(entry=entry, changes=tuple(opened)))


class TestANodeThatIsGone:
    async def test_holds_up_no_version_that_is_on_its_way(self, lab: Lab) -> None:
        await lab.created()
        async with lab.online(0, 1):
            await lab.deploy()
            await lab.until(lambda shown: acknowledged(shown) == 2)
            gone = lab.nodes[2].node_id
            order = f"maintenance/{lab.name}/1.0/{gone}"
            assert await reconcile(without(lab, gone)) == [order]
            shown = await lab.until(lambda shown: shown["status"] == "monitoring")
        assert [one["status"] for one in shown["deployments"]] == ["acknowledged", "acknowledged", "retired"]
        [entry] = await lab.house.ledger.entries(target=lab.name, action="end_order")
        assert (entry.smart_id, "gone from the registry" in entry.details) == (gone, True)
        assert await reconcile(without(lab, gone)) == []

    async def test_holds_up_no_old_version_either(self, lab: Lab) -> None:
        await lab.created()
        gone = lab.nodes[2].node_id
        async with lab.online():
            await lab.deploy()
            await lab.until(lambda shown: shown["status"] == "monitoring")
            await lab.improve(90)
            await lab.deploy("1.1", [node.node_id for node in lab.nodes[:2]])
            await lab.until(lambda shown: shown["status"] == "monitoring", "1.1")
            await reconcile(without(lab, gone))
            await lab.until(lambda shown: shown["status"] == "archived")


class TestANodeThatJoinsLater:
    async def test_is_alerted_once_while_it_has_not_what_all_of_its_type_have(self, lab: Lab) -> None:
        await lab.created()
        await lab.deploy()
        node = lab.nodes[0].model_copy(update={"node_id": f"LP4-{lab.name}"})
        more = with_registry(lab, (*lab.house.registry.nodes, node))
        for _ in range(2):
            await reconcile(more)
        [alert] = await missing(lab)
        assert (alert["owner"], alert["subject"]) == ("maintenance_engineer", lab.name)
        assert f"Deploy it there too (`deploy` with nodes {node.node_id}" in alert["text"]
        await reconcile(lab)
        assert await missing(lab) == []

    async def test_is_alerted_until_that_is_on_its_way_there(self, lab: Lab) -> None:
        await lab.created()
        await lab.deploy(nodes=[node.node_id for node in lab.nodes[:2]])
        await reconcile(lab)
        assert await missing(lab) == []  # it was sent to two by name
        entry = LedgerEntry(idempotency_key=lab.name, action_type="maintenance", action="test", target="LP", details="")
        all_there_were = ContractChanged(contract_id=lab.name, version="1.0", whole_type=True)
        await lab.house.ledger.record(Record(entry=entry, changes=(all_there_were,)))
        await reconcile(lab)
        assert [lab.nodes[2].node_id in alert["text"] for alert in await missing(lab)] == [True]
        await lab.approve(await lab.ask_deployment())
        await lab.until(lambda shown: len(shown["deployments"]) == 3)
        assert await missing(lab) == []

    async def test_is_not_alerted_where_a_newer_version_is_there(self, lab: Lab) -> None:
        await lab.created()
        await lab.deploy()
        node = lab.nodes[0].model_copy(update={"node_id": f"LP4-{lab.name}"})
        await lab.improve(90)
        opened = DeploymentOpened(contract_id=lab.name, version="1.1", node_id=node.node_id)
        entry = LedgerEntry(idempotency_key=lab.name, action_type="maintenance", action="test", target="LP", details="")
        await lab.house.ledger.record(Record(entry=entry, changes=(opened,)))
        await reconcile(with_registry(lab, (*lab.house.registry.nodes, node)))
        assert await missing(lab) == []


async def missing(lab: Lab) -> list[Row]:
    return [
        alert for alert in await lab.house.alerts.open_of_type("deployment_missing") if alert["subject"] == lab.name
    ]


def without(lab: Lab, node_id: str) -> Lab:
    """The same, whose registry does not name the node any more."""
    return with_registry(lab, tuple(node for node in lab.house.registry.nodes if node.node_id != node_id))


def with_registry(lab: Lab, nodes: tuple[Node, ...]) -> Lab:
    other = Lab(replace(lab.house, registry=Registry(nodes=nodes)), lab.marta, lab.quentin)
    other.name = lab.name
    return other
