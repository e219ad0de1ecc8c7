"""The chain of contracts of one part, scene by scene: tested, signed, handed on in two transfers."""

from collections.abc import Callable
from functools import cached_property

from rich.table import Table
from rich.text import Text

from schemas.client_order import Standing
from schemas.client_po import ClientPOStatus
from schemas.permission import Role
from schemas.transfer import Destination, LegStatus
from workers.demo.stage import Body, Stage, check, get, post

STANDING_COLOURS = {
    Standing.STUCK: "red",
    Standing.UNDER_WAY: "cyan",
    Standing.TO_COME: "dim",
    Standing.ENDED: "magenta",
    Standing.COMPLETE: "green",
}

LEG_COLOURS = {
    LegStatus.COMPLETE: "green",
    LegStatus.FAILED: "yellow",
    LegStatus.WAITING: "red",
    LegStatus.AWAITING_DISPOSITION: "magenta",
    LegStatus.NOT_APPLICABLE: "dim",
}

CHAIN = ("lp-fan-blade", "cp-fan-blade", "fi-fan-blade")
"""The samples of one client order, in their order."""

READINGS = {
    "liquid_penetrant": {"name": "longest indication", "value": "0.4", "unit": "mm"},
    "nital_etch": {"name": "etching time", "value": "45", "unit": "s"},
    "dimensional": {"name": "chord length", "value": "87.012", "unit": "mm"},
}
"""What is measured, by the type of the test."""


class Chain:
    """The fan blade's client order, as the supervisor watches it."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._contracts: list[Body] = []

    @cached_property
    def blade(self) -> list[Body]:
        """The contracts of the fan blade: penetrant test, etch inspection, final inspection."""
        return [self._stage.sample(name) for name in CHAIN]

    async def arrives(self) -> None:
        document = self.blade[0]
        name = await self._stage.stage(document)
        await self._stage.scan(document, "BC-BLADE")
        await self._stage.until_status(name, ClientPOStatus.RELEASED)

    async def perform(self, contract: Body) -> None:
        """Ines performs the tests of a contract and signs for them, then Quentin does."""
        name = contract["smart_contract_id"]
        await self.until_in_chain(name, "at its node", lambda found: found["test"] is not None)
        instruments = [instrument for test in contract["tests"] for instrument in test["equipment"]]
        await post(self._stage.ines, f"/tests/{name}/start", instruments=instruments)
        results = [
            {
                "test_id": test["test_id"],
                "verdict": "accept",
                "readings": [READINGS[test["test_type"]]],
                "procedure_followed": True,
            }
            for test in contract["tests"]
        ]
        await post(self._stage.ines, f"/tests/{name}/results", results=results)
        await self._stage.sign(self._stage.ines, Role.INSPECTOR, name, "performed")
        check((await self.in_chain(name))["transfers"] == [], f"{name} was authorized with one of two signatures")
        await self._stage.sign(self._stage.quality, Role.QUALITY_MANAGER, name, "approved")

    async def order(self) -> Body:
        """The client order of the fan blade."""
        return await get(self._stage.http, f"/client-orders/{self.blade[0]['clientpo_id']}")

    async def in_chain(self, name: str) -> Body:
        """One contract of it; empty where the chain does not know it yet."""
        return next((found for found in (await self.order())["contracts"] if found["smart_contract_id"] == name), {})

    async def until_in_chain(self, name: str, what: str, condition: Callable[[Body], bool]) -> Body:
        return await self._stage.eventually(
            lambda: self.in_chain(name),
            lambda found: bool(found) and condition(found),
            lambda found: f"{name} is not {what}; it waits for {found.get('waits_for', 'nobody, nobody knows it')}",
        )

    async def vault_away(self) -> None:
        """The dispatcher takes the next contract from the store, and stages it whatever becomes of the vault."""
        first, second, third = self.blade
        for contract in (second, third):
            stored = await self._stage.hub.put(f"/contracts/{contract['smart_contract_id']}", json=contract)
            stored.raise_for_status()
        await self._stage.vault.cut()
        await self.perform(first)
        name = first["smart_contract_id"]
        moved = await self.until_in_chain(name, "at the next node", leg(Destination.NEXT_NODE, LegStatus.COMPLETE))
        check(leg_status(moved, Destination.VAULT) != LegStatus.COMPLETE, "the vault has what it cannot have got")
        await self._stage.scan(second, "BC-BLADE-CP", place=second["tests"][0]["assigned_node"])
        await self.until_in_chain(
            second["smart_contract_id"], "released", lambda found: found["po_status"] == ClientPOStatus.RELEASED
        )

    async def vault_back(self) -> None:
        name = self.blade[0]["smart_contract_id"]
        stuck = await self.until_in_chain(name, "waiting for a person", leg(Destination.VAULT, LegStatus.WAITING))
        package_id = stuck["transfers"][-1]["package_id"]
        check((await self.order())["standing"] == Standing.STUCK, "the client order does not say that it is stuck")
        check(
            len(await self._stage.entries(package_id, "transfer_to_vault")) == 4,
            "one attempt and three retries are four",
        )
        await self._stage.until_recorded(package_id, "escalate_failure")
        await self._stage.vault.join(self._stage.shop.settings.api_port)
        await post(self._stage.http, f"/transfers/{package_id}/retry", destination=Destination.VAULT)
        await self.until_in_chain(name, "complete", lambda found: found["standing"] == Standing.COMPLETE)

    async def chain_ends(self) -> None:
        _, second, third = self.blade
        await self.perform(second)
        await self.until_in_chain(third["smart_contract_id"], "staged", lambda found: found["po_status"] is not None)
        await self._stage.scan(third, "BC-BLADE-FI", place=third["tests"][0]["assigned_node"])
        await self.perform(third)
        for contract in self.blade:
            name = contract["smart_contract_id"]
            await self.until_in_chain(name, "complete", lambda found: found["standing"] == Standing.COMPLETE)
            revisions = (await get(self._stage.http, f"/vault/{name}"))["revisions"]
            check(len(revisions) == 1, f"the vault has {len(revisions)} packages of {name}")
            report = await self._stage.http.get(f"/vault/{name}/report")
            report.raise_for_status()
            check(report.content.startswith(b"%PDF"), f"the report of {name} is no PDF")
        order = await self.order()
        check(order["standing"] == Standing.COMPLETE, f"the client order is {order['standing']}")
        check(order["notified_at"] is not None, "the Business Hub does not know that the client order is complete")

    # --- the picture ----------------------------------------------------------------------------------------

    async def fetch(self) -> None:
        self._contracts = (await self.order())["contracts"]

    def draw(self) -> Table:
        """The contracts of the fan blade, each with both legs of its transfer."""
        table = Table(title="The chain of the fan blade", expand=True)
        for column in ("Contract, station", "Stands", "Vault", "Next node", "Waits for"):
            table.add_column(column, no_wrap=column != "Waits for")
        for contract in self._contracts:
            standing = Standing(contract["standing"])
            table.add_row(
                f"{contract['smart_contract_id']}\n{contract['node']}",
                Text(standing, style=STANDING_COLOURS[standing]),
                *(_leg(contract, destination) for destination in (Destination.VAULT, Destination.NEXT_NODE)),
                contract["waits_for"],
            )
        return table


def leg_status(contract: Body, destination: Destination) -> LegStatus | None:
    """Of the last package of a contract; None while there is none."""
    legs = (
        {leg["destination"]: leg["status"] for leg in contract["transfers"][-1]["legs"]}
        if contract["transfers"]
        else {}
    )
    return LegStatus(legs[destination]) if legs else None


def leg(destination: Destination, status: LegStatus) -> Callable[[Body], bool]:
    """Whether a contract's leg is in this state."""
    return lambda contract: leg_status(contract, destination) is status


def _leg(contract: Body, destination: Destination) -> Text:
    status = leg_status(contract, destination)
    return Text("") if status is None else Text(status, style=LEG_COLOURS.get(status, "cyan"))
