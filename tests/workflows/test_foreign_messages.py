"""Whatever somebody sends by signal: it is recorded and alerted, and the workflow goes on."""

from typing import Any

import pytest

from schemas import names
from schemas import test_execution as test_schema
from schemas.client_po import REQUESTS
from tests.workflows.shop import Shop
from workflows.client_po import FROM_THE_LINE
from workflows.part_arrival import SIGNALS

NOT_SENT = object()
LONG = "x" * 100_000
MALFORMED: list[Any] = [
    NOT_SENT,
    None,
    "text",
    7,
    [],
    [1, 2],
    {"unknown": 1},
    {LONG: LONG, f"{LONG}2": LONG},
    {"a\0b": "\0"},
    {"reason": "", "user_id": "no body"},
    {"reason": "far away", "priority": 9, "due_date": "9999-12-31T23:59:59-14:00", "quantity": -1},
    {"smart_contract_id": "X", "ticket": 1, "shares": [], "arrived": "many"},
    {"smart_contract_id": "X", "ticket": "first", "quantity": 0},
]


async def send(handle: Any, signal: str, payload: Any) -> None:
    await (handle.signal(signal) if payload is NOT_SENT else handle.signal(signal, payload))


class TestAPO:
    @pytest.mark.parametrize("signal", sorted(({**REQUESTS, **FROM_THE_LINE}).keys() - {names.RETRY}))
    async def test_refuses_what_it_cannot_read(self, shop: Shop, signal: str) -> None:
        po = await shop.stage()
        for payload in MALFORMED:
            await send(po.handle, signal, payload)
        await po.handle.signal(signal, args=[{"reason": "two"}, {"reason": "payloads"}])
        await po.recorded("refuse_request", len(MALFORMED) + 1)
        assert len(shop.alerts("request_refused")) == len(MALFORMED) + 1
        async with shop.node_online():
            await shop.scan()
            await po.is_("released")

    async def test_refuses_signals_that_do_not_exist(self, shop: Shop) -> None:
        po = await shop.stage()
        await po.handle.signal("explode", args=[1, 2, 3])
        refusal = await po.recorded("refuse_request")
        assert "explode" in refusal.details
        assert refusal.metadata["reason"] == "there is no signal of that name here"

    async def test_takes_a_signal_that_leaves_out_who_sent_it(self, shop: Shop) -> None:
        po = await shop.stage()
        await po.handle.signal("hold", {"reason": "because"})
        assert (await po.recorded("hold_client_po")).user_id == "unidentified"

    async def test_writes_down_nobody_because_a_signal_names_them(self, shop: Shop) -> None:
        po = await shop.stage()
        maria: dict[str, Any] = {"reason": "because", "user_id": "maria"}
        sent = {"hold": maria, "resume": maria, "amend": {**maria, "priority": 1}, "cancel": maria}
        for signal, payload in sent.items():
            await po.handle.signal(signal, payload)
        await po.recorded("cancel_client_po")
        assert [po.entries(f"{signal}_client_po")[0].user_id for signal in sent] == ["unidentified"] * len(sent)

    async def test_writes_down_nobody_because_a_withdrawal_by_signal_names_them(self, shop: Shop) -> None:
        broadcast = await shop.scan()
        await shop.line.signal("withdraw", {"broadcast_id": broadcast, "reason": "because", "user_id": "maria"})
        assert (await shop.recorded("withdraw_arrival")).user_id == "unidentified"

    async def test_names_every_field_at_fault(self, shop: Shop) -> None:
        po = await shop.stage()
        await po.handle.signal("amend", {"priority": 9, "colour": "red"})
        reason = (await po.recorded("refuse_request")).metadata["reason"]
        assert all(field in reason for field in ("reason", "priority", "colour"))

    async def test_goes_on_with_a_reason_as_long_as_may_be(self, shop: Shop) -> None:
        po = await shop.stage()
        broadcast = await shop.scan()
        await po.is_("ready_for_release")
        await shop.line.signal("withdraw", {"broadcast_id": broadcast, "reason": "x" * 1000})
        await po.recorded("withdraw_arrival")
        await po.ask("hold", reason="x" * 1000)
        await po.is_("hold")

    async def test_ignores_news_for_a_ticket_that_it_no_longer_has(self, shop: Shop) -> None:
        po = await shop.stage()
        await po.handle.signal("parts_revoked", {"smart_contract_id": po.name, "ticket": 9, "reason": "old"})
        await po.ask("hold")
        await po.recorded("hold_client_po")
        assert po.entries("withdraw_arrival") == []


class TestIdentifiers:
    async def test_may_be_as_long_as_they_are_allowed_to_be(self, shop: Shop) -> None:
        part = f"{'P' * 119}-{shop.name}"
        po = await shop.stage(part_id=part)
        await shop.scan(part_id=part, id="B" * 200)
        await po.recorded("confirm_arrival")
        assert (await shop.recorded("receive_arrival", target=part)).metadata["broadcast_id"] == "B" * 200


class TestAPart:
    @pytest.mark.parametrize("signal", sorted(SIGNALS))
    async def test_refuses_what_it_cannot_read(self, shop: Shop, signal: str) -> None:
        po = await shop.stage()
        await po.joined()
        for payload in MALFORMED:
            await send(shop.line, signal, payload)
        await shop.recorded("refuse_request", len(MALFORMED))
        assert len(shop.alerts("request_refused")) == len(MALFORMED)
        async with shop.node_online():
            await shop.scan()
            await po.is_("released")

    async def test_refuses_signals_that_do_not_exist(self, shop: Shop) -> None:
        await shop.scan()
        await shop.line.signal("explode")
        assert "explode" in (await shop.recorded("refuse_request")).details


class TestATest:
    @pytest.mark.parametrize("signal", sorted({*test_schema.REQUESTS, names.DISPOSED}))
    async def test_refuses_what_it_cannot_read(self, shop: Shop, signal: str) -> None:
        tested = await shop.release()
        for payload in MALFORMED:
            await send(tested.handle, signal, payload)
        await tested.recorded("refuse_request", len(MALFORMED))
        assert len(shop.alerts("request_refused")) == len(MALFORMED)
        await tested.ask("abort", reason="enough")
        await tested.is_("aborted")

    async def test_survives_whatever_is_sent(self, shop: Shop) -> None:
        async with shop.node_online():
            po = await shop.stage()
            await shop.scan()
            await po.handle.result()
        test = shop.client.get_workflow_handle(names.test_execution_id(po.name))
        shop.workflow_ids.add(test.id)
        for payload in MALFORMED:
            await send(test, "explode", payload)
        await shop.recorded("refuse_request", len(MALFORMED))
        assert len(shop.alerts("request_refused")) == len(MALFORMED)
