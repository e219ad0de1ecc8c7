"""The notifier: tells people of alerts by role and shift, and passes on what nobody acknowledges.

It runs beside the gateway, so that all ways on which alerts leave the house are in one process; everything that it
must not forget is in rows. Each receiver is served by a task of its own, one message at a time: one that does not
answer holds up nobody else.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from infra.alerts import UNREACHABLE, AlertOutbox, Alerts, StandingAlerts, escalation
from infra.failing_tasks import FailingTasks
from infra.ledger import Ledger
from infra.receivers import Receivers, Unknown, why
from infra.settings import Settings
from schemas.alert import Severity, cause_of
from schemas.faults import faults
from schemas.notification import Receiver
from schemas.permission import Role
from workers.process import is_away

log = logging.getLogger(__name__)

INTERVAL = timedelta(seconds=1)
PAUSE = timedelta(seconds=30)
"""Before one that failed is started again."""
STEADY = timedelta(minutes=1)
"""Longer than anything takes that it does again and again: one that has run for so long works."""

FAILING = "notifier_failing"
SUBJECT = "notifier"


async def keep_notifying(engine: AsyncEngine, ledger: Ledger, client: Client, settings: Settings) -> None:
    """Runs until cancelled: one that fails is alerted and started again, because arrivals do not depend on it."""
    while True:
        try:
            await Notifier(engine, ledger, client, settings).run()
        except Exception as error:
            log.critical("the notifier failed", exc_info=error)
            try:
                await _say_that_it_fails(StandingAlerts(Alerts(engine), ledger), settings, error)
            except Exception:
                log.exception("and nobody can be alerted")
        await asyncio.sleep(PAUSE.total_seconds())


async def _say_that_it_fails(standing: StandingAlerts, settings: Settings, error: Exception) -> None:
    found = "; ".join(map(str, faults(error))) if isinstance(error, ValidationError) else why(error)
    text = (
        f"Nobody is told of alerts by e-mail or webhook: {found}. Look into {settings.notifications_file}, the secrets "
        "beside it and the gateway's log; once that is mended it goes on by itself."
    )
    await standing.raise_once(FAILING, SUBJECT, text, severity=Severity.CRITICAL, source="gateway")


class Notifier:
    """Reads its settings once, when it is made."""

    def __init__(self, engine: AsyncEngine, ledger: Ledger, client: Client, settings: Settings) -> None:
        self._ledger = ledger
        self._alerts = Alerts(engine)
        self._standing = StandingAlerts(self._alerts, ledger)
        self._outbox = AlertOutbox(engine)
        self._failing_tasks = FailingTasks(client, self._alerts, ledger, settings)
        self._receivers = Receivers(settings.notifications_file)
        self._look_every = settings.failing_tasks_every
        self._serving: dict[Receiver, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Anything else than a server that is away ends it."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_again_and_again(self._say_that_it_works, INTERVAL))
            tasks.create_task(_again_and_again(self._escalate, INTERVAL))
            tasks.create_task(_again_and_again(self._failing_tasks.look, self._look_every))
            await _again_and_again(lambda: self._deliver(tasks), INTERVAL)

    async def _deliver(self, tasks: asyncio.TaskGroup) -> None:
        await self._outbox.route(self._receivers.notifications)
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
                    await self._outbox.given_up(delivery, why(error))
                except Exception as error:  # whatever it is, it concerns this receiver alone
                    log.warning("%s was not reached (attempt %d): %s", receiver, delivery.attempt, why(error))
                    await self._outbox.failed(delivery, why(error))
                    if delivery.last:
                        await self._say_unreachable(receiver, why(error))
                    return
                else:
                    await self._outbox.delivered(delivery)
                    await self._standing.resolve(cause_of(UNREACHABLE, str(receiver)), "it was reached")
        except Exception as error:
            if not is_away(error):
                raise
            log.warning("deliveries to %s wait, the database is away: %s", receiver, error)

    async def _say_unreachable(self, receiver: Receiver, why: str) -> None:
        text = (
            f"{receiver} could not be reached for about a day ({why}): mend it, or name another in the settings file."
        )
        await self._standing.raise_once(UNREACHABLE, str(receiver), text, severity=Severity.HIGH, source="gateway")

    async def _say_that_it_works(self) -> None:
        await asyncio.sleep(STEADY.total_seconds())
        await self._standing.resolve(cause_of(FAILING, SUBJECT), "the notifier works")

    async def _escalate(self) -> None:
        rules = self._receivers.notifications.escalation
        for alert in await self._alerts.overdue(rules):
            await self._ledger.record(escalation(alert, rules.next[Role(alert["owner"])]))


async def _again_and_again(action: Callable[[], Awaitable[None]], interval: timedelta) -> None:
    while True:
        try:
            await action()
        except Exception as error:
            if not is_away(error):
                raise
            log.warning("alerts wait, a server is away: %s", error)
        await asyncio.sleep(interval.total_seconds())
