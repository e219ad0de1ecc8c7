"""The contracts of a chain: what the store holds, what may follow what, the Floor and Business Hubs over HTTP."""

from typing import Any

import pytest

from schemas.changes.client_po import ClientPOChanged
from schemas.client_po import ClientPOStatus
from schemas.guardian import AuthorizationPackage
from schemas.ledger import LedgerEntry
from schemas.record import Record
from schemas.test_results import TestVerdict
from schemas.transfer import Destination, LegStatus, PackageStatus
from tests.integration.hubs import Hubs
from tests.packages import CP, FI, Json, leads_to


def name_of(document: Json) -> str:
    return str(document["smart_contract_id"])


async def end(hubs: Hubs, document: Json, status: ClientPOStatus) -> None:
    """What its own workflow would record."""
    name = name_of(document)
    entry = LedgerEntry(
        idempotency_key=f"{name}:{status}", action_type="handoff", action=status, target=name, details=status
    )
    change = ClientPOChanged(smart_contract_id=name, status=status)
    await hubs.house.ledger.record(Record(entry=entry, changes=(change,)))


class TestTheContractStore:
    async def test_takes_a_contract_and_shows_it(self, hubs: Hubs) -> None:
        url = f"/api/v1/contracts/{name_of(hubs.second)}"
        answer = await hubs.sender.put(url, json=hubs.second)
        assert (answer.status_code, answer.headers["location"]) == (201, url)
        assert (await hubs.sender.get(url)).json()["document"] == hubs.second
        [listed] = (await hubs.sender.get("/api/v1/contracts")).json()
        assert (listed["smart_contract_id"], listed["fault"]) == (name_of(hubs.second), None)
        [entry] = await hubs.entries("store_contract")
        assert entry.metadata == {"document_hash": answer.json()["document_hash"]}

    async def test_takes_yaml_and_gives_the_same_hash(self, hubs: Hubs) -> None:
        url = f"/api/v1/contracts/{name_of(hubs.second)}"
        as_json = await hubs.sender.put(url, json=hubs.second)
        text = (hubs.house.settings.contracts_dir / f"{name_of(hubs.second)}.yaml").read_bytes()
        as_yaml = await hubs.sender.put(url, content=text, headers={"Content-Type": "application/yaml"})
        assert (as_yaml.status_code, as_yaml.json()) == (200, as_json.json())

    async def test_replaces_until_the_contract_is_staged(self, hubs: Hubs) -> None:
        url = f"/api/v1/contracts/{name_of(hubs.second)}"
        rushed = {**hubs.second, "priority": 1}
        for document, status in ((hubs.second, 201), (hubs.second, 200), (rushed, 200), (hubs.second, 200)):
            assert (await hubs.sender.put(url, json=document)).status_code == status
        assert len(await hubs.entries("store_contract")) == 3
        await hubs.stage(hubs.second)
        assert (await hubs.sender.put(url, json=rushed)).status_code == 409
        assert (await hubs.sender.put(url, json=hubs.second)).status_code == 200
        assert hubs.contracts.read(name_of(hubs.second)) == hubs.second

    async def test_refuses_what_is_no_contract_of_that_name(self, hubs: Hubs) -> None:
        other = await hubs.sender.put("/api/v1/contracts/SC-other", json=hubs.second)
        assert [fault["field"] for fault in other.json()["errors"]] == ["smart_contract_id"]
        unknown = hubs.contract("X", "NODE-unknown")
        answer = await hubs.sender.put(f"/api/v1/contracts/{name_of(unknown)}", json=unknown)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "tests.0.assigned_node")
        assert hubs.contracts.names() == []

    async def test_lists_a_file_that_nobody_can_read_with_what_is_wrong(self, hubs: Hubs) -> None:
        hubs.house.settings.contracts_dir.mkdir()
        (hubs.house.settings.contracts_dir / "SC-broken.yaml").write_text("tests: [")
        [listed] = (await hubs.sender.get("/api/v1/contracts")).json()
        assert "not readable as YAML" in listed["fault"]
        assert (await hubs.sender.get("/api/v1/contracts/SC-broken")).status_code == 422
        assert (await hubs.sender.get("/api/v1/contracts/SC-none")).status_code == 404


class TestPreparingTheNextNode:
    async def test_gives_the_contract_and_the_place_of_the_part(self, hubs: Hubs) -> None:
        hubs.contracts.add(name_of(hubs.second), hubs.second)
        package = hubs.package()
        body = await hubs.body(package, Destination.NEXT_NODE)
        assert (body["target_node"], body["package"]["next_contract"]) == (CP, hubs.second)
        assert body["package"]["part_tracking"]["place"] == "NOD-TestStation-LP-01"
        assert body["package"]["dispatch_timestamp"] == package.authorized_at.isoformat().replace("+00:00", "Z")

    async def test_without_the_contract_says_that_it_is_missing(self, hubs: Hubs) -> None:
        prepared = await hubs.prepare(hubs.package(), Destination.NEXT_NODE)
        assert (prepared.missing, prepared.body) == (True, None)
        assert f"PUT /api/v1/contracts/{name_of(hubs.second)}," in (prepared.refusal or "")

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"clientpo_id": "CPO-other"}, "belongs to client order CPO-other"),
            ({"part_id": "PART-other"}, "is for part PART-other"),
            ({"part_number": "FB-other"}, "is for part"),
            ({"sequence_number": 1}, "does not come after"),
            ({"smart_contract_id": "SC-other"}, "is not"),
            ({"client": ""}, "client: String should have at least 1 character"),
        ],
    )
    async def test_refuses_a_contract_that_does_not_agree(
        self, hubs: Hubs, fields: dict[str, Any], reason: str
    ) -> None:
        await self.refused(hubs, {**hubs.second, **fields}, reason)

    async def test_refuses_a_contract_for_another_node_than_the_trigger_names(self, hubs: Hubs) -> None:
        await self.refused(hubs, hubs.contract("CP", FI, sequence_number=2), f"is tested at {FI}, not at {CP}")

    async def test_refuses_a_contract_that_names_itself(self, hubs: Hubs) -> None:
        document = hubs.contract("CP", CP, **leads_to(name_of(hubs.second), CP))
        hubs.contracts.add(name_of(document), {**document, "sequence_number": 2})
        prepared = await hubs.prepare(hubs.package(document), Destination.NEXT_NODE)
        assert "names itself" in (prepared.refusal or "")

    async def test_refuses_a_file_that_is_no_document(self, hubs: Hubs) -> None:
        hubs.contracts.add(name_of(hubs.second), hubs.second)
        (hubs.house.settings.contracts_dir / f"{name_of(hubs.second)}.yaml").write_text("- no contract")
        prepared = await hubs.prepare(hubs.package(), Destination.NEXT_NODE)
        assert (prepared.missing, "must be an object" in (prepared.refusal or "")) == (False, True)

    async def test_refuses_a_name_that_leaves_the_store(self, hubs: Hubs) -> None:
        document = hubs.contract("LP", **leads_to("../../secret", CP))
        prepared = await hubs.prepare(hubs.package(document), Destination.NEXT_NODE)
        assert "cannot be the name of a contract" in (prepared.refusal or "")

    async def test_refuses_after_the_last_contract(self, hubs: Hubs) -> None:
        prepared = await hubs.prepare(hubs.package(hubs.contract("FI")), Destination.NEXT_NODE)
        assert "the last of its chain" in (prepared.refusal or "")

    async def test_refuses_a_contract_that_is_staged_with_another_document(self, hubs: Hubs) -> None:
        await hubs.stage({**hubs.second, "priority": 1})
        await self.refused(hubs, hubs.second, "is staged with another document")

    async def test_refuses_a_contract_that_the_chain_has_run(self, hubs: Hubs) -> None:
        await hubs.stage(hubs.second)
        await end(hubs, hubs.second, ClientPOStatus.RELEASED)
        await self.refused(hubs, hubs.second, "the chain returns to a contract that it has run")

    async def refused(self, hubs: Hubs, document: Json, reason: str) -> None:
        hubs.contracts.add(name_of(hubs.second), document)
        prepared = await hubs.prepare(hubs.package(), Destination.NEXT_NODE)
        assert (prepared.missing, prepared.body) == (False, None)
        assert reason in (prepared.refusal or "")


class TestTheFloorHub:
    async def sent(self, hubs: Hubs, **changes: Any) -> tuple[AuthorizationPackage, Json]:
        """An authorized package, and what its next-node leg sends."""
        package = hubs.package()
        await hubs.open_transfer(package, **changes)
        hubs.contracts.add(name_of(hubs.second), hubs.second)
        return package, await hubs.body(package, Destination.NEXT_NODE)

    async def test_stages_the_contract_and_tells_its_workflow_of_the_part(self, hubs: Hubs) -> None:
        package, body = await self.sent(hubs)
        answer = await hubs.route(body)
        assert (answer.status_code, answer.json()["package_id"]) == (200, package.package_id)
        row = await hubs.house.client_pos.get(name_of(hubs.second))
        assert row is not None
        assert (row["routed_from"], row["status"]) == (package.package_id, "awaiting_arrival")
        assert await hubs.workflow_signals(hubs.second) == ["part_ready"]

    async def test_gives_the_same_receipt_again_and_stages_nothing_twice(self, hubs: Hubs) -> None:
        _, body = await self.sent(hubs)
        first, second = await hubs.route(body), await hubs.route(body)
        assert (first.status_code, first.json()) == (200, second.json())
        assert [len(await hubs.entries(action)) for action in ("stage_client_po", "route_to_node")] == [1, 1]

    async def test_gives_the_same_receipt_when_the_contract_has_moved_on(self, hubs: Hubs) -> None:
        _, body = await self.sent(hubs)
        first = await hubs.route(body)
        await end(hubs, hubs.second, ClientPOStatus.RELEASED)
        assert (await hubs.route(body)).json() == first.json()

    async def test_links_what_the_business_hub_had_staged_before(self, hubs: Hubs) -> None:
        await hubs.stage(hubs.second)
        package, body = await self.sent(hubs)
        assert (await hubs.route(body)).status_code == 200
        row = await hubs.house.client_pos.get(name_of(hubs.second))
        assert row is not None
        assert row["routed_from"] == package.package_id
        assert await hubs.workflow_signals(hubs.second) == ["part_ready"]

    async def test_finishes_what_it_had_begun_when_it_was_killed(self, hubs: Hubs) -> None:
        package, body = await self.sent(hubs)
        await hubs.house.staging.record(hubs.second, "transfer", routed_from=package.package_id)
        await end(hubs, hubs.second, ClientPOStatus.RELEASED)
        assert (await hubs.route(body)).status_code == 200

    async def test_takes_no_other_content_under_the_same_package(self, hubs: Hubs) -> None:
        _, body = await self.sent(hubs)
        await hubs.route(body)
        body["package"]["part_tracking"]["place"] = "somewhere else"
        assert (await hubs.route(body)).status_code == 409
        assert len(await hubs.entries("refuse_package")) == 1

    async def test_takes_no_contract_that_is_staged_with_another_document(self, hubs: Hubs) -> None:
        _, body = await self.sent(hubs)
        await hubs.stage({**hubs.second, "priority": 1})
        assert (await hubs.route(body)).status_code == 409

    @pytest.mark.parametrize("status", [ClientPOStatus.RELEASED, ClientPOStatus.CANCELLED])
    async def test_takes_no_contract_that_has_run(self, hubs: Hubs, status: ClientPOStatus) -> None:
        _, body = await self.sent(hubs)
        await hubs.stage(hubs.second)
        await end(hubs, hubs.second, status)
        answer = await hubs.route(body)
        assert (answer.status_code, "it has run" in answer.json()["detail"]) == (409, True)

    async def test_takes_no_contract_that_another_package_brought(self, hubs: Hubs) -> None:
        _, body = await self.sent(hubs)
        await hubs.house.staging.record(hubs.second, "transfer", routed_from="PKG-other-R1")
        answer = await hubs.route(body)
        assert (answer.status_code, "brought by PKG-other-R1" in answer.json()["detail"]) == (409, True)

    async def test_takes_nothing_that_no_transfer_authorized(self, hubs: Hubs) -> None:
        hubs.contracts.add(name_of(hubs.second), hubs.second)
        body = await hubs.body(hubs.package(), Destination.NEXT_NODE)
        await self.refused(hubs, body, "no authorized transfer")

    async def test_takes_nothing_of_a_transfer_that_was_refused(self, hubs: Hubs) -> None:
        _, body = await self.sent(hubs, status=PackageStatus.REFUSED)
        await self.refused(hubs, body, "no authorized transfer")

    async def test_takes_nothing_of_rejected_results_that_nobody_disposed_of(self, hubs: Hubs) -> None:
        package = hubs.package(verdict=TestVerdict.REJECT)
        await hubs.open_transfer(package, next_node_status=LegStatus.AWAITING_DISPOSITION)
        hubs.contracts.add(name_of(hubs.second), hubs.second)
        await self.refused(hubs, await hubs.body(package, Destination.NEXT_NODE), "use the part as it is")

    async def test_takes_what_is_used_as_it_is(self, hubs: Hubs) -> None:
        package = hubs.package(verdict=TestVerdict.REJECT)
        await hubs.open_transfer(package, disposition="use_as_is")
        hubs.contracts.add(name_of(hubs.second), hubs.second)
        assert (await hubs.route(await hubs.body(package, Destination.NEXT_NODE))).status_code == 200

    @pytest.mark.parametrize(
        ("path", "value", "reason"),
        [
            (("target_node",), FI, "target_node"),
            (("package", "clientpo_id"), "CPO-other", "clientpo_id"),
            (("package", "source_node"), FI, "source_node"),
            (("package", "part_tracking", "part_id"), "PART-other", "part"),
            (("package", "part_tracking", "previous_test"), "T-other", "previous_test"),
            (("package", "next_contract_hash"), "00", "next_contract_hash"),
            (("package", "contract_metadata", "sequence_number"), 7, "contract_metadata"),
            (("package", "next_contract", "part_id"), "PART-other", "is for part PART-other"),
            (("package", "next_contract", "sequence_number"), 1, "does not come after"),
        ],
    )
    async def test_takes_nothing_that_was_altered_on_its_way(
        self, hubs: Hubs, path: tuple[str, ...], value: Any, reason: str
    ) -> None:
        _, body = await self.sent(hubs)
        *way, last = path
        place = body
        for step in way:
            place = place[step]
        place[last] = value
        await self.refused(hubs, body, reason)

    async def refused(self, hubs: Hubs, body: Json, reason: str) -> None:
        answer = await hubs.route(body)
        assert (answer.status_code, reason in answer.json()["detail"]) == (422, True), answer.text
        [refusal] = await hubs.entries("refuse_package")
        assert reason in refusal.details
        assert len(await hubs.alerts()) == 1
        assert await hubs.house.client_pos.get(name_of(hubs.second)) is None


class TestTheBusinessHub:
    async def test_hears_once_that_an_order_is_complete(self, hubs: Hubs) -> None:
        package = hubs.package(hubs.contract("FI"))
        await hubs.open_transfer(package)
        body = await hubs.body(package, Destination.BUSINESS_HUB)
        first, second = await hubs.complete(body), await hubs.complete(body)
        assert (first.status_code, first.json()) == (200, second.json())
        [entry] = await hubs.entries("complete_order")
        assert entry.target == package.clientpo_id

    async def test_takes_no_other_content_under_the_same_package(self, hubs: Hubs) -> None:
        package = hubs.package(hubs.contract("FI"))
        await hubs.open_transfer(package)
        body = await hubs.body(package, Destination.BUSINESS_HUB)
        await hubs.complete(body)
        assert (await hubs.complete({**body, "completed_at": "2026-12-24T00:00:00Z"})).status_code == 409

    async def test_refuses_what_no_transfer_authorized(self, hubs: Hubs) -> None:
        body = await hubs.body(hubs.package(hubs.contract("FI")), Destination.BUSINESS_HUB)
        assert (await hubs.complete(body)).status_code == 422

    async def test_refuses_another_verdict_than_the_authorized_one(self, hubs: Hubs) -> None:
        package = hubs.package(hubs.contract("FI"), verdict=TestVerdict.REJECT)
        await hubs.open_transfer(package)
        body = await hubs.body(package, Destination.BUSINESS_HUB)
        answer = await hubs.complete({**body, "verdict": "accept"})
        assert (answer.status_code, "verdict is reject" in answer.json()["detail"]) == (422, True)

    @pytest.mark.parametrize(("disposition", "status"), [(None, 422), ("rework", 422), ("scrap", 200)])
    async def test_refuses_rejected_results_that_end_nothing(
        self, hubs: Hubs, disposition: str | None, status: int
    ) -> None:
        package = hubs.package(hubs.contract("FI"), verdict=TestVerdict.REJECT)
        await hubs.open_transfer(package, disposition=disposition)
        assert (await hubs.complete(await hubs.body(package, Destination.BUSINESS_HUB))).status_code == status

    async def test_refuses_a_contract_that_another_one_follows(self, hubs: Hubs) -> None:
        package = hubs.package()
        await hubs.open_transfer(package)
        answer = await hubs.complete(await hubs.body(package, Destination.BUSINESS_HUB))
        assert (answer.status_code, "is not the last of its chain" in answer.json()["detail"]) == (422, True)
