"""Where a client order stands, by the states of its contracts."""

from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.client_order import (
    ClientOrder,
    Contract,
    Leg,
    Stand,
    Standing,
    Test,
    Times,
    Transfer,
    contract_stand,
    order_stand,
    to_come_stand,
    together,
)
from schemas.client_po import ClientPOStatus
from schemas.outlook import Outlook
from schemas.routing import RoutingTrigger
from schemas.test_execution import TestStatus
from schemas.test_results import TestVerdict
from schemas.transfer import Destination, Disposition, LegStatus, PackageStatus

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)

ONWARD = RoutingTrigger.model_validate(
    {"type": "next_node", "next_station": "NOD-CP", "next_contract": "SC-1-CP.yaml", "vault_transfer": True}
)
FINAL = RoutingTrigger.model_validate({"type": "workflow_complete"})

DELIVERED = {
    Destination.VAULT: LegStatus.COMPLETE,
    Destination.NEXT_NODE: LegStatus.COMPLETE,
    Destination.BUSINESS_HUB: LegStatus.NOT_APPLICABLE,
}


def at_node(status: TestStatus = TestStatus.AUTHORIZED, **fields: Any) -> Test:
    values: dict[str, Any] = {
        "performer": "ines",
        "revision": 1,
        "missing": None,
        "open_signoffs": None,
        "hold_reason": None,
        "rework_reason": None,
        "package_id": "PKG-SC-1-LP-R1" if status is TestStatus.AUTHORIZED else None,
    }
    return Test(status=status, **values | fields)


def transfer(
    legs: dict[Destination, LegStatus] | None = None,
    *,
    error: str | None = None,
    disposition: Disposition | None = None,
    revision: int = 1,
    status: PackageStatus = PackageStatus.AUTHORIZED,
) -> Transfer:
    states = DELIVERED | (legs or {})
    return Transfer(
        package_id=f"PKG-SC-1-LP-R{revision}",
        revision=revision,
        status=status,
        verdict=TestVerdict.REJECT if disposition else TestVerdict.ACCEPT,
        nonconformance=7,
        disposition=disposition,
        vault_entry=None,
        legs=tuple(
            Leg(destination=leg, status=state, attempts=4, error=error, received_at=None)
            for leg, state in states.items()
        ),
    )


def contract(name: str = "SC-1-LP", **fields: Any) -> Contract:
    values: dict[str, Any] = {
        "sequence_number": 1,
        "node": "NOD-LP",
        "routed_from": None,
        "po_status": ClientPOStatus.RELEASED,
        "release_error": None,
        "outlook": Outlook(waits_for="its part", moved_on_by="a scan"),
        "routing_trigger": ONWARD,
        "test": at_node(),
        "transfers": (),
        "times": Times(staged=NOW),
    }
    return Contract(smart_contract_id=name, **values | fields)


def order(*contracts: Contract) -> ClientOrder:
    return ClientOrder(clientpo_id="CPO-1", client="Aero", contracts=contracts)


def last(name: str = "SC-1-CP", **fields: Any) -> Contract:
    """The end of the chain, complete where nothing else is said."""
    return contract(name, **{"routing_trigger": FINAL, "node": "NOD-CP", "transfers": (transfer(),), **fields})


class TestAContractBeforeItsRelease:
    def test_waits_for_what_its_po_waits_for(self) -> None:
        stand = contract_stand(contract(po_status=ClientPOStatus.AWAITING_ARRIVAL, test=None))
        assert stand == Stand(standing=Standing.UNDER_WAY, waits_for="its part", moved_on_by="a scan")

    @pytest.mark.parametrize(
        ("status", "error", "standing"),
        [
            (ClientPOStatus.HOLD, None, Standing.STUCK),
            (ClientPOStatus.READY_FOR_RELEASE, "the node will not", Standing.STUCK),
            (ClientPOStatus.READY_FOR_RELEASE, None, Standing.UNDER_WAY),
            (ClientPOStatus.CANCELLED, None, Standing.ENDED),
        ],
    )
    def test_is_stuck_where_a_person_must_act(
        self, status: ClientPOStatus, error: str | None, standing: Standing
    ) -> None:
        found = contract_stand(contract(po_status=status, release_error=error, test=None))
        assert found.standing is standing


class TestAContractAtItsNode:
    def test_waits_for_its_test_to_be_opened(self) -> None:
        assert contract_stand(contract(test=None)).standing is Standing.UNDER_WAY

    @pytest.mark.parametrize(
        ("test", "standing", "waits_for"),
        [
            (at_node(TestStatus.WAITING), Standing.UNDER_WAY, "its start at NOD-LP"),
            (at_node(TestStatus.BLOCKED, missing="UV-LAMP-04 is due"), Standing.STUCK, "UV-LAMP-04 is due"),
            (at_node(TestStatus.RUNNING), Standing.UNDER_WAY, "results"),
            (at_node(TestStatus.AWAITING_SIGNOFF, open_signoffs="T1 by a q"), Standing.UNDER_WAY, "T1 by a q"),
            (at_node(TestStatus.REWORK, rework_reason="blurred"), Standing.STUCK, "blurred"),
            (at_node(TestStatus.HOLD, hold_reason="power cut"), Standing.STUCK, "power cut"),
            (at_node(TestStatus.AUTHORIZING), Standing.UNDER_WAY, "Guardian"),
            (at_node(TestStatus.ABORTED), Standing.ENDED, "aborted"),
            (at_node(), Standing.UNDER_WAY, "transfer of PKG-SC-1-LP-R1 to begin"),
        ],
    )
    def test_waits_for_what_its_test_waits_for(self, test: Test, standing: Standing, waits_for: str) -> None:
        stand = contract_stand(contract(test=test))
        assert stand.standing is standing
        assert waits_for in stand.waits_for

    def test_names_who_performs_it_when_results_are_wanted(self) -> None:
        assert contract_stand(contract(test=at_node(TestStatus.RUNNING))).moved_on_by == "ines"

    def test_whose_rework_nobody_performs_yet_names_who_may(self) -> None:
        rework = at_node(TestStatus.REWORK, performer=None, rework_reason="disposed for rework")
        assert contract_stand(contract(test=rework)).moved_on_by.startswith("whoever may perform the test")


class TestAContractInTransfer:
    def test_is_complete_when_its_legs_are(self) -> None:
        assert contract_stand(contract(transfers=(transfer(),))).standing is Standing.COMPLETE

    @pytest.mark.parametrize("destination", list(Destination))
    @pytest.mark.parametrize(
        ("leg", "standing"),
        [
            (LegStatus.PENDING, Standing.UNDER_WAY),
            (LegStatus.PREPARING, Standing.UNDER_WAY),
            (LegStatus.TRANSFERRING, Standing.UNDER_WAY),
            (LegStatus.FAILED, Standing.UNDER_WAY),
            (LegStatus.WAITING, Standing.STUCK),
            (LegStatus.AWAITING_DISPOSITION, Standing.STUCK),
        ],
    )
    def test_is_stuck_where_a_leg_waits_for_a_person(
        self, destination: Destination, leg: LegStatus, standing: Standing
    ) -> None:
        moved = contract(transfers=(transfer({destination: leg}, error="HTTP 503"),))
        assert contract_stand(moved).standing is standing

    def test_says_which_leg_why_and_what_to_do(self) -> None:
        moved = contract(transfers=(transfer({Destination.VAULT: LegStatus.WAITING}, error="HTTP 503"),))
        stand = contract_stand(moved)
        assert stand.waits_for == "a person: HTTP 503 (vault leg of PKG-SC-1-LP-R1)"
        assert "retries" in stand.moved_on_by

    def test_names_the_nonconformance_that_is_to_be_decided(self) -> None:
        moved = contract(transfers=(transfer({Destination.NEXT_NODE: LegStatus.AWAITING_DISPOSITION}),))
        assert "nonconformance 7" in contract_stand(moved).waits_for

    def test_says_everything_that_needs_a_person_and_nothing_else(self) -> None:
        legs = {
            Destination.VAULT: LegStatus.WAITING,
            Destination.NEXT_NODE: LegStatus.WAITING,
            Destination.BUSINESS_HUB: LegStatus.PENDING,
        }
        stand = contract_stand(contract(transfers=(transfer(legs),)))
        assert "vault leg" in stand.waits_for
        assert "next-node leg" in stand.waits_for
        assert "Business Hub" not in stand.waits_for

    def test_is_stuck_with_an_authorization_that_was_refused(self) -> None:
        refused = contract(transfers=(transfer(status=PackageStatus.REFUSED),))
        assert contract_stand(refused).standing is Standing.STUCK

    @pytest.mark.parametrize(
        ("disposition", "standing"),
        [
            (Disposition.USE_AS_IS, Standing.COMPLETE),
            (Disposition.REWORK, Standing.UNDER_WAY),
            (Disposition.SCRAP, Standing.ENDED),
            (Disposition.RETURN_TO_CLIENT, Standing.ENDED),
        ],
    )
    def test_goes_on_as_its_disposition_says(self, disposition: Disposition, standing: Standing) -> None:
        assert contract_stand(contract(transfers=(transfer(disposition=disposition),))).standing is standing

    def test_is_complete_when_the_reworked_revision_is(self) -> None:
        revisions = (transfer(disposition=Disposition.REWORK), transfer(revision=2))
        reworked = contract(test=at_node(package_id="PKG-SC-1-LP-R2", revision=2), transfers=revisions)
        assert contract_stand(reworked).standing is Standing.COMPLETE

    def test_is_stuck_while_the_vault_misses_an_earlier_revision(self) -> None:
        revisions = (
            transfer({Destination.VAULT: LegStatus.WAITING}, disposition=Disposition.REWORK),
            transfer(revision=2),
        )
        reworked = contract(test=at_node(package_id="PKG-SC-1-LP-R2", revision=2), transfers=revisions)
        assert contract_stand(reworked).standing is Standing.STUCK


class TestAClientOrder:
    def test_is_complete_when_every_contract_is_and_none_is_to_come(self) -> None:
        first = contract(transfers=(transfer(),))
        second = last(test=at_node(), transfers=(transfer(),))
        assert order_stand(order(first, second)).standing is Standing.COMPLETE

    def test_is_under_way_while_a_contract_is_to_come(self) -> None:
        stand = order_stand(order(contract(transfers=(transfer(),))))
        assert stand.standing is Standing.UNDER_WAY
        assert "SC-1-CP at NOD-CP" in stand.waits_for

    def test_is_stuck_where_one_contract_is_and_says_which(self) -> None:
        stuck = contract(transfers=(transfer({Destination.VAULT: LegStatus.WAITING}, error="HTTP 503"),))
        stand = order_stand(order(stuck, last(po_status=ClientPOStatus.AWAITING_ARRIVAL, test=None)))
        assert stand.standing is Standing.STUCK
        assert stand.waits_for.startswith("SC-1-LP waits for a person: HTTP 503")
        assert "SC-1-CP" not in stand.waits_for

    def test_ends_with_a_contract_that_is_given_up(self) -> None:
        scrapped = contract(transfers=(transfer(disposition=Disposition.SCRAP),))
        assert order_stand(order(scrapped)).standing is Standing.ENDED


class TestWhatIsToCome:
    def test_is_named_by_the_trigger_of_the_contract_before_it(self) -> None:
        [coming] = order(contract()).to_come()
        assert (coming.smart_contract_id, coming.node, coming.after) == ("SC-1-CP", "NOD-CP", "SC-1-LP")
        assert to_come_stand(coming).standing is Standing.TO_COME

    def test_is_nothing_once_it_is_staged(self) -> None:
        assert order(contract(), last()).to_come() == []

    def test_is_nothing_after_a_contract_that_ended(self) -> None:
        assert order(contract(po_status=ClientPOStatus.CANCELLED, test=None)).to_come() == []


class TestSeveralStands:
    def test_nothing_to_wait_for_is_complete(self) -> None:
        assert together([]).standing is Standing.COMPLETE
