"""Verifies an exported ledger without the rest of the project: the standard library and `cryptography` suffice.

    python -m infra.verify_export ledger.jsonl

FILE holds one JSON object a line: `seq`, `entry` (canonical JSON text, RFC 8785) and `leaf` (hex). FILE.checkpoint is a
signed checkpoint (C2SP tlog-checkpoint), FILE.pub the key that must have signed it (C2SP signed-note verifier key).
What must hold, for every entry in its place:

* `leaf` = SHA-256(0x00, entry), and the entry is in canonical form;
* `seq` counts from 0 without gaps, inside the entry as outside;
* `prev` is the leaf before it, 64 zeros for the first;
* `recorded_at` never goes back;

and for the whole: the Merkle root (RFC 9162) over the first `size` leaves is the one that was signed. The chain alone
would not notice that its tail is gone or that all of it was computed anew; the root does.

It shares no code with what writes the ledger, so that a mistake in one is not repeated in the other.
"""

import base64
import hashlib
import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FORMAT = 1
ED25519 = b"\x01"
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")  # text order is time order


class Broken(Exception):
    """The evidence does not hold. `seq` is the first bad entry, or None when no entry is to blame."""

    def __init__(self, seq: int | None, problem: str) -> None:
        super().__init__(problem if seq is None else f"entry {seq}: {problem}")
        self.seq = seq
        self.problem = problem


@dataclass(frozen=True)
class Checkpoint:
    """What was signed: this many entries, this root."""

    origin: str
    size: int
    root: bytes


@dataclass(frozen=True)
class Verdict:
    """A ledger that holds: its entries, and how many of them no checkpoint covers yet."""

    entries: int
    covered: int

    @property
    def uncovered(self) -> int:
        return self.entries - self.covered

    def __str__(self) -> str:
        holds = f"{self.entries} entries hold; a signed checkpoint covers {self.covered}"
        return f"{holds}, {self.uncovered} are not yet covered" if self.uncovered else holds


def verify_export(file: Path) -> Verdict:
    """Checks FILE with FILE.checkpoint and FILE.pub; raises `Broken`, or `OSError` when one is missing."""
    note, key = (Path(f"{file}{suffix}").read_text(encoding="utf-8") for suffix in (".checkpoint", ".pub"))
    with file.open("rb") as lines:
        return verify(lines, note, key.strip())


def verify(lines: Iterable[bytes], note: str, verifier_key: str) -> Verdict:
    """Checks the lines of an export against a signed checkpoint, which may be an older one; raises `Broken`."""
    checkpoint = open_checkpoint(note, verifier_key)
    chain = Chain(checkpoint)
    for line in lines:
        chain.append(*_parse_line(line, chain.size))
    chain.finish()
    return Verdict(chain.size, checkpoint.size)


class Chain:
    """Takes the entries in their order, keeps what the next one must fit, and compares with checkpoints."""

    def __init__(self, *checkpoints: Checkpoint) -> None:
        self.size = 0
        self.covered = 0
        self._leaf = "0" * 64
        self._recorded_at = ""
        self._loose = False  # the last entry does not follow the one before it
        self._subtrees: list[tuple[int, bytes]] = []  # (leaves, hash), each larger than the next
        self._expected = sorted(checkpoints, key=lambda checkpoint: checkpoint.size, reverse=True)
        self._compare()

    def append(self, seq: int, entry: str, leaf: bytes) -> dict[str, Any]:
        """Checks one entry and returns its fields; raises `Broken` here or, for a loose link, at the next call."""
        try:
            fields = self._read(seq, entry, leaf)
        except Broken:
            self._blame(followed=False)
            raise
        follows = fields.get("prev") == self._leaf
        self._blame(followed=follows)
        self._loose = not follows
        self._leaf, self._recorded_at = leaf.hex(), fields["recorded_at"]
        self._add_leaf(leaf)
        if follows:
            self._compare()
        return fields

    def finish(self) -> None:
        """After the last entry: a checkpoint that was not reached means that the tail is gone."""
        self._blame(followed=True)
        if self._expected:
            size = self._expected[0].size
            raise Broken(self.size, f"entries {self.size} to {size - 1} are missing: a checkpoint covers {size}")

    def _read(self, seq: int, entry: str, leaf: bytes) -> dict[str, Any]:
        place = self.size
        if seq != place:
            raise Broken(place, f"found number {seq} here: an entry was dropped, repeated or moved")
        data = entry.encode("utf-8", "surrogatepass")  # what is not UTF-8 fails as not canonical below
        if hashlib.sha256(b"\x00" + data).digest() != leaf:
            raise Broken(place, "the entry does not have its leaf hash: one of them was changed")
        fields = _parse_entry(data, place)
        if fields.get("v") != FORMAT:
            raise Broken(place, f"format {fields.get('v')!r} is not known")
        if type(fields.get("seq")) is not int or fields["seq"] != place:
            raise Broken(place, f"it says that it is number {fields.get('seq')!r}")
        recorded_at = fields.get("recorded_at")
        if not isinstance(recorded_at, str) or not TIME.fullmatch(recorded_at):
            raise Broken(place, "recorded_at is not a time in UTC with microseconds")
        if recorded_at < self._recorded_at:
            raise Broken(place, f"recorded at {recorded_at}, before the entry in front of it")
        return fields

    def _blame(self, *, followed: bool) -> None:
        """For a link that does not fit: the entry before it, if the rest of the chain still stands on the link."""
        if not self._loose:
            return
        place = self.size - 1
        if followed and self.covered < place:
            raise Broken(place - 1, "it was replaced together with its leaf hash: the next entry follows another one")
        raise Broken(place, "it does not follow the entry before it: it was replaced, or put here")

    def root(self) -> bytes:
        """The Merkle root over the entries so far."""
        if not self._subtrees:
            return hashlib.sha256(b"").digest()
        *rest, (_, node) = self._subtrees
        while rest:
            node = _parent(rest.pop()[1], node)
        return node

    def _add_leaf(self, leaf: bytes) -> None:
        leaves, node = 1, leaf
        while self._subtrees and self._subtrees[-1][0] == leaves:
            node = _parent(self._subtrees.pop()[1], node)
            leaves *= 2
        self._subtrees.append((leaves, node))
        self.size += 1

    def _compare(self) -> None:
        while self._expected and self._expected[-1].size == self.size:
            if self._expected.pop().root != self.root():
                raise Broken(
                    self.covered,
                    f"entries {self.covered} to {self.size - 1} fit each other and are not those that the checkpoint "
                    f"of {self.size} entries covers: computed anew from here or later",
                )
            self.covered = self.size


def open_checkpoint(note: str, verifier_key: str) -> Checkpoint:
    """The checkpoint in a signed note; raises `Broken` unless this key signed it."""
    name, key_id, public = _parse_key(verifier_key)
    body, blank, signatures = note.partition("\n\n")
    body += "\n"
    if not blank or not signatures.endswith("\n"):
        raise Broken(None, "the checkpoint is not a signed note")
    for line in signatures.splitlines():
        dash, _, rest = line.partition(" ")
        signer, _, encoded = rest.rpartition(" ")
        if dash != "\u2014" or signer != name:
            continue
        signature = _decode(encoded, "the checkpoint's signature")
        if signature[:4] != key_id:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(signature[4:], body.encode())
        except InvalidSignature:
            raise Broken(
                None, "the checkpoint's signature is wrong: it was changed, or not signed by this key"
            ) from None
        return _parse_body(body, name)
    raise Broken(None, f"the checkpoint is not signed by the key {verifier_key.rpartition('+')[0]}")


def _parent(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _parse_line(line: bytes, place: int) -> tuple[int, str, bytes]:
    try:
        fields = json.loads(line)
        seq, entry, leaf = fields["seq"], fields["entry"], bytes.fromhex(fields["leaf"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Broken(place, f"the line is not seq, entry and leaf in JSON ({error})") from None
    if type(seq) is not int or not isinstance(entry, str):
        raise Broken(place, "seq must be a number and entry a text")
    return seq, entry, leaf


def _refuse(number: str) -> NoReturn:
    raise ValueError(f"the number {number} has no place in an entry")


def _exact(number: str) -> int:
    value = int(number)
    return value if -(2**53) < value < 2**53 else _refuse(number)


_decoder = json.JSONDecoder(parse_float=_refuse, parse_constant=_refuse, parse_int=_exact)
_encoder = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _parse_entry(data: bytes, place: int) -> dict[str, Any]:
    """The fields; without floats, with integers below 2^53, sorted keys and no spaces are RFC 8785."""
    try:
        fields = _decoder.decode(data.decode())
        canonical = _encoder.encode(fields).encode()
    except (ValueError, RecursionError) as error:
        raise Broken(place, f"the entry is not canonical JSON ({error})") from None
    if canonical != data or not isinstance(fields, dict):
        raise Broken(place, "the entry is not in canonical form")
    return fields


def _parse_key(verifier_key: str) -> tuple[str, bytes, bytes]:
    name, key_hash, encoded = [*verifier_key.split("+", 2), "", ""][:3]
    key = _decode(encoded, "the verifier key")
    key_id = hashlib.sha256(name.encode() + b"\n" + key).digest()[:4]
    if not name or len(key) != 33 or key[:1] != ED25519 or key_hash != key_id.hex():
        raise Broken(None, "the verifier key is not an Ed25519 key with its name and key ID")
    return name, key_id, key[1:]


def _parse_body(body: str, name: str) -> Checkpoint:
    origin, size, root, *_ = [*body.split("\n"), "", "", ""]
    if origin != name:
        raise Broken(None, f"the checkpoint is one of {origin}, the key is that of {name}")
    if not size.isdecimal() or str(int(size)) != size:
        raise Broken(None, "the checkpoint does not say its size")
    return Checkpoint(origin, int(size), _decode(root, "the checkpoint's root"))


def _decode(encoded: str, what: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError:
        raise Broken(None, f"{what} is not base64") from None


def main(arguments: list[str]) -> int:
    """The exit status: 0 when everything holds, 1 when not, 2 when it could not be checked."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m infra.verify_export FILE  (with FILE.checkpoint and FILE.pub)\n")
        return 2
    try:
        verdict = verify_export(Path(arguments[0]))
    except Broken as broken:
        sys.stderr.write(f"BROKEN: {broken}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"not checked: {error}\n")
        return 2
    sys.stdout.write(f"{verdict}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
