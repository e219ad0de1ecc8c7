"""The ledger's entries and the rules of its evidence.

An entry says what happened; the ledger adds its number, the previous leaf, the time and the recorder, and
hashes the whole (RFC 9162 leaf: SHA-256 over 0x00 and the exact bytes). The first entry has `seq` 0, so `seq` is
the leaf index of the Merkle tree, and `prev` is the leaf hash of the entry before it (64 zeros for the first).
"""

import hashlib
import json
from typing import Any, Self

from pydantic import Field

from schemas.base import Model, UtcDateTime, timestamp
from schemas.canonical import canonical

FORMAT = 1
GENESIS = "0" * 64


class LedgerEntry(Model):
    """One action, as `record_action` of the specification names its parts.

    `idempotency_key` names the domain event: the same key with the same content is recorded once. `smart_id` is
    the hub or node that acted; None stands for the recorder's own. `occurred_at` is when it happened where that
    differs from when it was recorded; it is not part of what is compared under the key.
    """

    idempotency_key: str = Field(min_length=1, max_length=400)
    action_type: str
    action: str
    target: str
    details: str
    user_id: str = "system"
    smart_id: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    occurred_at: UtcDateTime | None = None

    def content(self, smart_id: str) -> dict[str, Any]:
        """What the idempotency key stands for: everything but times, numbers and recorder."""
        return {
            "action": self.action,
            "action_type": self.action_type,
            "details": self.details,
            "idempotency_key": self.idempotency_key,
            "metadata": self.metadata,
            "smart_id": self.smart_id or smart_id,
            "target": self.target,
            "user_id": self.user_id,
        }


class Receipt(Model):
    """What a recorder gets back after the commit. `repeated` says that the entry was there before."""

    seq: int
    leaf: str
    recorded_at: UtcDateTime
    repeated: bool = False


class RecordedEntry(Model):
    """An entry as the ledger keeps it: every field of its hashed bytes, and the leaf hash over them."""

    v: int
    seq: int
    prev: str
    leaf: str
    recorded_at: UtcDateTime
    occurred_at: UtcDateTime
    recorded_by: str
    recorder_seq: int
    idempotency_key: str
    action_type: str
    action: str
    target: str
    details: str
    user_id: str
    smart_id: str
    metadata: dict[str, Any]

    @classmethod
    def read(cls, entry: str, leaf: bytes) -> Self:
        """The entry behind its canonical text."""
        return cls(**json.loads(entry), leaf=leaf.hex())


def seal(
    entry: LedgerEntry,
    *,
    seq: int,
    prev: str,
    recorded_at: UtcDateTime,
    recorded_by: str,
    recorder_seq: int,
    smart_id: str,
) -> bytes:
    """The exact bytes that are stored and hashed for this entry at this place in the ledger."""
    return canonical(
        {
            "v": FORMAT,
            "seq": seq,
            "prev": prev,
            "recorded_at": timestamp(recorded_at),
            "occurred_at": timestamp(entry.occurred_at or recorded_at),
            "recorded_by": recorded_by,
            "recorder_seq": recorder_seq,
            **entry.content(smart_id),
        }
    )


def leaf_hash(entry: bytes) -> bytes:
    """RFC 9162 leaf hash."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 9162 interior node hash."""
    return hashlib.sha256(b"\x01" + left + right).digest()
