"""Files of the policy repository (specification 3): each is written once, and the ledger knows its hash."""

from typing import Any

from schemas.base import Model
from schemas.maintenance_version import VersionRef


class Publication(VersionRef):
    """A document on its way into the policy repository."""

    document: dict[str, Any]


class Published(Model):
    """Where it lies and the SHA-256 of the file; `fault` where something else lies there or it cannot be written."""

    path: str
    file_hash: str | None = None
    fault: str | None = None


class PolicyRef(VersionRef):
    """A file of the policy repository, with what the ledger knows of it."""

    file_hash: str


class PolicyFile(Model):
    """Its document; `fault` where the file is not what was published."""

    document: dict[str, Any] | None = None
    fault: str | None = None
