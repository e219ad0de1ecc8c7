"""What every long-running process does alike: its log, its ready file, stopping on SIGTERM and Ctrl-C."""

import asyncio
import logging
import os
import signal
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError
from temporalio.service import RPCError

AWAY = (RPCError, SQLAlchemyError, OSError, TimeoutError)
"""What a server that is away looks like; it is tried again until it is back."""


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
