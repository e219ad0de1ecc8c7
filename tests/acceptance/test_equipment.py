"""No test on equipment that is not fit: blocked, brought in order over HTTP, and begun by itself."""

from datetime import timedelta

from tests.acceptance.chain import done
from tests.acceptance.floor import LP, Floor, Json, new, until
from tests.acceptance.maintenance import Instrument, at_the_gate_with, today


class TestABlockedTest:
    async def test_begins_by_itself_once_its_equipment_is_registered_and_calibrated(self, floor: Floor) -> None:
        lamp = Instrument(floor, new("LAMP"), "uv_lamp", LP)
        blocked = await at_the_gate_with(lamp)

        async def shown() -> Json:
            return dict(await floor.get(f"/api/v1/tests/{blocked.name}"))

        answer = done(await blocked.start()).json()
        assert (answer["status"], "not in the register" in answer["missing"]) == ("blocked", True)
        await lamp.register()
        await until(shown, lambda test: "no calibration certificate" in (test["missing"] or ""))
        certificate = await lamp.calibrate(today() - timedelta(days=10))
        begun = (await until(shown, lambda test: test["status"] == "running"))["begun"]
        assert (begun["performer"], begun["instruments"][0]["certificate"]) == (
            "ines",
            certificate["certificate_number"],
        )
