"""What every long-running process does alike: its log, its ready file, stopping on SIGTERM and Ctrl-C."""

import asyncio
import logging
import os
import signal
from pathlib import Path

from temporalio.service import RPCError, RPCStatusCode

from infra import database

_AWAY = {
    RPCStatusCode.CANCELLED,  # what the SDK makes of its own timeout
    RPCStatusCode.UNKNOWN,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.RESOURCE_EXHAUSTED,
    RPCStatusCode.ABORTED,
    RPCStatusCode.INTERNAL,
    RPCStatusCode.UNAVAILABLE,
}


def is_away(error: BaseException) -> bool:
    """Whether Temporal or the database is at fault and not what it was asked: that is tried until it is back."""
    if isinstance(error, RPCError):
        return error.status in _AWAY
    return database.is_away(error)


def start_logging() -> None:
    """One line a record on stderr."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)


def say_ready() -> None:
    """Tells whoever started this process that it works."""
    if file := os.environ.get("SMARTFLOOR_READY_FILE"):
        Path(file).touch()


def stop_requested() -> asyncio.Event:
    """Set by SIGTERM or Ctrl-C."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    return stop
