"""The Guardian's authorization package (specification 2): what was tested and signed, under the node's own key.

A package exists once for a contract and a revision of its results. Its Guardian signs the RFC 8785 bytes of all of it
but the signature. A hub takes a package only under a key of its trust list that is the named node's.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from schemas.base import Identifier, Model, Text, UtcDateTime
from schemas.canonical import document_bytes, document_hash
from schemas.client_po import SmartClientPO
from schemas.signoff import SignOff, signed_content
from schemas.test_results import Begun, CurrentResult, Flags, Instrument, TestResult, TestVerdict


class TestedItem(Model):
    """One test of the contract with the results that were signed; `revision` is the one in which they came.

    `flags` are what the node said of its equipment when they were given.
    """

    __test__ = False

    test_id: Identifier
    test_type: Text
    procedure_id: Text
    procedure_revision: str
    result: TestResult
    revision: int
    content_hash: str
    flags: Flags = ()


class TestData(Model):
    """All tests of a contract. `replaces` is the package of an earlier revision that this one amends."""

    __test__ = False

    smart_contract_id: Identifier
    contract_type: Text
    client: Text
    part_id: str | None
    part_number: str | None
    quantity: int
    sequence_number: int
    document_hash: str
    revision: int
    replaces: str | None
    node_id: Identifier
    begun: Begun
    completion_timestamp: UtcDateTime
    tests: Annotated[tuple[TestedItem, ...], Field(min_length=1)]
    routing_trigger: dict[str, Any]

    @property
    def verdict(self) -> TestVerdict:
        """The worst of its tests'."""
        found = {item.result.verdict for item in self.tests}
        for verdict in (TestVerdict.REJECT, TestVerdict.INCONCLUSIVE):
            if verdict in found:
                return verdict
        return TestVerdict.ACCEPT

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        return self.begun.instruments


class GuardianSignature(Model):
    """Ed25519 over the canonical bytes, in hex.

    `key_id` is the first 32 hex digits of the SHA-256 of the raw public key.
    """

    node_id: Identifier
    key_id: str
    algorithm: Literal["Ed25519"] = "Ed25519"
    signature: str


class AuthorizationPackage(Model):
    """What the Guardian issues when all sign-offs are in. `test_id` is that of the first test."""

    package_id: str
    clientpo_id: Identifier
    test_id: Identifier
    test_data: TestData
    approvals: Annotated[tuple[SignOff, ...], Field(min_length=1)]
    authorized_at: UtcDateTime
    local_backup_path: str
    guardian_signature: GuardianSignature

    def signed_bytes(self) -> bytes:
        """What the signature is over; raises `NotCanonical` where a document in it has no such form."""
        return document_bytes(self.model_dump(mode="json", exclude={"guardian_signature"}))

    @property
    def content_hash(self) -> str:
        """SHA-256 (hex, RFC 8785) over the whole package."""
        return document_hash(self.model_dump(mode="json"))


class AuthorizationRequest(Model):
    """Everything is signed: the Guardian is asked to authorize this revision. The node's own copy must say the same."""

    smart_contract_id: Identifier
    revision: int
    replaces: str | None
    begun: Begun
    current: dict[str, CurrentResult]
    approvals: tuple[SignOff, ...]
    at: UtcDateTime


AUTHORIZATION_REFUSED = "AuthorizationRefused"
"""Error type of an authorization that the Guardian will not give."""


class NotAuthorized(ValueError):
    """Something is missing or does not agree; the text says what."""


def package_id(smart_contract_id: str, revision: int) -> str:
    """One package for a contract and a revision of its results."""
    return f"PKG-{smart_contract_id}-R{revision}"


def package_data(
    po: SmartClientPO, document_hash: str, request: AuthorizationRequest, flags: Mapping[str, tuple[str, ...]]
) -> TestData:
    """What the Guardian signs, of a contract whose tests all have results; `flags` by test. Raises `NotAuthorized`."""
    without = [test.test_id for test in po.tests if test.test_id not in request.current]
    if without:
        raise NotAuthorized(f"{', '.join(without)} of {po.smart_contract_id} has no results")
    if not request.approvals:
        raise NotAuthorized(f"nobody signed {po.smart_contract_id}")
    return TestData(
        smart_contract_id=po.smart_contract_id,
        contract_type=po.contract_type,
        client=po.client,
        part_id=po.part_id,
        part_number=po.part_number,
        quantity=po.quantity,
        sequence_number=po.sequence_number,
        document_hash=document_hash,
        revision=request.revision,
        replaces=request.replaces,
        node_id=po.target_node,
        begun=request.begun,
        completion_timestamp=max(approval.signed_at for approval in request.approvals),
        tests=tuple(
            TestedItem(
                test_id=test.test_id,
                test_type=test.test_type,
                procedure_id=test.procedure.procedure_id,
                procedure_revision=test.procedure.revision,
                result=request.current[test.test_id].result,
                revision=request.current[test.test_id].revision,
                content_hash=signed_content(po.smart_contract_id, request.begun, request.current[test.test_id]),
                flags=flags.get(test.test_id, ()),
            )
            for test in po.tests
        ),
        routing_trigger=po.routing_trigger.model_dump(mode="json"),
    )


def incomplete(po: SmartClientPO, document_hash: str, package: AuthorizationPackage) -> str | None:
    """Why a package does not authorize this contract, whatever its signature is worth; None where it does.

    `po` has the quantity that was released, which may be less than what its document orders.
    """
    data, own = package.test_data, package_id(package.test_data.smart_contract_id, package.test_data.revision)
    if package.package_id != own:
        return f"{package.package_id} is not the ID of revision {data.revision} of {data.smart_contract_id}"
    if (data.document_hash, data.begun.document_hash) != (document_hash, document_hash):
        return "it is about another document than the one that is staged"
    if (data.node_id, package.guardian_signature.node_id) != (po.target_node, po.target_node):
        return f"the contract is tested at {po.target_node}, and only its Guardian authorizes it"
    if (package.clientpo_id, package.test_id) != (po.clientpo_id, po.tests[0].test_id):
        return "client order or first test are not those of the contract"
    if data.revision != max(item.revision for item in data.tests):
        return f"none of its results came in revision {data.revision}"
    return _differs(po, package) or _unsigned(po, package)


def _differs(po: SmartClientPO, package: AuthorizationPackage) -> str | None:
    """What is written out anew from the contract and from the bare results must be what the package says."""
    data = package.test_data
    request = AuthorizationRequest(
        smart_contract_id=data.smart_contract_id,
        revision=data.revision,
        replaces=data.replaces,
        begun=data.begun,
        current={item.test_id: CurrentResult(result=item.result, revision=item.revision) for item in data.tests},
        approvals=package.approvals,
        at=package.authorized_at,
    )
    try:
        expected = package_data(po, data.document_hash, request, {item.test_id: item.flags for item in data.tests})
    except NotAuthorized as missing:
        return str(missing)
    differing = [field for field in TestData.model_fields if getattr(data, field) != getattr(expected, field)]
    return f"{', '.join(differing)}: not those of the contract and its results" if differing else None


def _unsigned(po: SmartClientPO, package: AuthorizationPackage) -> str | None:
    """Each role that the contract requires has signed exactly these results, each person once for a test."""
    content = {item.test_id: item.content_hash for item in package.test_data.tests}
    required = {(test.test_id, role) for test in po.tests for role in test.required_signoffs}
    signed: set[tuple[str, str]] = set()
    signers: set[tuple[str, str]] = set()
    for approval in package.approvals:
        test, role, person = approval.test_id, approval.role, approval.person
        if (test, role) not in required:
            return f"{test} needs no sign-off as {role}"
        if approval.content_hash != content[test]:
            return f"the sign-off of {test} by {person} is for other content"
        if (test, person) in signers:
            return f"{person} signed {test} twice"
        if (test, role) in signed:
            return f"{test} was signed twice as {role}"
        signers.add((test, person))
        signed.add((test, role))
    if missing := sorted(required - signed):
        return f"sign-offs are missing: {', '.join(f'{test} as {role}' for test, role in missing)}"
    return None
