"""The vault over HTTP: what was authorized, the proofs of what it cites, and the test report."""

import asyncio
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from api.house import House, TheHouse
from api.ledger import InclusionProof
from api.problems import not_found
from api.security import GuardedRoute, requires
from infra.test_report import render_report
from infra.vault import Amendment, Evidence, StoredPackage
from schemas.permission import Permission
from schemas.reverse_trace import TraceDisposition

router = APIRouter(
    prefix="/api/v1/vault",
    tags=["Vault"],
    route_class=GuardedRoute,
    dependencies=[requires(Permission.REPORT_VIEW)],
)


class CitedProof(BaseModel):
    """A ledger entry of the audit chain. `proof` is null until a checkpoint covers it (they are signed once a minute).

    `holds` says whether the proven entry is the one that is cited.
    """

    seq: int
    leaf: str
    action: str
    holds: bool | None
    proof: InclusionProof | None


class AmendmentResource(BaseModel):
    """A result of the package that is withdrawn or measured again, because its instrument turned out to be bad."""

    test_id: str
    revision: int
    amendment: TraceDisposition
    reason: str
    trace_id: str
    decided_by: str
    decided_at: datetime
    ledger_entry: int
    links: dict[str, str]


class VaultRevision(BaseModel):
    """A package as it was received; `content_hash` is the SHA-256 of its RFC 8785 form. `amendments` came since."""

    package_id: str
    revision: int
    replaces: str | None
    replaced_by: str | None
    verdict: str
    content_hash: str
    received_at: datetime
    ledger_entry: int
    amendments: list[AmendmentResource]
    package: dict[str, Any]
    audit_chain: list[CitedProof]
    links: dict[str, str]


class VaultResource(BaseModel):
    """All revisions of a contract's results, the newest first."""

    smart_contract_id: str
    clientpo_id: str
    revisions: list[VaultRevision]


@router.get("/{smart_contract_id}")
async def show(smart_contract_id: str, house: TheHouse) -> VaultResource:
    """The packages of a contract, with proofs that the ledger entries that they cite are in the ledger."""
    packages = await _packages(house, smart_contract_id)
    evidence, amendments = await house.vault.evidence(packages), await house.vault.amendments(packages)
    return VaultResource(
        smart_contract_id=smart_contract_id,
        clientpo_id=packages[0].clientpo_id,
        revisions=[
            _revision(package, packages, evidence[package.package_id], amendments[package.package_id])
            for package in packages
        ],
    )


@router.get(
    "/{smart_contract_id}/report",
    response_class=Response,
    responses={200: {"content": {"application/pdf": {}}, "description": "The test report"}},
)
async def report(
    smart_contract_id: str, house: TheHouse, revision: Annotated[int | None, Query(ge=1)] = None
) -> Response:
    """The test report as PDF, of the newest revision where none is named."""
    packages = await _packages(house, smart_contract_id)
    found = next((package for package in packages if revision in {None, package.revision}), None)
    if found is None:
        raise not_found(f"revision {revision} of {smart_contract_id} in the vault")
    checkpoint = await house.vault.checkpoint_of(found)
    amendments = (await house.vault.amendments([found]))[found.package_id]
    pdf = await asyncio.to_thread(render_report, found, checkpoint, _replaced_by(found, packages), amendments)
    name = f"{found.package_id}.pdf"
    return Response(pdf, media_type="application/pdf", headers={"Content-Disposition": f'inline; filename="{name}"'})


async def _packages(house: House, smart_contract_id: str) -> list[StoredPackage]:
    packages = await house.vault.revisions(smart_contract_id)
    if not packages:
        raise not_found(f"a package of {smart_contract_id} in the vault")
    return packages


def _replaced_by(package: StoredPackage, packages: list[StoredPackage]) -> str | None:
    return next((other.package_id for other in packages if other.replaces == package.package_id), None)


def _amendment(amendment: Amendment) -> AmendmentResource:
    return AmendmentResource(
        **{name: value for name, value in vars(amendment).items() if name != "entry"},
        ledger_entry=amendment.entry,
        links={"trace": f"/api/v1/traces/{amendment.trace_id}"},
    )


def _revision(
    package: StoredPackage, packages: list[StoredPackage], evidence: list[Evidence], amendments: list[Amendment]
) -> VaultRevision:
    fields = {name: getattr(package, name) for name in VaultRevision.model_fields if name in vars(package)}
    report = f"/api/v1/vault/{package.smart_contract_id}/report?revision={package.revision}"
    return VaultRevision(
        **fields,
        replaced_by=_replaced_by(package, packages),
        ledger_entry=package.entry,
        amendments=[_amendment(amendment) for amendment in amendments],
        package=package.document,
        audit_chain=[
            CitedProof(
                **found.cited.model_dump(),
                holds=found.holds,
                proof=None if found.proof is None else InclusionProof.of(found.proof),
            )
            for found in evidence
        ],
        links={"report": report, "transfer": f"/api/v1/transfers/{package.package_id}"},
    )
