"""A chain of contracts for one part as the people around it know it: stored, scanned, performed, signed, disposed of.

Ines and Ivan are inspectors, Quentin is quality manager; Petra, the production manager, decides what becomes of a part
whose results are not accepted. Each has a token of their own.
"""

from dataclasses import dataclass, field
from typing import Any

import httpx
from temporalio.client import WorkflowHandle

from schemas import names
from schemas.permission import Role
from tests.acceptance.floor import CP, FI, LP, PATIENCE, Floor, Json, bearer, contract, new, until

TEST_TYPES = {
    LP: ("liquid_penetrant", ["UV-LAMP-04", "PENETRANT-LINE-1"]),
    CP: ("nital_etch", ["ETCH-TANK-2"]),
    FI: ("dimensional", ["CMM-01"]),
}
"""What each station tests, and with what."""

INES, IVAN = ("ines", Role.INSPECTOR), ("ivan", Role.INSPECTOR)
QUENTIN = ("quentin", Role.QUALITY_MANAGER)
PETRA = ("petra", Role.PRODUCTION_MANAGER)

Person = tuple[str, Role]

READING = {"name": "longest indication", "value": "0.4", "unit": "mm"}


@dataclass(frozen=True)
class Contract:
    """One contract of a chain in the shop."""

    chain: "Chain"
    document: Json

    @property
    def floor(self) -> Floor:
        return self.chain.floor

    @property
    def name(self) -> str:
        return str(self.document["smart_contract_id"])

    @property
    def node(self) -> str:
        return str(self.document["tests"][0]["assigned_node"])

    @property
    def test_id(self) -> str:
        return str(self.document["tests"][0]["test_id"])

    def package(self, revision: int = 1) -> str:
        return f"PKG-{self.name}-R{revision}"

    @property
    def test(self) -> WorkflowHandle[Any, Any]:
        """Its test as somebody in the Temporal Web UI has it."""
        return self.floor.temporal.get_workflow_handle(names.test_execution_id(self.name))

    # --- looking --------------------------------------------------------------------------------------------

    async def look(self) -> Json:
        """As the client order shows it; empty where that does not know it."""
        contracts = (await self.chain.look())["contracts"]
        return next((found for found in contracts if found["smart_contract_id"] == self.name), {})

    async def until(self, **fields: Any) -> Json:
        """Waits until these fields of it are so."""
        return await until(self.look, lambda seen: fields.items() <= seen.items())

    async def until_test(self, status: str) -> Json:
        return await until(self.look, lambda seen: (seen.get("test") or {}).get("status") == status)

    async def until_leg(self, destination: str, status: str, within: float = PATIENCE) -> Json:
        """Waits until a leg of its last package is in this state."""
        return await until(self.look, lambda seen: legs(seen).get(destination) == status, within)

    async def entries(self, target: str, action: str) -> list[Json]:
        return list(await self.floor.get("/api/v1/ledger/entries", target=target, action=action))

    async def vault(self) -> list[Json]:
        """The revisions that the vault has of it, the newest first."""
        found = await self.floor.ask("GET", f"/api/v1/vault/{self.name}")
        return list(found.json()["revisions"]) if found.is_success else []

    # --- what people do -------------------------------------------------------------------------------------

    async def scan(self) -> None:
        """The part comes to where this contract wants it."""
        first = self.document["sequence_number"] == 1
        await self.floor.scan(part_id=self.document["part_id"], **({} if first else {"location": self.node}))
        await self.until_test("waiting")

    async def start(self, who: Person = INES) -> httpx.Response:
        return await self._ask(who, "start", instruments=self.document["tests"][0]["equipment"])

    async def submit(self, verdict: str = "accept", value: str = "0.4", who: Person = INES) -> httpx.Response:
        result = {
            "test_id": self.test_id,
            "verdict": verdict,
            "readings": [{**READING, "value": value}],
            "procedure_followed": True,
        }
        return await self._ask(who, "results", results=[result])

    async def content_hash(self) -> str:
        """What somebody who looks at the results now would sign."""
        results = (await self.floor.get(f"/api/v1/tests/{self.name}"))["results"]
        [current] = [found for found in results if found["test_id"] == self.test_id and found["current"]]
        return str(current["content_hash"])

    async def sign(self, who: Person, meaning: str = "reviewed", content_hash: str | None = None) -> httpx.Response:
        return await self._ask(
            who,
            "signoffs",
            test_id=self.test_id,
            decision="sign",
            meaning=meaning,
            content_hash=content_hash or await self.content_hash(),
        )

    async def measured(self, verdict: str = "accept") -> None:
        """Scanned, started, and with results that wait for their signatures."""
        await self.scan()
        done(await self.start())
        done(await self.submit(verdict))
        await self.until_test("awaiting_signoff")

    async def performed(self, verdict: str = "accept") -> None:
        """All of it: the part scanned, the test performed by Ines and signed by her and by Quentin."""
        await self.measured(verdict)
        done(await self.sign(INES, "performed"))
        done(await self.sign(QUENTIN, "approved"))

    async def retry(self, destination: str) -> httpx.Response:
        path = f"/api/v1/transfers/{(await self.look())['transfers'][-1]['package_id']}/retry"
        return await self.floor.ask("POST", path, json={"destination": destination})

    async def dispose(self, disposition: str, who: Person = PETRA) -> httpx.Response:
        """Somebody decides what becomes of the part, on exactly what they see."""
        found = await self.floor.get("/api/v1/nonconformances", clientpo_id=self.document["clientpo_id"], open="true")
        [record] = found["nonconformances"]
        return await self.floor.ask(
            "POST",
            f"/api/v1/nonconformances/{record['number']}/disposition",
            json={"disposition": disposition, "content_hash": record["content_hash"], "reason": "looked at it"},
            headers=bearer(self.floor.settings, who[1], who[0]),
        )

    async def decision(self, who: Person, content_hash: str, meaning: str = "reviewed") -> str:
        """A decision token for a signal by hand, as `smartfloor decide` prints it."""
        answer = await self.floor.ask(
            "POST",
            "/api/v1/decisions",
            json={
                "workflow_id": names.test_execution_id(self.name),
                "content_hash": content_hash,
                "decision": "sign",
                "meaning": meaning,
            },
            headers=bearer(self.floor.settings, who[1], who[0]),
        )
        return str(done(answer).json()["token"])

    async def signal_signature(self, token: str) -> None:
        """As somebody in the Temporal Web UI sends it."""
        await self.test.signal(names.SIGN_OFF, {"test_id": self.test_id, "token": token})

    async def _ask(self, who: Person, what: str, **body: Any) -> httpx.Response:
        person, role = who
        headers = bearer(self.floor.settings, role, person)
        return await self.floor.ask("POST", f"/api/v1/tests/{self.name}/{what}", json=body, headers=headers)


@dataclass
class Chain:
    """A client order for a part of its own: one contract at each of these stations, in this order."""

    floor: Floor
    contracts: list[Contract] = field(default_factory=list)

    @property
    def clientpo_id(self) -> str:
        return str(self.contracts[0].document["clientpo_id"])

    async def look(self) -> Json:
        return dict(await self.floor.get(f"/api/v1/client-orders/{self.clientpo_id}"))

    async def until(self, standing: str) -> Json:
        return await until(self.look, lambda seen: seen["standing"] == standing)

    async def store(self, *contracts: Contract) -> None:
        """Puts contracts to come into the contract store."""
        for stored in contracts:
            done(await self.floor.ask("PUT", f"/api/v1/contracts/{stored.name}", json=stored.document))


async def staged(floor: Floor, *nodes: str, stored: bool = True) -> Chain:
    """The first contract of a new chain staged, the others in the contract store."""
    order, part = new("CPO"), new("PART")
    ids = [f"{order}-{number}" for number in range(1, len(nodes) + 1)]
    chain = Chain(floor)
    for number, (name, node) in enumerate(zip(ids, nodes, strict=True), start=1):
        test_type, equipment = TEST_TYPES[node]
        final = number == len(nodes)
        document = contract(smart_contract_id=name, node=node, clientpo_id=order, part_id=part, sequence_number=number)
        document["tests"][0] |= {
            "test_type": test_type,
            "equipment": equipment,
            "required_signoffs": ["inspector", "quality_manager"],
        }
        document["routing_trigger"] = (
            {"type": "workflow_complete", "vault_transfer": True}
            if final
            else {
                "type": "next_node",
                "next_station": nodes[number],
                "next_contract": f"{ids[number]}.yaml",
                "vault_transfer": True,
            }
        )
        chain.contracts.append(Contract(chain, document))
    done(await floor.submit(chain.contracts[0].document))
    if stored:
        await chain.store(*chain.contracts[1:])
    return chain


def legs(seen: Json) -> dict[str, str]:
    """The state of each leg of the last package of a contract."""
    transfers = seen.get("transfers") or [{"legs": []}]
    return {leg["destination"]: leg["status"] for leg in transfers[-1]["legs"]}


def done(answer: httpx.Response) -> httpx.Response:
    assert answer.is_success, answer.text
    return answer
