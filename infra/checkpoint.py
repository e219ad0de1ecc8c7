"""Signed checkpoints of the ledger: how many entries there are, and the Merkle root over them.

They are evidence only where a database administrator cannot reach them: print them, publish them, give them to a
witness. The form is C2SP's tlog-checkpoint in a signed note, so that others' tools read it.

The private key is needed to sign and for nothing else; it is made only for a ledger that was never signed, because a
second key would contradict every checkpoint of the first. Who checks needs the public key, and who proves needs none:
a proof convinces by being checked.
"""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from sqlalchemy import func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from infra.keys import place
from infra.merkle import Frontier, inclusion_proofs
from infra.settings import Settings
from infra.tables.ledger import ledger_checkpoints, ledger_entries
from infra.verify_export import Broken, Checkpoint, open_checkpoint
from schemas.ledger import GENESIS, leaf_hash

_ED25519 = b"\x01"
_CHUNK = 10_000

_LEAVES = text("""
    SELECT count(*) AS entries, string_agg(leaf, ''::bytea ORDER BY seq) AS leaves
    FROM ledger_entries WHERE seq >= :start AND seq < :stop
""")


_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(:lock)").bindparams(lock=0x1ED6E5)


class NotCovered(Exception):
    """No checkpoint covers this entry yet."""


class NoKey(Exception):
    """A key is not there, or not usable: nothing is said about the ledger. The text says what to do."""


class CheckpointKey:
    """The Ed25519 key that signs checkpoints, under the name of the ledger's origin."""

    def __init__(self, origin: str, private: Ed25519PrivateKey) -> None:
        self._origin = origin
        self._private = private
        public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self._public = _ED25519 + public
        self._key_id = hashlib.sha256(origin.encode() + b"\n" + self._public).digest()[:4]

    @classmethod
    def load(cls, settings: Settings) -> Self:
        """The key in `settings.ledger_key_file`; raises `NoKey`."""
        file = settings.ledger_key_file
        try:
            pem = file.read_bytes()
        except OSError as error:
            raise NoKey(
                f"the key that signs the ledger cannot be read ({file}: {error.strerror}): put a copy of the key that "
                "signed the last checkpoint there"
            ) from error
        try:
            private = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError):
            private = None
        if not isinstance(private, Ed25519PrivateKey):
            raise NoKey(
                f"{file} does not hold an Ed25519 key in PEM without a password: put a copy of the key that signed the "
                "last checkpoint there"
            )
        return cls(settings.ledger_origin, private)

    @classmethod
    def load_or_create(cls, settings: Settings) -> Self:
        """The key of a ledger that was never signed, made where there is none, with its public half beside it.

        Of several processes that make one, the first wins. Raises `NoKey`.
        """
        file, public_file = settings.ledger_key_file, settings.ledger_public_key_file
        if file.exists():
            return cls.load(settings)
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            private = Ed25519PrivateKey.generate()
            place(file, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            key = cls.load(settings)
            public_file.unlink(missing_ok=True)  # of a key that is gone, and signed another ledger
            place(public_file, f"{key.verifier_key}\n".encode())
        except OSError as error:
            raise NoKey(
                f"no key can be made to sign the ledger ({error.filename}: {error.strerror}): let this process write "
                f"into {file.parent}, or put a key there"
            ) from error
        return key

    @property
    def verifier_key(self) -> str:
        """What others need to verify the signature (C2SP signed-note): name, key ID, public key."""
        return f"{self._origin}+{self._key_id.hex()}+{base64.b64encode(self._public).decode()}"

    def sign(self, size: int, root: bytes) -> str:
        """The signed note over a tree of `size` entries."""
        body = f"{self._origin}\n{size}\n{base64.b64encode(root).decode()}\n"
        signature = base64.b64encode(self._key_id + self._private.sign(body.encode())).decode()
        return f"{body}\n\u2014 {self._origin} {signature}\n"


def verifier_key(settings: Settings) -> str:
    """What checkpoints are checked with: the public key, or else the private one's; raises `NoKey`."""
    file = settings.ledger_public_key_file
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        if settings.ledger_key_file.exists():  # alone: copied here, or made by an earlier release
            return CheckpointKey.load(settings).verifier_key
        raise NoKey(
            f"there is no key to check the checkpoints with: put a copy of {file.name} of the machine that signs them, "
            f"or of an export's .pub, at {file}"
        ) from error


async def checkpoint(engine: AsyncEngine, settings: Settings) -> str:
    """Signs the ledger as it is now, keeps the note and returns it; the last one where nothing was added.

    Raises `infra.verify_export.Broken` and signs nothing when the last checkpoint is not ours, the ledger did not grow
    out of it, or the entries since then are not a chain; raises `NoKey` where the key is missing that signed the last
    one. Reads all leaves: about a second for a million.
    """
    async with engine.connect() as connection:
        # Of two machines that start on a new ledger, one makes the key; the other finds that it lacks it.
        await connection.execute(_ONE_AT_A_TIME)
        last = await newest_checkpoint(connection)
        key = CheckpointKey.load(settings) if last else CheckpointKey.load_or_create(settings)
        size: int = (
            await connection.execute(select(func.coalesce(func.max(ledger_entries.c.seq) + 1, 0)))
        ).scalar_one()
        frontier = Frontier()
        if last:
            last.open(key.verifier_key)
            if size < last.size:
                raise Broken(size, f"entries {size} to {last.size - 1} are missing: the last checkpoint covers them")
        newest = GENESIS
        async for leaf in leaves(connection, last.size if last else 0):
            frontier.append(leaf)
            newest = leaf.hex()
        if last and frontier.root() != last.root:
            raise Broken(
                None,
                f"the first {last.size} entries are not those of the last checkpoint: `smartfloor ledger verify` finds "
                "the first bad one",
            )
        if last and size == last.size:  # only now: a tail that was cut off may have grown again to the same length
            return last.note
        async for leaf in _chained_leaves(connection, frontier.size, size, newest):
            frontier.append(leaf)
        note = key.sign(size, frontier.root())
        await connection.execute(
            insert(ledger_checkpoints).values(
                size=size, root=frontier.root(), note=note, created_at=func.clock_timestamp()
            )
        )
        await connection.commit()
        return note


@dataclass(frozen=True)
class StoredCheckpoint:
    """A row of `ledger_checkpoints`."""

    size: int
    root: bytes
    note: str

    def open(self, verifier_key: str) -> Checkpoint:
        """What was signed; raises `Broken` when this key did not sign it, or the row says something else."""
        signed = open_checkpoint(self.note, verifier_key)
        if (signed.size, signed.root) != (self.size, self.root):
            raise Broken(None, f"the row of the checkpoint of {self.size} entries does not say what was signed")
        return signed


_CHECKPOINTS = select(ledger_checkpoints.c.size, ledger_checkpoints.c.root, ledger_checkpoints.c.note)


async def stored_checkpoints(connection: AsyncConnection) -> list[StoredCheckpoint]:
    """All checkpoints of this database, the oldest first."""
    rows = await connection.execute(_CHECKPOINTS.order_by(ledger_checkpoints.c.size))
    return [StoredCheckpoint(*row) for row in rows]


async def newest_checkpoint(connection: AsyncConnection) -> StoredCheckpoint | None:
    """The checkpoint that covers most."""
    rows = await connection.execute(_CHECKPOINTS.order_by(ledger_checkpoints.c.size.desc()).limit(1))
    row = rows.one_or_none()
    return StoredCheckpoint(*row) if row else None


async def first_checkpoint_of(connection: AsyncConnection, seq: int) -> StoredCheckpoint | None:
    """The oldest checkpoint that covers an entry: it stays the same however much the ledger grows."""
    covering = _CHECKPOINTS.where(ledger_checkpoints.c.size > seq).order_by(ledger_checkpoints.c.size).limit(1)
    row = (await connection.execute(covering)).one_or_none()
    return StoredCheckpoint(*row) if row else None


@dataclass(frozen=True)
class Proof:
    """That an entry is in the ledger which a checkpoint signed: who has the note needs nothing else of the ledger."""

    seq: int
    entry: str
    leaf: bytes
    size: int
    root: bytes
    path: list[bytes]
    checkpoint: str


async def prove(engine: AsyncEngine, seq: int) -> Proof:
    """The inclusion proof of one entry in the newest checkpoint; raises `NotCovered`, `Broken` when leaves are missing.

    Nothing is checked here: that is for whoever wants to be convinced, with the public key that they hold.
    """
    proofs = await prove_all(engine, [seq])
    if not proofs:
        raise NotCovered(f"no checkpoint covers entry {seq}")
    return proofs[seq]


async def prove_all(engine: AsyncEngine, seqs: Iterable[int]) -> dict[int, Proof]:
    """The proofs of those of these entries that the newest checkpoint covers; `Broken` when leaves are missing."""
    async with engine.connect() as connection:
        last = await newest_checkpoint(connection)
        covered = {seq for seq in seqs if last is not None and 0 <= seq < last.size}
        if last is None or not covered:
            return {}
        all_leaves = [leaf async for leaf in leaves(connection, last.size)]
        paths = await asyncio.to_thread(inclusion_proofs, all_leaves, covered)
        query = select(ledger_entries.c.seq, ledger_entries.c.entry, ledger_entries.c.leaf)
        rows = await connection.execute(query.where(ledger_entries.c.seq.in_(covered)))
        return {seq: Proof(seq, entry, leaf, last.size, last.root, paths[seq], last.note) for seq, entry, leaf in rows}


async def leaves(connection: AsyncConnection, size: int) -> AsyncIterator[bytes]:
    """The first `size` leaf hashes in order; raises `Broken` when they are not all there."""
    for start in range(0, size, _CHUNK):
        stop = min(start + _CHUNK, size)
        found = (await connection.execute(_LEAVES, {"start": start, "stop": stop})).one()
        if found.entries != stop - start or len(found.leaves) != 32 * found.entries:
            raise Broken(
                None,
                f"entries are missing between {start} and {stop}: `smartfloor ledger verify` finds the first bad one",
            )
        for offset in range(0, len(found.leaves), 32):
            yield found.leaves[offset : offset + 32]


async def _chained_leaves(connection: AsyncConnection, start: int, stop: int, prev: str) -> AsyncIterator[bytes]:
    """The leaves of the entries that no checkpoint covers yet, each made anew from its entry."""
    query = (
        select(ledger_entries.c.seq, ledger_entries.c.entry, ledger_entries.c.leaf)
        .where(ledger_entries.c.seq >= start, ledger_entries.c.seq < stop)
        .order_by(ledger_entries.c.seq)
    )
    place = start
    async for seq, entry, leaf in await connection.stream(query):
        if seq != place or leaf_hash(entry.encode()) != leaf or _prev(entry) != prev:
            raise Broken(place, "the entry is not the next of the chain: `smartfloor ledger verify` says why")
        yield leaf
        prev, place = leaf.hex(), place + 1


def _prev(entry: str) -> object:
    """The leaf that an entry says it follows; None when it is not readable, whoever wrote it."""
    try:
        fields = json.loads(entry)
    except (ValueError, RecursionError):
        return None
    return fields.get("prev") if isinstance(fields, dict) else None
