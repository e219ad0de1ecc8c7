"""The fast canonical form against the `rfc8785` package, and what is refused at the door."""

import math

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from schemas.canonical import NotCanonical, canonical, document_hash

KEYS = st.text(st.characters(max_codepoint=127))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
)


class TestOurOwnData:
    @given(VALUES)
    def test_has_the_bytes_of_rfc_8785(self, value: object) -> None:
        assert canonical(value) == rfc8785.dumps(value)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("value", "where"),
        [
            ({"a": [1, 0.5]}, r"\$\.a\[1\]"),
            ({"a": 2**53}, r"\$\.a"),
            ({"a": -(2**53)}, r"\$\.a"),
            ({"é": 1}, "é"),
            ({1: 1}, "1"),
            ({"a": {"b": b"bytes"}}, r"\$\.a\.b"),
            ({"a": "half a pair \ud800"}, "surrogate"),
        ],
    )
    def test_is_refused_where_it_is_ambiguous_and_says_where(self, value: object, where: str) -> None:
        with pytest.raises(NotCanonical, match=where):
            canonical(value)


class TestForeignDocuments:
    @given(st.dictionaries(TEXTS, st.floats(allow_nan=False, allow_infinity=False) | TEXTS))
    def test_hash_does_not_depend_on_the_order_of_keys(self, document: dict[str, object]) -> None:
        assert document_hash(document) == document_hash(dict(reversed(document.items())))

    @pytest.mark.parametrize("document", [{"a": math.nan}, {"a": 2**60}, {"a": "\ud800"}])
    def test_without_a_canonical_form_are_refused(self, document: object) -> None:
        with pytest.raises(NotCanonical):
            document_hash(document)
