"""The whole shop on one machine from pip alone: its servers, and the product's own processes beside them."""

import asyncio
import fcntl
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import httpx

from infra.database import migrate
from infra.embedded import addresses
from infra.embedded.broker import Broker
from infra.embedded.ports import LOOPBACK, port
from infra.embedded.postgres import WRITER, Postgres
from infra.embedded.process import Process, Report
from infra.embedded.temporal import NAMESPACE, Temporal
from infra.registry import load_registry
from infra.settings import Settings

log = logging.getLogger(__name__)


class ShopRunsError(RuntimeError):
    """Another process runs a shop on the same state folder."""


class EmbeddedServers:
    """PostgreSQL, the MQTT broker and Temporal, on ports of their own.

    As a context manager it holds the state folder for itself, starts the three at once and stops them; raises
    ShopRunsError when another process holds the folder, StartError when a server does not come up. Each of
    them can be killed and started by itself: it comes back on the same port with its state.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        durable: bool = True,
        headless: bool = False,
        preferred_ports: Mapping[str, int] | None = None,
        report: Report = log.warning,
    ) -> None:
        """`durable` is about Temporal alone, whose state is otherwise in memory and twice as fast."""
        self.state_dir = state_dir.resolve()
        self._report = report
        ports = preferred_ports or {}
        self.postgres = Postgres(self.state_dir, report=report, preferred_port=ports.get("postgres"))
        self.broker = Broker(self.state_dir, report=report, preferred_port=ports.get("mqtt"))
        self.temporal = Temporal(
            self.state_dir,
            report=report,
            durable=durable,
            headless=headless,
            preferred_port=ports.get("temporal"),
            preferred_ui_port=ports.get("temporal_ui"),
        )
        self._lock: IO[str] | None = None

    @property
    def servers(self) -> Sequence[Process]:
        return self.postgres, self.broker, self.temporal

    @property
    def settings(self) -> Settings:
        """The default settings with the servers' real addresses; a port is known once its server was started."""
        return Settings(**self.addresses)

    @property
    def addresses(self) -> dict[str, Any]:
        """The part of the settings that the servers decide."""
        return {
            "state_dir": self.state_dir,
            "database_url": self.postgres.url(),
            "database_writer_url": self.postgres.url(user=WRITER),
            "temporal_address": self.temporal.address,
            "temporal_namespace": NAMESPACE,
            "temporal_ui": f"http://{LOOPBACK}:{self.temporal.ui_port}",
            "mqtt_host": LOOPBACK,
            "mqtt_port": self.broker.port,
        }

    async def __aenter__(self) -> Self:
        self._lock = _hold(self.state_dir)
        try:
            self._report("Starting the database, the broker and Temporal")
            await _start(self.servers)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await _stop(self.servers)
        if self._lock is not None:
            self._lock.close()


class ProductProcess(Process):
    """One of the product's own processes, run as `smartfloor ...` with the shop's settings.

    It says that it is ready by making the file that `SMARTFLOOR_READY_FILE` names.
    """

    def __init__(self, name: str, *arguments: str, settings: Settings, report: Report) -> None:
        super().__init__(name, log_file=settings.state_dir / "logs" / f"{name}.log", report=report)
        self.arguments = arguments
        self.settings = settings
        self.ready_file = settings.state_dir / "run" / f"{name}.ready"

    async def prepare(self) -> None:
        self.ready_file.parent.mkdir(parents=True, exist_ok=True)
        self.ready_file.unlink(missing_ok=True)

    def command(self) -> list[str | Path]:
        return [sys.executable, "-m", "workers.cli", *self.arguments]

    def environment(self) -> Mapping[str, str]:
        return os.environ | addresses.environment(self.settings) | {"SMARTFLOOR_READY_FILE": str(self.ready_file)}

    async def ready(self) -> bool:
        return self.ready_file.exists()


class ApiProcess(ProductProcess):
    """The API, which says over HTTP that it is ready."""

    async def ready(self) -> bool:
        try:
            async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
                answer = await client.get(f"{self.settings.api_url}/api/v1/health/ready")
        except httpx.HTTPError:
            return False
        return answer.is_success


class Shop:
    """The servers, the migrated database, and every process of the product, one node worker for each node.

    As a context manager it starts all of it and then publishes its addresses; it stops in the opposite order.
    Ports are those of the last run or the usual ones, as far as they are free. What EmbeddedServers and
    Process raise, it raises.
    """

    def __init__(self, settings: Settings, *, headless: bool = False, report: Report = log.warning) -> None:
        """Its addresses replace those of the settings; the rest holds for every process of the shop.

        `report` is told, a sentence each, of the steps while it starts, and later of every process that died or
        is back.
        """
        self.settings = settings
        self.processes: Sequence[Process] = ()
        """In the order in which they start: servers, workers, gateway, API."""
        self.metrics: dict[str, str] = {}
        """Where each of the product's processes serves its metrics."""
        self._ports = addresses.preferred_ports(settings.state_dir)
        self._headless = headless
        self._report = report
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            servers = EmbeddedServers(
                self.settings.state_dir, headless=self._headless, preferred_ports=self._ports, report=self._report
            )
            self.processes = servers.servers
            await stack.enter_async_context(servers)
            own = {"api_host": LOOPBACK, "api_port": port(self._ports["api"])}
            self.settings = self.settings.model_copy(update=servers.addresses | own)

            self._report("Migrating the database")
            await migrate(self.settings.database_url, self.settings.database_writer_url)

            self._report("Starting the workers, the gateway and the API")
            workers = [self._product("worker", "worker")]
            workers += [
                self._product(f"node-{node.node_id}", "worker", "--node", node.node_id)
                for node in load_registry(self.settings.nodes_file).nodes
            ]
            gateway = self._product("gateway", "gateway")
            api = ApiProcess("api", "api", settings=self.settings, report=self._report)
            self.metrics["api"] = f"{self.settings.api_url}/metrics"
            for group in (workers, [gateway], [api]):
                self.processes = [*self.processes, *group]
                stack.push_async_callback(_stop, group)
            await _start([*workers, gateway, api])

            stack.callback(addresses.withdraw, self.settings.state_dir)
            addresses.publish(self.settings, self.metrics)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, traceback)

    def process(self, name: str) -> Process:
        """`postgres`, `broker`, `temporal`, `worker`, `node-{node_id}`, `gateway` or `api`; else KeyError."""
        return {process.name: process for process in self.processes}[name]

    def _product(self, name: str, *arguments: str) -> ProductProcess:
        own = port(self._ports.get(name))
        self.metrics[name] = f"http://{LOOPBACK}:{own}/metrics"
        settings = self.settings.model_copy(update={"metrics_host": LOOPBACK, "metrics_port": own})
        return ProductProcess(name, *arguments, settings=settings, report=self._report)


async def _start(processes: Sequence[Process]) -> None:
    """Start all at once; the first that fails ends the attempt, and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for process in processes:
                group.create_task(process.start())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def _stop(processes: Sequence[Process]) -> None:
    async with asyncio.TaskGroup() as group:
        for process in processes:
            group.create_task(process.stop())


def _hold(state_dir: Path) -> IO[str]:
    """Take the state folder until the file that this returns is closed."""
    state_dir.mkdir(parents=True, exist_ok=True)
    lock = (state_dir / "lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip()
        lock.close()
        raise ShopRunsError(f"a shop runs on {state_dir} already, as process {holder}; stop it first") from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock
