"""The fast canonical form against the `rfc8785` package, and what is refused at the door."""

import json
import math

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from schemas.canonical import NotCanonical, canonical, document_hash
from schemas.ledger import Draft, LedgerEntry

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


class TestASealedEntry:
    """It is written out in the order of its fields, so the order and the escapes have to be proved."""

    @given(TEXTS, TEXTS, st.dictionaries(KEYS, VALUES, max_size=3), st.none() | TEXTS.filter(bool))
    def test_is_in_the_canonical_form_of_rfc_8785(
        self, key: str, text: str, metadata: dict[str, object], smart_id: str | None
    ) -> None:
        entry = LedgerEntry(
            idempotency_key=f"k{key}"[:400],
            action_type=text,
            action=text,
            target=text,
            details=text,
            user_id=text,
            smart_id=smart_id,
            metadata=metadata,
        )
        now = "2026-11-21T00:00:00.000000Z"
        sealed = Draft(entry, "HUB").seal(seq=5, prev="00", recorded_at=now, recorded_by=text, recorder_seq=3)
        fields = json.loads(sealed)
        assert sealed.encode() == rfc8785.dumps(fields)
        assert LedgerEntry(**{name: fields[name] for name in LedgerEntry.model_fields if name != "occurred_at"}) == (
            entry.model_copy(update={"smart_id": smart_id or "HUB"})
        )

    def test_does_not_take_half_of_a_surrogate_pair(self) -> None:
        entry = LedgerEntry.model_construct(
            idempotency_key="k", action_type="t", action="a", target="\ud800", details="d", metadata={}
        )
        with pytest.raises(NotCanonical):
            Draft(entry, "HUB")
