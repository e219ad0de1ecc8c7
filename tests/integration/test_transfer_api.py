"""Transfers over HTTP: a Guardian elsewhere hands in its package, people look, retry and decide."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.hubs import Hubs as Legs
from infra.repairs import Repairs
from infra.settings import Settings
from infra.transfer_reconcile import TransferReconciler
from schemas import names
from schemas.changes.client_po import ClientPOChanged
from schemas.client_po import ClientPOStatus
from schemas.guardian import AuthorizationPackage
from schemas.ledger import LedgerEntry, RecordedEntry
from schemas.permission import Role
from schemas.reconcile import Repaired
from schemas.record import Record
from schemas.test_results import TestVerdict
from schemas.transfer import Destination
from tests.hubs import HubServer, Reply, Request, hub_server, taken
from tests.integration.hubs import Hubs
from tests.packages import CP
from workers.worker import main_worker

Json = dict[str, Any]

VAULT = Destination.VAULT


def down(_: Request) -> Reply:
    return 503, {"detail": "down"}


class Floor:
    """One contract that is released, the far ends of the legs, and whoever asks."""

    def __init__(self, hubs: Hubs, far: HubServer, supervisor: httpx.AsyncClient) -> None:
        self.hubs = hubs
        self.far = far
        self.supervisor = supervisor
        self.guardian = hubs.sender
        self.quality = hubs.quality
        self.contract = hubs.contract("FI")

    def package(self, **fields: Any) -> AuthorizationPackage:
        return self.hubs.package(self.contract, **fields)

    async def release(self) -> None:
        """As its own workflow would record it."""
        await self.hubs.stage(self.contract)
        name = self.contract["smart_contract_id"]
        entry = LedgerEntry(
            idempotency_key=f"{name}:released", action_type="handoff", action="release", target=name, details="released"
        )
        change = ClientPOChanged(smart_contract_id=name, status=ClientPOStatus.RELEASED)
        await self.hubs.house.ledger.record(Record(entry=entry, changes=(change,)))

    async def hand_in(self, package: AuthorizationPackage | Json) -> httpx.Response:
        body = package if isinstance(package, dict) else package.model_dump(mode="json")
        return await self.guardian.post("/api/v1/guardian/authorizations", json=body)

    async def show(self, package: AuthorizationPackage) -> Json:
        answer = await self.supervisor.get(f"/api/v1/transfers/{package.package_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def until(self, package: AuthorizationPackage, condition: Callable[[Json], bool]) -> Json:
        shown: Json = {}
        try:
            async with asyncio.timeout(20):
                while not condition(shown := await self.show(package)):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pytest.fail(f"did not happen: {shown}")
        return shown

    async def refusals(self) -> list[RecordedEntry]:
        return await self.hubs.entries("refuse_authorization")


def leg(shown: Json, destination: Destination = VAULT) -> Json:
    return next(leg for leg in shown["legs"] if leg["destination"] == destination)


@pytest_asyncio.fixture
async def floor(hubs: Hubs, settings: Settings, caller: Callable[..., httpx.AsyncClient]) -> AsyncIterator[Floor]:
    house, hurried = hubs.house, {"transfer_first_pause": timedelta(milliseconds=1), "transfer_retries": 1}
    async with caller(Role.SUPERVISOR, "sam") as supervisor, hub_server() as far:
        own = far.settings(settings, **hurried)
        async with Legs(own) as legs, main_worker(house.temporal, house.engine, house.ledger, legs, own):
            floor = Floor(hubs, far, supervisor)
            await floor.release()
            yield floor


@pytest_asyncio.fixture
async def waiting(floor: Floor) -> AuthorizationPackage:
    """Its vault is down."""
    floor.far.answers[VAULT] = down
    package = floor.package()
    await floor.hand_in(package)
    await floor.until(package, lambda shown: leg(shown)["status"] == "waiting")
    return package


def signed_by_another_nodes_guardian(floor: Floor) -> AuthorizationPackage:
    package, other = floor.package(), floor.hubs.package(floor.hubs.second)
    key = floor.hubs.guardians.key(CP)
    signature = other.guardian_signature.model_copy(update={"signature": key.sign(package.signed_bytes()).hex()})
    return package.model_copy(update={"guardian_signature": signature})


def signed_by_another_key_under_a_trusted_name(floor: Floor) -> AuthorizationPackage:
    package = floor.package()
    forged = Ed25519PrivateKey.generate().sign(package.signed_bytes()).hex()
    signature = package.guardian_signature.model_copy(update={"signature": forged})
    return package.model_copy(update={"guardian_signature": signature})


def with_the_signature_of_another_revision(floor: Floor) -> AuthorizationPackage:
    return floor.package().model_copy(update={"guardian_signature": floor.package(revision=2).guardian_signature})


def signed_off_by_one_person_alone(floor: Floor) -> AuthorizationPackage:
    return floor.package(people=("ines", "ines"))


def of_a_contract_that_is_not_staged(floor: Floor) -> AuthorizationPackage:
    return floor.hubs.package(floor.hubs.contract("NEVER"))


def of_another_document_under_its_id(floor: Floor) -> AuthorizationPackage:
    return floor.hubs.package({**floor.contract, "client": "Somebody else"})


def that_replaces_what_never_was(floor: Floor) -> AuthorizationPackage:
    return floor.package(revision=2, replaces=f"PKG-{floor.contract['smart_contract_id']}-R1")


FORGERIES: dict[Callable[[Floor], AuthorizationPackage], str] = {
    signed_by_another_nodes_guardian: "only its Guardian authorizes it",
    signed_by_another_key_under_a_trusted_name: "its signature does not hold",
    with_the_signature_of_another_revision: "its signature does not hold",
    signed_off_by_one_person_alone: "ines signed",
    of_a_contract_that_is_not_staged: "is not staged here",
    of_another_document_under_its_id: "another document than the one that is staged",
    that_replaces_what_never_was: "which is no earlier package",
}


class TestAPackageThatIsHandedIn:
    async def test_is_moved_to_its_end(self, floor: Floor) -> None:
        package = floor.package()
        answer = await floor.hand_in(package)
        assert answer.status_code == 202, answer.text
        assert answer.headers["location"] == f"/api/v1/transfers/{package.package_id}"
        shown = await floor.until(package, lambda shown: shown["ended_at"] is not None)
        assert (shown["status"], shown["content_hash"]) == ("fully_complete", package.content_hash)
        assert shown["package"] == package.model_dump(mode="json")
        assert [event["action"] for event in shown["timeline"]] == [
            *("authorize_package", "receive_authorization", "transfer_to_vault"),
            *("notify_business_hub", "execute_dual_transfer"),
        ]
        assert shown["timeline"][0]["user_id"] == "transfer"

    async def test_again_is_answered_as_it_was_and_moved_once(self, floor: Floor) -> None:
        package = floor.package()
        await floor.hand_in(package)
        assert (await floor.hand_in(package)).status_code == 200
        await floor.until(package, lambda shown: shown["ended_at"] is not None)
        assert (await floor.hand_in(package)).status_code == 200
        assert len(floor.far.received[VAULT]) == 1
        assert await floor.refusals() == []

    async def test_does_not_keep_its_own_test_from_recording_it(self, floor: Floor) -> None:
        package = floor.package()
        assert (await floor.hand_in(package)).status_code == 202
        await floor.hubs.open_transfer(package)  # what its test records
        shown = await floor.until(package, lambda shown: shown["ended_at"] is not None)
        assert [event["action"] for event in shown["timeline"]].count("receive_authorization") == 1

    async def test_of_its_own_test_is_not_authorized_twice(self, floor: Floor) -> None:
        package = floor.package()
        await floor.hubs.open_transfer(package)
        assert (await floor.hand_in(package)).status_code == 200
        assert len(await floor.hubs.entries("authorize_package")) == 1

    async def test_with_other_content_is_refused_recorded_and_alerted(self, floor: Floor) -> None:
        package, other = floor.package(), floor.package(verdict=TestVerdict.REJECT)
        await floor.hand_in(package)
        answer = await floor.hand_in(other)
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:smartfloor:problem:conflict")
        [entry] = await floor.refusals()
        assert (entry.target, entry.user_id) == (package.package_id, "transfer")
        assert len(await floor.hubs.alerts()) == 1
        assert (await floor.show(package))["content_hash"] == package.content_hash

    async def test_altered_is_refused_recorded_and_alerted_and_moves_nothing(self, floor: Floor) -> None:
        package = floor.package().model_copy(update={"local_backup_path": "/elsewhere"})
        answer = await floor.hand_in(package)
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:smartfloor:problem:not-authorized")
        assert "signature" in answer.json()["detail"]
        [entry] = await floor.refusals()
        assert "signature" in entry.metadata["reason"]
        assert len(await floor.hubs.alerts()) == 1
        assert (await floor.supervisor.get(f"/api/v1/transfers/{package.package_id}")).status_code == 404

    async def test_by_a_guardian_that_nobody_trusts_is_refused(self, floor: Floor) -> None:
        package = floor.package()
        for file in floor.hubs.house.settings.guardian_trust_dir.iterdir():
            file.unlink()
        answer = await floor.hand_in(package)
        assert (answer.status_code, len(await floor.refusals())) == (422, 1)
        assert "trust list" in answer.json()["detail"]

    @pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
    async def test_forged_is_refused_recorded_and_alerted_and_moves_nothing(
        self, floor: Floor, forge: Callable[[Floor], AuthorizationPackage]
    ) -> None:
        package = forge(floor)
        answer = await floor.hand_in(package)
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:smartfloor:problem:not-authorized")
        assert FORGERIES[forge] in answer.json()["detail"]
        [entry] = await floor.refusals()
        assert (entry.target, entry.user_id) == (package.package_id, "transfer")
        assert len(await floor.hubs.alerts()) == 1
        assert (await floor.supervisor.get(f"/api/v1/transfers/{package.package_id}")).status_code == 404
        told = [request.content for requests in floor.far.received.values() for request in requests]
        assert [content for content in told if package.package_id.encode() in content] == []

    @pytest.mark.parametrize("missing", ["approvals", "guardian_signature", "package_id"])
    async def test_without_something_is_refused_and_recorded(self, floor: Floor, missing: str) -> None:
        body = floor.package().model_dump(mode="json")
        del body[missing]
        answer = await floor.hand_in(body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, missing)
        [entry] = await floor.refusals()
        assert missing in entry.metadata["reason"]

    async def test_without_its_sign_offs_is_refused(self, floor: Floor) -> None:
        package = floor.package()
        short = floor.hubs.guardians.signed(package.model_copy(update={"approvals": package.approvals[1:]}))
        answer = await floor.hand_in(short)
        assert (answer.status_code, len(await floor.refusals())) == (422, 1)
        assert "sign-offs are missing" in answer.json()["detail"]

    async def test_by_somebody_who_may_not_is_refused(self, floor: Floor) -> None:
        body = floor.package().model_dump(mode="json")
        answer = await floor.supervisor.post("/api/v1/guardian/authorizations", json=body)
        assert answer.status_code == 403


class TestATransfer:
    async def test_says_of_each_leg_what_it_waits_for_and_who_moves_it_on(
        self, floor: Floor, waiting: AuthorizationPackage
    ) -> None:
        shown = await floor.show(waiting)
        assert shown["status"] == "retry_pending"
        vault = leg(shown)
        assert (vault["attempts"], vault["error"][-9:]) == (2, "503: down")
        assert "transfer:retry" in vault["moved_on_by"]
        assert leg(shown, Destination.NEXT_NODE)["status"] == "not_applicable"
        assert leg(shown, Destination.BUSINESS_HUB)["waits_for"] == "the other legs"

    async def test_is_listed_without_its_package(self, floor: Floor, waiting: AuthorizationPackage) -> None:
        """Which may be megabytes, five hundred times."""
        _, [row] = await floor.hubs.house.transfers.find(limit=9, offset=0)
        assert (row["package_id"], "package" in row) == (waiting.package_id, False)

    async def test_is_listed_by_state_order_and_contract(self, floor: Floor, waiting: AuthorizationPackage) -> None:
        async def listed(**wanted: str) -> list[str]:
            answer = await floor.supervisor.get("/api/v1/transfers", params=wanted)
            assert answer.json()["matching"] == len(answer.json()["transfers"])
            return [transfer["package_id"] for transfer in answer.json()["transfers"]]

        name = waiting.package_id
        assert await listed() == await listed(status="retry_pending") == [name]
        assert await listed(clientpo_id=waiting.clientpo_id) == [name]
        assert await listed(smart_contract_id=waiting.test_data.smart_contract_id) == [name]
        assert await listed(status="fully_complete") == await listed(clientpo_id="other") == []

    async def test_goes_on_when_somebody_retries(self, floor: Floor, waiting: AuthorizationPackage) -> None:
        floor.far.answers[VAULT] = taken
        url = f"/api/v1/transfers/{waiting.package_id}/retry"
        answer = await floor.supervisor.post(url, json={"destination": "vault", "reason": "it is up"})
        assert answer.status_code == 200, answer.text
        shown = await floor.until(waiting, lambda shown: shown["ended_at"] is not None)
        retried = [event for event in shown["timeline"] if event["user_id"] == "sam"]
        assert [event["details"] for event in retried] == ["Retry of vault asked for: it is up"]
        again = await floor.supervisor.post(url, json={"destination": "vault"})
        assert again.status_code == 409

    async def test_whose_leg_needs_no_retry_says_so(self, floor: Floor, waiting: AuthorizationPackage) -> None:
        url = f"/api/v1/transfers/{waiting.package_id}/retry"
        answer = await floor.supervisor.post(url, json={"destination": "next_node"})
        assert (answer.status_code, "not_applicable" in answer.json()["detail"]) == (409, True)

    async def test_is_not_retried_by_a_machine(self, floor: Floor, waiting: AuthorizationPackage) -> None:
        url = f"/api/v1/transfers/{waiting.package_id}/retry"
        assert (await floor.guardian.post(url, json={"destination": "vault"})).status_code == 403

    async def test_that_does_not_exist_is_not_found(self, floor: Floor) -> None:
        for url in ("/api/v1/transfers/none", "/api/v1/nonconformances/0", f"/api/v1/nonconformances/{2**64}"):
            assert (await floor.supervisor.get(url)).status_code == 404
        answer = await floor.supervisor.post("/api/v1/transfers/none/retry", json={"destination": "vault"})
        assert answer.status_code == 404


class TestANonconformance:
    @pytest_asyncio.fixture
    async def rejected(self, floor: Floor) -> AuthorizationPackage:
        package = floor.package(verdict=TestVerdict.REJECT)
        await floor.hand_in(package)
        await floor.until(package, lambda shown: shown["status"] == "vault_complete")
        return package

    async def open(self, floor: Floor) -> list[Json]:
        answer = await floor.quality.get("/api/v1/nonconformances", params={"open": True})
        return list(answer.json()["nonconformances"])

    async def dispose(self, who: httpx.AsyncClient, record: Json, **other: Any) -> httpx.Response:
        body = {"disposition": "scrap", "content_hash": record["content_hash"], "reason": "cracked", **other}
        return await who.post(f"/api/v1/nonconformances/{record['number']}/disposition", json=body)

    async def test_has_a_number_and_waits_for_a_disposition(self, floor: Floor, rejected: AuthorizationPackage) -> None:
        [record] = await self.open(floor)
        assert (record["package_id"], record["content_hash"]) == (rejected.package_id, rejected.content_hash)
        answer = await floor.quality.get(f"/api/v1/nonconformances/{record['number']}")
        assert answer.json() == record
        assert record["disposition"] is None

    async def test_is_disposed_by_somebody_else_than_who_signed(
        self, floor: Floor, rejected: AuthorizationPackage, caller: Callable[..., httpx.AsyncClient]
    ) -> None:
        [record] = await self.open(floor)
        by_signer = await self.dispose(floor.quality, record)  # quentin, who approved
        assert (by_signer.status_code, "another person" in by_signer.json()["detail"]) == (409, True)
        async with caller(Role.QUALITY_MANAGER, "quinn") as other:
            answer = await self.dispose(other, record)
            assert answer.status_code == 200, answer.text
            again = await self.dispose(other, record, disposition="use_as_is")
        disposed = answer.json()
        assert (disposed["disposition"], disposed["decided_by"], disposed["reason"]) == ("scrap", "quinn", "cracked")
        assert again.status_code == 409
        shown = await floor.until(rejected, lambda shown: shown["ended_at"] is not None)
        assert (shown["status"], shown["disposition"]) == ("fully_complete", "scrap")
        assert await self.open(floor) == []

    async def test_is_not_disposed_by_who_saw_something_else(self, floor: Floor, rejected: Any) -> None:
        [record] = await self.open(floor)
        answer = await self.dispose(floor.quality, record, content_hash="0" * 64)
        assert (answer.status_code, "other content" in answer.json()["detail"]) == (409, True)

    async def test_is_not_disposed_by_who_may_not(self, floor: Floor, rejected: Any) -> None:
        [record] = await self.open(floor)
        assert (await self.dispose(floor.supervisor, record)).status_code == 403


class TestATransferWithoutAWorkflow:
    async def reconcile(self, floor: Floor) -> dict[str, Repaired | None]:
        """Each transfer that was looked at, and what was done for it."""
        house = floor.hubs.house
        reconciler = TransferReconciler(house.temporal, house.transfers, house.ledger)
        repairs = Repairs(house.alerts, house.ledger)
        found = {package_id: repaired async for package_id, repaired in reconciler.repair(repairs)}
        await repairs.finish()
        return found

    async def test_that_never_started_is_started(self, floor: Floor) -> None:
        package = floor.package()
        await floor.hubs.open_transfer(package)
        assert await self.reconcile(floor) == {package.package_id: Repaired.STARTED}
        shown = await floor.until(package, lambda shown: shown["ended_at"] is not None)
        assert "restart_transfer" not in [event["action"] for event in shown["timeline"]]
        assert await self.reconcile(floor) == {}

    async def test_sends_again_what_a_receiver_may_have_stored_before_it_was_terminated(self, floor: Floor) -> None:
        floor.far.answers[VAULT] = down
        package = floor.package()
        await floor.hand_in(package)
        await floor.until(package, lambda shown: leg(shown)["status"] == "waiting")
        await floor.hubs.house.temporal.get_workflow_handle(names.transfer_id(package.package_id)).terminate()
        floor.far.answers[VAULT] = taken
        assert await self.reconcile(floor) == {package.package_id: Repaired.STARTED}
        url = f"/api/v1/transfers/{package.package_id}/retry"
        assert (await floor.supervisor.post(url, json={"destination": "vault"})).status_code == 200
        await floor.until(package, lambda shown: shown["ended_at"] is not None)
        assert len({request.content for request in floor.far.received[VAULT]}) == 1

    async def test_that_was_terminated_goes_on_where_it_stood(
        self, floor: Floor, waiting: AuthorizationPackage
    ) -> None:
        handle = floor.hubs.house.temporal.get_workflow_handle(names.transfer_id(waiting.package_id))
        url = f"/api/v1/transfers/{waiting.package_id}/retry"
        assert await self.reconcile(floor) == {waiting.package_id: None}
        await handle.signal(names.RETRY_TRANSFER, {"destination": "next_node"})
        await floor.until(waiting, lambda shown: shown["timeline"][-1]["action"] == "refuse_request")
        await handle.terminate()
        assert (await floor.supervisor.post(url, json={"destination": "vault"})).status_code == 409
        assert await self.reconcile(floor) == {waiting.package_id: Repaired.STARTED}
        await handle.signal(names.RETRY_TRANSFER, {"destination": "business_hub"})
        await floor.until(waiting, lambda shown: [e["action"] for e in shown["timeline"]].count("refuse_request") == 2)
        floor.far.answers[VAULT] = taken
        assert (await floor.supervisor.post(url, json={"destination": "vault"})).status_code == 200
        shown = await floor.until(waiting, lambda shown: shown["ended_at"] is not None)
        assert leg(shown)["attempts"] == 3
        actions = [event["action"] for event in shown["timeline"]]
        assert (actions.count("restart_transfer"), actions.count("receive_authorization")) == (1, 1)
        alerts = (await floor.quality.get("/api/v1/alerts", params={"subject": waiting.package_id})).json()["alerts"]
        assert {a["alert_type"]: a["state"] for a in alerts if a["alert_type"] != "request_refused"} == {
            "transfer_failure": "resolved",
            "workflow_closed": "raised",
        }
