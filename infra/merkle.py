"""Merkle trees over leaf hashes and their proofs, as in RFC 9162, section 2.1. No I/O.

A tree of n leaves splits at the largest power of two below n. A proof lists the hashes of the siblings from the
bottom up; who verifies needs the root, the sizes and the proof, and not the other leaves.
"""

import hashlib
from collections.abc import Iterable, Sequence

from schemas.ledger import node_hash

EMPTY = hashlib.sha256(b"").digest()


class Frontier:
    """The least that one must remember to append leaves and know the root: one hash for each bit of the size."""

    def __init__(self) -> None:
        self.size = 0
        self._subtrees: list[bytes] = []  # complete subtrees, the largest first

    def append(self, leaf: bytes) -> None:
        """Adds one leaf; as many subtrees merge as the old size has ones at its end."""
        merges = self.size
        while merges & 1:
            leaf = node_hash(self._subtrees.pop(), leaf)
            merges >>= 1
        self._subtrees.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """The root over all leaves so far."""
        if not self._subtrees:
            return EMPTY
        *larger, node = self._subtrees
        for subtree in reversed(larger):
            node = node_hash(subtree, node)
        return node


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over these leaf hashes."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Shows that the leaf at `index` is in the tree over `leaves` (section 2.1.3.1); `IndexError` if it is not."""
    return inclusion_proofs(leaves, [index])[index]


def inclusion_proofs(leaves: Sequence[bytes], indexes: Iterable[int]) -> dict[int, list[bytes]]:
    """The proof of each of these leaves; the tree is hashed once for all. `IndexError` for one that is not in it."""
    wanted = set(indexes)
    if outside := {index for index in wanted if not 0 <= index < len(leaves)}:
        raise IndexError(f"no leaf {min(outside)} in a tree of {len(leaves)}")
    return _proved(leaves, 0, len(leaves), wanted)[1] if wanted else {}


def _proved(leaves: Sequence[bytes], start: int, stop: int, wanted: set[int]) -> tuple[bytes, dict[int, list[bytes]]]:
    """The root of a subtree, and the part of the proofs that lies in it."""
    if not wanted:
        return root(leaves[start:stop]), {}
    if stop - start == 1:
        return leaves[start], {start: []}
    middle = start + _split(stop - start)
    left, lefts = _proved(leaves, start, middle, {index for index in wanted if index < middle})
    right, rights = _proved(leaves, middle, stop, {index for index in wanted if index >= middle})
    proofs = {index: [*proof, right] for index, proof in lefts.items()}
    return node_hash(left, right), proofs | {index: [*proof, left] for index, proof in rights.items()}


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected: bytes) -> bool:
    """Whether `leaf` is at `index` of the tree of `size` leaves with the root `expected` (section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    position, last, node = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            node = node_hash(sibling, node)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and node == expected


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1
