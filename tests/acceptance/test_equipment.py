"""No test on equipment that is not fit: blocked, brought in order over HTTP, and begun by itself."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest_asyncio

from schemas.permission import Role
from tests.acceptance.floor import LP, Floor, Json, bearer, new, until
from tests.acceptance.test_test_execution import IVAN, Tested

MIA = (Role.MAINTENANCE_ENGINEER, "mia")


@pytest_asyncio.fixture
async def blocked(floor: Floor) -> Tested:
    """Its lamp is not in the register yet."""
    name = new("SC")
    test = {
        "test_id": f"{name}-TEST1",
        "test_type": "liquid_penetrant",
        "assigned_node": LP,
        "procedure": {"procedure_id": "ASTM-E1417", "revision": "2021"},
        "required_signoffs": ["inspector"],
        "equipment": [f"LAMP-{name}"],
    }
    po = await floor.stage(smart_contract_id=name, tests=[test])
    await floor.broadcast(part_id=po.part)
    await po.until("released")

    async def there() -> bool:
        return (await floor.ask("GET", f"/api/v1/tests/{name}")).is_success

    await until(there, bool)
    tested = Tested(floor, name)
    answer = (await tested.start(IVAN, f"LAMP-{name}")).json()
    assert (answer["status"], "not in the register" in answer["missing"]) == ("blocked", True)
    return tested


async def post(floor: Floor, path: str, body: Json) -> Json:
    answer = await floor.ask("POST", f"/api/v1/equipment{path}", json=body, headers=bearer(floor.settings, *MIA))
    assert answer.is_success, answer.text
    return dict(answer.json())


class TestABlockedTest:
    async def test_begins_by_itself_once_its_equipment_is_registered_and_calibrated(
        self, floor: Floor, blocked: Tested
    ) -> None:
        lamp = f"LAMP-{blocked.name}"
        line = {"equipment_id": lamp, "equipment_type": "uv_lamp", "description": "A lamp", "node_id": LP}
        await post(floor, "", {**line, "calibration_interval_days": 180})
        await until(blocked.look, lambda shown: "no calibration certificate" in (shown["missing"] or ""))
        calibration: dict[str, Any] = {
            "equipment_id": lamp,
            "certificate_number": f"C-{lamp}",
            "calibrated_on": str((datetime.now(UTC) - timedelta(days=10)).date()),
            "result": "passed",
            "provider": "Lab GmbH",
            "technician": "t.lab",
        }
        await post(floor, f"/{lamp}/calibrations", calibration)
        await until(blocked.look, lambda shown: shown["status"] == "running")
        shown = await blocked.look()
        assert (shown["performer"], shown["begun"]["instruments"][0]["certificate"]) == ("ivan", f"C-{lamp}")
