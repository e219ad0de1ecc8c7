"""The MQTT broker: nats-server with MQTT 3.1.1 over JetStream, which keeps QoS 1 messages on disk."""

import json
from pathlib import Path
from uuid import uuid4

import aiomqtt

from infra.embedded.ports import LOOPBACK, port
from infra.embedded.process import Process, Report, program


class Broker(Process):
    """The broker, with its sessions and messages in `{state_dir}/broker`."""

    def __init__(self, state_dir: Path, *, report: Report, preferred_port: int | None = None) -> None:
        super().__init__("broker", log_file=state_dir / "logs" / "broker.log", report=report)
        self.store = state_dir / "broker"
        self._preferred_port = preferred_port
        self.port = 0

    async def prepare(self) -> None:
        self.port = self.port or port(self._preferred_port)
        self.store.mkdir(parents=True, exist_ok=True)
        self._config.write_text(
            json.dumps(  # which NATS's own format includes
                {
                    "server_name": "smartfloor",  # sessions are kept under it
                    "host": LOOPBACK,
                    "port": port(),
                    # On disk before it is acknowledged, so that a message outlives a power cut as well.
                    "jetstream": {"store_dir": str(self.store), "sync_interval": "always"},
                    # What a client took and did not acknowledge before it broke off comes again this much later.
                    "mqtt": {"host": LOOPBACK, "port": self.port, "ack_wait": "3s"},
                },
                indent=2,
            )
        )

    def command(self) -> list[str | Path]:
        return [program("nats-server"), "--config", self._config]

    async def ready(self) -> bool:
        client = aiomqtt.Client(
            LOOPBACK,
            self.port,
            identifier=f"ready-{uuid4().hex}",
            protocol=aiomqtt.ProtocolVersion.V311,
            clean_session=True,
            timeout=5,
        )
        try:
            async with client:
                return True
        except aiomqtt.MqttError:
            return False

    @property
    def _config(self) -> Path:
        return self.store / "nats-server.json"
