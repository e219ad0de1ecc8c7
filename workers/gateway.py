"""The gateway: turns broadcasts into signals, and the outbox of alerts into broadcasts; the notifier runs beside it.

A broadcast is acknowledged only after Temporal has accepted it, so a gateway that dies in between gets it again.
Broadcasts of one part are handed over in the order in which they came, those of different parts side by side.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import aiomqtt
from pydantic import ValidationError
from temporalio.common import MetricMeter
from tenacity import AsyncRetrying, before_sleep_log, retry_if_exception, wait_exponential

from infra.alerts import AlertOutbox, Message
from infra.documents import NotReadable, read_document
from infra.ledger import Ledger
from infra.mqtt import acknowledge, persistent_client
from infra.recorder import open_ledger
from infra.registry import Registry, load_registry
from infra.settings import Settings
from infra.telemetry import sdk_metrics
from infra.temporal import PartArrivals, connect
from schemas import names
from schemas.alert import Alert, AlertEvent, Severity, cause_of
from schemas.base import excerpt
from schemas.faults import faults
from schemas.ledger import LedgerEntry
from schemas.part_arrival import PartArrival, ReportedArrival
from schemas.record import AlertRaised, Record
from workers.notifier import keep_notifying
from workers.process import is_away, say_ready, stop_requested

log = logging.getLogger(__name__)

IDENTIFIER = "smartfloor-gateway"
LANES = 16
OUTBOX_INTERVAL = 1.0
LETTER = 4000
"""Characters of a malformed broadcast that its dead letter repeats: well below what a broker carries."""


class Malformed(ValueError):
    """A broadcast that nobody can match; the text says which field and why."""


async def run_gateway(settings: Settings) -> None:
    """Runs until SIGTERM or Ctrl-C; a broker that is away is waited for."""
    stop = stop_requested()
    runtime = sdk_metrics(settings.metrics_host, settings.metrics_port).runtime
    client = await connect(settings, runtime)
    async with open_ledger(settings, "gateway") as (engine, ledger):
        gateway = Gateway(
            PartArrivals(client, settings.unclaimed_after),
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
        await asyncio.wait({*running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in (stopping, *running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for task in running:
            if not task.cancelled():
                task.result()


def read_arrival(payload: bytes) -> PartArrival:
    """Raises `Malformed`."""
    try:
        return PartArrival.model_validate(read_document(payload, is_yaml=False))
    except NotReadable as error:
        raise Malformed(str(error)) from error
    except ValidationError as error:
        raise Malformed("; ".join(str(fault) for fault in faults(error))) from error


class Gateway:
    """Reads one topic with a persistent session."""

    def __init__(
        self,
        part_arrivals: PartArrivals,
        registry: Registry,
        ledger: Ledger,
        outbox: AlertOutbox,
        meter: MetricMeter,
    ) -> None:
        self._part_arrivals = part_arrivals
        self._registry = registry
        self._ledger = ledger
        self._outbox = outbox
        self._received = meter.create_counter("smartfloor_broadcasts_received_total", "delivered by the broker")
        self._dead_lettered = meter.create_counter("smartfloor_broadcasts_dead_lettered_total", "could not be read")
        self._acknowledged = meter.create_counter(
            "smartfloor_broadcasts_acknowledged_total", "accepted by Temporal, or kept as dead letters"
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
                await client.subscribe(names.PART_ARRIVAL_TOPIC, qos=1)
                say_ready()
                await self._serve(client)
        except* aiomqtt.MqttError as group:
            raise aiomqtt.MqttError(f"the broker went away: {group.exceptions[0]}") from group

    async def _serve(self, client: aiomqtt.Client) -> None:
        lanes: list[asyncio.Queue[tuple[aiomqtt.Message, PartArrival | Malformed]]] = [
            asyncio.Queue() for _ in range(LANES + 1)
        ]
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
                arrival = _read(message)
                # Malformed ones wait for the database in the last lane, where they hold up nobody's arrival.
                place = hash(arrival.workflow_id) % LANES if isinstance(arrival, PartArrival) else LANES
                lanes[place].put_nowait((message, arrival))

    async def _work(
        self,
        client: aiomqtt.Client,
        lane: "asyncio.Queue[tuple[aiomqtt.Message, PartArrival | Malformed]]",
        in_hand: set[int],
    ) -> None:
        while True:
            message, arrival = await lane.get()
            if isinstance(arrival, PartArrival):
                reported = ReportedArrival(arrival=arrival, at_node=arrival.location in self._registry)
                await _persist(lambda: self._part_arrivals.report(reported))  # noqa: B023
            else:
                await self._dead_letter(client, message, excerpt(str(arrival), 500))
            acknowledge(client, message)
            self._acknowledged.add(1)
            in_hand.discard(message.mid)

    async def _dead_letter(self, client: aiomqtt.Client, message: aiomqtt.Message, reason: str) -> None:
        """Kept where people look for it: in the ledger, as an alert, on its topic; once for the same bytes.

        The reason is the reader's, and another release may word it otherwise, so it is part of what makes it once.
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
        text = f"A broadcast on {message.topic} cannot be read: {reason}. It is on {topic}; send it again, corrected."
        fault = hashlib.sha256(reason.encode()).hexdigest()[:16]
        alert_id = f"deadletter:{message.topic}:{digest}:{fault}"
        record = Record(
            entry=LedgerEntry(
                idempotency_key=alert_id,
                action_type="arrival",
                action="dead_letter",
                target=str(message.topic),
                details=f"Malformed broadcast: {reason}",
                metadata={"reason": reason, "sha256": digest},
            ),
            changes=(
                AlertRaised(
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
                ),
            ),
        )
        await _persist(lambda: self._ledger.record(record))
        await client.publish(topic, json.dumps(letter), qos=1)
        self._dead_lettered.add(1)

    async def _publish_alerts(self, client: aiomqtt.Client) -> None:
        while True:
            try:
                for message in await self._outbox.unpublished():
                    await client.publish(_topic(message), json.dumps(message.body()), qos=1)
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
    """What asks for somebody is an alert; that somebody saw it, or that it is over, is information.

    Lamps and boards follow both; who only listens for alerts hears of each once, and of each new owner.
    """
    if message.event in {AlertEvent.RAISED, AlertEvent.ESCALATED}:
        return f"{names.ALERT_TOPIC}/{message.severity}"
    return f"{names.ALERT_INFO_TOPIC}_{message.event}"


def _read(message: aiomqtt.Message) -> PartArrival | Malformed:
    try:
        return read_arrival(bytes(message.payload))
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
