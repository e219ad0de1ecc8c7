"""Reading what the broker brings."""

from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from infra.documents import NotReadable, read_document
from schemas.base import timestamp
from schemas.faults import faults
from schemas.maintenance_alert import NEVER_COUNTED, TeachingAlert
from schemas.part_arrival import PartArrival

Told = TypeVar("Told", bound=BaseModel)


class Malformed(ValueError):
    """A broadcast that nobody can use; the text says which field and why."""


def read_arrival(payload: bytes) -> PartArrival:
    """Raises `Malformed`."""
    return _valid(PartArrival, _document(payload))


def read_alert(payload: bytes, at: datetime) -> TeachingAlert | None:
    """An alert of this house or another one, which may say more than we read; None where it teaches nothing.

    One that does not say when it happened, as `happened_at` or `timestamp`, has just happened. Raises `Malformed`.
    """
    told = _document(payload)
    if not told.get("contract_id"):
        return None
    happened_at = told.get("happened_at") or told.get("timestamp") or timestamp(at)
    known = {name: told[name] for name in TeachingAlert.model_fields if name in told}
    alert = _valid(TeachingAlert, {**known, "happened_at": happened_at})
    return None if alert.issue_type in NEVER_COUNTED else alert


def _document(payload: bytes) -> dict[str, Any]:
    try:
        return read_document(payload, is_yaml=False)
    except NotReadable as error:
        raise Malformed(str(error)) from error


def _valid(model: type[Told], document: dict[str, Any]) -> Told:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise Malformed("; ".join(str(fault) for fault in faults(error))) from error
