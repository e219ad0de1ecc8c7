"""The main job, scene by scene: a PO is released when its part is there, and never before."""

from rich.table import Table
from rich.text import Text

from infra.checkpoint import NoKey, checkpoint
from infra.database import create_engine
from infra.node_store import NodeStore
from infra.verify import verify_ledger
from infra.verify_export import Broken
from schemas.client_po import ClientPOStatus
from workers.demo.stage import Body, Failed, Stage, check

COLOURS = {
    ClientPOStatus.AWAITING_ARRIVAL: "yellow",
    ClientPOStatus.ARRIVAL_CONFIRMED: "cyan",
    ClientPOStatus.READY_FOR_RELEASE: "cyan",
    ClientPOStatus.RELEASED: "green",
    ClientPOStatus.HOLD: "magenta",
    ClientPOStatus.CANCELLED: "red",
}


class MainJob:
    """The staging queue, as the supervisor watches it."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._queue: list[Body] = []

    async def gated(self) -> None:
        """Staged first, looked at last."""
        stage = self._stage
        name = next(po for po in stage.staged if "005" in po)
        po = await stage.see(name)
        check(po["status"] == ClientPOStatus.AWAITING_ARRIVAL, f"{name} is {po['status']} though its part never came")
        check(not await stage.entries(name, "release_client_po"), f"{name} has a release in the ledger")

    async def came_early(self) -> None:
        stage = self._stage
        document = stage.sample("cp-landing-gear")
        await stage.scan(document, "BC-PIN")
        early = await stage.until_recorded(document["part_id"], "receive_arrival")
        name = await stage.stage(document)
        po = await stage.until_status(name, ClientPOStatus.RELEASED)
        check(early[0]["seq"] < po["timeline"][0]["seq"], "the part was not there before the PO")

    async def on_hold(self) -> None:
        stage = self._stage
        document = stage.sample("lp-compressor-hub")
        name = await stage.stage(document)
        await stage.act(name, "hold", "client request: drawing under revision")
        await stage.scan(document, "BC-HUB")
        po = await stage.until(name, "confirmed", lambda po: po["arrival_timestamp"] is not None)
        check(po["status"] == ClientPOStatus.HOLD, f"{name} is {po['status']} though it was on hold")
        await stage.act(name, "resume", "drawing released")
        await stage.until_status(name, ClientPOStatus.RELEASED)

    async def duplicate(self) -> None:
        stage = self._stage
        document = stage.sample("fi-fastener-lot")
        name = await stage.stage(document)
        part = document["part_number"]
        await stage.scan(document, "BC-LOT-1", 6)
        await stage.until(name, "at 6 of 10", lambda po: po["arrived"] == 6)
        await stage.scan(document, "BC-LOT-1", 6)
        await stage.until_recorded(part, "duplicate_broadcast")
        po = await stage.see(name)
        check(po["arrived"] == 6, f"the duplicate was counted: {po['arrived']} of 10")
        await stage.scan(document, "BC-LOT-2", 4)
        await stage.until_status(name, ClientPOStatus.RELEASED)

    async def four_eyes(self) -> None:
        stage = self._stage
        document = stage.sample("fi-fastener-lot") | {
            "smart_contract_id": f"SC-2026-007-FI-{stage.run}",
            "part_number": f"PN-FASTENER-7-{stage.run}",
        }
        name = await stage.stage(document)
        await stage.scan(document, "BC-LOT-3", 6)
        await stage.until(name, "at 6 of 10", lambda po: po["arrived"] == 6)
        await stage.act(name, "accept-quantity", "the client needs six now")
        approval_id = (await stage.see(name))["pending_approval"]
        check(approval_id is not None, f"no approval is asked for {name}")
        await stage.until_recorded(approval_id, "request_approval")
        own = await stage.answer(stage.admin, approval_id)
        check(own.status_code == 409, f"Maria could approve what she asked for: {own.status_code}")
        check("another person" in own.json()["detail"], own.json()["detail"])
        other = await stage.answer(stage.quality, approval_id)
        check(other.is_success, f"the quality manager could not approve: {other.text}")
        po = await stage.until_status(name, ClientPOStatus.RELEASED)
        check(po["accepted_quantity"] == 6, f"{name} was released with {po['accepted_quantity']} of 10")

    async def worker_killed(self) -> None:
        """The node is stopped, so that the release is under way for sure when the worker is killed."""
        stage = self._stage
        document = stage.sample("cp-landing-gear") | {
            "smart_contract_id": f"SC-2026-006-CP-{stage.run}",
            "part_id": f"PART-LGP-20872-{stage.run}",
        }
        node_id = document["tests"][0]["assigned_node"]
        node, worker = stage.shop.process(f"node-{node_id}"), stage.shop.process("worker")
        await node.stop()
        name = await stage.stage(document)
        await stage.scan(document, "BC-PIN-2")
        await stage.until_status(name, ClientPOStatus.READY_FOR_RELEASE)
        await worker.kill()
        await node.start()
        await worker.start()
        await stage.until_status(name, ClientPOStatus.RELEASED)
        for action in ("confirm_arrival", "release_client_po"):
            found = await stage.entries(name, action)
            check(len(found) == 1, f"the ledger has {len(found)} entries {action} for {name}")
        taken = [po.smart_contract_id for po in NodeStore(node_id, stage.shop.settings.node_store(node_id)).inbox()]
        check(taken.count(name) == 1, f"{node_id} has {name} {taken.count(name)} times")

    async def ledger_verifies(self) -> None:
        stage = self._stage
        engine = create_engine(stage.shop.settings.database_writer_url)
        try:
            await checkpoint(engine, stage.shop.settings)
            await verify_ledger(engine, stage.shop.settings)
        except (Broken, NoKey) as problem:
            raise Failed(str(problem)) from problem
        finally:
            await engine.dispose()

    # --- the picture ----------------------------------------------------------------------------------------

    async def fetch(self) -> None:
        answer = await self._stage.http.get("/staging-queue", params={"limit": 500})
        found = {po["smart_contract_id"]: po for po in answer.json().get("queue", [])}
        self._queue = [found[name] for name in self._stage.staged if name in found]

    def draw(self) -> Table:
        table = Table(title="The staging queue", expand=True)
        for column in ("SmartClientPO", "Status", "Arrived", "Waits for"):
            table.add_column(column, no_wrap=column != "Waits for")
        for po in self._queue:
            status = ClientPOStatus(po["status"])
            table.add_row(
                po["smart_contract_id"],
                Text(status, style=COLOURS[status]),
                f"{po['arrived']} of {po['accepted_quantity'] or po['quantity']}",
                po["waits_for"],
            )
        return table
