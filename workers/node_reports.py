"""Telling the hub that a node did something by itself: it comes and reads it."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from temporalio.service import RPCError

from infra.node_maintenance import NodeMaintenance

log = logging.getLogger(__name__)

LOOK_EVERY = 1.0
"""Seconds: local commands write to the node's disk from processes of their own."""

REMIND_EVERY = 60.0
"""Seconds until the hub is told again of what still waits."""


async def tell_hub(maintenance: NodeMaintenance, tell: Callable[[str], Awaitable[None]]) -> None:
    """Tells that the node is back, then of everything that it does, until cancelled.

    A Temporal that is away, or does not want to hear it now, is told later: the node works on meanwhile.
    """
    node_id = maintenance.node.node_id
    told, told_at = -1, 0.0
    while True:
        waiting, newest = await asyncio.to_thread(maintenance.waiting)
        if newest > told or (waiting and time.monotonic() - told_at > REMIND_EVERY):
            try:
                await tell(node_id)
            except RPCError as error:
                log.warning("%s reports of %s wait, the hub cannot be told: %s", waiting, node_id, error)
            else:
                told, told_at = newest, time.monotonic()
        await asyncio.sleep(LOOK_EVERY)
