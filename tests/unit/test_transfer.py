"""The rules of a transfer: the one table of its states, its routing, and what an attempt is."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.routing import read_routing_trigger
from schemas.transfer import (
    DONE,
    PACKAGE_STATUS,
    TERMINAL,
    Destination,
    LegLife,
    LegPolicy,
    LegStatus,
    PackageStatus,
    Sending,
    TransferLife,
)

TROUBLE = {LegStatus.FAILED, LegStatus.WAITING}

CASES = sorted(PACKAGE_STATUS)


class TestTheTable:
    def test_has_every_pair_of_legs(self) -> None:
        assert len(PACKAGE_STATUS) == len(LegStatus) ** 2

    def test_reaches_the_nine_states_of_the_specification_and_no_other(self) -> None:
        assert set(PACKAGE_STATUS.values()) == set(PackageStatus) - {PackageStatus.REFUSED}
        assert len(set(PACKAGE_STATUS.values())) == 9

    @pytest.mark.parametrize(("vault", "next_node"), CASES)
    def test_says_retry_pending_exactly_when_a_leg_is_in_trouble(self, vault: LegStatus, next_node: LegStatus) -> None:
        troubled = bool({vault, next_node} & TROUBLE)
        assert (PACKAGE_STATUS[vault, next_node] is PackageStatus.RETRY_PENDING) is troubled

    @pytest.mark.parametrize(("vault", "next_node"), CASES)
    def test_says_fully_complete_exactly_when_both_legs_are_done(self, vault: LegStatus, next_node: LegStatus) -> None:
        done = vault in DONE and next_node in DONE
        assert (PACKAGE_STATUS[vault, next_node] is PackageStatus.FULLY_COMPLETE) is done
        assert (PACKAGE_STATUS[vault, next_node] in TERMINAL) is done

    @pytest.mark.parametrize(
        ("vault", "next_node", "status"),
        [
            ("pending", "pending", "authorized"),
            ("preparing", "pending", "preparing_vault"),
            ("preparing", "preparing", "preparing_vault"),
            ("transferring", "preparing", "transferring_vault"),
            ("pending", "preparing", "preparing_next_node"),
            ("complete", "preparing", "preparing_next_node"),
            ("complete", "transferring", "transferring_next_node"),
            ("complete", "awaiting_disposition", "vault_complete"),
            ("transferring", "complete", "next_node_complete"),
            ("transferring", "not_applicable", "transferring_vault"),
            ("complete", "not_applicable", "fully_complete"),
            ("complete", "complete", "fully_complete"),
            ("waiting", "complete", "retry_pending"),
            ("complete", "failed", "retry_pending"),
        ],
    )
    def test_reads_as_the_specification(self, vault: str, next_node: str, status: str) -> None:
        assert PACKAGE_STATUS[LegStatus(vault), LegStatus(next_node)] == status


class TestATransfer:
    def test_is_authorized_before_it_has_legs(self) -> None:
        assert TransferLife().status is PackageStatus.AUTHORIZED
        assert not TransferLife().ended

    def test_is_refused_whatever_its_legs_say(self) -> None:
        life = TransferLife(refusal="forged", legs={Destination.VAULT: LegLife(status=LegStatus.COMPLETE)})
        assert (life.status, life.ended) == (PackageStatus.REFUSED, True)

    def test_has_not_ended_while_the_business_hub_does_not_know(self) -> None:
        legs = {
            Destination.VAULT: LegLife(status=LegStatus.COMPLETE),
            Destination.NEXT_NODE: LegLife(status=LegStatus.NOT_APPLICABLE),
            Destination.BUSINESS_HUB: LegLife(status=LegStatus.FAILED),
        }
        life = TransferLife(legs=legs)
        assert (life.status, life.ended) == (PackageStatus.FULLY_COMPLETE, False)
        life.legs[Destination.BUSINESS_HUB].status = LegStatus.COMPLETE
        assert life.ended


class TestTheRoutingTrigger:
    def test_of_a_chain_names_what_comes_next(self) -> None:
        routing = read_routing_trigger({"type": "next_node", "next_station": "NODE-2", "next_contract": "SC-2.yaml"})
        assert routing.model_dump(mode="json") == {
            "routing_type": "next_node",
            "next_station": "NODE-2",
            "next_contract": "SC-2.yaml",
            "vault_transfer": True,
            "workflow_complete": False,
            "is_final_contract": False,
        }

    def test_of_a_final_contract_names_nothing(self) -> None:
        routing = read_routing_trigger({"type": "workflow_complete"})
        assert (routing.next_contract, routing.workflow_complete, routing.is_final_contract) == (None, True, True)

    @pytest.mark.parametrize("trigger", [{}, {"type": "next_node"}, {"type": "workflow_complete", "next_station": "N"}])
    def test_is_refused_where_it_says_nothing(self, trigger: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            read_routing_trigger(trigger)


class TestAnAttempt:
    def test_waits_twice_as_long_each_time(self) -> None:
        policy = LegPolicy(retries=3, first_pause=5)
        assert [policy.pause(retry) for retry in (1, 2, 3)] == [timedelta(seconds=seconds) for seconds in (5, 10, 20)]

    @given(st.floats(min_value=0.001, max_value=60), st.integers(min_value=2, max_value=10))
    def test_never_comes_sooner_than_the_one_before(self, first_pause: float, retries: int) -> None:
        policy = LegPolicy(retries=retries, first_pause=first_pause)
        pauses = [policy.pause(retry) for retry in range(1, retries + 1)]
        assert all(earlier < later for earlier, later in pairwise(pauses))

    def test_has_the_key_and_the_hash_of_what_it_sends(self) -> None:
        one = Sending(destination=Destination.VAULT, package_id="PKG-SC-1-R1", body={"a": 1})
        other = one.model_copy(update={"body": {"a": 2}})
        assert one.idempotency_key == other.idempotency_key == "PKG-SC-1-R1:vault"
        assert one.content_hash != other.content_hash
