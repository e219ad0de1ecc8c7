"""What Prometheus finds, at the addresses that the shop publishes."""

import json
import re
from uuid import uuid4

import httpx

from infra.registry import load_registry
from tests.acceptance.floor import Floor, new, until


def addresses(floor: Floor) -> dict[str, str]:
    """Where each process serves its metrics, by its name."""
    found: dict[str, str] = json.loads((floor.settings.state_dir / "addresses.json").read_text())["metrics"]
    return found


async def scrape(floor: Floor, name: str) -> str:
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(addresses(floor)[name])
    answer.raise_for_status()
    return answer.text


async def broadcasts(floor: Floor) -> dict[str, int]:
    """What the gateway has counted."""
    found = re.findall(r"^smartfloor_broadcasts_(\w+)_total{.*} (\d+)$", await scrape(floor, "gateway"), re.MULTILINE)
    return {what: int(number) for what, number in found}


class TestMetrics:
    async def test_of_every_process_hold_those_of_its_sdk_where_the_shop_says(self, floor: Floor) -> None:
        nodes = {f"node-{node.node_id}" for node in load_registry(floor.settings.nodes_file).nodes}
        assert addresses(floor).keys() == {"worker", "gateway", "api"} | nodes
        for name in addresses(floor):
            assert "temporal_request{" in await scrape(floor, name), name

    async def test_of_the_gateway_count_what_it_received_acknowledged_and_could_not_read(self, floor: Floor) -> None:
        before = await broadcasts(floor)
        assert before.keys() == {"received", "acknowledged", "dead_lettered"}
        await floor.broadcast(part_id=new("PART"))
        await floor.send_malformed(f"no arrival {uuid4().hex}".encode())
        more = {"received": 2, "acknowledged": 2, "dead_lettered": 1}
        await until(lambda: broadcasts(floor), lambda now: all(now[what] >= before[what] + more[what] for what in more))
