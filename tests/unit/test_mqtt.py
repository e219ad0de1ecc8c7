"""What is said to the broker by a task that is cancelled meanwhile."""

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from infra.mqtt import publish

if TYPE_CHECKING:
    import aiomqtt


class Acknowledging:
    """Waits as aiomqtt does."""

    def __init__(self) -> None:
        self.acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def publish(self, *_: Any, **__: Any) -> None:
        await asyncio.wait_for(self.acknowledged, timeout=10)


async def test_a_cancellation_that_comes_together_with_the_acknowledgement_is_heeded() -> None:
    client = Acknowledging()
    publishing = asyncio.create_task(publish(cast("aiomqtt.Client", client), "smart/alertbroadcast/high", {}))
    await asyncio.sleep(0)
    client.acknowledged.set_result(None)
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing
