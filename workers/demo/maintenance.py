"""Equipment that is not fit, and a contract that gets better, scene by scene."""

import asyncio
import os
import sys
from datetime import UTC, date, datetime, timedelta
from functools import partial

from rich.table import Table
from rich.text import Text

from schemas.client_po import ClientPOStatus
from schemas.equipment import EquipmentState
from schemas.maintenance import ContractStatus
from workers.demo.stage import Body, Stage, check, get, post
from workers.node import COLOURS

CELL_1, CELL_2 = "NOD-TestStation-LP-01", "NOD-TestStation-LP-02"

INTERVAL = 180
"""Days from a thermometer's calibration to the next."""

CONTRACT_COLOURS = {
    ContractStatus.DRAFT: "dim",
    ContractStatus.ACTIVE: "green",
    ContractStatus.MONITORING: "green",
    ContractStatus.DEPRECATED: "magenta",
    ContractStatus.ARCHIVED: "magenta",
}

ACKNOWLEDGED = {ContractStatus.ACTIVE, ContractStatus.MONITORING}
"""By all of its nodes."""

NOTHING_DONE = 2
"""Exit status of a local command that recorded nothing, because the node does not know the instrument or contract."""


class Maintenance:
    """A thermometer, three portable lamps and the lamps' contract, as Mike, the maintenance engineer, watches them."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._thermometer = f"THERMOMETER-{stage.run}"
        self._lamps = {
            f"LAMP-A-{stage.run}": CELL_1,
            f"LAMP-B-{stage.run}": CELL_1,
            f"LAMP-C-{stage.run}": CELL_2,
        }
        self._contract = f"LP-portable-uv-lamp-{stage.run}"
        self._equipment: list[Body] = []
        self._versions: list[Body] = []

    # --- what people do -------------------------------------------------------------------------------------

    async def register(self, equipment_id: str, equipment_type: str, description: str, node_id: str) -> None:
        await post(
            self._stage.mike,
            "/equipment",
            equipment_id=equipment_id,
            equipment_type=equipment_type,
            description=description,
            node_id=node_id,
            calibration_interval_days=INTERVAL,
        )

    async def calibrate(self, number: int, on: date) -> None:
        """The laboratory's certificate for the thermometer, as it is recorded."""
        await post(
            self._stage.mike,
            f"/equipment/{self._thermometer}/calibrations",
            equipment_id=self._thermometer,
            certificate_number=f"DKD-{self._stage.run}-{number}",
            calibrated_on=on.isoformat(),
            result="passed",
            provider="Kalibrierdienst Nord",
            technician="t.weber",
        )

    async def deploy(self, version: str) -> None:
        """Mike validates and asks, the quality manager approves, each node acknowledges by itself."""
        path = f"/maintenance/contracts/{self._contract}/versions/{version}"
        await post(self._stage.mike, f"{path}/validate")
        seen = await get(self._stage.mike, path)
        check(seen["status"] == ContractStatus.VALIDATED, f"version {version} is not valid: {seen['validation']}")
        await post(self._stage.mike, f"{path}/deploy", reason="for all penetrant cells")
        asked = await self._stage.eventually(
            partial(get, self._stage.mike, path),
            lambda seen: seen["pending_approval"] is not None,
            lambda _: f"no approval is asked for version {version}",
        )
        await self.approve(asked["pending_approval"])
        await self.until_version(version, *ACKNOWLEDGED)

    async def approve(self, approval_id: str) -> None:
        await self._stage.until_recorded(approval_id, "request_approval")
        answer = await self._stage.answer(self._stage.quality, approval_id)
        check(answer.is_success, f"the quality manager could not approve {approval_id}: {answer.text}")

    async def check_lamp(self, lamp: str, intensity: int) -> None:
        """By the node's own command, with nothing but its disk, once it has heard of the lamp and the contract.

        Too weak a lamp fails the check.
        """
        command = [
            *(sys.executable, "-m", "workers.cli", "node", "check"),
            *("--node", self._lamps[lamp], "--equipment", lamp, "--type", "irradiance", "--person", "mike"),
            *("--contract", self._contract),
            *("--reading", f"intensity={intensity} uW/cm2", "--reading", "ambient=12 lx"),
        ]
        status, said = await self._stage.eventually(
            partial(_run, command, {"SMARTFLOOR_STATE_DIR": str(self._stage.shop.settings.state_dir)}),
            lambda done: done[0] != NOTHING_DONE,
            lambda done: f"{lamp} cannot be checked: {done[1]}",
        )
        check(status == 1, f"{lamp} passed its check with {intensity} uW/cm2: {said}")

    async def until_version(self, version: str, *statuses: ContractStatus) -> Body:
        path = f"/maintenance/contracts/{self._contract}/versions/{version}"
        return await self._stage.eventually(
            partial(get, self._stage.mike, path),
            lambda seen: seen["status"] in statuses,
            lambda seen: f"version {version} is {seen['status']}, and waits for {seen['waits_for']}",
        )

    # --- the scenes -----------------------------------------------------------------------------------------

    async def expired_thermometer(self) -> None:
        """Specification 4, "SmartMaintenance Contract Execution Workflow Example"."""
        stage, today = self._stage, datetime.now(UTC).date()
        await self.register(self._thermometer, "digital_thermometer", "Digital thermometer of the wash", CELL_1)
        await self.calibrate(1, today - timedelta(days=INTERVAL + 10))
        document = stage.sample("lp-compressor-hub") | {
            "smart_contract_id": f"SC-2026-008-LP-{stage.run}",
            "part_id": f"PART-CH-20881-{stage.run}",
        }
        for test in document["tests"]:
            test["equipment"] = [self._thermometer]
        name = await stage.stage(document)
        await stage.scan(document, "BC-HUB-2")
        await stage.until_status(name, ClientPOStatus.RELEASED)
        await stage.until_recorded(name, "await_test")
        await stage.until_recorded(self._thermometer, "record_calibration")
        await post(stage.ines, f"/tests/{name}/start", instruments=[self._thermometer])
        blocked = await get(stage.ines, f"/tests/{name}")
        check(blocked["status"] == "blocked", f"the test of {name} is {blocked['status']} with an expired thermometer")
        await self.calibrate(2, today)
        await stage.eventually(
            partial(get, stage.ines, f"/tests/{name}"),
            lambda test: test["status"] == "running",
            lambda test: f"the test of {name} is {test['status']}, and waits for {test['waits_for']}",
        )
        check(len(await stage.entries(name, "equipment_not_ready")) > 0, "the ledger does not say that it was blocked")

    async def three_alerts(self) -> None:
        """Specification 3, "SmartMaintenance Contract Workflow Example"."""
        stage = self._stage
        await post(
            stage.mike,
            "/maintenance/contracts",
            template="uv-lamp",
            station_type="LP",
            name=self._contract.removeprefix("LP-"),
            changes=[
                {
                    "field": "/equipment_types",
                    "before": ["uv_lamp"],
                    "after": ["portable_uv_lamp"],
                    "reason": "portable lamps have less power",
                }
            ],
        )
        await self.deploy("1.0")
        for lamp, node_id in self._lamps.items():
            await self.register(lamp, "portable_uv_lamp", "Portable UV-A lamp", node_id)
        for lamp, intensity in zip(self._lamps, (870, 850, 860), strict=True):
            await self.check_lamp(lamp, intensity)
        found = await stage.eventually(
            partial(get, stage.mike, f"/maintenance/reviews?contract_id={self._contract}"),
            lambda found: bool(found["reviews"]),
            lambda _: f"no review of {self._contract} was opened",
        )
        [review] = found["reviews"]
        check(review["review_type"] == "contract_review", f"alerts of two nodes opened an {review['review_type']}")
        await self.approve(review["review_id"])

    async def improved(self) -> None:
        draft = await self._stage.eventually(
            partial(get, self._stage.mike, f"/maintenance/contracts/{self._contract}"),
            lambda history: len(history["versions"]) == 2,
            lambda _: f"no second version of {self._contract}",
        )
        [change] = next(version for version in draft["versions"] if version["version"] == "1.1")["changes"]
        check((change["before"], change["after"]) == ("1000", "850"), f"another change is proposed: {change}")
        await self.deploy("1.1")
        await self.until_version("1.0", ContractStatus.ARCHIVED)
        deployed = (await self.until_version("1.1", *ACKNOWLEDGED))["deployments"]
        nodes = sorted(one["node_id"] for one in deployed if one["status"] == "acknowledged")
        check(nodes == [CELL_1, CELL_2], f"version 1.1 is in force at {', '.join(nodes) or 'no node'}")

    # --- the picture ----------------------------------------------------------------------------------------

    async def fetch(self) -> None:
        mine = {self._thermometer, *self._lamps}
        found = [*(await self._of_type("digital_thermometer")), *(await self._of_type("portable_uv_lamp"))]
        self._equipment = [line for line in found if line["equipment_id"] in mine]
        answer = await self._stage.http.get(f"/maintenance/contracts/{self._contract}")
        self._versions = answer.json()["versions"] if answer.is_success else []

    async def _of_type(self, equipment_type: str) -> list[Body]:
        answer = await self._stage.http.get("/equipment", params={"type": equipment_type, "limit": 500})
        answer.raise_for_status()
        found: list[Body] = answer.json()["equipment"]
        return found

    def draw(self) -> Table:
        table = Table(title="Equipment, and the contract of the portable lamps", expand=True)
        for column in ("Instrument, version", "Where", "Stands", "Due, waits for"):
            table.add_column(column)
        for line in self._equipment:
            state = EquipmentState(line["state"])
            due = "never calibrated" if line["due_on"] is None else f"{line['due_on']} ({line['days_left']} days)"
            table.add_row(line["equipment_id"], line["node_id"], Text(state, style=COLOURS[state]), due)
        for version in self._versions:
            status = ContractStatus(version["status"])
            shown = Text(status, style=CONTRACT_COLOURS.get(status, "cyan"))
            table.add_row(f"{version['contract_id']} {version['version']}", "", shown, version["waits_for"])
        return table


async def _run(command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Exit status, and what was said."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode().strip()
