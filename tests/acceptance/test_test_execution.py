"""A test over HTTP: who performs it, who signs what, and what is refused; with real tokens and real workers."""

from typing import Any

import httpx
import pytest_asyncio

from schemas.permission import Role
from tests.acceptance.floor import LP, Floor, Json, bearer, new, until
from tests.acceptance.maintenance import registered, today

IVAN = (Role.INSPECTOR, "ivan")
INES = (Role.INSPECTOR, "ines")
QUENTIN = (Role.QUALITY_MANAGER, "quentin")
MARIA = (Role.PRODUCTION_MANAGER, "maria")


class Tested:
    """The test of a PO that is released to its node."""

    __test__ = False

    def __init__(self, floor: Floor, name: str, lamp: str) -> None:
        self.floor = floor
        self.name = name
        self.lamp = lamp
        self.test_id = f"{name}-TEST1"

    async def look(self) -> Json:
        return dict(await self.floor.get(f"/api/v1/tests/{self.name}"))

    async def post(self, what: str, body: Json, who: tuple[Role, str], key: str | None = None) -> httpx.Response:
        headers = {**bearer(self.floor.settings, *who), **({"Idempotency-Key": key} if key else {})}
        return await self.floor.ask("POST", f"/api/v1/tests/{self.name}/{what}", json=body, headers=headers)

    async def start(self, who: tuple[Role, str] = IVAN, *instruments: str, **fields: Any) -> httpx.Response:
        return await self.post("start", {"instruments": instruments or [self.lamp], **fields}, who)

    async def submit(self, value: str = "0.10", who: tuple[Role, str] = IVAN, key: str | None = None) -> httpx.Response:
        result = {
            "test_id": self.test_id,
            "verdict": "accept",
            "readings": [{"name": "longest indication", "value": value, "unit": "mm"}],
            "procedure_followed": True,
        }
        return await self.post("results", {"results": [result]}, who, key)

    async def sign(self, who: tuple[Role, str], **fields: Any) -> httpx.Response:
        """What the test shows now, unless another hash is given."""
        shown = (await self.look())["to_sign"]
        body = {
            "test_id": self.test_id,
            "decision": "sign",
            "meaning": "reviewed",
            "content_hash": shown[0]["content_hash"] if shown else "0" * 64,
            **fields,
        }
        return await self.post("signoffs", body, who)


@pytest_asyncio.fixture
async def tested(floor: Floor) -> Tested:
    """Its contract needs a lamp, an inspector and a quality manager."""
    lamp, name = await registered(floor, equipment_type=new("lamp")), new("SC")
    await lamp.calibrate(today())
    await lamp.at_its_node()
    test = {
        "test_id": f"{name}-TEST1",
        "test_type": "liquid_penetrant",
        "assigned_node": LP,
        "procedure": {"procedure_id": "ASTM-E1417", "revision": "2021"},
        "required_signoffs": ["inspector", "quality_manager"],
        "equipment": [lamp.equipment_id],
    }
    po = await floor.stage(smart_contract_id=name, tests=[test])
    await floor.broadcast(part_id=po.part)
    await po.until("released")

    async def there() -> bool:
        return (await floor.ask("GET", f"/api/v1/tests/{name}")).is_success

    await until(there, bool)
    return Tested(floor, name, lamp.equipment_id)


class TestATest:
    async def test_is_carried_from_its_start_to_its_authorization(self, floor: Floor, tested: Tested) -> None:
        started = (await tested.start()).json()
        assert (started["status"], started["performer"]) == ("running", "ivan")
        assert started["begun"]["instruments"][0]["equipment_id"] == tested.lamp

        submitted = (await tested.submit()).json()
        assert (submitted["status"], submitted["revision"]) == ("awaiting_signoff", 1)
        assert [sign["role"] for sign in submitted["to_sign"]] == ["inspector", "quality_manager"]
        assert submitted["results"][0]["current"]
        (entry,) = await floor.get("/api/v1/ledger/entries", target=tested.name, action="submit_results")
        assert entry["metadata"]["decision"]["meaning"] == "the procedure was followed"

        signed = (await tested.sign(INES)).json()
        assert [sign["role"] for sign in signed["to_sign"]] == ["quality_manager"]
        assert (signed["signoffs"][0]["person"], signed["signoffs"][0]["void_at"]) == ("ines", None)
        assert (await tested.sign(QUENTIN, meaning="approved")).status_code == 200

        ended = await until(tested.look, lambda seen: seen["status"] == "authorized")
        assert ended["package_id"] == f"PKG-{tested.name}-R1"
        assert ended["to_sign"] == []
        assert (await tested.submit()).status_code == 409

    async def test_is_blocked_where_its_equipment_is_not_named(self, tested: Tested) -> None:
        answer = await tested.start(IVAN, "NO-LAMP")
        assert (answer.status_code, answer.json()["status"]) == (200, "blocked")
        assert "NO-LAMP" in answer.json()["waits_for"]
        assert (await tested.start()).json()["status"] == "running"

    async def test_is_held_resumed_and_aborted(self, tested: Tested) -> None:
        assert (await tested.post("hold", {"reason": "the client calls"}, INES)).json()["status"] == "hold"
        assert (await tested.start()).status_code == 409
        assert (await tested.post("resume", {"reason": "they agreed"}, INES)).json()["status"] == "waiting"
        assert (await tested.post("abort", {"reason": "cancelled"}, INES)).status_code == 403
        assert (await tested.post("abort", {"reason": "cancelled"}, MARIA)).json()["status"] == "aborted"

    async def test_is_listed_by_state_and_node(self, floor: Floor, tested: Tested) -> None:
        found = await floor.get("/api/v1/tests", status="waiting", node=LP, limit=500)
        assert tested.name in {test["smart_contract_id"] for test in found["tests"]}
        found = await floor.get("/api/v1/tests", status="rework", clientpo_id=f"CPO-{tested.name}")
        assert (found["matching"], found["tests"]) == (0, [])

    async def test_that_nobody_knows_is_not_found(self, floor: Floor) -> None:
        assert (await floor.ask("GET", "/api/v1/tests/SC-none")).status_code == 404


class TestASignOff:
    async def test_of_what_is_not_current_any_more_is_refused(self, tested: Tested) -> None:
        await tested.start()
        seen = (await tested.submit()).json()["to_sign"][0]["content_hash"]
        await tested.submit("0.20")
        answer = await tested.sign(INES, content_hash=seen)
        assert answer.status_code == 409
        assert "decide anew" in answer.json()["detail"]
        shown = await tested.look()
        assert [result["current"] for result in shown["results"]] == [False, True]

    async def test_that_rejects_sends_the_test_back(self, tested: Tested) -> None:
        await tested.start()
        await tested.submit()
        rejection = {"decision": "reject", "meaning": "rejected"}
        assert (await tested.sign(INES, **rejection)).status_code == 422
        answer = await tested.sign(INES, **rejection, reason="the lamp was off")
        assert (answer.status_code, answer.json()["status"]) == (200, "rework")
        assert answer.json()["to_sign"] == []
        assert (await tested.submit()).json()["status"] == "awaiting_signoff"

    async def test_of_one_person_in_two_roles_is_refused(self, tested: Tested) -> None:
        await tested.start()
        await tested.submit()
        assert (await tested.sign(INES)).status_code == 200
        answer = await tested.sign((Role.QUALITY_MANAGER, "ines"))
        assert (answer.status_code, "has signed" in answer.json()["detail"]) == (409, True)

    async def test_of_a_role_that_may_not_is_forbidden(self, tested: Tested) -> None:
        assert (await tested.sign((Role.OPERATOR, "olga"))).status_code == 403


class TestResults:
    async def test_of_somebody_else_than_the_performer_are_refused(self, tested: Tested) -> None:
        await tested.start()
        assert (await tested.submit(who=INES)).status_code == 409

    async def test_under_one_key_are_given_once(self, tested: Tested) -> None:
        await tested.start()
        for _ in range(2):
            answer = await tested.submit(key="first")
            assert (answer.status_code, answer.json()["revision"]) == (200, 1)

    async def test_that_say_something_else_under_the_same_key_are_given_anew(self, tested: Tested) -> None:
        await tested.start()
        await tested.submit(key="first")
        assert (await tested.submit(value="0.20", key="first")).json()["revision"] == 2
