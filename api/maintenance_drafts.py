"""How maintenance contracts begin: templates, drafts, and versions that change another one."""

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ValidationError

from api.documents import YAML, described, sent_contract
from api.house import House, TheHouse
from api.maintenance import (
    ContractId,
    MayDeploy,
    VersionResource,
    version_path,
    version_ref,
    version_resource,
    version_row,
)
from api.problems import Problem, invalid, not_found
from api.security import GuardedRoute, requires
from infra.database import Row
from infra.maintenance_drafts import NotADraft
from infra.staging import OtherDocument
from schemas.base import Model, Text
from schemas.canonical import NotCanonical, document_hash
from schemas.faults import Fault, faults
from schemas.maintenance import MaintenanceContract, Version
from schemas.maintenance_version import CannotApply, Changes, FromTemplate, NewVersion
from schemas.permission import Permission

router = APIRouter(prefix="/api/v1/maintenance", tags=["Maintenance contracts"], route_class=GuardedRoute)


class Template(BaseModel):
    """A document that contracts can begin with."""

    template: str
    title: str
    description: str
    document: dict[str, Any]


class VersionAmendment(Model):
    """Fields that another version changes, and why."""

    parent_version: Version
    changes: Changes
    reason: Text


@router.get("/templates", dependencies=[requires(Permission.JOB_VIEW)])
async def templates(house: TheHouse) -> list[Template]:
    """What `POST /maintenance/contracts` can begin with, given as `template`, `station_type`, `name` and `changes`."""
    return [
        Template(template=name, title=document["title"], description=document["description"], document=document)
        for name, document in house.templates.all().items()
    ]


CREATED_BEFORE: dict[int | str, dict[str, Any]] = {
    200: {"model": VersionResource, "description": "It was created before"}
}


@router.post(
    "/contracts",
    status_code=201,
    responses=CREATED_BEFORE,
    openapi_extra=described(MaintenanceContract | FromTemplate, *YAML),
)
async def create(request: Request, response: Response, house: TheHouse, who: MayDeploy) -> VersionResource:
    """Create a contract as a draft (JSON or YAML), or from a template: 201 when it is new, 200 for the same again.

    A draft may be wrong in all but its ID, `{station_type}-{name}`: its validation names every fault.
    """
    document = await sent_contract(request)
    try:
        if "template" in document:
            document = _from_template(house, FromTemplate.model_validate(document))
        row, new = await house.drafts.create(document, who.user_id)
    except ValidationError as error:
        raise invalid(faults(error)) from error
    except NotADraft as error:
        raise invalid(error.faults) from error
    except (NotCanonical, CannotApply) as error:
        raise invalid([Fault(field="document", message=str(error))]) from error
    except OtherDocument as error:
        raise Problem(409, "conflict", "Another document was created under this ID", str(error)) from error
    return await _begun(house, response, row, new=new)


@router.post("/contracts/{contract_id}/versions", status_code=201, responses=CREATED_BEFORE)
async def create_version(
    contract_id: ContractId, amendment: VersionAmendment, response: Response, house: TheHouse, who: MayDeploy
) -> VersionResource:
    """Create a version that changes another one, as a draft: 201 when it is new, 200 for the same request again."""
    asked = amendment.model_dump(mode="json")
    try:
        new = NewVersion(**asked, contract_id=contract_id, created_by=who.user_id, key=document_hash(asked))
        ref, is_new = await house.drafts.record_version(new)
    except ValidationError as error:
        raise invalid(faults(error)) from error
    except LookupError as error:
        raise not_found(f"version {amendment.parent_version} of {contract_id}") from error
    except CannotApply as error:
        raise invalid([Fault(field="changes", message=str(error))]) from error
    return await _begun(house, response, await version_row(house, ref), new=is_new)


async def _begun(house: House, response: Response, row: Row, *, new: bool) -> VersionResource:
    """201 where it is new, 200 for the same again; its workflow runs."""
    await house.drafts.start(row)
    response.status_code = 201 if new else 200
    response.headers["Location"] = version_path(version_ref(row))
    return version_resource(house, row)


def _from_template(house: House, wanted: FromTemplate) -> dict[str, Any]:
    try:
        return house.templates.fill(wanted)
    except KeyError as error:
        message = f"there is none of that name: {', '.join(house.templates.all())}"
        raise invalid([Fault(field="template", message=message)]) from error
