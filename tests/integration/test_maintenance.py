"""Maintenance contracts over HTTP, with the real database, policy repository and nodes' disks."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import yaml
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.database import Row
from infra.hubs import Hubs
from infra.ledger import Ledger
from infra.maintenance import MaintenanceContracts
from infra.registry import load_registry
from infra.settings import Settings
from schemas import names
from schemas.changes.maintenance import (
    ContractChanged,
    ContractCreated,
    DeploymentChanged,
    DeploymentOpened,
    DeploymentsSuperseded,
)
from schemas.ledger import LedgerEntry
from schemas.maintenance_version import ContractChange, NewVersion, VersionRef
from schemas.permission import Role
from schemas.record import Change, Record
from tests.fleet import fleet, registry_of
from tests.integration.lab import PATH, Caller, Json, Lab, with_cells
from workers.worker import main_worker

if TYPE_CHECKING:
    from api.house import House


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return with_cells(settings, tmp_path)


class TestCreating:
    async def test_a_contract_is_a_draft_and_once(self, lab: Lab) -> None:
        first = await lab.create()
        again = await lab.create()
        other = await lab.create(title="another")
        assert (first.status_code, again.status_code, other.status_code) == (201, 200, 409)
        assert "new version" in other.json()["detail"]
        shown = await lab.show()
        assert (shown["status"], shown["created_by"], shown["version"]) == ("draft", "marta", "1.0")
        entries = await lab.house.ledger.entries(target=lab.name, action="create_contract")
        assert len(entries) == 1
        assert entries[0].metadata["equipment_type"] == ["uv_lamp"]

    async def test_a_contract_that_is_wrong_is_a_draft_whose_faults_are_named(self, lab: Lab) -> None:
        await lab.created(title=None, conditions=["must-shine"], factor=0.5)
        shown = (await lab.marta.post(lab.path(then="/validate"))).json()
        assert shown["status"] == "draft"
        assert len(shown["validation"]["structure"]) == 3
        assert "3 faults" in shown["waits_for"]
        answer = await lab.marta.put(lab.path(), json={"document": lab.document(), "reason": "mended"})
        assert answer.json()["validation"] is None
        assert (await lab.marta.post(lab.path(then="/validate"))).json()["status"] == "validated"

    @pytest.mark.parametrize("name", ["XX-lamp", "LP", "LP lamp", None])
    async def test_an_id_of_no_station_type_is_refused(self, lab: Lab, name: Any) -> None:
        answer = await lab.create(smart_contract_id=name)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "smart_contract_id")

    async def test_a_template_is_filled_with_what_is_changed(self, lab: Lab) -> None:
        listed = (await lab.marta.get("/api/v1/maintenance/templates")).json()
        assert "uv-lamp" in [template["template"] for template in listed]
        change = {"field": "/validation_rules/uv-a/minimum", "before": "1000", "after": "1200", "reason": "client"}
        name = lab.name.removeprefix("LP-")
        body = {"template": "uv-lamp", "station_type": "LP", "name": name, "changes": [change]}
        answer = await lab.marta.post(PATH, json=body)
        assert answer.status_code == 201, answer.text
        assert (await lab.show())["document"]["validation_rules"]["uv-a"]["minimum"] == "1200"
        answer = await lab.marta.post(PATH, json={**body, "template": "no-such"})
        assert (answer.status_code, "uv-lamp" in answer.json()["detail"]) == (422, True)

    async def test_yaml_is_taken_as_it_is(self, lab: Lab) -> None:
        headers = {"Content-Type": "application/yaml"}
        answer = await lab.marta.post(PATH, content=yaml.safe_dump(lab.document()), headers=headers)
        assert answer.status_code == 201
        assert (await lab.show())["document"] == lab.document()

    async def test_by_somebody_who_may_not_is_refused(self, lab: Lab, caller: Caller) -> None:
        async with caller(Role.INSPECTOR, "ines") as ines:
            assert (await ines.post(PATH, json=lab.document())).status_code == 403
            assert (await ines.get(PATH)).status_code == 200


class TestAVersion:
    async def test_names_its_parent_and_what_it_changes_and_is_made_once(self, lab: Lab) -> None:
        await lab.created()
        first, again = await lab.improve(90), await lab.improve(90)
        assert (first.status_code, again.status_code) == (201, 200)
        shown = await lab.show("1.1")
        assert (shown["parent_version"], shown["document"]["calibration_interval_days"]) == ("1.0", 90)
        assert [change["after"] for change in shown["changes"]] == [90]
        [entry] = await lab.house.ledger.entries(target=lab.name, action="create_version")
        assert entry.metadata["parent_version"] == "1.0"

    async def test_that_does_not_fit_its_parent_is_refused(self, lab: Lab) -> None:
        await lab.created()
        answer = await lab.improve(90, before=365)
        assert (answer.status_code, "is 180, not 365" in answer.json()["detail"]) == (422, True)
        assert (await lab.improve(90, parent="7.7")).status_code == 404

    async def test_that_many_ask_for_at_once_has_a_number_of_its_own(self, lab: Lab) -> None:
        await lab.created()

        async def improve(days: int) -> str:
            change = ContractChange(field="/calibration_interval_days", before=180, after=days, reason="r")
            new = NewVersion(
                contract_id=lab.name,
                parent_version="1.0",
                changes=(change,),
                reason="r",
                created_by="marta",
                key=f"review-{days}",
            )
            ref, _ = await lab.house.drafts.record_version(new)
            return ref.version

        *versions, again = await asyncio.gather(*(improve(days) for days in (1, 2, 3, 10, 11, 12, 12)))
        assert sorted(versions) == ["1.1", "1.2", "1.3", "1.4", "1.5", "1.6"]
        assert again == versions[-1]


class TestADeployment:
    async def test_goes_to_each_node_and_says_at_any_time_where_it_is(self, lab: Lab) -> None:
        await lab.created()
        async with lab.online(0, 1):
            await lab.deploy()
            shown = await lab.until(
                lambda shown: (
                    [one["status"] for one in shown["deployments"]] == ["acknowledged", "acknowledged", "pending"]
                )
            )
        assert shown["status"] == "deployed"
        assert lab.nodes[2].node_id in shown["waits_for"]
        async with lab.online(2):
            shown = await lab.until(lambda shown: shown["status"] == "monitoring")
        assert all(one["acknowledged_at"] for one in shown["deployments"])
        assert (shown["active_days"], shown["policy_path"]) == (0, f"v1.0/{lab.name}.yaml")
        entries = await lab.house.ledger.entries(target=lab.name, action="acknowledge_contract")
        assert {entry.smart_id for entry in entries} == {node.node_id for node in lab.nodes}

    async def test_of_a_newer_version_takes_over_and_the_history_tells_it(self, lab: Lab) -> None:
        await lab.created()
        await lab.improve(90)
        async with lab.online():
            await lab.deploy()
            await lab.until(lambda shown: shown["status"] == "monitoring")
            await lab.deploy("1.1")
            await lab.until(lambda shown: shown["status"] == "monitoring", "1.1")
            old = await lab.until(lambda shown: shown["status"] == "archived")
        assert {one["status"] for one in old["deployments"]} == {"superseded"}
        taken = [names.contract_on_node_id(lab.name, "1.0", node.node_id, retire=False) for node in lab.nodes]
        links = [one["links"]["temporal_ui"] for one in old["deployments"]]
        assert links == [lab.house.workflow_url(workflow_id) for workflow_id in taken]
        history = (await lab.marta.get(f"{PATH}/{lab.name}")).json()
        told = [(one["version"], one["status"], one["parent_version"]) for one in history["versions"]]
        assert told == [("1.0", "archived", None), ("1.1", "monitoring", "1.0")]
        actions = [event["action"] for event in history["timeline"]]
        assert actions[0] == "create_contract"
        assert {"validate_contract", "deploy_contract", "create_version", "retire_contract"} <= set(actions)
        listed = (await lab.marta.get(PATH, params={"status": "monitoring", "station_type": "LP"})).json()
        assert [one["version"] for one in listed["contracts"] if one["contract_id"] == lab.name] == ["1.1"]

    async def test_to_a_node_of_another_type_is_refused(self, lab: Lab, settings: Settings) -> None:
        await lab.created()
        await lab.marta.post(lab.path(then="/validate"))
        strange = next(node.node_id for node in load_registry(settings.nodes_file).nodes if node.station_type == "CP")
        answer = await lab.marta.post(lab.path(then="/deploy"), json={"reason": "r", "nodes": [strange]})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "nodes")

    async def test_that_would_undo_another_is_refused(self, lab: Lab) -> None:
        await lab.created()
        await lab.deploy()
        await lab.improve(90)
        await lab.improve(60)
        await lab.deploy("1.1")
        await lab.marta.post(lab.path("1.2", "/validate"))
        answer = await lab.marta.post(lab.path("1.2", "/deploy"), json={"reason": "r"})
        assert (answer.status_code, "make it from 1.1" in answer.json()["detail"]) == (409, True)
        await lab.improve(60, before=90, parent="1.1")
        await lab.deploy("1.3")

    async def test_of_a_version_in_force_goes_to_further_nodes_alone(self, lab: Lab) -> None:
        await lab.created()
        first, *left = [node.node_id for node in lab.nodes]
        async with lab.online():
            await lab.deploy(nodes=[first])
            before = await lab.until(lambda shown: shown["status"] == "monitoring")
            approval_id = await lab.ask_deployment()
            shown = await lab.show()
            assert (shown["status"], approval_id in shown["waits_for"]) == ("monitoring", True)
            await lab.approve(approval_id)
            shown = await lab.until(lambda shown: acknowledged(shown) == 3)
            assert (shown["status"], shown["deployed_at"]) == ("monitoring", before["deployed_at"])
            further, asked = await lab.house.ledger.entries(target=lab.name, action="deploy_contract")
            assert (asked.metadata["nodes"], further.metadata["nodes"]) == ([first], left)
            answer = await lab.marta.post(lab.path(then="/deploy"), json={"reason": "r"})
            assert (answer.status_code, "all of them have" in answer.json()["errors"][0]["message"]) == (422, True)
            await lab.marta.post(lab.path(then="/retire"), json={"reason": "lamps are gone"})
            await lab.until(lambda shown: shown["status"] == "archived")

    async def test_to_further_nodes_shows_those_that_have_not_answered(self, lab: Lab) -> None:
        await lab.created()
        async with lab.online(0):
            await lab.deploy(nodes=[lab.nodes[0].node_id])
            await lab.until(lambda shown: shown["status"] == "monitoring")
            await lab.approve(await lab.ask_deployment(nodes=[lab.nodes[1].node_id]))
            shown = await lab.until(lambda shown: len(shown["deployments"]) == 2)
        assert (shown["status"], lab.nodes[1].node_id in shown["waits_for"]) == ("monitoring", True)

    async def test_of_a_draft_is_refused(self, lab: Lab) -> None:
        await lab.created()
        answer = await lab.marta.post(lab.path(then="/deploy"), json={"reason": "r"})
        assert (answer.status_code, "validate it first" in answer.json()["detail"]) == (409, True)

    async def test_whose_file_was_changed_is_named_as_such(self, lab: Lab, settings: Settings) -> None:
        await lab.created()
        async with lab.online():
            await lab.deploy()
            await lab.until(lambda shown: shown["status"] == "monitoring")
        file = settings.policy_repository_dir / "v1.0" / f"{lab.name}.yaml"
        file.chmod(0o644)
        file.write_text(file.read_text().replace("180", "900"))
        shown = await lab.show()
        assert "changed after it was published" in shown["policy_fault"]
        assert shown["document"]["calibration_interval_days"] == 180

    async def test_that_is_retired_ends_on_its_nodes(self, lab: Lab) -> None:
        await lab.created()
        async with lab.online():
            await lab.deploy()
            await lab.until(lambda shown: shown["status"] == "monitoring")
            for without in ({}, {"reason": " "}):
                assert (await lab.marta.post(lab.path(then="/retire"), json=without)).status_code == 422
            answer = await lab.marta.post(lab.path(then="/retire"), json={"reason": "lamps are gone"})
            assert answer.json()["retirement_reason"] == "lamps are gone"
            shown = await lab.until(lambda shown: shown["status"] == "archived")
        assert {one["status"] for one in shown["deployments"]} == {"retired"}
        answer = await lab.marta.post(lab.path(then="/retire"), json={"reason": "again"})
        assert (answer.status_code, "archived" in answer.json()["detail"]) == (409, True)

    async def test_that_is_retired_waits_for_its_nodes_to_end_it_and_leads_to_what_they_are_told(
        self, lab: Lab
    ) -> None:
        await lab.created()
        await lab.deploy()
        assert (await lab.marta.post(lab.path(then="/retire"), json={"reason": "r"})).status_code == 200
        shown = await lab.show()
        assert (shown["status"], shown["waits_for"]) == ("deprecated", "its nodes to end it")
        for deployment in shown["deployments"]:
            order = names.contract_on_node_id(lab.name, "1.0", deployment["node_id"], retire=True)
            assert deployment["links"]["temporal_ui"] == lab.house.workflow_url(order)

    async def test_counts_once_of_two_that_answer_for_the_same_node(self, lab: Lab) -> None:
        """The newer version says that it replaced the old one, before the old one says that it was acknowledged."""
        await lab.created()
        await lab.deploy()
        await lab.improve(90)
        await lab.deploy("1.1")
        async with lab.online() as nodes:
            await lab.until(lambda shown: shown["status"] == "monitoring", "1.1")
            await lab.until(lambda shown: shown["status"] == "archived")
            for node in nodes:
                assert [contract.version for contract in node.contracts()] == ["1.1"]
        progress = await lab.house.maintenance_contracts.progress(VersionRef(contract_id=lab.name, version="1.0"))
        assert progress is not None
        assert (progress.pending, progress.acknowledged) == (0, 0)


class TestADraftWhoseWorkflowIsJustStarting:
    async def test_is_asked_all_the_same(self, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        await lab.house.drafts.create(lab.document(), "marta")
        start = lab.house.drafts.start

        async def somebody_was_quicker(row: Row) -> bool:
            await start(row)
            return await start(row)

        monkeypatch.setattr(lab.house.drafts, "start", somebody_was_quicker)
        assert (await lab.marta.post(lab.path(then="/validate"))).json()["status"] == "validated"


class TestTwoHundredNodes:
    async def test_acknowledge_a_deployment_each_by_itself_and_leave_its_history_small(
        self, api: FastAPI, settings: Settings, caller: Caller, tmp_path: Path
    ) -> None:
        house: House = api.state.house
        nodes = registry_of(200, uuid4().hex[:8], tmp_path / "fleet.yaml")
        many = settings.model_copy(update={"nodes_file": tmp_path / "fleet.yaml"})
        api.state.house = house = replace(house, settings=many, registry=load_registry(many.nodes_file))
        async with (
            caller(Role.MAINTENANCE_ENGINEER, "marta") as marta,
            caller(Role.QUALITY_MANAGER, "quentin") as quentin,
            Hubs(many) as hubs,
            main_worker(house.temporal, house.engine, house.ledger, hubs, many),
        ):
            lab = Lab(house, marta, quentin)
            await lab.created()
            await lab.deploy()
            async with fleet(house.temporal, nodes[:199], tmp_path):
                await lab.until(lambda shown: acknowledged(shown) == 199, patience=90)
                assert (await lab.show())["status"] == "deployed"
            async with fleet(house.temporal, nodes[199:], tmp_path):
                await lab.until(lambda shown: shown["status"] == "monitoring")
        ref = VersionRef(contract_id=lab.name, version="1.0")
        history = await house.temporal.get_workflow_handle(ref.workflow_id).fetch_history()
        assert len(history.events) < 150
        entries = await house.ledger.entries(target=lab.name, action="acknowledge_contract", limit=300)
        assert sorted(entry.smart_id for entry in entries) == [node.node_id for node in nodes]


def acknowledged(shown: Json) -> int:
    return [one["status"] for one in shown["deployments"]].count("acknowledged")


class TestARowOfADeployment:
    async def test_that_has_ended_on_its_node_is_not_acknowledged_by_what_comes_late(
        self, ledger: Ledger, engine: AsyncEngine
    ) -> None:
        key = {"contract_id": "LP-lamp", "version": "1.0", "node_id": "N1"}
        changes = (
            DeploymentOpened(**key),
            DeploymentChanged(**key, status="superseded"),
            DeploymentChanged(**key, status="acknowledged"),
            DeploymentChanged(**key, status="retired"),
        )
        entry = LedgerEntry(
            idempotency_key="1", action_type="maintenance", action="any", target="LP-lamp", details="any"
        )
        await ledger.record(Record(entry=entry, changes=changes))
        ref = VersionRef(contract_id="LP-lamp", version="1.0")
        [row] = await MaintenanceContracts(engine).deployments(ref)
        assert (row["status"], row["acknowledged_at"]) == ("superseded", None)

    async def test_ends_with_all_before_it_when_its_node_has_taken_a_later_one(
        self, ledger: Ledger, engine: AsyncEngine
    ) -> None:
        last = await open_three(ledger)
        key = {"contract_id": "LP-lamp", "node_id": "N1"}
        heard = DeploymentChanged(**key, version="1.2", status="acknowledged")
        await enter(ledger, "heard", heard, DeploymentsSuperseded(**key, below=last))
        assert await statuses(engine) == [
            ["superseded", "pending"],
            ["superseded", "pending"],
            ["acknowledged", "pending"],
        ]

    async def test_stays_open_while_the_later_one_is_not_acknowledged(
        self, ledger: Ledger, engine: AsyncEngine
    ) -> None:
        last = await open_three(ledger)
        await enter(ledger, "heard", DeploymentsSuperseded(contract_id="LP-lamp", node_id="N1", below=last))
        assert await statuses(engine) == [["pending", "pending"]] * 3

    async def test_is_not_acknowledged_any_more_once_its_version_is_retired_and_ends_nothing_before_it(
        self, ledger: Ledger, engine: AsyncEngine
    ) -> None:
        last = await open_three(ledger)
        rows = MaintenanceContracts(engine)
        assert await rows.last_deployed("LP-lamp") == {"N1": "1.2", "N2": "1.2"}
        assert await rows.last_deployed("LP-lamp", before=last) == {"N1": "1.1", "N2": "1.1"}
        key = {"contract_id": "LP-lamp", "version": "1.2"}
        created = ContractCreated(
            **key,
            **dict.fromkeys(("station_type", "title", "document", "document_hash", "created_by"), "any"),
            status="deployed",
            parent_version="1.1",
            changes=None,
        )
        await enter(ledger, "made", created)
        await enter(ledger, "retired", ContractChanged(**key, status="deprecated", deprecated_now=True))
        heard = DeploymentChanged(**key, node_id="N1", status="acknowledged")
        await enter(ledger, "heard", heard, DeploymentsSuperseded(contract_id="LP-lamp", node_id="N1", below=last))
        assert await statuses(engine) == [["pending", "pending"]] * 3
        assert await rows.last_deployed("LP-lamp") == {"N1": "1.1", "N2": "1.1"}
        await enter(ledger, "ended", DeploymentChanged(**key, node_id="N1", status="retired"))
        [left] = await rows.open_nodes(VersionRef(**key))
        assert (left["node_id"], left["status"]) == ("N2", "pending")
        await enter(ledger, "late", heard, DeploymentsSuperseded(contract_id="LP-lamp", node_id="N1", below=last))
        assert (await statuses(engine))[:2] == [["pending", "pending"]] * 2


async def enter(ledger: Ledger, key: str, *changes: Change) -> int:
    about = {"action_type": "maintenance", "action": "any", "target": "LP-lamp", "details": "any"}
    return (await ledger.record(Record(entry=LedgerEntry(idempotency_key=key, **about), changes=changes))).seq


VERSIONS = ("1.0", "1.1", "1.2")


async def open_three(ledger: Ledger) -> int:
    """On their way to two nodes; the number of the last."""
    numbers = []
    for version in VERSIONS:
        opened = (DeploymentOpened(contract_id="LP-lamp", version=version, node_id=node) for node in ("N1", "N2"))
        numbers.append(await enter(ledger, version, *opened))
    return numbers[-1]


async def statuses(engine: AsyncEngine) -> list[list[str]]:
    """Of each version, by node."""
    refs = [VersionRef(contract_id="LP-lamp", version=version) for version in VERSIONS]
    rows = [await MaintenanceContracts(engine).deployments(ref) for ref in refs]
    return [[row["status"] for row in each] for each in rows]
