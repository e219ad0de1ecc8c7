"""What the broker brings is read, or is malformed: nothing that anybody can send stops whoever reads it."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.maintenance_alert import TeachingAlert
from schemas.part_arrival import PartArrival
from workers.broadcasts import Malformed, read_alert, read_arrival

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)

ALERT: dict[str, Any] = {
    "alert_id": "A-1",
    "issue_type": "calibration_failed",
    "contract_id": "LP-lamp",
    "equipment_id": "LAMP-1",
    "equipment_type": "lamp",
    "node_id": "N1",
    "happened_at": "2026-11-21T08:00:00Z",
    "data": {"certificate": "C-1"},
}
ARRIVAL: dict[str, Any] = {
    "id": "B-1",
    "event_type": "part_arrival",
    "location": "dock",
    "part_id": "P-1",
    "timestamp": "2026-11-21T08:00:00Z",
}

text = st.text(max_size=20) | st.text(alphabet=st.characters(categories=["Cs", "Cc"]), max_size=3)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=8,
)


def broken(document: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Any fields of a good one replaced by anything, and some that nobody knows."""
    fields = st.dictionaries(st.sampled_from(sorted(document)) | text, anything, max_size=4)
    return fields.map(lambda wrong: {**document, **wrong})


def told(malformed: Malformed) -> None:
    """It can be kept as a dead letter."""
    str(malformed).encode()


class TestAnAlert:
    @given(broken(ALERT))
    @example({**ALERT, "issue_type": []})
    @example({"contract_id": "x", "issue_type": {}})
    @example({**ALERT, "data": {"\ud800": "x"}})
    def test_of_whatever_content_teaches_teaches_nothing_or_is_malformed(self, document: dict[str, Any]) -> None:
        try:
            assert isinstance(read_alert(json.dumps(document).encode(), NOW), TeachingAlert | None)
        except Malformed as malformed:
            told(malformed)

    @given(st.binary(max_size=200))
    def test_of_whatever_bytes_is_malformed_at_worst(self, payload: bytes) -> None:
        with suppress(Malformed):
            read_alert(payload, NOW)

    def test_that_is_good_teaches(self) -> None:
        assert read_alert(json.dumps(ALERT).encode(), NOW) == TeachingAlert.model_validate(ALERT)

    @pytest.mark.parametrize("nothing", [{"contract_id": None}, {"issue_type": "calibration_expiring"}])
    def test_that_names_no_contract_or_only_reminds_teaches_nothing(self, nothing: dict[str, Any]) -> None:
        assert read_alert(json.dumps({**ALERT, **nothing}).encode(), NOW) is None


class TestAnArrival:
    @given(broken(ARRIVAL))
    @example({**ARRIVAL, "\ud800": 1})
    def test_of_whatever_content_is_read_or_malformed(self, document: dict[str, Any]) -> None:
        try:
            assert isinstance(read_arrival(json.dumps(document).encode()), PartArrival)
        except Malformed as malformed:
            told(malformed)

    @given(st.binary(max_size=200))
    def test_of_whatever_bytes_is_malformed_at_worst(self, payload: bytes) -> None:
        with suppress(Malformed):
            read_arrival(payload)
