"""The product's processes with a point at which they kill themselves: once, like a power cut at that very moment.

    python -m tests.acceptance.mortal POINT MARKER (worker | node NODE | gateway | api)

The process dies by SIGKILL when it first comes to POINT, and leaves the file MARKER; where MARKER is, it is as
immortal as the product's own. The points are made from outside: by a worker interceptor, and by functions put in the
place of the product's in this process alone.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from infra.embedded.process import Report
from infra.embedded.shop import ApiProcess, ProductProcess
from infra.settings import Settings
from infra.temporal import ClientPOStarter, PartArrivals
from schemas.record import Record
from workers import gateway
from workers.cli import api
from workers.process import start_logging
from workers.worker import run_main_worker, run_node_worker


class Mortal(ProductProcess):
    """In the place of a worker or the gateway."""

    def __init__(self, name: str, *arguments: str, point: str, settings: Settings, report: Report = print) -> None:
        super().__init__(name, *arguments, settings=settings, report=report)
        self.point = point
        self.marker = settings.state_dir / "run" / f"{name} died {point}"
        self.marker.unlink(missing_ok=True)

    @property
    def died(self) -> bool:
        return self.marker.exists()

    def command(self) -> list[str | Path]:
        return [sys.executable, "-m", "tests.acceptance.mortal", self.point, self.marker, *self.arguments]


class MortalApi(Mortal, ApiProcess):
    """In the place of the API."""


class Fate:
    """Strikes once, at its point."""

    def __init__(self, point: str, marker: Path) -> None:
        self.point = point
        self.marker = marker

    def strike(self, point: str) -> None:
        if point == self.point and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The coroutine function with a point before it and one after it."""

        async def mortal(*arguments: Any) -> Any:
            self.strike(f"before {name}")
            result = await function(*arguments)
            self.strike(f"after {name}")
            return result

        return mortal


class Deadly(Interceptor):
    """Points before and after every activity, local or not; a record is named by its action."""

    def __init__(self, fate: Fate) -> None:
        self._fate = fate

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return _DeadlyActivity(next, self._fate)


class _DeadlyActivity(ActivityInboundInterceptor):
    def __init__(self, following: ActivityInboundInterceptor, fate: Fate) -> None:
        super().__init__(following)
        self._fate = fate

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        argument = input.args[0] if input.args else None
        name = argument.entry.action if isinstance(argument, Record) else activity.info().activity_type
        return await self._fate.around(name, super().execute_activity)(input)


def main(point: str, marker: str, process: str, node: str = "") -> None:
    start_logging()
    fate = Fate(point, Path(marker))
    match process:
        case "worker":
            asyncio.run(run_main_worker(Settings(), [Deadly(fate)]))
        case "node":
            asyncio.run(run_node_worker(Settings(), node, [Deadly(fate)]))
        case "gateway":
            _put(PartArrivals, "report", fate.around("report", PartArrivals.report))
            asyncio.run(gateway.run_gateway(Settings()))
        case "api":
            _put(ClientPOStarter, "start", fate.around("start", ClientPOStarter.start))
            api()


def _put(owner: type, name: str, function: Callable[..., Any]) -> None:
    setattr(owner, name, function)


if __name__ == "__main__":
    arguments: Sequence[str] = sys.argv[1:]
    main(*arguments)
