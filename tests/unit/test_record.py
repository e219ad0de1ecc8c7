"""What is recorded, on its way from a workflow to the ledger."""

from typing import Any

import pytest
from temporalio.contrib.pydantic import pydantic_data_converter

from schemas.alert import Alert, Severity
from schemas.base import excerpt
from schemas.changes.alert import AlertRaised
from schemas.changes.client_po import ClientPOChanged
from schemas.ledger import LedgerEntry
from schemas.record import Record


def alert(text: str) -> Alert:
    return Alert(alert_id="A", alert_type="t", severity=Severity.LOW, source="s", subject="SC-1", text=text)


class TestARowsChange:
    @pytest.mark.parametrize(
        "fields",
        [{}, {"hold_reason": None}, {"hold_reason": "because", "arrived": 0}, {"due_date": None, "released_now": True}],
    )
    async def test_keeps_the_difference_between_not_set_and_none_on_the_wire(self, fields: dict[str, Any]) -> None:
        change = ClientPOChanged(smart_contract_id="SC-1", **fields)
        record = Record(entry=entry(), changes=(change, AlertRaised(alert=alert("look"))))
        [received] = await pydantic_data_converter.decode(await pydantic_data_converter.encode([record]), [Record])
        assert received == record
        assert received.changes[0].model_dump(exclude={"kind", "smart_contract_id"}) == fields


class TestAnAlert:
    def test_goes_out_however_long_it_is(self) -> None:
        assert len(alert("x" * 1_000_000).text) == 2000

    def test_goes_out_without_what_cannot_be_stored(self) -> None:
        assert alert("a\0b").text == "a\ufffdb"


class TestAnExcerpt:
    def test_leaves_short_text_alone(self) -> None:
        assert excerpt("because") == "because"

    def test_shows_that_it_is_cut(self) -> None:
        assert excerpt("abcdef", 4) == "abc…"


def entry() -> LedgerEntry:
    return LedgerEntry(idempotency_key="K", action_type="t", action="a", target="SC-1", details="d")
