"""The vault over HTTP, with the real database: what it takes, what it shows, and what nobody can change."""

from io import BytesIO
from typing import Any

import pytest
from pypdf import PdfReader
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from infra.checkpoint import checkpoint, verifier_key
from infra.merkle import verify_inclusion
from infra.settings import Settings
from infra.verify_export import open_checkpoint
from schemas.canonical import document_hash
from schemas.guardian import AuthorizationPackage
from schemas.ledger import leaf_hash
from schemas.test_results import TestVerdict
from tests.integration.hubs import Hubs
from tests.packages import Json


def shown(answer: Any) -> Json:
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


class TestAPackage:
    async def test_is_stored_unchanged_with_its_hash(self, hubs: Hubs) -> None:
        package = hubs.package()
        body = await hubs.body(package)
        receipt = shown(await hubs.send(body))
        assert (receipt["package_id"], receipt["content_hash"]) == (package.package_id, document_hash(body))
        vault = shown(await hubs.quality.get(f"/api/v1/vault/{hubs.first['smart_contract_id']}"))
        [revision] = vault["revisions"]
        assert revision["package"] == body
        assert (revision["content_hash"], revision["received_at"]) == (receipt["content_hash"], receipt["received_at"])
        assert AuthorizationPackage.model_validate(revision["package"]["authorization"]) == package

    async def test_again_gives_the_same_receipt(self, hubs: Hubs) -> None:
        body = await hubs.body(hubs.package())
        first, second = shown(await hubs.send(body)), shown(await hubs.send(body))
        assert first == second
        assert len(await hubs.entries("store_package")) == 1

    async def test_with_other_content_is_a_conflict_that_a_person_sees(self, hubs: Hubs) -> None:
        package = hubs.package()
        await hubs.store(package)
        other = await hubs.body(hubs.package(observations="as if by another hand"))
        for _ in range(2):
            answer = await hubs.send(other)
            assert (answer.status_code, answer.json()["type"]) == (409, "urn:smartfloor:problem:conflict")
        [refusal] = await hubs.entries("refuse_package")
        assert refusal.target == package.package_id
        assert len(await hubs.alerts()) == 1
        [stored] = shown(await hubs.quality.get(f"/api/v1/vault/{hubs.first['smart_contract_id']}"))["revisions"]
        assert stored["package"]["authorization"] == package.model_dump(mode="json")

    async def test_counts_what_was_signed_as_compliance(self, hubs: Hubs) -> None:
        body = await hubs.body(hubs.package(procedure_followed=False, deviations="shorter dwell"))
        assert body["compliance_metadata"] == {
            "all_approvals_verified": True,
            "approval_count": 2,
            "test_procedure_followed": False,
        }
        assert (await hubs.send(body)).status_code == 200


class TestARefusedPackage:
    @pytest.fixture
    def package(self, hubs: Hubs) -> AuthorizationPackage:
        return hubs.package()

    async def refused(self, hubs: Hubs, body: Json, reason: str) -> None:
        answer = await hubs.send(body)
        assert answer.status_code == 422, answer.text
        assert reason in answer.json()["detail"]
        [refusal] = await hubs.entries("refuse_package")
        assert reason in refusal.details
        assert [reason in alert for alert in await hubs.alerts()] == [True]
        assert await hubs.entries("store_package") == []

    async def test_has_an_altered_result(self, hubs: Hubs, package: AuthorizationPackage) -> None:
        body = await hubs.body(package)
        body["authorization"]["test_data"]["tests"][0]["result"]["readings"][0]["value"] = "0.10"
        await self.refused(hubs, body, "its signature does not hold")

    async def test_is_signed_by_a_key_that_nobody_trusts(self, hubs: Hubs, package: AuthorizationPackage) -> None:
        body = await hubs.body(package)
        for file in hubs.guardians.trust_dir.iterdir():
            file.unlink()
        await self.refused(hubs, body, "is not on the trust list")

    async def test_is_not_written_as_it_was_signed(self, hubs: Hubs, package: AuthorizationPackage) -> None:
        body = await hubs.body(package)
        body["authorization"]["authorized_at"] = body["authorization"]["authorized_at"].replace("Z", "+00:00")
        await self.refused(hubs, body, "not written as its Guardian signed it")

    async def test_claims_another_compliance(self, hubs: Hubs, package: AuthorizationPackage) -> None:
        body = await hubs.body(package)
        body["compliance_metadata"]["approval_count"] = 3
        await self.refused(hubs, body, "compliance metadata")

    async def test_comes_under_another_id(self, hubs: Hubs, package: AuthorizationPackage) -> None:
        body = await hubs.body(package)
        body["package_id"] = "PKG-other-R1"
        await self.refused(hubs, body, "is not the ID of revision 1")

    async def test_cites_what_is_not_in_the_ledger(self, hubs: Hubs, package: AuthorizationPackage) -> None:
        await hubs.stage(hubs.first)
        body = await hubs.body(package)
        [cited] = body["audit_chain"]["entries"]
        assert cited["action"] == "stage_client_po"
        cited["leaf"] = "0" * 64
        await self.refused(hubs, body, "which is not so in the ledger")

    async def test_is_about_another_document_than_the_staged_one(self, hubs: Hubs) -> None:
        await hubs.stage(hubs.first)
        package = hubs.package({**hubs.first, "client": "Somebody Else"})
        await self.refused(hubs, await hubs.body(package), "another document than the one that is staged")

    async def test_lacks_a_sign_off_that_the_staged_contract_needs(self, hubs: Hubs) -> None:
        await hubs.stage(hubs.first)
        full = hubs.package()
        package = hubs.guardians.signed(full.model_copy(update={"approvals": full.approvals[1:]}))
        await self.refused(hubs, await hubs.body(package), "sign-offs are missing")

    async def test_replaces_one_that_is_not_there(self, hubs: Hubs, package: AuthorizationPackage) -> None:
        amendment = hubs.package(revision=2, replaces=package.package_id)
        await self.refused(hubs, await hubs.body(amendment), f"replaces {package.package_id}, which is not stored")

    async def test_that_nobody_can_read_is_not_recorded(self, hubs: Hubs) -> None:
        answer = await hubs.send({"package_id": "PKG"})
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:smartfloor:problem:invalid")
        assert await hubs.entries("refuse_package") == []


class TestAnAmendment:
    async def test_is_a_new_revision_beside_the_old_one(self, hubs: Hubs) -> None:
        old = hubs.package(verdict=TestVerdict.REJECT)
        new = hubs.package(revision=2, replaces=old.package_id)
        await hubs.store(old)
        await hubs.store(new)
        vault = shown(await hubs.quality.get(f"/api/v1/vault/{hubs.first['smart_contract_id']}"))
        assert [(found["package_id"], found["replaced_by"]) for found in vault["revisions"]] == [
            (new.package_id, None),
            (old.package_id, new.package_id),
        ]

    async def test_that_does_not_say_what_it_replaces_is_refused(self, hubs: Hubs) -> None:
        await hubs.store(hubs.package())
        answer = await hubs.send(await hubs.body(hubs.package(revision=2)))
        assert answer.status_code == 422
        assert "names the package that it replaces" in answer.json()["detail"]

    async def test_of_an_earlier_revision_than_what_it_replaces_is_refused(self, hubs: Hubs) -> None:
        later = hubs.package(revision=3)
        await hubs.store(later)
        answer = await hubs.send(await hubs.body(hubs.package(revision=2, replaces=later.package_id)))
        assert answer.status_code == 422
        assert "is not before its own" in answer.json()["detail"]


class TestTheProofs:
    async def test_convince_whoever_has_the_public_key(self, hubs: Hubs, settings: Settings) -> None:
        await hubs.stage(hubs.first)
        await hubs.store(hubs.package())
        await checkpoint(hubs.house.engine, settings)
        [revision] = shown(await hubs.quality.get(f"/api/v1/vault/{hubs.first['smart_contract_id']}"))["revisions"]
        chain = revision["audit_chain"]
        assert [found["action"] for found in chain] == ["stage_client_po", "store_package"]
        assert chain[-1]["seq"] == revision["ledger_entry"]
        for found in chain:
            proof = found["proof"]
            signed = open_checkpoint(proof["checkpoint"], verifier_key(settings))
            leaf = leaf_hash(proof["entry"].encode())
            assert (found["holds"], leaf.hex()) == (True, found["leaf"])
            path = [bytes.fromhex(node) for node in proof["path"]]
            assert verify_inclusion(leaf, found["seq"], signed.size, path, signed.root)

    async def test_wait_for_a_checkpoint(self, hubs: Hubs) -> None:
        await hubs.store(hubs.package())
        [revision] = shown(await hubs.quality.get(f"/api/v1/vault/{hubs.first['smart_contract_id']}"))["revisions"]
        assert [(found["proof"], found["holds"]) for found in revision["audit_chain"]] == [(None, None)]


class TestTheWriter:
    @pytest.mark.parametrize("statement", ["UPDATE vault_packages SET body = '{}'", "DELETE FROM vault_packages"])
    async def test_can_change_nothing_in_the_vault(self, hubs: Hubs, statement: str) -> None:
        await hubs.store(hubs.package())
        with pytest.raises(ProgrammingError, match="permission denied"):
            async with hubs.house.engine.begin() as connection:
                await connection.execute(text(statement))


class TestTheReport:
    async def report(self, hubs: Hubs, revision: int | None = None) -> bytes:
        url = f"/api/v1/vault/{hubs.first['smart_contract_id']}/report"
        answer = await hubs.quality.get(url, params={} if revision is None else {"revision": revision})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/pdf")
        return answer.content

    async def test_says_all_that_a_quality_manager_asks_for(self, hubs: Hubs, settings: Settings) -> None:
        document = {**hubs.first, "client": "Аэротурбина & Söhne 株式会社"}
        package = hubs.package(document, procedure_followed=False, deviations="dwell 25 min <agreed>")
        receipt = await hubs.store(package)
        note = await checkpoint(hubs.house.engine, settings)
        said = words(await self.report(hubs))
        [item] = package.test_data.tests
        for wanted in (
            *("Аэротурбина & Söhne 株式会社", hubs.first["clientpo_id"], hubs.first["part_id"], "FB-7731"),
            *("ASTM-E1417", "revision 2021", "UV-LAMP-04", "CAL-2026-0417", "2027-04-17"),
            *("longest indication", "0.80", "mm", "ACCEPT", "not followed as written", "dwell 25 min <agreed>"),
            *("ines inspector performed 2026-11-21 13:00:00 UTC", "quentin quality manager approved"),
            *(item.content_hash, receipt["content_hash"], package.guardian_signature.key_id),
            open_checkpoint(note, verifier_key(settings)).root.hex(),
        ):
            assert wanted in said, wanted

    async def test_is_the_same_bytes_each_time(self, hubs: Hubs, settings: Settings) -> None:
        await hubs.store(hubs.package())
        await checkpoint(hubs.house.engine, settings)
        first = await self.report(hubs)
        await hubs.stage(hubs.second)
        await checkpoint(hubs.house.engine, settings)
        assert await self.report(hubs) == first

    async def test_of_an_amendment_says_what_it_replaces(self, hubs: Hubs) -> None:
        old = hubs.package()
        new = hubs.package(revision=2, replaces=old.package_id)
        await hubs.store(old)
        await hubs.store(new)
        assert f"amends {old.package_id}" in words(await self.report(hubs))
        assert f"{new.package_id} replaces it" in words(await self.report(hubs, revision=1))

    async def test_prints_the_number_of_a_character_that_no_font_has(self, hubs: Hubs) -> None:
        await hubs.store(hubs.package(observations="smooth \U0001f600"))
        assert "smooth [U+1F600]" in words(await self.report(hubs))

    async def test_goes_on_on_the_next_page_where_a_text_is_longer_than_one(self, hubs: Hubs) -> None:
        long = "W" * 1000
        reading = {"name": long, "value": "1", "unit": long}
        test = {**hubs.first["tests"][0], "test_type": "\U0001f600" * 1000}
        document = {**hubs.first, "client": "\U0001f600" * 1000, "tests": [test]}
        await hubs.store(hubs.package(document, readings=(reading,), observations="\U0001f600" * 1000))
        assert "[U+1F600] Procedure followed" in words(await self.report(hubs))

    async def test_of_what_is_not_there_is_not_found(self, hubs: Hubs) -> None:
        assert (await hubs.quality.get("/api/v1/vault/SC-none/report")).status_code == 404
        await hubs.store(hubs.package())
        url = f"/api/v1/vault/{hubs.first['smart_contract_id']}/report"
        assert (await hubs.quality.get(url, params={"revision": 7})).status_code == 404


def words(pdf: bytes) -> str:
    """What can be read in it, on one line."""
    return " ".join(" ".join(page.extract_text() for page in PdfReader(BytesIO(pdf)).pages).split())
