"""The node of a chained contract is told of its part, and nothing waits for that."""

from datetime import UTC, datetime
from typing import Any

import pytest

from schemas import names
from schemas.node import PartReady
from tests.workflows.shop import PO, Shop

LAST = "NOD-last"


def refuse(_: PartReady) -> None:
    raise OSError("the disk of the node is full")


def ready(po: PO, **fields: Any) -> PartReady:
    """As the Floor Hub has recorded it, but for what is given."""
    po.shop.ledger.routed[po.name] = ("PKG-before-R1", LAST)
    values = {
        "smart_contract_id": po.name,
        "node_id": po.shop.node,
        "part_id": po.shop.part,
        "part_number": None,
        "quantity": 1,
        "place": LAST,
        "package_id": "PKG-before-R1",
        "ready_at": datetime(2026, 11, 21, tzinfo=UTC),
        **fields,
    }
    return PartReady.model_validate(values)


class TestAReadyPart:
    async def test_is_announced_to_its_node_at_once(self, shop: Shop) -> None:
        async with shop.node_online():
            po = await shop.stage()
            await po.handle.signal(names.PART_READY, ready(po))
            entry = await po.recorded("announce_part")
            assert shop.store.pickups() == [ready(po)]
            assert entry.metadata["place"] == LAST
            assert po.row["status"] == "awaiting_arrival"
            await po.ask("cancel")
            await po.handle.result()

    async def test_is_announced_once_however_often_the_floor_hub_says_so(self, shop: Shop) -> None:
        async with shop.node_online():
            po = await shop.stage()
            await po.handle.signal(names.PART_READY, ready(po))
            await po.recorded("announce_part")
            await po.handle.signal(names.PART_READY, ready(po))
            await po.ask("cancel")
            await po.handle.result()
        assert len(po.entries("announce_part")) == 1
        assert po.entries("refuse_request") == []

    async def test_is_announced_when_the_node_is_back(self, shop: Shop) -> None:
        po = await shop.stage()
        await po.handle.signal(names.PART_READY, ready(po))
        await po.ask("hold")
        await po.is_("hold")
        async with shop.node_online():
            await po.recorded("announce_part")
        await po.ask("cancel")
        await po.handle.result()

    async def test_that_cannot_be_announced_does_not_hold_up_the_release(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shop.store, "announce", refuse)
        async with shop.node_online():
            po = await shop.stage()
            await po.handle.signal(names.PART_READY, ready(po))
            await shop.scan()
            await po.is_("released")
            await po.handle.result()
        assert po.entries("announce_part") == []

    @pytest.mark.parametrize("forged", [{"package_id": "PKG-other-R1"}, {"place": "NOD-elsewhere"}])
    async def test_that_no_package_brought_is_refused(self, shop: Shop, forged: dict[str, str]) -> None:
        async with shop.node_online():
            po = await shop.stage()
            await po.handle.signal(names.PART_READY, ready(po, **forged))
            assert "did not bring it" in (await po.recorded("refuse_request")).details
            await po.handle.signal(names.PART_READY, ready(po))
            await po.recorded("announce_part")
            assert shop.store.pickups() == [ready(po)]
            await po.ask("cancel")
            await po.handle.result()

    async def test_of_another_contract_is_refused(self, shop: Shop) -> None:
        po = await shop.stage()
        await po.handle.signal(names.PART_READY, ready(po, smart_contract_id="SC-other"))
        assert "SC-other" in (await po.recorded("refuse_request")).details
        await po.ask("cancel")
        await po.handle.result()
