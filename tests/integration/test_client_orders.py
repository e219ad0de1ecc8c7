"""Client orders read from the rows of their contracts, in a real database."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.client_order import ClientOrders
from infra.ledger import Ledger
from schemas.client_order import ClientOrder, Standing, contract_stand, order_stand
from schemas.test_execution import TestStatus
from schemas.transfer import Destination, LegStatus
from tests.integration.chain import FINAL, Chain, onward

LP, CP = "NOD-LP", "NOD-CP"


@pytest.fixture
def orders(engine: AsyncEngine) -> ClientOrders:
    return ClientOrders(engine)


@pytest.fixture
def chain(ledger: Ledger) -> Chain:
    return Chain(ledger)


async def the_order(orders: ClientOrders, name: str = "CPO-1") -> ClientOrder:
    order = await orders.get(name)
    assert order is not None
    return order


class TestAClientOrder:
    async def test_that_nobody_knows_is_none(self, orders: ClientOrders) -> None:
        assert await orders.get("CPO-UNKNOWN") is None

    async def test_has_its_contracts_in_the_order_of_their_sequence(self, orders: ClientOrders, chain: Chain) -> None:
        await chain.staged("SC-CP", 2, CP, FINAL)
        await chain.staged("SC-LP", 1, LP, onward("SC-CP", CP))
        order = await the_order(orders)
        assert [contract.smart_contract_id for contract in order.contracts] == ["SC-LP", "SC-CP"]
        assert order.to_come() == []

    async def test_names_what_is_to_come(self, orders: ClientOrders, chain: Chain) -> None:
        await chain.staged("SC-LP", 1, LP, onward("SC-CP", CP))
        [coming] = (await the_order(orders)).to_come()
        assert (coming.smart_contract_id, coming.node) == ("SC-CP", CP)

    async def test_shows_the_test_and_both_legs_with_their_times(self, orders: ClientOrders, chain: Chain) -> None:
        await chain.staged("SC-LP", 1, LP, onward("SC-CP", CP))
        await chain.released("SC-LP", LP)
        await chain.tested("SC-LP", status="running", performer="ines", started_now=True)
        await chain.tested("SC-LP", status="awaiting_signoff", submitted_now=True, open_signoffs="T1 by a q")
        await chain.tested("SC-LP", status="authorizing", signed_now=True, open_signoffs=None)
        package = await chain.authorized("SC-LP", LP)
        await chain.moved(package, received_now=True)
        await chain.attempted(
            package, "vault", success=False, status="waiting", attempts=4, error="the vault is away: HTTP 503"
        )
        await chain.attempted(package, "next_node", success=True, status="complete", attempts=1)
        await chain.moved(package, next_node_now=True, business_hub_status="not_applicable")
        [contract] = (await the_order(orders)).contracts
        assert contract.test is not None
        assert (contract.test.status, contract.test.performer) == (TestStatus.AUTHORIZED, "ines")
        [transfer] = contract.transfers
        vault, next_node, _ = transfer.legs
        assert (vault.destination, vault.status, vault.attempts) == (Destination.VAULT, LegStatus.WAITING, 4)
        assert (next_node.status, next_node.received_at) == (LegStatus.COMPLETE, contract.times.next_node)
        times = contract.times
        known = [times.staged, times.arrived, times.released, times.started, times.submitted, times.signed]
        known += [times.authorized, times.next_node]
        assert None not in known
        assert known == sorted(known, key=str)
        assert times.vault is None
        stand = contract_stand(contract)
        assert stand.standing is Standing.STUCK
        assert "the vault is away: HTTP 503" in stand.waits_for

    async def test_shows_every_revision_with_its_nonconformance_and_its_vault_record(
        self, orders: ClientOrders, chain: Chain
    ) -> None:
        await chain.staged("SC-LP", 1, LP, FINAL)
        await chain.released("SC-LP", LP)
        first = await chain.authorized("SC-LP", LP, verdict="reject")
        await chain.not_accepted(first, "SC-LP")
        await chain.vaulted(first, "SC-LP")
        await chain.disposed(first, "rework")
        second = await chain.authorized("SC-LP", LP, revision=2)
        [contract] = (await the_order(orders)).contracts
        rejected, accepted = contract.transfers
        assert (rejected.package_id, rejected.nonconformance, rejected.disposition) == (first, 1, "rework")
        assert rejected.vault_entry is not None
        assert (accepted.package_id, accepted.nonconformance, accepted.vault_entry) == (second, None, None)
        assert (contract.verdict, contract.disposition) == ("accept", None)

    async def test_is_complete_when_its_chain_is(self, orders: ClientOrders, chain: Chain) -> None:
        await chain.staged("SC-FI", 1, LP, FINAL)
        await chain.released("SC-FI", LP)
        package = await chain.authorized("SC-FI", LP)
        done = {"vault_status": "complete", "next_node_status": "not_applicable", "business_hub_status": "complete"}
        await chain.notified(package, "SC-FI")
        await chain.moved(package, status="fully_complete", ended_now=True, **done)
        order = await the_order(orders)
        assert order_stand(order).standing is Standing.COMPLETE
        assert order.notified_at is not None


class TestTheList:
    async def test_has_the_latest_staged_first_in_pages(self, orders: ClientOrders, ledger: Ledger) -> None:
        for number in range(3):
            await Chain(ledger, f"CPO-{number}").staged(f"SC-{number}", 1, LP, FINAL)
        matching, page = await orders.page(stuck=None, limit=2, offset=0)
        assert (matching, [order.clientpo_id for order in page]) == (3, ["CPO-2", "CPO-1"])
        _, rest = await orders.page(stuck=None, limit=2, offset=2)
        assert [order.clientpo_id for order in rest] == ["CPO-0"]

    async def test_knows_who_is_stuck_as_the_rules_do(self, orders: ClientOrders, ledger: Ledger) -> None:
        numbers = iter(range(1000))

        async def another() -> tuple[Chain, str]:
            number = next(numbers)
            chain = Chain(ledger, f"CPO-{number}")
            await chain.staged(f"SC-{number}", 1, LP, FINAL)
            return chain, f"SC-{number}"

        for status in ("awaiting_arrival", "arrival_confirmed", "ready_for_release", "hold", "cancelled"):
            for error in (None, "the node will not"):
                chain, name = await another()
                await chain.po(name, status=status, release_error=error)
        for test_status in TestStatus:
            chain, name = await another()
            await chain.released(name, LP)
            await chain.tested(name, status=test_status)
        for destination in Destination:
            for leg in LegStatus:
                chain, name = await another()
                await chain.released(name, LP)
                package = await chain.authorized(name, LP)
                await chain.moved(package, **{f"{destination}_status": leg})
        chain, name = await another()
        await chain.released(name, LP)
        await chain.moved(await chain.authorized(name, LP), status="refused")

        everything, found = await orders.page(stuck=None, limit=500, offset=0)
        by_rule = {order.clientpo_id: order_stand(order).standing is Standing.STUCK for order in found}
        for stuck in (True, False):
            matching, listed = await orders.page(stuck=stuck, limit=500, offset=0)
            assert {order.clientpo_id for order in listed} == {name for name, is_ in by_rule.items() if is_ is stuck}
            assert matching == len(listed)
            assert 0 < matching < everything
