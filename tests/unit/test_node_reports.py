"""A node tells the hub that it did something, also once Temporal is back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from temporalio.service import RPCError, RPCStatusCode

from infra.node_maintenance import NodeMaintenance
from tests.instruments import NODE, delivered, disk, in_force
from workers import node_reports
from workers.node_reports import tell_hub


class Hub:
    """Is away for so many calls."""

    def __init__(self) -> None:
        self.away = 0
        self.failure = RPCStatusCode.UNAVAILABLE
        self._called = asyncio.Condition()
        self._calls = 0

    async def tell(self, node_id: str) -> None:
        assert node_id == "NODE-1"
        async with self._called:
            self._calls += 1
            self._called.notify_all()
        if self.away:
            self.away -= 1
            raise RPCError("gone", self.failure, b"")

    async def called(self, times: int) -> None:
        async with self._called:
            await asyncio.wait_for(self._called.wait_for(lambda: self._calls >= times), 10)


@pytest.fixture
def node(tmp_path: Path) -> NodeMaintenance:
    return NodeMaintenance(NODE, disk(tmp_path))


@pytest.fixture
async def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setattr(node_reports, "LOOK_EVERY", 0.01)
    return Hub()


@asynccontextmanager
async def telling(node: NodeMaintenance, hub: Hub) -> AsyncIterator[None]:
    task = asyncio.create_task(tell_hub(node, hub.tell))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class TestTheHub:
    async def test_is_told_that_the_node_is_back(self, node: NodeMaintenance, hub: Hub) -> None:
        async with telling(node, hub):
            await hub.called(1)

    async def test_is_told_of_everything_that_is_done(self, node: NodeMaintenance, hub: Hub) -> None:
        async with telling(node, hub):
            await hub.called(1)
            for number in (1, 2):
                node.take_contract(delivered(in_force(), number))
                await hub.called(1 + number)

    async def test_is_told_once_of_what_waits(self, node: NodeMaintenance, hub: Hub) -> None:
        node.take_contract(delivered(in_force()))
        async with telling(node, hub):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(hub.called(2), 0.5)

    async def test_is_told_again_of_what_still_waits(
        self, node: NodeMaintenance, hub: Hub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(node_reports, "REMIND_EVERY", 0.05)
        node.take_contract(delivered(in_force()))
        async with telling(node, hub):
            await hub.called(3)

    async def test_is_waited_for_while_temporal_is_away(self, node: NodeMaintenance, hub: Hub) -> None:
        hub.away = 3
        async with telling(node, hub):
            await hub.called(4)
            assert hub.away == 0

    async def test_that_has_heard_too_much_already_is_told_later(self, node: NodeMaintenance, hub: Hub) -> None:
        """As Temporal says of a workflow that has ten thousand signals."""
        hub.away, hub.failure = 2, RPCStatusCode.INVALID_ARGUMENT
        async with telling(node, hub):
            await hub.called(3)
            assert hub.away == 0
