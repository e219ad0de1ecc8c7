"""The Guardian, the trust list and the Gatekeeper: what each of them lets pass, and every way around them."""

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from infra.decisions import DecisionSigner, DecisionVerifier
from infra.gatekeeper import Gatekeeper
from infra.guardian import Guardian, TrustList, key_id
from infra.keys import load_or_create
from infra.node_store import NodeStore
from infra.settings import Settings
from schemas import names
from schemas.canonical import document_hash
from schemas.client_po import SmartClientPO
from schemas.guardian import AuthorizationPackage, AuthorizationRequest, NotAuthorized, incomplete
from schemas.identity import Identity
from schemas.node import NodeDelivery
from schemas.permission import Role
from schemas.signoff import Meaning, SignOff, signed_content
from schemas.test_results import Begun, CurrentResult, Instrument, KeptResults, Reading, TestResult, TestVerdict
from schemas.transfer import Destination

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NODE = "NODE-1"
SC = "SC-1"

DOCUMENT: dict[str, Any] = {
    "smart_contract_id": SC,
    "contract_type": "nondestructive_testing",
    "clientpo_id": "CPO-1",
    "client": "ACME",
    "part_number": "PN-1",
    "quantity": 10,
    "tests": [
        {
            "test_id": test_id,
            "test_type": "liquid_penetrant",
            "assigned_node": NODE,
            "procedure": {"procedure_id": "E1417", "revision": "2021"},
            "required_signoffs": signoffs,
            "equipment": [],
        }
        for test_id, signoffs in (("T-1", ["inspector", "quality_manager"]), ("T-2", ["inspector"]))
    ],
    "routing_trigger": {"type": "next_node", "next_station": "NODE-2", "next_contract": "SC-2.yaml", "weight": 1.5},
}
HASH = document_hash(DOCUMENT)
PO = SmartClientPO.model_validate(DOCUMENT)

BEGUN = Begun(
    performer="ivan",
    started_at=NOW,
    instruments=(
        Instrument(
            equipment_id="UV-LAMP-04",
            equipment_type="uv_lamp",
            certificate="C-1",
            calibrated_on=date(2026, 1, 1),
            due_on=date(2027, 1, 1),
        ),
    ),
    document_hash=HASH,
)

SIGNERS = (
    ("T-1", "ines", Role.INSPECTOR),
    ("T-1", "quinn", Role.QUALITY_MANAGER),
    ("T-2", "ines", Role.INSPECTOR),
)


def result(test_id: str, value: str = "1.50", verdict: TestVerdict = TestVerdict.ACCEPT) -> TestResult:
    reading = Reading(name="indication", value=value, unit="mm")
    return TestResult(test_id=test_id, verdict=verdict, readings=(reading,), procedure_followed=True)


class Site:
    """A node with its Guardian, and the API that signs decisions."""

    def __init__(self, state: Path) -> None:
        self.settings = Settings(state_dir=state)
        self.signer = DecisionSigner(self.settings)
        self.store = NodeStore(NODE, self.settings.node_store(NODE))
        self.guardian = self.guardian_of(NODE)
        self.trust = TrustList(self.settings.guardian_trust_dir)

    def guardian_of(self, node_id: str) -> Guardian:
        verifier = DecisionVerifier(self.settings)
        guardian = Guardian(node_id, self.store, self.settings.guardian_key_file(node_id), verifier)
        guardian.introduce(self.settings.guardian_trust_dir)
        return guardian

    def deliver(self, **fields: Any) -> None:
        values = {
            "smart_contract_id": SC,
            "number": 1,
            "document": DOCUMENT,
            "document_hash": HASH,
            "priority": 3,
            "due_date": None,
            "quantity": 6,
            "broadcast_ids": (),
        }
        self.store.take(NodeDelivery.model_validate(values | fields))

    def keep(self, *results: TestResult, revision: int = 1, begun: Begun = BEGUN) -> None:
        self.store.keep_results(
            KeptResults(
                smart_contract_id=SC,
                revision=revision,
                begun=begun,
                results=results,
                submitted_by="ivan",
                submitted_at=NOW,
            )
        )

    def proof(self, test_id: str, person: str, role: Role, current: CurrentResult, **other: Any) -> str:
        """A decision token that has expired long ago, as most have when their package is looked at."""
        terms: dict[str, Any] = {
            "workflow_id": names.test_execution_id(SC),
            "content_hash": signed_content(SC, BEGUN, current),
            "decision": "sign",
            "meaning": "reviewed",
            "at": NOW - timedelta(days=300),
        }
        return self.signer.sign(Identity(user_id=person, role=role, auth_time=NOW), **(terms | other))

    def signoff(self, test_id: str, person: str, role: Role, current: CurrentResult) -> SignOff:
        return SignOff(
            test_id=test_id,
            role=role.value,
            person=person,
            meaning=Meaning.REVIEWED,
            content_hash=signed_content(SC, BEGUN, current),
            signed_at=NOW + timedelta(hours=1),
            qualification="C-7",
            proof=self.proof(test_id, person, role, current),
        )

    def request(self, **fields: Any) -> AuthorizationRequest:
        """Everything is signed, unless fields say otherwise."""
        current = fields.setdefault(
            "current", {test: CurrentResult(result=result(test), revision=1) for test in ("T-1", "T-2")}
        )
        if "approvals" not in fields:
            fields["approvals"] = tuple(self.signoff(*signer, current[signer[0]]) for signer in SIGNERS)
        values = {"smart_contract_id": SC, "revision": 1, "replaces": None, "begun": BEGUN, "at": NOW}
        return AuthorizationRequest(**(values | fields))

    def tested(self) -> None:
        self.deliver()
        self.keep(result("T-1"), result("T-2"))

    def authorized(self) -> AuthorizationPackage:
        self.tested()
        return self.guardian.authorize(self.request())

    def resigned(self, package: AuthorizationPackage, **fields: Any) -> AuthorizationPackage:
        """What a node would sign that is not the Guardian of this product."""
        key = load_or_create(self.settings.guardian_key_file(NODE))
        return signed_with(key, package.model_copy(update=fields))


def signed_with(key: Ed25519PrivateKey, package: AuthorizationPackage) -> AuthorizationPackage:
    signature = package.guardian_signature.model_copy(
        update={"key_id": key_id(key.public_key()), "signature": key.sign(package.signed_bytes()).hex()}
    )
    return package.model_copy(update={"guardian_signature": signature})


def changed(package: AuthorizationPackage, path: Iterable[str | int], value: Any) -> AuthorizationPackage:
    """The package with one field altered; raises `ValidationError` where that is no package."""
    fields = package.model_dump(mode="json")
    *above, last = path
    inner: Any = fields
    for step in above:
        inner = inner[step]
    inner[last] = value
    return AuthorizationPackage.model_validate(fields)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


class TestTheGuardian:
    def test_signs_what_was_tested_and_signed(self, site: Site) -> None:
        package = site.authorized()
        assert (package.package_id, package.clientpo_id, package.test_id) == ("PKG-SC-1-R1", "CPO-1", "T-1")
        assert site.trust.refusal(package) is None

    def test_says_how_many_parts_were_released_not_how_many_were_ordered(self, site: Site) -> None:
        assert site.authorized().test_data.quantity == 6

    def test_names_the_row_where_the_node_has_its_copy(self, site: Site) -> None:
        package = site.authorized()
        assert package.local_backup_path == f"{site.settings.node_store(NODE).absolute()}#packages/PKG-SC-1-R1"
        assert site.store.packages(SC) == [package]

    def test_gives_the_same_package_when_it_is_asked_again_later(self, site: Site) -> None:
        package = site.authorized()
        again = site.guardian.authorize(site.request(at=NOW + timedelta(days=1), approvals=package.approvals))
        assert again.model_dump_json() == package.model_dump_json()

    def test_gives_the_same_package_after_its_decision_key_is_gone(self, site: Site) -> None:
        package = site.authorized()
        site.settings.decision_public_key_file.unlink()
        assert site.guardian.authorize(site.request(approvals=package.approvals)) == package

    def test_gives_one_package_to_all_who_ask_at_the_same_time(self, site: Site) -> None:
        site.tested()
        request = site.request()
        requests = [request.model_copy(update={"at": NOW + timedelta(seconds=second)}) for second in range(8)]
        with ThreadPoolExecutor(8) as pool:
            packages = {package.model_dump_json() for package in pool.map(site.guardian.authorize, requests)}
        assert len(packages) == 1

    def test_refuses_a_revision_that_it_authorized_with_other_content(self, site: Site) -> None:
        site.authorized()
        current = {test: CurrentResult(result=result(test, "9.9"), revision=1) for test in ("T-1", "T-2")}
        with pytest.raises(NotAuthorized, match="PKG-SC-1-R1 was authorized with other content"):
            site.guardian.authorize(site.request(current=current))

    def test_refuses_a_revision_that_it_authorized_with_other_signatures(self, site: Site) -> None:
        site.authorized()
        with pytest.raises(NotAuthorized, match="other content"):
            site.guardian.authorize(site.request())  # new tokens

    def test_authorizes_an_amendment_that_names_what_it_replaces(self, site: Site) -> None:
        first = site.authorized()
        site.keep(result("T-2", "2.0"), revision=2)
        current = {
            "T-1": CurrentResult(result=result("T-1"), revision=1),
            "T-2": CurrentResult(result=result("T-2", "2.0"), revision=2),
        }
        second = site.guardian.authorize(site.request(revision=2, current=current, replaces=first.package_id))
        assert (second.package_id, second.test_data.replaces) == ("PKG-SC-1-R2", "PKG-SC-1-R1")
        assert site.store.packages(SC) == [first, second]

    def test_refuses_an_amendment_of_what_it_never_authorized(self, site: Site) -> None:
        site.tested()
        with pytest.raises(NotAuthorized, match="PKG-SC-9-R1, which is no earlier package"):
            site.guardian.authorize(site.request(replaces="PKG-SC-9-R1"))

    def test_keeps_its_key_to_itself(self, site: Site) -> None:
        assert site.settings.guardian_key_file(NODE).stat().st_mode & 0o077 == 0

    def test_is_not_introduced_with_another_key_than_it_was_known_by(self, site: Site) -> None:
        site.settings.guardian_key_file(NODE).unlink()
        with pytest.raises(ValueError, match=r"rename that file to NODE-1\+old\.pub"):
            site.guardian_of(NODE)

    def test_is_still_believed_for_what_it_signed_with_its_old_key(self, site: Site) -> None:
        package, trust = site.authorized(), site.settings.guardian_trust_dir
        site.settings.guardian_key_file(NODE).unlink()
        (trust / "NODE-1.pub").rename(trust / "NODE-1+old.pub")
        site.guardian_of(NODE)
        assert site.trust.refusal(package) is None


class TestTheGuardianRefuses:
    def test_a_contract_that_its_node_does_not_hold(self, site: Site) -> None:
        site.keep(result("T-1"), result("T-2"))
        self.refused(site, site.request(), "does not hold the contract SC-1")

    def test_a_document_that_is_not_the_one_of_its_hash(self, site: Site) -> None:
        site.deliver(document=DOCUMENT | {"client": "Other"})
        site.keep(result("T-1"), result("T-2"))
        self.refused(site, site.request(), "has not the hash")

    def test_a_contract_of_another_node(self, site: Site) -> None:
        site.tested()
        with pytest.raises(NotAuthorized, match="tested at NODE-1, and only its Guardian"):
            site.guardian_of("NODE-2").authorize(site.request())

    def test_results_that_its_node_never_kept(self, site: Site) -> None:
        site.deliver()
        self.refused(site, site.request(), "own copy of the results of T-1, T-2 says otherwise")

    @pytest.mark.parametrize("value", ["1.5", "1.51"])
    def test_a_reading_that_its_node_wrote_otherwise(self, site: Site, value: str) -> None:
        site.deliver()
        site.keep(result("T-1", value), result("T-2"))
        self.refused(site, site.request(), "own copy of the results of T-1 says otherwise")

    def test_results_that_its_node_has_newer_ones_of(self, site: Site) -> None:
        site.tested()
        site.keep(result("T-2", "2.0"), revision=2)
        self.refused(site, site.request(), "own copy of the results of T-2 says otherwise")

    def test_results_of_other_instruments_than_its_node_kept(self, site: Site) -> None:
        site.deliver()
        site.keep(result("T-1"), result("T-2"), begun=BEGUN.model_copy(update={"instruments": ()}))
        self.refused(site, site.request(), "says otherwise")

    def test_a_test_without_results(self, site: Site) -> None:
        site.tested()
        current = {"T-1": CurrentResult(result=result("T-1"), revision=1)}
        approvals = site.request().approvals[:2]
        self.refused(site, site.request(current=current, approvals=approvals), "T-2 of SC-1 has no results")

    def test_what_nobody_signed(self, site: Site) -> None:
        site.tested()
        self.refused(site, site.request(approvals=()), "nobody signed SC-1")

    def test_what_is_not_signed_by_all(self, site: Site) -> None:
        site.tested()
        self.refused(site, site.request(approvals=site.request().approvals[:2]), "missing: T-2 as inspector")

    def test_one_person_in_two_roles(self, site: Site) -> None:
        site.tested()
        current = site.request().current["T-1"]
        twice = site.signoff("T-1", "ines", Role.QUALITY_MANAGER, current)
        first, _, third = site.request().approvals
        self.refused(site, site.request(approvals=(first, twice, third)), "ines signed T-1 twice")

    def test_two_persons_in_one_role(self, site: Site) -> None:
        site.tested()
        second = site.signoff("T-2", "ivan", Role.INSPECTOR, site.request().current["T-2"])
        self.refused(site, site.request(approvals=(*site.request().approvals, second)), "signed twice as inspector")

    def test_a_role_that_nobody_asked(self, site: Site) -> None:
        site.tested()
        other = site.signoff("T-2", "quinn", Role.QUALITY_MANAGER, site.request().current["T-2"])
        approvals = (*site.request().approvals, other)
        self.refused(site, site.request(approvals=approvals), "T-2 needs no sign-off as quality_manager")

    def test_a_signature_for_other_content(self, site: Site) -> None:
        site.tested()
        other = site.signoff("T-2", "ines", Role.INSPECTOR, CurrentResult(result=result("T-2", "7"), revision=1))
        approvals = (*site.request().approvals[:2], other)
        self.refused(site, site.request(approvals=approvals), "sign-off of T-2 by ines is for other content")

    @pytest.mark.parametrize(
        ("other", "what"),
        [
            ({"person": "ivan"}, "another person"),
            ({"role": Role.ADMIN}, "another role"),
            ({"meaning": "approved"}, "another meaning"),
            ({"decision": "reject"}, "another decision"),
            ({"content_hash": "00"}, "another content"),
            ({"workflow_id": "test/SC-2"}, "another workflow"),
            ({"person": "ivan", "role": Role.ADMIN}, "another person, role"),
        ],
    )
    def test_a_sign_off_whose_proof_says_otherwise(self, site: Site, other: dict[str, Any], what: str) -> None:
        site.tested()
        request = site.request()
        proof = site.proof(
            "T-2",
            other.pop("person", "ines"),
            other.pop("role", Role.INSPECTOR),
            request.current["T-2"],
            **other,
        )
        self.refused(site, self.with_proof(request, proof), f"sign-off of T-2 is for {what}")

    def test_a_proof_that_is_not_signed_by_the_house(self, site: Site, tmp_path: Path) -> None:
        site.tested()
        request = site.request()
        forger = Site(tmp_path / "elsewhere")
        proof = forger.proof("T-2", "ines", Role.INSPECTOR, request.current["T-2"])
        self.refused(site, self.with_proof(request, proof), "proof of ines's sign-off of T-2 does not hold")

    def test_a_proof_that_is_none(self, site: Site) -> None:
        site.tested()
        self.refused(site, self.with_proof(site.request(), "yes"), "does not hold")

    def test_everything_where_it_cannot_check_decisions(self, site: Site) -> None:
        site.tested()
        site.settings.decision_public_key_file.unlink()
        self.refused(site, site.request(), r"decision\.pub is missing")

    def with_proof(self, request: AuthorizationRequest, proof: str) -> AuthorizationRequest:
        *others, last = request.approvals
        return request.model_copy(update={"approvals": (*others, last.model_copy(update={"proof": proof}))})

    def refused(self, site: Site, request: AuthorizationRequest, reason: str) -> None:
        """And nothing of it stays at the node."""
        with pytest.raises(NotAuthorized, match=reason):
            site.guardian.authorize(request)
        assert site.store.packages(SC) == []


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> tuple[AuthorizationPackage, TrustList]:
    site = Site(tmp_path_factory.mktemp("site"))
    return site.authorized(), site.trust


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every field that holds no others."""
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in leaves(inner, (*path, key))]
    if isinstance(value, list):
        return [leaf for index, inner in enumerate(value) for leaf in leaves(inner, (*path, index))]
    return [path]


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.text(max_size=8)
    | st.sampled_from(["accept", "reject", "approved", "1.5", "2026-11-21T12:00:01Z", "2026-01-02", "NODE-2"])
)


class TestTheTrustList:
    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
    @given(data=st.data())
    def test_refuses_a_package_of_which_any_field_was_changed(
        self, signed: tuple[AuthorizationPackage, TrustList], data: st.DataObject
    ) -> None:
        package, trust = signed
        path = data.draw(st.sampled_from(leaves(package.model_dump(mode="json"))))
        try:
            other = changed(package, path, data.draw(VALUES))
        except ValidationError:
            assume(False)
        assume(other.model_dump(mode="json") != package.model_dump(mode="json"))
        assert trust.refusal(other) is not None

    def test_refuses_an_altered_reading(self, site: Site) -> None:
        path = ("test_data", "tests", 0, "result", "readings", 0, "value")
        assert site.trust.refusal(changed(site.authorized(), path, "0.1")) == "its signature does not hold"

    def test_refuses_a_package_of_which_a_part_was_left_out(self, site: Site) -> None:
        package = site.authorized()
        shorter = package.model_copy(update={"approvals": package.approvals[:-1]})
        assert site.trust.refusal(shorter) == "its signature does not hold"

    def test_refuses_a_key_that_nobody_put_there(self, site: Site) -> None:
        forged = signed_with(Ed25519PrivateKey.generate(), site.authorized())
        assert "is not on the trust list" in str(site.trust.refusal(forged))

    def test_refuses_the_key_of_another_node(self, site: Site) -> None:
        site.guardian_of("NODE-2")
        forged = signed_with(load_or_create(site.settings.guardian_key_file("NODE-2")), site.authorized())
        assert "is not that of the Guardian of NODE-1" in str(site.trust.refusal(forged))

    @pytest.mark.parametrize("rewritten", [str.upper, lambda text: f" {text}", lambda text: "none"])
    def test_refuses_a_signature_that_is_written_otherwise(self, site: Site, rewritten: Callable[[str], str]) -> None:
        package = site.authorized()
        signature = rewritten(package.guardian_signature.signature)
        assert site.trust.refusal(changed(package, ("guardian_signature", "signature"), signature)) is not None

    def test_refuses_a_trigger_that_cannot_be_signed(self, site: Site) -> None:
        package = changed(site.authorized(), ("test_data", "routing_trigger", "weight"), 2**60)
        assert site.trust.refusal(package) == "its signature does not hold"

    def test_refuses_all_when_it_is_empty(self, site: Site, tmp_path: Path) -> None:
        assert "is not on the trust list" in str(TrustList(tmp_path / "none").refusal(site.authorized()))

    def test_refuses_a_key_from_when_it_is_taken_away(self, site: Site) -> None:
        package = site.authorized()
        (site.settings.guardian_trust_dir / "NODE-1.pub").unlink()
        assert "is not on the trust list" in str(site.trust.refusal(package))

    @pytest.mark.parametrize(
        "content", [b"", b"no key", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"]
    )
    def test_lets_others_in_though_one_file_of_it_is_broken(self, site: Site, content: bytes) -> None:
        (site.settings.guardian_trust_dir / "A.pub").write_bytes(content)
        assert site.trust.refusal(site.authorized()) is None

    def test_knows_a_node_by_several_keys(self, site: Site) -> None:
        key = Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (site.settings.guardian_trust_dir / "NODE-1+2027.pub").write_bytes(public)
        assert site.trust.refusal(signed_with(key, site.authorized())) is None


RELEASED = PO.model_copy(update={"quantity": 6})


class TestAPackageForItsContract:
    def test_is_complete(self, site: Site) -> None:
        assert incomplete(RELEASED, HASH, site.authorized()) is None

    def test_is_complete_after_it_went_over_the_wire(self, site: Site) -> None:
        package = AuthorizationPackage.model_validate_json(site.authorized().model_dump_json())
        assert incomplete(RELEASED, HASH, package) is None

    def test_does_not_fit_another_document(self, site: Site) -> None:
        assert "another document" in str(incomplete(RELEASED, "00", site.authorized()))

    @pytest.mark.parametrize(
        ("path", "value", "reason"),
        [
            (("package_id",), "PKG-SC-1-R2", "not the ID of revision 1"),
            (("clientpo_id",), "CPO-2", "client order"),
            (("test_id",), "T-2", "first test"),
            (("guardian_signature", "node_id"), "NODE-2", "only its Guardian"),
            (("test_data", "node_id"), "NODE-2", "only its Guardian"),
            (("test_data", "begun", "document_hash"), "00", "another document"),
            (("test_data", "client"), "Other", "client: not those of the contract"),
            (("test_data", "contract_type"), "other", "contract_type: not those"),
            (("test_data", "part_id"), "PART-2", "part_id: not those"),
            (("test_data", "part_number"), "PN-2", "part_number: not those"),
            (("test_data", "quantity"), 10, "quantity: not those"),
            (("test_data", "sequence_number"), 2, "sequence_number: not those"),
            (("test_data", "completion_timestamp"), "2026-11-21T12:00:00Z", "completion_timestamp: not those"),
            (("test_data", "routing_trigger", "next_contract"), "SC-3", "routing_trigger: not those"),
            (("test_data", "tests", 0, "procedure_revision"), "2020", "tests: not those"),
            (("test_data", "tests", 0, "content_hash"), "00", "tests: not those"),
            (("test_data", "tests", 0, "test_id"), "T-9", "T-1 of SC-1 has no results"),
            (("test_data", "tests", 0, "result", "readings", 0, "value"), "0.1", "tests: not those"),
            (("approvals", 0, "content_hash"), "00", "for other content"),
            (("approvals", 0, "person"), "quinn", "quinn signed T-1 twice"),
            (("approvals", 0, "role"), "quality_manager", "signed twice as quality_manager"),
            (("approvals", 0, "role"), "operator", "needs no sign-off as operator"),
            (("approvals", 0, "test_id"), "T-9", "T-9 needs no sign-off"),
        ],
    )
    def test_does_not_fit_when_anything_in_it_is_not_so(
        self, site: Site, path: tuple[str | int, ...], value: Any, reason: str
    ) -> None:
        assert reason in str(incomplete(RELEASED, HASH, changed(site.authorized(), path, value)))

    def test_does_not_fit_with_a_test_that_is_not_of_the_contract(self, site: Site) -> None:
        package = site.authorized()
        tests = package.test_data.tests
        data = package.test_data.model_copy(update={"tests": (*tests, tests[0].model_copy(update={"test_id": "T-3"}))})
        refusal = incomplete(RELEASED, HASH, package.model_copy(update={"test_data": data}))
        assert "tests: not those" in str(refusal)

    def test_does_not_fit_under_a_revision_in_which_nothing_came(self, site: Site) -> None:
        package = site.authorized()
        data = package.test_data.model_copy(update={"revision": 2})
        later = package.model_copy(update={"package_id": "PKG-SC-1-R2", "test_data": data})
        assert "none of its results came in revision 2" in str(incomplete(RELEASED, HASH, later))

    @pytest.mark.parametrize(
        ("verdicts", "worst"),
        [
            ((TestVerdict.ACCEPT, TestVerdict.ACCEPT), TestVerdict.ACCEPT),
            ((TestVerdict.INCONCLUSIVE, TestVerdict.ACCEPT), TestVerdict.INCONCLUSIVE),
            ((TestVerdict.INCONCLUSIVE, TestVerdict.REJECT), TestVerdict.REJECT),
        ],
    )
    def test_has_the_worst_verdict_of_its_tests(
        self, site: Site, verdicts: tuple[TestVerdict, TestVerdict], worst: TestVerdict
    ) -> None:
        data = site.authorized().test_data
        items = tuple(
            item.model_copy(update={"result": result(item.test_id, verdict=verdict)})
            for item, verdict in zip(data.tests, verdicts, strict=True)
        )
        assert data.model_copy(update={"tests": items}).verdict is worst


class Rows:
    """Rows by ID, as an adapter of the database reads them."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    async def get(self, key: str) -> dict[str, Any] | None:
        return self.rows.get(key)


class Hub:
    """A Gatekeeper beside the site whose contract was released here."""

    def __init__(self, site: Site, client_pos: Any, transfers: Any) -> None:
        self.client_pos, self.transfers = client_pos, transfers
        self.client_pos.rows[SC] = {
            "document": json.dumps(DOCUMENT),
            "document_hash": HASH,
            "status": "released",
            "quantity": 10,
            "accepted_quantity": 6,
            "arrived": 6,
        }
        self.gatekeeper = Gatekeeper(
            site.trust,
            self.client_pos,
            self.transfers,
            site.settings.model_copy(update={"transfer_retries": 5, "transfer_first_pause": timedelta(seconds=2)}),
        )

    def recorded(self, package: AuthorizationPackage) -> None:
        self.transfers.rows[package.package_id] = {
            "smart_contract_id": package.test_data.smart_contract_id,
            "revision": package.test_data.revision,
            "content_hash": package.content_hash,
        }

    async def refusal(self, package: AuthorizationPackage) -> str | None:
        """As the API asks; whoever is refused there is admitted nowhere."""
        refusal = await self.gatekeeper.refusal(package)
        if refusal is not None:
            assert (await self.gatekeeper.admit(package)).refusal == refusal
        return refusal


@pytest.fixture
def hub(site: Site) -> Hub:
    return Hub(site, Rows(), Rows())


class TestTheGatekeeper:
    async def test_admits_what_is_authorized_and_recorded(self, site: Site, hub: Hub) -> None:
        hub.recorded(package := site.authorized())
        admission = await hub.gatekeeper.admit(package)
        assert admission.refusal is None
        assert set(admission.policies) == set(Destination)
        assert {(policy.retries, policy.first_pause) for policy in admission.policies.values()} == {(5, 2.0)}

    async def test_finds_no_fault_with_a_true_package_before_it_is_recorded(self, site: Site, hub: Hub) -> None:
        assert await hub.gatekeeper.refusal(site.authorized()) is None

    async def test_admits_all_that_came_though_fewer_were_accepted_a_moment_before(self, site: Site, hub: Hub) -> None:
        hub.client_pos.rows[SC]["accepted_quantity"] = 4
        assert await hub.refusal(site.authorized()) is None

    async def test_admits_nothing_that_is_not_recorded(self, site: Site, hub: Hub) -> None:
        admission = await hub.gatekeeper.admit(site.authorized())
        assert admission.refusal == "no authorization of PKG-SC-1-R1 is recorded"
        assert admission.policies == {}

    async def test_refuses_one_that_was_changed_and_sent_again(self, site: Site, hub: Hub) -> None:
        hub.recorded(package := site.authorized())
        replayed = site.resigned(package, authorized_at=NOW + timedelta(hours=1))
        admission = await hub.gatekeeper.admit(replayed)
        assert admission.refusal == "PKG-SC-1-R1 was recorded with other content"

    async def test_refuses_a_forged_signature(self, site: Site, hub: Hub) -> None:
        forged = signed_with(Ed25519PrivateKey.generate(), site.authorized())
        assert "is not on the trust list" in str(await hub.refusal(forged))

    async def test_refuses_the_guardian_of_another_node(self, site: Site, hub: Hub) -> None:
        site.guardian_of("NODE-2")
        package = changed(site.authorized(), ("guardian_signature", "node_id"), "NODE-2")
        signed = signed_with(load_or_create(site.settings.guardian_key_file("NODE-2")), package)
        assert "only its Guardian" in str(await hub.refusal(signed))

    async def test_refuses_what_a_node_signed_without_all_sign_offs(self, site: Site, hub: Hub) -> None:
        package = site.authorized()
        assert "missing: T-2 as inspector" in str(
            await hub.refusal(site.resigned(package, approvals=package.approvals[:2]))
        )

    async def test_refuses_a_contract_that_is_not_known(self, site: Site, hub: Hub) -> None:
        hub.client_pos.rows.clear()
        assert await hub.refusal(site.authorized()) == "SC-1 is not staged here"

    @pytest.mark.parametrize("status", ["awaiting_arrival", "ready_for_release", "hold", "cancelled"])
    async def test_refuses_a_contract_that_was_not_released(self, site: Site, hub: Hub, status: str) -> None:
        hub.client_pos.rows[SC]["status"] = status
        assert await hub.refusal(site.authorized()) == f"SC-1 is {status}, not released to a node"

    async def test_refuses_a_contract_that_was_staged_with_another_document(self, site: Site, hub: Hub) -> None:
        hub.client_pos.rows[SC]["document_hash"] = "00"
        assert "another document" in str(await hub.refusal(site.authorized()))

    async def test_admits_an_amendment_of_what_is_known(self, site: Site, hub: Hub) -> None:
        hub.recorded(package := site.authorized())
        assert await hub.refusal(self.amendment(site, package)) is None

    @pytest.mark.parametrize("row", [None, {"smart_contract_id": "SC-2"}, {"revision": 2}])
    async def test_refuses_an_amendment_of_what_is_not_an_earlier_package(
        self, site: Site, hub: Hub, row: dict[str, Any] | None
    ) -> None:
        hub.recorded(package := site.authorized())
        if row is None:
            del hub.transfers.rows[package.package_id]
        else:
            hub.transfers.rows[package.package_id].update(row)
        refusal = await hub.refusal(self.amendment(site, package))
        assert refusal == "it replaces PKG-SC-1-R1, which is no earlier package of SC-1 here"

    def amendment(self, site: Site, package: AuthorizationPackage) -> AuthorizationPackage:
        site.keep(result("T-1"), result("T-2", "2.0"), revision=2)
        current = {
            "T-1": CurrentResult(result=result("T-1"), revision=2),
            "T-2": CurrentResult(result=result("T-2", "2.0"), revision=2),
        }
        return site.guardian.authorize(site.request(revision=2, current=current, replaces=package.package_id))
