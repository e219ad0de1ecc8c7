"""Documents in requests that are hashed as they came, so that routes read their bodies themselves."""

from types import UnionType
from typing import Any, get_args

from fastapi import Request
from pydantic import BaseModel, ValidationError

from api.problems import Problem, invalid
from api.security import only
from infra.documents import NotReadable, read_document
from schemas.canonical import NotCanonical
from schemas.client_po import SmartClientPO
from schemas.faults import Fault, faults

JSON = "application/json"
YAML = ("application/yaml", "application/x-yaml", "text/yaml")


def described(model: type[BaseModel] | UnionType, *media_types: str) -> dict[str, Any]:
    """What the OpenAPI document says of such a body."""
    models = [{"$ref": f"#/components/schemas/{each.__name__}"} for each in get_args(model) or (model,)]
    schema = {"schema": models[0] if len(models) == 1 else {"anyOf": models}}
    content = dict.fromkeys((JSON, *media_types), schema)
    return {"requestBody": {"required": True, "content": content}}


A_CONTRACT = described(SmartClientPO, *YAML)


async def sent_contract(request: Request) -> dict[str, Any]:
    """A client's document, JSON or YAML; raises `Problem`."""
    media_type = only(request, JSON, *YAML)
    return await sent_document(request, is_yaml=media_type in YAML)


async def sent_document(request: Request, *, is_yaml: bool = False) -> dict[str, Any]:
    """The body of a request; raises `Problem`."""
    try:
        return read_document(await request.body(), is_yaml=is_yaml)
    except NotReadable as error:
        raise unusable(error) from error


def unusable(error: ValidationError | NotCanonical | NotReadable) -> Problem:
    """422 for a document that cannot be read, has no hash, or is not what it should be."""
    if isinstance(error, ValidationError):
        return invalid(faults(error))
    return invalid([Fault(field="document", message=str(error))])
