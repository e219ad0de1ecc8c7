"""Documents that people send: the same one is the same, in JSON and in YAML."""

import json

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.documents import NotReadable, read_document
from schemas.canonical import NotCanonical, document_hash

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | st.dates().map(str)
    | st.datetimes().map(str),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


class TestTheSameDocument:
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.dictionaries(TEXTS, VALUES))
    def test_has_the_same_hash_in_json_and_in_yaml(self, document: dict[str, object]) -> None:
        as_json = read_document(json.dumps(document).encode(), is_yaml=False)
        as_yaml = read_document(yaml.safe_dump(document).encode(), is_yaml=True)
        assert document_hash(as_json) == document_hash(as_yaml)

    @pytest.mark.parametrize("date", ["2026-12-18", "2026-12-18T10:00:00Z", "2026-12-18 10:00:00"])
    def test_keeps_a_date_as_the_text_that_was_written(self, date: str) -> None:
        assert read_document(f"due_date: {date}".encode(), is_yaml=True) == {"due_date": date}

    @pytest.mark.parametrize("is_yaml", [False, True])
    def test_may_have_many_levels(self, is_yaml: bool) -> None:
        assert read_document(b'{"a":' * 64 + b"1" + b"}" * 64, is_yaml=is_yaml)


class TestWhatIsNoDocument:
    @pytest.mark.parametrize(
        ("text", "is_yaml"),
        [
            (b"", False),
            (b"", True),
            (b"[1, 2]", False),
            (b"- 1", True),
            (b'"text"', False),
            (b"text", True),
            (b"{", False),
            (b"a: [", True),
            (b'{"a": NaN}', False),
            (b'{"a": -Infinity}', False),
            (b"\xff\xfe\xfd", False),
            (b"a: \xff", True),
            (b"a: 1\n---\nb: 2", True),
            (b"a: !!python/object/apply:os.system [ls]", True),
            (b"a: &x 1\nb: *x", True),
            (b'{"a":' * 100_000, False),
            (b"[" * 50_000, True),
            (b'{"a":' * 65 + b"1" + b"}" * 65, False),
            (b'{"a":' * 65 + b"1" + b"}" * 65, True),
            (b"\n".join(b" " * level + b"a:" for level in range(70)), True),
        ],
    )
    def test_is_refused(self, text: bytes, is_yaml: bool) -> None:
        with pytest.raises(NotReadable):
            read_document(text, is_yaml=is_yaml)

    @pytest.mark.parametrize("text", [b"a: .nan", b"a: .inf", b"1: a", b"a: !!binary aGk=", b"a: !!set {b}"])
    def test_in_yaml_that_json_cannot_say_has_no_hash(self, text: bytes) -> None:
        with pytest.raises((NotCanonical, NotReadable)):
            document_hash(read_document(text, is_yaml=True))
