"""A chain of contracts, told by what one sees of it: tested, signed, authorized, in the vault, and at the next station.

Read from the top, this is how a client order goes through the shop. Every test has a chain and a part of its own, and
after every one of them the invariants hold.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from temporalio.service import RPCError

from schemas.permission import Role
from schemas.transfer import Destination
from tests.acceptance import invariants
from tests.acceptance.chain import INES, IVAN, QUENTIN, done, legs, staged
from tests.acceptance.floor import CP, FI, LP, Floor
from tests.acceptance.mortal import Mortal


@pytest_asyncio.fixture(autouse=True)
async def the_invariants_hold(floor: Floor) -> AsyncIterator[None]:
    yield
    await invariants.check(floor)


class TestAChain:
    async def test_of_three_contracts_goes_over_three_stations_to_its_end(self, floor: Floor) -> None:
        chain = await staged(floor, LP, CP, FI)
        for contract in chain.contracts:
            await contract.until(po_status="awaiting_arrival")
            await contract.performed()
            await contract.until(standing="complete")
        order = await chain.until("complete")
        assert [found["smart_contract_id"] for found in order["contracts"]] == [each.name for each in chain.contracts]
        assert order["notified_at"] is not None
        for contract in chain.contracts:
            [package] = await contract.vault()
            assert package["package_id"] == contract.package()
            report = await floor.ask("GET", f"/api/v1/vault/{contract.name}/report")
            assert report.content.startswith(b"%PDF")

    async def test_shows_what_is_to_come_before_it_is_there(self, floor: Floor) -> None:
        chain = await staged(floor, LP, CP)
        first, second = (await chain.look())["contracts"]
        assert (first["standing"], second["standing"]) == ("under_way", "to_come")
        assert (second["smart_contract_id"], second["node"]) == (chain.contracts[1].name, CP)

    async def test_waits_at_each_station_until_its_part_is_there(self, floor: Floor) -> None:
        chain = await staged(floor, LP, CP)
        first, second = chain.contracts
        await first.performed()
        await second.until(po_status="awaiting_arrival")
        await floor.scan(part_id=second.document["part_id"], location=FI)
        await floor.until_recorded(second.document["part_id"], "receive_arrival", 2)
        assert (await second.look())["po_status"] == "awaiting_arrival"
        await second.scan()

    async def test_whose_next_contract_is_missing_waits_for_a_person_and_never_ends_silently(
        self, floor: Floor
    ) -> None:
        chain = await staged(floor, LP, CP, stored=False)
        first, second = chain.contracts
        await first.performed()
        await first.until_leg("next_node", "waiting")
        await first.until_leg("vault", "complete")
        assert (await chain.look())["standing"] == "stuck"
        await floor.until_recorded(f"{second.name}.yaml", "contract_missing")
        await chain.store(second)
        done(await first.retry("next_node"))
        await second.until(po_status="awaiting_arrival")


class TestSigningOff:
    async def test_takes_every_role_that_the_contract_requires(self, floor: Floor) -> None:
        [contract] = (await staged(floor, LP)).contracts
        await contract.measured()
        done(await contract.sign(INES, "performed"))
        assert (await contract.look())["transfers"] == []
        done(await contract.sign(QUENTIN, "approved"))
        await contract.until(standing="complete")

    async def test_is_void_where_the_results_change_afterwards(self, floor: Floor) -> None:
        [contract] = (await staged(floor, LP)).contracts
        await contract.measured()
        before = await contract.content_hash()
        done(await contract.sign(INES, "performed"))
        done(await contract.submit(value="0.5"))
        assert await contract.content_hash() != before
        done(await contract.sign(QUENTIN, "approved"))
        assert (await contract.look())["transfers"] == []
        done(await contract.sign(INES, "performed"))
        await contract.until(standing="complete")
        [package] = await contract.vault()
        [approved] = package["package"]["authorization"]["test_data"]["tests"]
        assert approved["result"]["readings"][0]["value"] == "0.5"

    async def test_of_what_is_no_longer_current_is_refused(self, floor: Floor) -> None:
        [contract] = (await staged(floor, LP)).contracts
        await contract.measured()
        before = await contract.content_hash()
        done(await contract.submit(value="0.5"))
        assert (await contract.sign(INES, content_hash=before)).status_code == 409

    async def test_by_one_person_twice_is_refused(self, floor: Floor) -> None:
        [contract] = (await staged(floor, LP)).contracts
        await contract.measured()
        done(await contract.sign(INES, "performed"))
        assert (await contract.sign(INES, "reviewed")).status_code == 409
        assert (await contract.sign(("ines", Role.QUALITY_MANAGER), "approved")).status_code == 409

    async def test_after_completion_is_refused(self, floor: Floor) -> None:
        [contract] = (await staged(floor, LP)).contracts
        await contract.performed()
        await contract.until(standing="complete")
        assert (await contract.sign(IVAN)).status_code == 409


class TestASignatureSentAsARawSignal:
    """Whoever can reach the Temporal Web UI can send one: it counts as little there as anywhere."""

    async def test_with_a_token_counts(self, floor: Floor) -> None:
        [contract] = (await staged(floor, LP)).contracts
        await contract.measured()
        seen = await contract.content_hash()
        await contract.signal_signature(await contract.decision(INES, seen, "performed"))
        await contract.signal_signature(await contract.decision(QUENTIN, seen, "approved"))
        await contract.until(standing="complete")

    async def test_without_a_token_is_refused(self, floor: Floor) -> None:
        [contract] = (await staged(floor, LP)).contracts
        await contract.measured()
        await contract.test.signal("sign_off", {"test_id": contract.test_id})
        await floor.until_recorded(contract.name, "refuse_decision")
        assert (await contract.look())["test"]["status"] == "awaiting_signoff"

    async def test_in_a_role_that_is_not_required_is_refused(self, floor: Floor) -> None:
        [contract] = (await staged(floor, LP)).contracts
        await contract.measured()
        token = await contract.decision(("olga", Role.ADMIN), await contract.content_hash())
        await contract.signal_signature(token)
        await floor.until_recorded(contract.name, "refuse_decision")

    async def test_for_old_content_is_refused(self, floor: Floor) -> None:
        [contract] = (await staged(floor, LP)).contracts
        await contract.measured()
        token = await contract.decision(INES, await contract.content_hash())
        done(await contract.submit(value="0.5"))
        await contract.signal_signature(token)
        await floor.until_recorded(contract.name, "refuse_decision")

    async def test_by_the_same_person_twice_is_refused(self, floor: Floor) -> None:
        [contract] = (await staged(floor, LP)).contracts
        await contract.measured()
        done(await contract.sign(INES, "performed"))
        again = await contract.decision(("ines", Role.QUALITY_MANAGER), await contract.content_hash())
        await contract.signal_signature(again)
        await floor.until_recorded(contract.name, "refuse_decision")

    async def test_after_completion_finds_nobody(self, floor: Floor) -> None:
        [contract] = (await staged(floor, LP)).contracts
        await contract.measured()
        late = await contract.decision(IVAN, await contract.content_hash())
        done(await contract.sign(INES, "performed"))
        done(await contract.sign(QUENTIN, "approved"))
        await contract.until(standing="complete")
        with pytest.raises(RPCError):
            await contract.signal_signature(late)


class TestAHubThatIsAway:
    """For longer than all retries, then back: the other leg never waits, and an operator's retry ends it."""

    async def test_the_vault_keeps_nothing_else_waiting(self, floor: Floor) -> None:
        chain = await staged(floor, LP, CP)
        first, second = chain.contracts
        async with floor.without_hub(Destination.VAULT):
            await first.performed()
            await second.until(po_status="awaiting_arrival")
            await second.scan()
            await first.until_leg("vault", "waiting")
            stuck = await chain.until("stuck")
            assert first.name in stuck["waits_for"]
            assert len(await first.entries(first.package(), "transfer_to_vault")) == 4
            await floor.until_recorded(first.package(), "escalate_failure")
        done(await first.retry("vault"))
        await first.until(standing="complete")
        assert len(await first.vault()) == 1

    async def test_the_next_node_keeps_nothing_else_waiting(self, floor: Floor) -> None:
        chain = await staged(floor, LP, CP)
        first, second = chain.contracts
        async with floor.without_hub(Destination.NEXT_NODE):
            await first.performed()
            await first.until_leg("vault", "complete")
            await first.until_leg("next_node", "waiting")
            assert (await second.look())["standing"] == "to_come"
        done(await first.retry("next_node"))
        await second.until(po_status="awaiting_arrival")
        await first.until(standing="complete")

    async def test_that_comes_back_in_time_needs_nobody(self, floor: Floor) -> None:
        [contract] = (await staged(floor, LP)).contracts
        async with floor.without_hub(Destination.VAULT):
            await contract.performed()
            await contract.until_leg("vault", "failed")
        await contract.until(standing="complete")
        assert await contract.entries(contract.package(), "escalate_failure") == []

    async def test_still_waits_for_a_person_after_the_worker_was_killed(self, floor: Floor) -> None:
        [contract] = (await staged(floor, LP)).contracts
        async with floor.without_hub(Destination.VAULT):
            await contract.performed()
            await contract.until_leg("vault", "waiting")
            await floor.process("worker").kill()
            await floor.process("worker").start()
        assert legs(await contract.look())["vault"] == "waiting"
        done(await contract.retry("vault"))
        await contract.until(standing="complete")

    async def test_that_is_not_away_needs_no_retry(self, floor: Floor) -> None:
        [contract] = (await staged(floor, LP)).contracts
        await contract.performed()
        await contract.until(standing="complete")
        assert (await contract.retry("vault")).status_code == 409


class TestAnAnswerThatIsLost:
    """The receiver has stored what it was sent, and nobody heard so."""

    @pytest.mark.parametrize("destination", [Destination.VAULT, Destination.NEXT_NODE, Destination.BUSINESS_HUB])
    async def test_is_asked_for_again_and_nothing_is_stored_twice(self, floor: Floor, destination: Destination) -> None:
        chain = await staged(floor, LP, CP)
        line = floor.lines[destination]
        first, last = chain.contracts
        contract = last if destination is Destination.BUSINESS_HUB else first
        if contract is last:
            await first.performed()
            await last.until(po_status="awaiting_arrival")
        async with line.losing_answers(floor.settings.api_port):
            await contract.performed()
            await contract.until_leg(destination, "waiting")
        done(await contract.retry(destination))
        await contract.until(standing="complete")


class TestAWorkerKilledWithSIGKILL:
    @pytest.mark.parametrize(
        "point",
        [
            "before authorize_package",
            "after authorize_package",
            "before admit",
            "after send",
            "after transfer_to_vault",
        ],
    )
    async def test_around_a_transfer_loses_nothing_and_does_nothing_twice(self, floor: Floor, point: str) -> None:
        chain = await staged(floor, LP, CP)
        first, second = chain.contracts
        mortal = Mortal("worker", "worker", point=point, settings=floor.settings)
        async with floor.replaced("worker", mortal):
            await first.performed()
            await first.until(standing="complete")
            assert mortal.died
        assert len(await first.vault()) == 1
        await second.until(po_status="awaiting_arrival")
        assert len(await first.entries(first.package(), "authorize_package")) == 1

    @pytest.mark.parametrize("point", ["before authorize", "after authorize", "after keep_results"])
    async def test_at_the_node_around_what_it_signs_authorizes_once(self, floor: Floor, point: str) -> None:
        [contract] = (await staged(floor, LP)).contracts
        mortal = Mortal(f"node-{LP}", "node", LP, point=point, settings=floor.settings)
        async with floor.replaced(f"node-{LP}", mortal):
            await contract.performed()
            await contract.until(standing="complete")
            assert mortal.died
        assert len(await contract.vault()) == 1


class TestResultsThatAreNotAccepted:
    async def test_go_to_the_vault_and_the_part_waits_for_a_disposition(self, floor: Floor) -> None:
        chain = await staged(floor, LP, CP)
        first, second = chain.contracts
        await first.performed("reject")
        await first.until_leg("next_node", "awaiting_disposition")
        await first.until_leg("vault", "complete")
        assert (await second.look())["standing"] == "to_come"
        assert (await chain.look())["standing"] == "stuck"

    async def test_can_be_used_as_they_are(self, floor: Floor) -> None:
        chain = await staged(floor, LP, CP)
        first, second = chain.contracts
        await first.performed("reject")
        await first.until_leg("next_node", "awaiting_disposition")
        done(await first.dispose("use_as_is"))
        await second.until(po_status="awaiting_arrival")
        await first.until(standing="complete", disposition="use_as_is")

    async def test_cannot_be_disposed_of_by_who_signed_for_them(self, floor: Floor) -> None:
        first, _ = (await staged(floor, LP, CP)).contracts
        await first.performed("reject")
        await first.until_leg("next_node", "awaiting_disposition")
        assert (await first.dispose("use_as_is", QUENTIN)).status_code == 409
        assert legs(await first.look())["next_node"] == "awaiting_disposition"

    @pytest.mark.parametrize("disposition", ["scrap", "return_to_client"])
    async def test_can_end_the_chain(self, floor: Floor, disposition: str) -> None:
        chain = await staged(floor, LP, CP)
        first, second = chain.contracts
        await first.performed("reject")
        await first.until_leg("next_node", "awaiting_disposition")
        done(await first.dispose(disposition))
        await chain.until("ended")
        assert await second.look() == {}

    async def test_are_replaced_by_those_of_a_rework_and_both_stay(self, floor: Floor) -> None:
        [contract] = (await staged(floor, LP)).contracts
        await contract.performed("reject")
        await contract.until_leg("next_node", "awaiting_disposition")
        done(await contract.dispose("rework"))
        await contract.until_test("rework")
        done(await contract.start())
        done(await contract.submit())
        await contract.until_test("awaiting_signoff")
        await asyncio.gather(contract.sign(INES, "performed"), contract.sign(QUENTIN, "approved"))
        await contract.until(standing="complete", verdict="accept")
        newest, oldest = await contract.vault()
        assert (newest["replaces"], oldest["replaced_by"]) == (oldest["package_id"], newest["package_id"])
        assert (oldest["verdict"], newest["verdict"]) == ("reject", "accept")
