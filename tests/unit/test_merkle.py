"""Merkle trees and proofs: the laws of RFC 9162 section 2.1, and the vectors of the Certificate Transparency code."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.merkle import EMPTY, inclusion_proof, root, verify_inclusion
from schemas.ledger import leaf_hash, node_hash

# The inputs and roots that Certificate Transparency implementations test themselves with.
INPUTS = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

SIZES = st.integers(1, 130)


def leaves(size: int) -> list[bytes]:
    return [leaf_hash(str(number).encode()) for number in range(size)]


def defined_root(tree: list[bytes]) -> bytes:
    """The definition of section 2.1.1, word for word."""
    if not tree:
        return hashlib.sha256(b"").digest()
    if len(tree) == 1:
        return tree[0]
    split = 1
    while split * 2 < len(tree):
        split *= 2
    return node_hash(defined_root(tree[:split]), defined_root(tree[split:]))


class TestRoot:
    @pytest.mark.parametrize("size", range(9))
    def test_is_that_of_the_known_vectors(self, size: int) -> None:
        assert root([leaf_hash(data) for data in INPUTS[:size]]).hex() == ROOTS[size]

    def test_of_nothing_is_the_hash_of_nothing(self) -> None:
        assert root([]) == EMPTY

    @given(SIZES)
    def test_by_appending_is_the_one_that_the_rfc_defines(self, size: int) -> None:
        assert root(leaves(size)) == defined_root(leaves(size))


class TestInclusion:
    @given(SIZES, st.data())
    def test_of_every_leaf_can_be_proved(self, size: int, data: st.DataObject) -> None:
        tree, index = leaves(size), data.draw(st.integers(0, size - 1))
        assert verify_inclusion(tree[index], index, size, inclusion_proof(tree, index), root(tree))

    @given(SIZES, st.data())
    def test_of_another_leaf_place_or_path_is_refused(self, size: int, data: st.DataObject) -> None:
        tree, index = leaves(size), data.draw(st.integers(0, size - 1))
        proof, expected = inclusion_proof(tree, index), root(tree)
        assert not verify_inclusion(leaf_hash(b"other"), index, size, proof, expected)
        assert not verify_inclusion(tree[index], size, size, proof, expected)
        assert not verify_inclusion(tree[index], index, size, [*proof, EMPTY], expected)
        for other in set(range(size)) - {index}:
            assert not verify_inclusion(tree[index], other, size, proof, expected)
        for place in range(len(proof)):
            assert not verify_inclusion(tree[index], index, size, proof[:place] + proof[place + 1 :], expected)

    def test_of_a_leaf_that_is_not_there_cannot_be_asked(self) -> None:
        with pytest.raises(IndexError):
            inclusion_proof(leaves(3), 3)
