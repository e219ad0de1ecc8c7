"""`make bench`: every figure beside a floor from the same run, and what it ran on."""

import asyncio
import os
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path

import psutil
from rich.console import Console

from infra.database import migrate
from infra.embedded.shop import EmbeddedServers
from tests.benchmarks import access, chain, decision, gate, ledger, release, reverse_trace, transfer


async def main() -> None:
    console = Console()
    memory = psutil.virtual_memory().total / 2**30
    console.print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} "
        f"{platform.release()}, Python {platform.python_version()}, temporalio {version('temporalio')}, "
        f"load {os.getloadavg()[0]:.1f}",
        highlight=False,
    )
    with tempfile.TemporaryDirectory(prefix="smartfloor-bench-", ignore_cleanup_errors=True) as folder:
        async with EmbeddedServers(Path(folder), durable=False, headless=True) as servers:
            await migrate(servers.settings.database_url, servers.settings.database_writer_url)
            await release.run(servers.settings, console)
            await transfer.run(servers.settings, console)
            await chain.run(console)
            await ledger.run(servers.settings)
            await decision.run(servers.settings, console)
            await access.run(servers.settings, console)
            gate.run(console)
            await reverse_trace.run(servers.settings, console)


if __name__ == "__main__":
    asyncio.run(main())
