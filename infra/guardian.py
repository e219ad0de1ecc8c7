"""The Guardian of a node, and the trust list by which others know it.

A Guardian believes nobody: what it signs must be in its own node's copy, and every sign-off must prove itself. Its key
never leaves the node. A hub knows Guardians by the public keys that a person put into its trust list.
"""

import hashlib
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from pydantic import ValidationError

from infra.decisions import DecisionVerifier
from infra.keys import load_or_create, publish
from infra.node_store import NodeStore
from schemas import names
from schemas.canonical import document_hash
from schemas.client_po import SmartClientPO
from schemas.guardian import (
    AuthorizationPackage,
    AuthorizationRequest,
    GuardianSignature,
    NotAuthorized,
    TestData,
    incomplete,
    package_data,
    package_id,
)
from schemas.node import NodeDelivery, NotHeld
from schemas.signoff import SignOff, SignOffDecision, signed_content
from schemas.test_results import CurrentResult


class Guardian:
    """Authorizes what was tested and signed at one node."""

    def __init__(self, node_id: str, store: NodeStore, key_file: Path, verifier: DecisionVerifier) -> None:
        """Makes the key where there is none; raises as `infra.keys.load_or_create`."""
        self._node_id = node_id
        self._store = store
        self._key = load_or_create(key_file)
        self._verifier = verifier

    def introduce(self, trust_dir: Path) -> None:
        """Puts its public key into a trust list on the same machine; elsewhere a person copies it.

        Raises `OSError`, and `ValueError` where another key of this node is there.
        """
        file = trust_dir / f"{self._node_id}.pub"
        publish(
            self._key,
            file,
            otherwise=f"{file} is another key than the one of this Guardian: if the key was really replaced, "
            f"rename that file to {self._node_id}+old.pub, so that what it signed still counts",
        )

    def authorize(self, request: AuthorizationRequest) -> AuthorizationPackage:
        """The signed package of a revision, kept on the node's disk first. Asked again it is the same one.

        Raises `NotAuthorized` where anything is missing or does not agree, and where the revision was authorized with
        other content.
        """
        po, delivery = self._contract(request.smart_contract_id)
        data = package_data(po, delivery.document_hash, request, self._flags(request.smart_contract_id))
        own_id = package_id(request.smart_contract_id, request.revision)
        earlier = {package.package_id: package for package in self._store.packages(request.smart_contract_id)}
        package = earlier.get(own_id)
        if package is None:
            self._agrees_with_own_copy(request)
            if request.replaces is not None and request.replaces not in earlier:
                raise NotAuthorized(f"it replaces {request.replaces}, which is no earlier package of this contract")
            for approval in request.approvals:
                self._proves_itself(request.smart_contract_id, approval)
            package = self._store.keep_package(self._signed(po, data, request))
        if (package.test_data, package.approvals) != (data, request.approvals):
            raise NotAuthorized(f"{own_id} was authorized with other content")
        return package

    def _contract(self, smart_contract_id: str) -> tuple[SmartClientPO, NodeDelivery]:
        """As the node holds it, with the quantity that was released."""
        try:
            delivery = self._store.delivery(smart_contract_id)
            po = SmartClientPO.model_validate(delivery.document)
        except (NotHeld, ValidationError) as error:
            raise NotAuthorized(str(error)) from error
        if document_hash(delivery.document) != delivery.document_hash:
            raise NotAuthorized(
                f"the document of {smart_contract_id} that the node holds has not the hash it came with"
            )
        return po.model_copy(update={"quantity": delivery.quantity}), delivery

    def _flags(self, smart_contract_id: str) -> dict[str, tuple[str, ...]]:
        """By test, those of its newest results."""
        kept_results = self._store.results(smart_contract_id)
        return {result.test_id: kept.flags for kept in kept_results for result in kept.results}

    def _agrees_with_own_copy(self, request: AuthorizationRequest) -> None:
        name = request.smart_contract_id
        newest: dict[str, str] = {}
        for kept in self._store.results(name):
            for result in kept.results:
                current = CurrentResult(result=result, revision=kept.revision)
                newest[result.test_id] = signed_content(name, kept.begun, current)
        differing = [
            test_id
            for test_id, current in request.current.items()
            if newest.get(test_id) != signed_content(name, request.begun, current)
        ]
        if differing:
            raise NotAuthorized(f"the node's own copy of the results of {', '.join(sorted(differing))} says otherwise")

    def _proves_itself(self, smart_contract_id: str, approval: SignOff) -> None:
        """The sign-off is what its decision token says; that it has expired since does not matter."""
        subject = f"the proof of {approval.person}'s sign-off of {approval.test_id}"
        verdict = self._verifier.read(approval.proof)
        if (proof := verdict.decision) is None:
            raise NotAuthorized(f"{subject} does not hold: {verdict.refusal}")
        proven = {
            "workflow": (proof.workflow_id, names.test_execution_id(smart_contract_id)),
            "decision": (proof.decision, SignOffDecision.SIGN.value),
            "person": (proof.person, approval.person),
            "role": (proof.role.value, approval.role),
            "meaning": (proof.meaning, approval.meaning.value),
            "content": (proof.content_hash, approval.content_hash),
        }
        if other := [what for what, (said, claimed) in proven.items() if said != claimed]:
            raise NotAuthorized(f"{subject} is for another {', '.join(other)}")

    def _signed(self, po: SmartClientPO, data: TestData, request: AuthorizationRequest) -> AuthorizationPackage:
        own_id = package_id(data.smart_contract_id, data.revision)
        signature = GuardianSignature(node_id=self._node_id, key_id=key_id(self._key.public_key()), signature="")
        package = AuthorizationPackage(
            package_id=own_id,
            clientpo_id=po.clientpo_id,
            test_id=po.tests[0].test_id,
            test_data=data,
            approvals=request.approvals,
            authorized_at=request.at,
            local_backup_path=self._store.backup_path(own_id),
            guardian_signature=signature,
        )
        if missing := incomplete(po, data.document_hash, package):
            raise NotAuthorized(missing)
        signed = signature.model_copy(update={"signature": self._key.sign(package.signed_bytes()).hex()})
        return package.model_copy(update={"guardian_signature": signed})


class TrustList:
    """Public keys of Guardians (PEM) in a folder, `{node_id}.pub` or `{node_id}+{any}.pub`, read when it is asked."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def refusal(self, package: AuthorizationPackage) -> str | None:
        """Why the signature of a package is worth nothing here; None where it holds."""
        signature = package.guardian_signature
        known = [(node_id, key) for node_id, key in self._keys() if key_id(key) == signature.key_id]
        if not known:
            return f"the key {signature.key_id} is not on the trust list"
        (_, key), owners = known[0], {node_id for node_id, _ in known}
        if signature.node_id not in owners:
            return f"the key {signature.key_id} is not that of the Guardian of {signature.node_id}"
        try:
            signed = bytes.fromhex(signature.signature)
            key.verify(signed, package.signed_bytes())
        except (InvalidSignature, ValueError):  # no hex digits; a trigger that has no canonical form
            return "its signature does not hold"
        # There is one way to write it, else one package had several hashes.
        return None if signed.hex() == signature.signature else "its signature is not written in small hex digits"

    def _keys(self) -> list[tuple[str, Ed25519PublicKey]]:
        """By node; a file that holds no such key counts for nothing."""
        keys = []
        for file in sorted(self._directory.glob("*.pub")):
            try:
                key = load_pem_public_key(file.read_bytes())
            except (OSError, ValueError, UnsupportedAlgorithm):
                continue
            if isinstance(key, Ed25519PublicKey):
                keys.append((file.stem.split("+")[0], key))
        return keys


def key_id(key: Ed25519PublicKey) -> str:
    """The first 32 hex digits of the SHA-256 of the raw public key."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:32]
