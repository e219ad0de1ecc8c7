"""The broker: MQTT 3.1.1, QoS 1, and acknowledgements by hand."""

import aiomqtt

from infra.settings import Settings


def persistent_client(settings: Settings, identifier: str) -> aiomqtt.Client:
    """A client whose session outlives it, and which acknowledges a message only through `acknowledge`."""
    client = aiomqtt.Client(
        settings.mqtt_host,
        settings.mqtt_port,
        identifier=identifier,
        clean_session=False,
        protocol=aiomqtt.ProtocolVersion.V311,
        keepalive=15,
    )
    client._client.manual_ack_set(True)  # aiomqtt has no way of its own
    return client


def publishing_client(settings: Settings) -> aiomqtt.Client:
    """A client that only sends."""
    return aiomqtt.Client(settings.mqtt_host, settings.mqtt_port, protocol=aiomqtt.ProtocolVersion.V311)


def acknowledge(client: aiomqtt.Client, message: aiomqtt.Message) -> None:
    """Tells the broker that the message need not come again."""
    client._client.ack(message.mid, message.qos)
