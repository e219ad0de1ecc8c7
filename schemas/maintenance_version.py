"""What makes one version of a maintenance contract from another, and what a version starts as.

A version names its parent and lists what it changes, field by field, each with its reason and the data behind it.
Fields are named by JSON Pointers (RFC 6901), such as `/validation_rules/uv/minimum`: the names of rules and
procedures may hold dots.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from copy import deepcopy
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints, TypeAdapter, ValidationError

from schemas import names
from schemas.approval import Difference
from schemas.base import Identifier, Model, Text, excerpt
from schemas.canonical import canonical, document_bytes
from schemas.faults import Fault, faults
from schemas.maintenance import Version, station_type
from schemas.node import StationType

LARGEST = 64 * 1024
"""Bytes of a contract (RFC 8785): each node is sent the whole."""

_CHANGES = 200
"""Of one version."""


class VersionRef(Model):
    """One version of one contract."""

    contract_id: Identifier
    version: Version

    def __str__(self) -> str:
        return f"{self.contract_id} {self.version}"

    @property
    def workflow_id(self) -> str:
        return names.maintenance_id(self.contract_id, self.version)


def _recordable(value: Any) -> Any:
    canonical(value)
    return value


Plain = Annotated[Any, AfterValidator(_recordable)]
"""A JSON value without floats, as the ledger keeps it."""

Pointer = Annotated[str, StringConstraints(pattern=r"^(/([^/~]|~[01])*)+$", max_length=1000)]
"""A JSON Pointer (RFC 6901) to something inside a document."""


class ContractChange(Model):
    """One field of a contract: `before` is what the parent has there, `after` what the new version has, None nothing.

    `data` is what speaks for the change, such as the alerts that were counted.
    """

    field: Pointer
    before: Plain = None
    after: Plain = None
    reason: Text
    data: Annotated[dict[Text, Plain], Field(max_length=50)] = Field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.field}: {self.before} → {self.after}"

    @property
    def shown(self) -> Difference:
        """As it is shown to whoever decides on it."""
        return Difference(field=self.field, before=_shown(self.before), after=_shown(self.after))


def _shown(value: Any) -> str | int | None:
    return value if value is None or isinstance(value, str | int) else excerpt(json.dumps(value, ensure_ascii=False))


Changes = Annotated[tuple[ContractChange, ...], Field(max_length=_CHANGES)]


class CannotApply(ValueError):
    """A change does not fit the document that it is for; says why."""


class NewVersion(Model):
    """Asks for a draft that changes a version. The same `key` again is the same draft."""

    contract_id: Identifier
    parent_version: Version
    changes: Annotated[Changes, Field(min_length=1)]
    reason: Text
    created_by: Identifier
    key: Annotated[Text, Field(max_length=200)]


class CreatedVersion(VersionRef):
    """The draft."""

    document_hash: str


NOT_CREATED = "NotCreated"
"""Error type of a version that asking again cannot make: no such parent, or changes that do not fit it."""


def next_version(versions: Collection[str]) -> str:
    """After the newest of these: 1.0, 1.1, 1.2."""
    major, minor = max(tuple(map(int, version.split("."))) for version in versions)
    return f"{major}.{minor + 1}"


# --- changes -----------------------------------------------------------------------------------------------------


def apply(document: dict[str, Any], changes: Sequence[ContractChange]) -> dict[str, Any]:
    """The document with all changes, in order; raises `CannotApply` where something else is there than `before`."""
    changed = deepcopy(document)
    for change in changes:
        _apply(changed, change)
    return changed


def _apply(document: dict[str, Any], change: ContractChange) -> None:
    *path, last = _steps(change.field)
    place: Any = document
    for step in path:
        place = _at(place, step)
    there = _at(place, last)
    if not _same(there, change.before):
        raise CannotApply(f"{change.field} is {there!r}, not {change.before!r}: look at the version that you change")
    match place:
        case dict() if change.after is None:
            place.pop(last, None)
        case dict():
            place[last] = deepcopy(change.after)
        case list() if last.isdecimal() and int(last) < len(place) and change.after is not None:
            place[int(last)] = deepcopy(change.after)
        case _:
            raise CannotApply(f"{change.field} cannot be set: change the whole list, or a field that holds others")


def value_at(document: dict[str, Any], pointer: str) -> Any:
    """What a document has there; None where it has nothing."""
    place: Any = document
    for step in _steps(pointer):
        place = _at(place, step)
    return place


def _at(place: Any, step: str) -> Any:
    match place:
        case dict():
            return place.get(step)
        case list() if step.isdecimal() and int(step) < len(place):
            return place[int(step)]
        case _:
            return None


def _steps(pointer: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def difference(before: dict[str, Any], after: dict[str, Any], reason: str) -> tuple[ContractChange, ...]:
    """What must be applied to get from one document to another; lists are changed as a whole.

    Raises `ValidationError` where a value cannot be recorded, or where there are too many.
    """
    found = [
        ContractChange(field=field, before=old, after=new, reason=reason)
        for field, old, new in _differences("", before, after)
    ]
    return TypeAdapter(Changes).validate_python(tuple(found))


def _differences(where: str, before: dict[str, Any], after: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in dict.fromkeys((*before, *after)):
        field = f"{where}/{name.replace('~', '~0').replace('/', '~1')}"
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(field, old, new)
        elif not _same(old, new):
            yield field, old, new


def _same(old: Any, new: Any) -> bool:
    """As JSON: to Python 1 and true are equal."""
    return document_bytes(old) == document_bytes(new)


# --- drafts ------------------------------------------------------------------------------------------------------

_ID: TypeAdapter[str] = TypeAdapter(Identifier)


def draft_faults(document: dict[str, Any], station_types: Collection[str]) -> list[Fault]:
    """Why a document cannot even be a draft; all else that may be wrong with it is for its validation to find.

    Raises `NotCanonical` where it has no hash.
    """
    found = []
    contract_id = document.get("smart_contract_id")
    try:
        kind = station_type(_ID.validate_python(contract_id))
    except ValidationError as error:
        found += [Fault(field="smart_contract_id", message=fault.message) for fault in faults(error)]
    else:
        if kind not in station_types or kind == contract_id:
            known = ", ".join(sorted(station_types))
            message = f"it is {{station_type}}-{{name}}, with a station type of the registry: {known}"
            found.append(Fault(field="smart_contract_id", message=message))
    size = len(document_bytes(document))
    if size > LARGEST:
        message = f"a contract has at most {LARGEST} bytes, not {size}: each node is sent the whole"
        found.append(Fault(field="document", message=message))
    return found


def title_of(document: dict[str, Any]) -> str:
    """What people know it by, whether or not it is one."""
    return excerpt(str(document.get("title") or document.get("smart_contract_id")), 200)


class FromTemplate(Model):
    """Asks for a contract from a template: its ID is `{station_type}-{name}`."""

    template: Identifier
    station_type: StationType
    name: Identifier
    changes: Changes = ()

    @property
    def smart_contract_id(self) -> str:
        return f"{self.station_type}-{self.name}"
