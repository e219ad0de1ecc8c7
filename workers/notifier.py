"""The notifier: tells people of alerts by role and shift, and passes on what nobody acknowledges.

It runs beside the gateway, so that all ways on which alerts leave the house are in one process; everything that it
must not forget is in rows. Each receiver is served by a task of its own, one message at a time: one that does not
answer holds up nobody else.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from infra.alerts import AlertOutbox, Alerts, escalation
from infra.failing_tasks import FailingTasks
from infra.ledger import Ledger
from infra.receivers import Receivers, Unknown
from infra.settings import Settings
from schemas.base import excerpt
from schemas.notification import Receiver
from schemas.permission import Role
from workers.process import AWAY

log = logging.getLogger(__name__)

INTERVAL = timedelta(seconds=1)


class Notifier:
    """Runs until it is cancelled."""

    def __init__(self, engine: AsyncEngine, ledger: Ledger, client: Client, settings: Settings) -> None:
        self._ledger = ledger
        self._alerts = Alerts(engine)
        self._outbox = AlertOutbox(engine)
        self._failing_tasks = FailingTasks(client, self._alerts, ledger, settings)
        self._receivers = Receivers(settings.notifications_file)
        self._look_every = settings.failing_tasks_every
        self._serving: dict[Receiver, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Anything else than a server that is away ends it, and with it the process, which is started again."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_again_and_again(self._escalate, INTERVAL))
            tasks.create_task(_again_and_again(self._failing_tasks.look, self._look_every))
            await _again_and_again(lambda: self._deliver(tasks), INTERVAL)

    async def _deliver(self, tasks: asyncio.TaskGroup) -> None:
        while await self._outbox.route(self._receivers.notifications):
            pass
        for receiver in await self._outbox.due():
            if receiver not in self._serving:
                self._serving[receiver] = task = tasks.create_task(self._serve(receiver))
                task.add_done_callback(lambda _, receiver=receiver: self._serving.pop(receiver))  # type: ignore[misc]

    async def _serve(self, receiver: Receiver) -> None:
        """Everything that is due, until an attempt fails."""
        try:
            while delivery := await self._outbox.take(receiver):
                try:
                    await self._receivers.tell(receiver, delivery.message)
                except Unknown as error:
                    log.warning("message %s is not delivered: %s", delivery.message.message_id, error)
                    await self._outbox.given_up(delivery, str(error))
                except Exception as error:  # whatever it is, it concerns this receiver alone
                    why = excerpt(f"{type(error).__name__}: {error}", 500)
                    log.warning("%s was not reached (attempt %d): %s", receiver, delivery.attempt, why)
                    await self._outbox.failed(delivery, why)
                    return
                else:
                    await self._outbox.delivered(delivery)
        except AWAY as error:
            log.warning("deliveries to %s wait, the database is away: %s", receiver, error)

    async def _escalate(self) -> None:
        rules = self._receivers.notifications.escalation
        for alert in await self._alerts.overdue(rules):
            await self._ledger.record(escalation(alert, rules.next[Role(alert["owner"])]))


async def _again_and_again(action: Callable[[], Awaitable[None]], interval: timedelta) -> None:
    while True:
        try:
            await action()
        except AWAY as error:
            log.warning("alerts wait, a server is away: %s", error)
        await asyncio.sleep(interval.total_seconds())
