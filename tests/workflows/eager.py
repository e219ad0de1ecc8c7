"""A Temporal server on which workflows have short runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from infra.embedded.temporal import Temporal

SUGGEST_AFTER = 40
"""Events of one run, instead of thousands."""


class EagerTemporal(Temporal):
    """Suggests continue-as-new early."""

    def command(self) -> list[str | Path]:
        early = f"limit.historyCount.suggestContinueAsNew={SUGGEST_AFTER}"
        return [*super().command(), "--dynamic-config-value", early]


@asynccontextmanager
async def eager_server(folder: Path) -> AsyncIterator[EagerTemporal]:
    """One that is stopped afterwards, also where the test has failed."""
    server = EagerTemporal(folder, report=lambda _: None, durable=False, headless=True)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
