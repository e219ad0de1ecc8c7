"""The faults that the shop survives, each on the running shop and each followed by the invariants.

What is killed is killed with SIGKILL. Nothing may be lost, nothing may happen twice, and nobody has to do anything but
start again what was killed.
"""

import asyncio
import random
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from schemas.canonical import document_hash
from tests.acceptance import invariants
from tests.acceptance.floor import CP, FI, LP, PO, Floor, Json, arrival, contract, new, until
from tests.acceptance.mortal import Mortal, MortalApi


@pytest_asyncio.fixture(autouse=True)
async def the_invariants_hold(floor: Floor) -> AsyncIterator[None]:
    """After every fault, and after what others did to this shop before."""
    yield
    await invariants.check(floor)


class TestAWorkerKilledWithSIGKILL:
    @pytest.mark.parametrize(
        "point",
        [
            "before join_line",
            "after join_line",
            "before read_held",
            "after read_held",
            "before receive_arrival",
            "before confirm_arrival",
            "after confirm_arrival",
            "before release_client_po",
            "after release_client_po",
        ],
    )
    async def test_around_what_it_records_loses_nothing_and_does_nothing_twice(self, floor: Floor, point: str) -> None:
        mortal = Mortal("worker", "worker", point=point, settings=floor.settings)
        async with floor.replaced("worker", mortal):
            po = await floor.stage()
            await floor.broadcast(part_id=po.part)
            await po.until("released")
            assert mortal.died
        late = "release_failed"  # its alert comes where the release was under way for long
        told = [action for action in await po.until_told("await_test") if action != late]
        assert told == ["stage_client_po", "confirm_arrival", "release_client_po", "await_test"]

    @pytest.mark.parametrize(
        "point",
        ["before ask_approval", "after verify_decision", "after respond_approval", "before read_outcome"],
    )
    async def test_around_a_decision_lets_it_count_once_and_wakes_the_po_once(self, floor: Floor, point: str) -> None:
        number = new("PN")
        po = await floor.stage(part_number=number, quantity=10)
        await floor.broadcast(part_number=number, quantity=6)
        await po.until("awaiting_arrival", arrived=6)
        mortal = Mortal("worker", "worker", point=point, settings=floor.settings)
        async with floor.replaced("worker", mortal):
            asked = await po.accept_quantity()
            seen = await until(po.look, lambda seen: seen["pending_approval"] is not None)
            assert asked.status_code in (202, 409)
            await floor.until_recorded(seen["pending_approval"], "request_approval")
            assert (await floor.answer(seen["pending_approval"])).status_code in (200, 409)
            await po.until("released", accepted_quantity=6)
            assert mortal.died
        assert (await po.timeline()).count("accept_quantity") == 1
        answers = await floor.get("/api/v1/ledger/entries", target=seen["pending_approval"], action="respond_approval")
        assert len(answers) == 1

    @pytest.mark.parametrize("point", ["before take_client_po", "after take_client_po"])
    async def test_at_the_node_around_its_taking_a_po_delivers_it_once(self, floor: Floor, point: str) -> None:
        mortal = Mortal(f"node-{CP}", "node", CP, point=point, settings=floor.settings)
        async with floor.replaced(f"node-{CP}", mortal):
            po = await floor.stage(node=CP)
            await floor.broadcast(part_id=po.part)
            await po.until("released")
            assert mortal.died
        assert (await po.timeline()).count("release_client_po") == 1

    async def test_a_hold_that_comes_while_a_killed_node_may_have_the_po_answers_after_the_outcome(
        self, floor: Floor
    ) -> None:
        mortal = Mortal(f"node-{CP}", "node", CP, point="after take_client_po", settings=floor.settings)
        async with floor.replaced(f"node-{CP}", mortal):
            po = await floor.stage(node=CP)
            await floor.broadcast(part_id=po.part)
            await until(lambda: asyncio.to_thread(lambda: po.name in floor.inbox(CP)), bool)
            answer = await po.hold()
            assert answer.status_code == 409
            await po.until("released")
        assert "hold_client_po" not in await po.timeline()

    async def test_again_and_again_while_pos_and_arrivals_keep_coming(self, floor: Floor) -> None:
        pos = [await floor.stage(node=node) for node in (LP, CP, FI) for _ in range(4)]
        for batch in (pos[:4], pos[4:8], pos[8:]):
            for po in batch:
                await floor.broadcast(part_id=po.part)
            await floor.process("worker").kill()
            await floor.process("worker").start()
        for po in pos:
            await po.until("released")


class TestTheGatewayKilledWithSIGKILL:
    @pytest.mark.parametrize("point", ["before report", "after report"])
    async def test_between_receiving_and_acknowledging_gets_the_broadcast_again(self, floor: Floor, point: str) -> None:
        number = new("PN")
        po = await floor.stage(part_number=number, quantity=2)
        mortal = Mortal("gateway", "gateway", point=point, settings=floor.settings)
        async with floor.replaced("gateway", mortal):
            await floor.broadcast(part_number=number)
            await po.until("awaiting_arrival", arrived=1)
            await until(lambda: asyncio.to_thread(lambda: mortal.died), bool)
            await floor.broadcast(part_number=number)
            await po.until("released", arrived=2)

    async def test_what_is_broadcast_while_it_is_away_waits_for_it(self, floor: Floor) -> None:
        pos = [await floor.stage() for _ in range(5)]
        async with floor.without("gateway", killed=True):
            for po in pos:
                await floor.broadcast(part_id=po.part)
            digest = await floor.send_malformed(b"not a broadcast")
        for po in pos:
            await po.until("released")
        assert digest in floor.acknowledged.malformed


class TestTheAPIKilledWithSIGKILL:
    @pytest.fixture
    def mortal(self, floor: Floor) -> MortalApi:
        """Dies between the commit of a row and the start of its workflow."""
        return MortalApi("api", "api", point="before start", settings=floor.settings)

    async def test_between_row_and_workflow_is_healed_by_the_same_request_again(
        self, floor: Floor, mortal: MortalApi
    ) -> None:
        async with floor.replaced("api", mortal):
            document = contract()
            with pytest.raises(httpx.TransportError):
                await floor.http.post("/api/v1/client-pos", json=document)
            assert mortal.died
            assert (await floor.submit(document)).status_code == 200
            await floor.broadcast(part_id=document["part_id"])
            await PO(floor, document).until("released")

    async def test_between_row_and_workflow_is_healed_by_the_reconcile(self, floor: Floor, mortal: MortalApi) -> None:
        async with floor.replaced("api", mortal):
            document = contract()
            with pytest.raises(httpx.TransportError):
                await floor.http.post("/api/v1/client-pos", json=document)
            assert mortal.died
            await floor.broadcast(part_id=document["part_id"])
            await floor.reconcile()
            await PO(floor, document).until("released")
            floor.acknowledged.documents[document["smart_contract_id"]] = document_hash(document)


class TestAServerKilledWithSIGKILL:
    @pytest.mark.parametrize(("server", "seconds"), [("broker", 4), ("postgres", 8), ("temporal", 4)])
    async def test_while_pos_and_arrivals_keep_coming_loses_none_of_them(
        self, floor: Floor, server: str, seconds: int
    ) -> None:
        """It is left down so long; machines and people ask again, as they are told."""
        before = [await floor.stage() for _ in range(3)]

        async def business(number: int) -> PO:
            part = new("PART")
            if number % 2:
                await floor.broadcast(part_id=part)
                return await floor.stage(part_id=part)
            po = await floor.stage(part_id=part)
            await floor.broadcast(part_id=part)
            return po

        async with asyncio.TaskGroup() as keep_coming, floor.without(server, killed=True):
            coming = [keep_coming.create_task(business(number)) for number in range(6)]
            arriving = [keep_coming.create_task(floor.broadcast(part_id=po.part)) for po in before]
            await asyncio.sleep(seconds)  # the fault: it is down this long
        assert all(task.done() for task in arriving)
        for po in [*before, *(task.result() for task in coming)]:
            await po.until("released")

    @pytest.mark.parametrize("server", ["postgres", "temporal"])
    async def test_in_the_middle_of_releases_releases_each_once(self, floor: Floor, server: str) -> None:
        pos = [await floor.stage(node=node) for node in (LP, CP, FI) for _ in range(3)]
        await floor.send(*(arrival(part_id=po.part) for po in pos))
        await floor.process(server).kill()
        await asyncio.sleep(1)  # the fault: it is down this long
        await floor.process(server).start()
        for po in pos:
            await po.until("released")

    async def test_a_hold_of_which_nobody_heard_the_answer_is_asked_again(self, floor: Floor) -> None:
        po = await floor.stage()
        async with asyncio.TaskGroup() as people, floor.without("postgres", killed=True):
            holding = people.create_task(po.hold())
            await asyncio.sleep(2)  # the fault: it is down this long
        assert holding.result().status_code in (200, 409)
        await po.until("hold")
        await floor.broadcast(part_id=po.part)
        await po.until_told("confirm_arrival")
        assert (await po.resume()).status_code == 200
        await po.until("released")

    async def test_a_po_that_was_staged_meanwhile_starts_when_somebody_asks_something_of_it(self, floor: Floor) -> None:
        document = contract()
        async with floor.without("temporal", killed=True):
            answer = await floor.http.post("/api/v1/client-pos", json=document)
            assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (503, "not-started")
        assert (await PO(floor, document).hold()).status_code == 200


class TestANodeThatIsOffline:
    async def test_delays_the_release_is_alerted_and_gets_the_po_when_it_comes_back(self, floor: Floor) -> None:
        async with floor.listening() as heard:
            async with floor.without(f"node-{FI}", killed=True):
                po = await floor.stage(node=FI)
                await floor.broadcast(part_id=po.part)
                seen = await po.until("ready_for_release")
                assert FI in seen["waits_for"]
                await po.until_told("release_failed")
            await po.until("released")

            async def alerts() -> list[Json]:
                return [alert for alert in heard if alert["subject"] == po.name]

            [alert] = await until(alerts, bool)
            assert alert["alert_type"] == "release_failed"
            assert FI in alert["text"]
        assert (await po.timeline()).count("release_failed") == 1


class TestBroadcasts:
    @pytest.mark.parametrize("seed", [1, 2])
    async def test_sent_twice_and_in_random_order_count_once_each(self, floor: Floor, seed: int) -> None:
        chance = random.Random(seed)
        number = new("PN")
        pos = [await floor.stage(part_number=number, quantity=quantity) for quantity in (1, 2, 3, 4)]
        pos += [await floor.stage() for _ in range(4)]
        bodies = [arrival(part_number=number, quantity=quantity) for quantity in (2, 1, 3, 4)]
        bodies += [arrival(part_id=po.part) for po in pos[4:]]
        both = bodies * 2
        chance.shuffle(both)
        await floor.send(*both)
        for po in pos:
            await po.until("released")

        async def duplicates() -> list[str]:
            ids = {body["id"] for body in bodies}
            entries = await floor.get("/api/v1/ledger/entries", action="duplicate_broadcast")
            return [id_ for entry in entries if (id_ := entry["metadata"]["broadcast_id"]) in ids]

        found = await until(duplicates, lambda found: len(found) >= len(bodies))
        assert sorted(found) == sorted(body["id"] for body in bodies)


class TestAWorkflowTerminatedFromOutside:
    async def test_is_cancelled_by_the_reconcile_and_its_parts_go_to_the_next(self, floor: Floor) -> None:
        first = await floor.stage()
        await first.hold()
        second = await floor.stage(part_id=first.part)
        await floor.broadcast(part_id=first.part)
        await first.until_told("confirm_arrival")
        await first.workflow.terminate("somebody's mistake")
        async with floor.listening() as heard:
            await floor.reconcile()
            await first.until("cancelled")
            await second.until("released")

            async def alerts() -> list[str]:
                return [alert["alert_type"] for alert in heard if alert["subject"] == first.name]

            assert await until(alerts, bool) == ["workflow_closed"]


class TestARowThatFellBehindItsWorkflow:
    async def test_is_corrected_by_the_reconcile_and_its_po_stays_released(self, floor: Floor) -> None:
        po = await floor.stage()
        await floor.broadcast(part_id=po.part)
        await po.until("released")
        await po.workflow.result()
        async with invariants.database(floor) as database:
            await database.execute(
                "UPDATE client_pos SET status = 'ready_for_release' WHERE smart_contract_id = $1", po.name
            )
        await floor.reconcile()
        await po.until("released")
        assert "correct_row" in await po.timeline()
