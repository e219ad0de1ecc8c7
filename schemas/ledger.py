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
from schemas.canonical import canonical, canonical_text

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


class RecordRefused(Exception):
    """The ledger will never take this record as it is."""


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


class Draft:
    """An entry in canonical form that has no place yet: all of the work that does not depend on other entries.

    In the order of RFC 8785 the fields that the ledger adds lie side by side, between `metadata` and `smart_id`. What
    is before and after them is what the idempotency key stands for: everything but times, numbers and recorder. As
    the order is known, it is written out: that is three times as fast as sorting.
    """

    def __init__(self, entry: LedgerEntry, smart_id: str) -> None:
        """`smart_id` is the recorder's own. Raises `NotCanonical`."""
        self.smart_id = entry.smart_id or smart_id
        self._occurred_at = entry.occurred_at and timestamp(entry.occurred_at)
        self._before = (
            f'{{"action":{canonical_text(entry.action)},"action_type":{canonical_text(entry.action_type)}'
            f',"details":{canonical_text(entry.details)},"idempotency_key":{canonical_text(entry.idempotency_key)}'
            f',"metadata":{canonical(entry.metadata).decode()},"occurred_at":"'
        )
        self._after = (
            f',"smart_id":{canonical_text(self.smart_id)},"target":{canonical_text(entry.target)}'
            f',"user_id":{canonical_text(entry.user_id)},"v":{FORMAT}}}'
        )

    def seal(self, *, seq: int, prev: str, recorded_at: str, recorded_by: str, recorder_seq: int) -> str:
        """The exact text whose bytes are stored and hashed for this entry at this place in the ledger."""
        return (
            f'{self._before}{self._occurred_at or recorded_at}","prev":"{prev}","recorded_at":"{recorded_at}"'
            f',"recorded_by":{canonical_text(recorded_by)},"recorder_seq":{recorder_seq},"seq":{seq}{self._after}'
        )

    def is_content_of(self, sealed: str) -> bool:
        """Whether this text, which a draft became earlier, says the same."""
        return sealed.startswith(self._before) and sealed.endswith(self._after)


def leaf_hash(entry: bytes) -> bytes:
    """RFC 9162 leaf hash."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 9162 interior node hash."""
    return hashlib.sha256(b"\x01" + left + right).digest()
