"""Whole chains of three contracts, as people and scanners drive them over HTTP and MQTT.

There is no floor for this: what a person does has no bare form. What Temporal counts for one contract does not depend
on the machine.
"""

import asyncio
import json
import tempfile
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table

from infra.embedded.addresses import USUAL_PORTS
from infra.embedded.ports import port
from infra.embedded.shop import Shop
from infra.settings import Settings
from infra.temporal import connect
from schemas import names
from tests.acceptance.chain import Chain, staged
from tests.acceptance.floor import CP, FI, LP, Floor, client
from tests.benchmarks.release import counted, silent

CHAINS = 8


async def run(console: Console) -> None:
    """Measures on a shop of its own and prints; takes about a minute."""
    with tempfile.TemporaryDirectory(prefix="smartfloor-bench-", ignore_cleanup_errors=True) as folder:
        state_dir = Path(folder)
        (state_dir / "ports.json").write_text(json.dumps({name: port() for name in USUAL_PORTS}))
        settings = Settings(state_dir=state_dir, rate_limit="1000/second", transfer_first_pause=timedelta(seconds=1))
        async with Shop(settings, headless=True, report=silent) as shop, client(shop.settings) as http:
            floor = Floor(shop, http, await connect(shop.settings), {})
            chains = [await staged(floor, LP, CP, FI) for _ in range(CHAINS)]
            began = time.perf_counter()
            await asyncio.gather(*(_through(chain) for chain in chains))
            seconds = time.perf_counter() - began
            events, actions = await _counts(floor, chains[0])
    table = Table("", "", title=f"{CHAINS} chains of three contracts at once, every test signed by two")
    table.add_row("contracts fully complete per second", f"{3 * CHAINS / seconds:.1f}")
    table.add_row("history events of one contract, staged to fully complete", f"{events:.0f}")
    table.add_row("Temporal actions of one contract", f"{actions:.0f}")
    console.print(table)


async def _through(chain: Chain) -> None:
    for contract in chain.contracts:
        await contract.performed()
        await contract.until_leg("vault", "complete")
    await chain.until("complete")


async def _counts(floor: Floor, chain: Chain) -> tuple[float, float]:
    """The part's own workflow is shared by the three."""
    part = names.part_arrival_id(chain.contracts[0].document["part_id"], None)
    ids = [part]
    for contract in chain.contracts:
        ids += [
            names.client_po_id(contract.name),
            names.test_execution_id(contract.name),
            names.transfer_id(contract.package()),
        ]
    total: Counter[str] = Counter()
    for workflow_id in ids:
        total.update(await counted(floor.temporal, workflow_id))
    return total["events"] / len(chain.contracts), total["actions"] / len(chain.contracts)
