"""Signed authorization packages of made-up contracts, as a Guardian would issue them."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from infra.guardian import key_id
from schemas.canonical import document_hash
from schemas.client_po import SmartClientPO
from schemas.guardian import AuthorizationPackage, AuthorizationRequest, GuardianSignature, package_data, package_id
from schemas.signoff import Meaning, SignOff, signed_content
from schemas.test_results import Begun, CurrentResult, Instrument, Reading, TestResult, TestVerdict

LP, CP, FI = "NOD-TestStation-LP-01", "NOD-TestStation-CP-01", "NOD-TestStation-FI-01"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)

Json = dict[str, Any]


def contract(name: str = "SC-1", node: str = LP, **fields: Any) -> Json:
    """The last of its chain where no other trigger is given."""
    return {
        "smart_contract_id": name,
        "contract_type": "nondestructive_testing",
        "clientpo_id": "CPO-1",
        "client": "Aeroturbine Overhaul GmbH",
        "part_id": "PART-1",
        "part_number": "FB-7731",
        "sequence_number": 1,
        "tests": [
            {
                "test_id": f"{name}-TEST1",
                "test_type": "liquid_penetrant",
                "assigned_node": node,
                "procedure": {"procedure_id": "ASTM-E1417", "revision": "2021"},
                "required_signoffs": ["inspector", "quality_manager"],
                "equipment": ["UV-LAMP-04"],
            }
        ],
        "routing_trigger": {"type": "workflow_complete"},
        **fields,
    }


def leads_to(name: str, node: str) -> Json:
    """The field of a contract that another one follows."""
    return {"routing_trigger": {"type": "next_node", "next_station": node, "next_contract": f"{name}.yaml"}}


@dataclass
class Guardians:
    """Keys of nodes, on a trust list."""

    trust_dir: Path
    keys: dict[str, Ed25519PrivateKey] = field(default_factory=dict)

    def key(self, node_id: str) -> Ed25519PrivateKey:
        if node_id not in self.keys:
            key = self.keys[node_id] = Ed25519PrivateKey.generate()
            self.trust_dir.mkdir(parents=True, exist_ok=True)
            pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            (self.trust_dir / f"{node_id}.pub").write_bytes(pem)
        return self.keys[node_id]

    def package(
        self,
        document: Json,
        *,
        revision: int = 1,
        replaces: str | None = None,
        verdict: TestVerdict = TestVerdict.ACCEPT,
        people: tuple[str, str] = ("ines", "quentin"),
        **result: Any,
    ) -> AuthorizationPackage:
        """The package of a contract whose every test gave the same."""
        po = SmartClientPO.model_validate(document)
        begun = _begun(document)
        current = {
            test.test_id: CurrentResult(result=_result(test.test_id, verdict, **result), revision=revision)
            for test in po.tests
        }
        approvals = tuple(
            SignOff(
                test_id=test.test_id,
                role=role,
                person=person,
                meaning=meaning,
                content_hash=signed_content(po.smart_contract_id, begun, current[test.test_id]),
                signed_at=NOW + timedelta(hours=1, minutes=minute),
                qualification=f"CERT-{person}",
                proof="a decision token",
            )
            for test in po.tests
            for minute, (role, person, meaning) in enumerate(
                zip(test.required_signoffs, people, (Meaning.PERFORMED, Meaning.APPROVED), strict=True)
            )
        )
        request = AuthorizationRequest(
            smart_contract_id=po.smart_contract_id,
            revision=revision,
            replaces=replaces,
            begun=begun,
            current=current,
            approvals=approvals,
            at=NOW + timedelta(hours=2),
        )
        package = AuthorizationPackage(
            package_id=package_id(po.smart_contract_id, revision),
            clientpo_id=po.clientpo_id,
            test_id=po.tests[0].test_id,
            test_data=package_data(po, document_hash(document), request, {}),
            approvals=approvals,
            authorized_at=request.at,
            local_backup_path="/var/node/packages",
            guardian_signature=GuardianSignature(node_id=po.target_node, key_id="", signature=""),
        )
        return self.signed(package)

    def signed(self, package: AuthorizationPackage) -> AuthorizationPackage:
        """By the Guardian of its node."""
        node_id = package.test_data.node_id
        key = self.key(node_id)
        signature = GuardianSignature(
            node_id=node_id,
            key_id=key_id(key.public_key()),
            signature=key.sign(package.signed_bytes()).hex(),
        )
        return package.model_copy(update={"guardian_signature": signature})


def _begun(document: Json) -> Begun:
    return Begun(
        performer="ines",
        started_at=NOW,
        instruments=(
            Instrument(
                equipment_id="UV-LAMP-04",
                equipment_type="uv_lamp",
                certificate="CAL-2026-0417",
                calibrated_on=date(2026, 4, 17),
                due_on=date(2027, 4, 17),
            ),
        ),
        document_hash=document_hash(document),
    )


def _result(test_id: str, verdict: TestVerdict, **fields: Any) -> TestResult:
    values: Json = {
        "test_id": test_id,
        "verdict": verdict,
        "readings": (Reading(name="longest indication", value="0.80", unit="mm"),),
        "procedure_followed": True,
        **fields,
    }
    return TestResult.model_validate(values)
