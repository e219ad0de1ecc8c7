"""The ledger over HTTP, for reading."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel

from api.house import TheHouse
from api.problems import not_found
from api.security import GuardedRoute, requires
from infra.checkpoint import NotCovered, Proof, newest_checkpoint, prove
from schemas.base import UtcDateTime
from schemas.ledger import RecordedEntry
from schemas.permission import Permission

router = APIRouter(
    prefix="/api/v1/ledger",
    tags=["Ledger"],
    route_class=GuardedRoute,
    dependencies=[requires(Permission.LEDGER_READ)],
)

LARGEST = 2**63 - 1
"""What the database can number."""


class TimelineEvent(BaseModel):
    """One ledger entry about what is looked at."""

    seq: int
    at: datetime
    action: str
    details: str
    user_id: str

    @classmethod
    def of(cls, entry: RecordedEntry) -> Self:
        """As much of it as this resource shows."""
        return cls(**dict(entry), at=entry.occurred_at)


class InclusionProof(BaseModel):
    """What is needed to check that an entry is in the ledger that the checkpoint signed (RFC 9162); hashes in hex.

    Whoever checks opens the checkpoint with the public key that they hold, and compares size and root with it.
    """

    seq: int
    entry: str
    leaf: str
    size: int
    root: str
    path: list[str]
    checkpoint: str

    @classmethod
    def of(cls, proof: Proof) -> Self:
        """With its hashes in hex."""
        hashes = {"leaf": proof.leaf.hex(), "root": proof.root.hex(), "path": [node.hex() for node in proof.path]}
        return cls(**vars(proof) | hashes)


class Checkpoint(BaseModel):
    """The newest signed note (C2SP), to be kept elsewhere."""

    size: int
    note: str


@router.get("/entries")
async def entries(
    house: TheHouse,
    target: str | None = None,
    subject: str | None = None,
    action: str | None = None,
    user: str | None = None,
    since: UtcDateTime | None = None,
    until: UtcDateTime | None = None,
    after: Annotated[int | None, Query(ge=-1, le=LARGEST)] = None,
    before: Annotated[int | None, Query(ge=0, le=LARGEST)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[RecordedEntry]:
    """The newest entries first, or those after a number in order."""
    return await house.ledger.entries(
        after=after,
        before=before,
        limit=limit,
        target=target,
        subject=subject,
        action=action,
        user=user,
        since=since,
        until=until,
    )


@router.get("/entries/{seq}")
async def entry(seq: Annotated[int, Path(ge=0, le=LARGEST)], house: TheHouse) -> RecordedEntry:
    """One entry."""
    found = await house.ledger.entry(seq)
    if found is None:
        raise not_found(f"ledger entry {seq}")
    return found


@router.get("/entries/{seq}/proof")
async def proof(seq: Annotated[int, Path(ge=0, le=LARGEST)], house: TheHouse) -> InclusionProof:
    """That the newest checkpoint covers the entry."""
    try:
        found = await prove(house.engine, seq)
    except NotCovered as error:
        raise not_found(f"a checkpoint that covers entry {seq} (they are signed once a minute)") from error
    return InclusionProof.of(found)


@router.get("/checkpoint")
async def checkpoint(house: TheHouse) -> Checkpoint:
    """The newest checkpoint."""
    async with house.engine.connect() as connection:
        newest = await newest_checkpoint(connection)
    if newest is None:
        raise not_found("a checkpoint (the first is signed a minute after the start)")
    return Checkpoint(size=newest.size, note=newest.note)
