"""Instruments and maintenance contracts as the people around them know them.

Mike is maintenance engineer; Quentin, the quality manager, approves what he asks for.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx

from infra.node_maintenance import NodeMaintenance
from infra.registry import load_registry
from schemas.maintenance_check import CheckResult, CheckWork, GivenReading
from schemas.permission import Role
from tests.acceptance.chain import QUENTIN, Chain, Contract, Person, done
from tests.acceptance.floor import LP, Floor, Json, bearer, contract, new, until

MIKE: Person = ("mike", Role.MAINTENANCE_ENGINEER)

INTERVAL = 180
"""Days between two calibrations."""


def today() -> date:
    """At nodes whose clocks show UTC."""
    return datetime.now(UTC).date()


async def ask(floor: Floor, who: Person, method: str, path: str, body: Json | None = None) -> httpx.Response:
    person, role = who
    headers = bearer(floor.settings, role, person)
    return await floor.ask(method, f"/api/v1{path}", headers=headers, **({} if body is None else {"json": body}))


@contextmanager
def at_node(floor: Floor, node_id: str, *, ago: timedelta = timedelta(0)) -> Iterator[NodeMaintenance]:
    """What a person at the node has when all else is away: its own disk; their clock shows a time that has passed."""
    node = load_registry(floor.settings.nodes_file)[node_id]
    with closing(NodeMaintenance(node, floor.settings.node_store(node_id), lambda: datetime.now(UTC) - ago)) as found:
        yield found


@dataclass(frozen=True)
class Instrument:
    """An instrument of the register."""

    floor: Floor
    equipment_id: str
    equipment_type: str
    node_id: str

    async def register(self) -> None:
        body = {
            "equipment_id": self.equipment_id,
            "equipment_type": self.equipment_type,
            "description": "Digital thermometer",
            "node_id": self.node_id,
            "calibration_interval_days": INTERVAL,
        }
        done(await ask(self.floor, MIKE, "POST", "/equipment", body))

    async def look(self) -> Json:
        return dict(await self.floor.get(f"/api/v1/equipment/{self.equipment_id}"))

    async def at_its_node(self) -> None:
        """Waits until its node has heard of it, and of all that was recorded of it here."""
        certificates = (await self.look())["certificates"]
        newest = certificates[0]["calibration"]["certificate_number"] if certificates else None

        with at_node(self.floor, self.node_id) as node:

            async def heard() -> bool:
                known = node.known([self.equipment_id]).get(self.equipment_id)
                return known is not None and (known.last.certificate_number if known.last else None) == newest

            await until(heard, bool)

    def certificate(self, on: date, **fields: Any) -> Json:
        return {
            "equipment_id": self.equipment_id,
            "certificate_number": new("DKD"),
            "calibrated_on": on.isoformat(),
            "result": "passed",
            "provider": "Kalibrierdienst Nord",
            "technician": "t.weber",
            **fields,
        }

    async def calibrate(self, on: date, **fields: Any) -> Json:
        """Recorded at the hub; returns the certificate."""
        certificate = self.certificate(on, **fields)
        done(await ask(self.floor, MIKE, "POST", f"/equipment/{self.equipment_id}/calibrations", certificate))
        return certificate


async def registered(floor: Floor, *, node_id: str = LP, equipment_type: str = "thermometer") -> Instrument:
    """A new instrument; it has no calibration yet."""
    instrument = Instrument(floor, new("INST"), equipment_type, node_id)
    await instrument.register()
    return instrument


async def at_the_gate_with(*instruments: Instrument) -> Contract:
    """A contract whose part is at its node, where its test waits for somebody to start it with these instruments."""
    floor, node = instruments[0].floor, instruments[0].node_id
    name = new("SC")
    document = contract(smart_contract_id=name, node=node, clientpo_id=f"CPO-{name}", sequence_number=1)
    document["tests"][0] |= {
        "equipment": [instrument.equipment_id for instrument in instruments],
        "required_signoffs": ["inspector", "quality_manager"],
    }
    document["routing_trigger"] = {"type": "workflow_complete", "vault_transfer": True}
    tested = Contract(Chain(floor), document)
    tested.chain.contracts.append(tested)
    done(await floor.submit(document))
    await tested.scan()
    return tested


@dataclass(frozen=True)
class Maintained:
    """A maintenance contract for equipment of a type of its own, at stations of one type."""

    floor: Floor
    contract_id: str
    equipment_type: str

    async def look(self, version: str = "1.0") -> Json:
        return dict(await self.floor.get(f"/api/v1/maintenance/contracts/{self.contract_id}/versions/{version}"))

    async def until(self, *statuses: str) -> Json:
        return await until(self.look, lambda seen: seen["status"] in statuses)

    async def versions(self) -> list[Json]:
        return list((await self.floor.get(f"/api/v1/maintenance/contracts/{self.contract_id}"))["versions"])

    async def ask(self, what: str, version: str = "1.0", **body: Any) -> httpx.Response:
        path = f"/maintenance/contracts/{self.contract_id}/versions/{version}/{what}"
        return await ask(self.floor, MIKE, "POST", path, body or None)

    async def deploy(self, version: str = "1.0") -> None:
        """Validated, asked for and approved; not yet acknowledged."""
        done(await self.ask("validate", version))
        done(await self.ask("deploy", version, reason="needed at these stations"))
        asked = await until(lambda: self.look(version), lambda seen: seen["pending_approval"] is not None)
        await self.approve(asked["pending_approval"])

    async def approve(self, approval_id: str) -> None:
        await self.floor.until_recorded(approval_id, "request_approval")
        person, role = QUENTIN
        done(await self.floor.answer(approval_id, by=person, role=role))

    async def review(self) -> Json:
        """Waits until alerts have opened one."""

        async def reviews() -> list[Json]:
            return list((await self.floor.get("/api/v1/maintenance/reviews", contract_id=self.contract_id))["reviews"])

        return (await until(reviews, bool))[0]

    def weak(self, instrument: Instrument, intensity: str = "850", *, ago: timedelta = timedelta(0)) -> CheckResult:
        """Somebody checks a lamp by the node's own means, and finds it so weak."""
        work = CheckWork(person="mike", readings={"intensity": GivenReading(value=intensity, unit="uW/cm2")})
        with at_node(self.floor, instrument.node_id, ago=ago) as node:
            return node.check(instrument.equipment_id, "irradiance", work, self.contract_id)


async def maintained(floor: Floor, station_type: str) -> Maintained:
    """A draft that asks for a lamp's intensity each shift."""
    contract_id, equipment_type = f"{station_type}-{new('lamp')}", new("lamp")
    document = {
        "smart_contract_id": contract_id,
        "title": "Portable UV-A lamp",
        "description": "Irradiance at each start of a shift (ASTM E1417)",
        "equipment_types": [equipment_type],
        "conditions": ["must-calibrate-before-test"],
        "calibration_interval_days": INTERVAL,
        "maintenance_procedures": {
            "irradiance": {
                "title": "Irradiance",
                "every": "shift",
                "steps": [
                    {
                        "step_id": "intensity",
                        "description": "UV-A irradiance at 38 cm",
                        "kind": "reading",
                        "rule": "uv-a",
                    }
                ],
            }
        },
        "validation_rules": {"uv-a": {"unit": "uW/cm2", "minimum": "1000"}},
    }
    done(await ask(floor, MIKE, "POST", "/maintenance/contracts", document))
    return Maintained(floor, contract_id, equipment_type)
