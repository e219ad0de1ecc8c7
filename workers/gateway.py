"""The gateway: turns broadcasts into signals, and the outbox of alerts into broadcasts; the notifier runs beside it.

A broadcast is acknowledged only after Temporal has accepted it, so a gateway that dies in between gets it again.
Broadcasts of one part, and alerts of one pattern, are handed over in the order in which they came, others side by side.
Alerts come from other houses and from this one: what the gateway publishes, it hears.
"""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import aiomqtt
from temporalio.common import MetricMeter
from tenacity import AsyncRetrying, before_sleep_log, retry_if_exception, wait_exponential

from infra.alerts import AlertOutbox, Message
from infra.ledger import Ledger
from infra.maintenance import MaintenanceContracts
from infra.maintenance_alerts import MaintenancePatterns
from infra.mqtt import acknowledge, heed_cancellation, persistent_client, publish
from infra.recorder import open_ledger
from infra.registry import Registry, load_registry
from infra.settings import Settings
from infra.telemetry import sdk_metrics
from infra.temporal import PartArrivals, connect
from schemas import names
from schemas.alert import Alert, AlertEvent, Severity, cause_of
from schemas.base import excerpt
from schemas.changes.alert import AlertRaised
from schemas.ledger import LedgerEntry
from schemas.maintenance_alert import TeachingAlert
from schemas.part_arrival import PartArrival, ReportedArrival
from schemas.record import Record
from workers.broadcasts import Malformed, read_alert, read_arrival
from workers.notifier import keep_notifying
from workers.process import is_away, say_ready, stop_requested

log = logging.getLogger(__name__)

IDENTIFIER = "smartfloor-gateway"
LANES = 16
OUTBOX_INTERVAL = 1.0
EVERY_ALERT = f"{names.ALERT_TOPIC}/#"
ALERTS = (EVERY_ALERT, names.ALERT_REPEATED_TOPIC)
"""Where alerts come that may teach: repetitions are no alerts for people, and count all the same."""
LETTER = 4000
"""Characters of a malformed broadcast that its dead letter repeats: well below what a broker carries."""

Told = PartArrival | TeachingAlert | Malformed | None
"""What a broadcast says; None where there is nothing to do about it."""

Lane = asyncio.Queue[tuple[aiomqtt.Message, Told]]


async def run_gateway(settings: Settings) -> None:
    """Runs until SIGTERM or Ctrl-C; a broker that is away is waited for."""
    stop = stop_requested()
    runtime = sdk_metrics(settings.metrics_host, settings.metrics_port).runtime
    client = await connect(settings, runtime)
    async with open_ledger(settings, "gateway") as (engine, ledger):
        gateway = Gateway(
            PartArrivals(client, settings.unclaimed_after),
            MaintenancePatterns(client, settings.maintenance_pattern_window, MaintenanceContracts(engine)),
            load_registry(settings.nodes_file),
            ledger,
            AlertOutbox(engine),
            runtime.metric_meter,
        )
        running = [
            asyncio.create_task(gateway.run(settings)),
            asyncio.create_task(keep_notifying(engine, ledger, client, settings)),
        ]
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({*running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (stopping, *running):
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        for task in running:
            if not task.cancelled():
                task.result()


class Gateway:
    """Reads arrivals and alerts with a persistent session."""

    def __init__(
        self,
        part_arrivals: PartArrivals,
        patterns: MaintenancePatterns,
        registry: Registry,
        ledger: Ledger,
        outbox: AlertOutbox,
        meter: MetricMeter,
    ) -> None:
        self._part_arrivals = part_arrivals
        self._patterns = patterns
        self._registry = registry
        self._ledger = ledger
        self._outbox = outbox
        self._received = meter.create_counter("smartfloor_broadcasts_received_total", "delivered by the broker")
        self._dead_lettered = meter.create_counter("smartfloor_broadcasts_dead_lettered_total", "could not be read")
        self._acknowledged = meter.create_counter(
            "smartfloor_broadcasts_acknowledged_total", "accepted by Temporal, of no use, or kept as dead letters"
        )
        for counter in (self._received, self._dead_lettered, self._acknowledged):
            counter.add(0)  # shown before the first one comes

    async def run(self, settings: Settings) -> None:
        """Connects, and connects again."""
        async for attempt in _until_back(lambda error: isinstance(error, aiomqtt.MqttError)):
            with attempt:
                await self._connected(persistent_client(settings, IDENTIFIER))

    async def _connected(self, client: aiomqtt.Client) -> None:
        """Until the connection breaks: raises `MqttError` then. What was not acknowledged comes again.

        Anything else that goes wrong in one task ends them all, and with them the process, which is started again.
        """
        try:
            async with client:
                await client.subscribe([(topic, 1) for topic in (names.PART_ARRIVAL_TOPIC, *ALERTS)])
                heed_cancellation()
                say_ready()
                await self._serve(client)
        except* aiomqtt.MqttError as group:
            raise aiomqtt.MqttError(f"the broker went away: {group.exceptions[0]}") from group

    async def _serve(self, client: aiomqtt.Client) -> None:
        lanes: list[Lane] = [asyncio.Queue() for _ in range(LANES + 1)]
        in_hand: set[int] = set()
        async with asyncio.TaskGroup() as tasks:
            for lane in lanes:
                tasks.create_task(self._work(client, lane, in_hand))
            tasks.create_task(self._publish_alerts(client))
            async for message in client.messages:
                if message.qos:  # without, there is neither a number nor an acknowledgement
                    if message.mid in in_hand:
                        continue  # sent again because its acknowledgement is late
                    in_hand.add(message.mid)
                self._received.add(1)
                told = _read(message)
                lanes[_place(told)].put_nowait((message, told))

    async def _work(self, client: aiomqtt.Client, lane: Lane, in_hand: set[int]) -> None:
        while True:
            message, told = await lane.get()
            match told:
                case PartArrival():
                    reported = ReportedArrival(arrival=told, at_node=told.location in self._registry)
                    await _persist(lambda: self._part_arrivals.report(reported))  # noqa: B023
                case TeachingAlert():
                    await _persist(lambda: self._patterns.report(told))  # noqa: B023
                case Malformed():
                    await self._dead_letter(client, message, excerpt(str(told), 500))
            acknowledge(client, message)
            self._acknowledged.add(1)
            in_hand.discard(message.mid)

    async def _dead_letter(self, client: aiomqtt.Client, message: aiomqtt.Message, reason: str) -> None:
        """Kept where people look for it: in the ledger, as an alert, on its topic; once for the same bytes.

        One that came as an alert raises none: that would come as an alert again. The reason is the reader's, and
        another release may word it otherwise, so it is part of what makes it once.
        """
        payload = bytes(message.payload)
        digest = hashlib.sha256(payload).hexdigest()
        letter = {
            "topic": str(message.topic),
            "reason": reason,
            "payload": excerpt(payload.decode(errors="replace"), LETTER),
            "bytes": len(payload),
            "sha256": digest,
        }
        topic = f"{names.DEADLETTER_TOPIC}/{message.topic}"
        fault = hashlib.sha256(reason.encode()).hexdigest()[:16]
        key = f"deadletter:{message.topic}:{digest}:{fault}"
        record = Record(
            entry=LedgerEntry(
                idempotency_key=key,
                action_type="arrival",
                action="dead_letter",
                target=str(message.topic),
                details=f"Malformed broadcast: {reason}",
                metadata={"reason": reason, "sha256": digest},
            ),
            changes=() if _is_alert(message) else (_unreadable(message, reason, key, topic, fault),),
        )
        await _persist(lambda: self._ledger.record(record))
        await publish(client, topic, letter)
        self._dead_lettered.add(1)

    async def _publish_alerts(self, client: aiomqtt.Client) -> None:
        while True:
            try:
                for message in await self._outbox.unpublished():
                    await publish(client, _topic(message), message.body())
                    await self._outbox.published(message.message_id)
            except aiomqtt.MqttError:
                raise
            except Exception as error:  # whatever it is, arrivals do not wait for it
                if is_away(error):
                    log.warning("alerts wait, the database is away: %s", error)
                else:
                    log.critical("alerts are not published", exc_info=error)
            await asyncio.sleep(OUTBOX_INTERVAL)


def _topic(message: Message) -> str:
    """What asks for somebody is an alert; that it came again, that somebody saw it, or that it is over, is information.

    Lamps and boards follow both; who only listens for alerts hears of each once, and of each new owner.
    """
    if message.event in {AlertEvent.RAISED, AlertEvent.ESCALATED}:
        return f"{names.ALERT_TOPIC}/{message.severity}"
    return f"{names.ALERT_INFO_TOPIC}_{message.event}"


def _unreadable(message: aiomqtt.Message, reason: str, alert_id: str, kept_on: str, fault: str) -> AlertRaised:
    text = f"A broadcast on {message.topic} cannot be read: {reason}. It is on {kept_on}; send it again, corrected."
    return AlertRaised(
        alert=Alert(
            alert_id=alert_id,
            alert_type="malformed_broadcast",
            severity=Severity.MEDIUM,
            source="gateway",
            subject=str(message.topic),
            text=excerpt(text),
            # A scanner that is set up wrongly sends the same fault with every part.
            cause=cause_of("malformed_broadcast", str(message.topic), fault),
        )
    )


def _place(told: Told) -> int:
    """The lane; malformed ones wait for the database in the last, where they hold up nobody's arrival."""
    match told:
        case Malformed():
            return LANES
        case None:
            return 0
        case _:
            return hash(told.workflow_id) % LANES


def _is_alert(message: aiomqtt.Message) -> bool:
    return any(message.topic.matches(topic) for topic in ALERTS)


def _read(message: aiomqtt.Message) -> Told:
    payload = bytes(message.payload)
    try:
        return read_alert(payload, datetime.now(UTC)) if _is_alert(message) else read_arrival(payload)
    except Malformed as malformed:
        return malformed


async def _persist(action: Callable[[], Awaitable[Any]]) -> None:
    """Repeats until its server is back."""
    async for attempt in _until_back(is_away):
        with attempt:
            await action()


def _until_back(is_away: Callable[[BaseException], bool]) -> AsyncRetrying:
    return AsyncRetrying(
        retry=retry_if_exception(is_away),
        wait=wait_exponential(multiplier=0.1, max=2),
        before_sleep=before_sleep_log(log, logging.WARNING),
    )
