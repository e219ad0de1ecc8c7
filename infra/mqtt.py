"""The broker: MQTT 3.1.1, QoS 1, and acknowledgements by hand."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import aiomqtt

from infra.settings import Settings


def persistent_client(settings: Settings, identifier: str) -> aiomqtt.Client:
    """A client whose session outlives it, and which acknowledges a message only through `acknowledge`."""
    client = _client(settings, identifier=identifier, clean_session=False, keepalive=15)
    client._client.manual_ack_set(True)  # aiomqtt has no way of its own
    return client


def publishing_client(settings: Settings) -> aiomqtt.Client:
    """A client that only sends."""
    return _client(settings)


def _client(settings: Settings, **session: Any) -> aiomqtt.Client:
    password = settings.mqtt_password
    return aiomqtt.Client(
        settings.mqtt_host,
        settings.mqtt_port,
        username=settings.mqtt_username,
        password=password.get_secret_value() if password else None,
        tls_params=aiomqtt.TLSParameters() if settings.mqtt_tls else None,
        protocol=aiomqtt.ProtocolVersion.V311,
        **session,
    )


def acknowledge(client: aiomqtt.Client, message: aiomqtt.Message) -> None:
    """Tells the broker that the message need not come again."""
    client._client.ack(message.mid, message.qos)


async def publish(client: aiomqtt.Client, topic: str, body: Mapping[str, Any]) -> None:
    """As JSON, once the broker has it."""
    await client.publish(topic, json.dumps(body), qos=1)
    heed_cancellation()


def heed_cancellation() -> None:
    """Raises the cancellation that was forgotten while the broker answered.

    aiomqtt waits in `asyncio.wait_for`, which before Python 3.12 forgets one that comes together with the answer: a
    task that goes on then is waited for, by whoever cancelled it, for ever.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
