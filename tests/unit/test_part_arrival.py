"""The matching of arrivals with POs: what each rule says, and the laws that hold whatever happens."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pydantic import ValidationError

from schemas.part_arrival import (
    MEMORY,
    AcceptedQuantity,
    Allotment,
    ArrivalOutcome,
    LineStatus,
    PartArrival,
    PORef,
    Reorder,
    ReportedArrival,
    Share,
    WaitingPO,
)
from schemas.part_line import PartLine

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
MONTH = timedelta(days=30)
NODE = "NODE-1"
PLACES = ["dock-a", "dock-b", NODE]


def arrival(
    id_: str, quantity: int = 1, *, at: str = "dock-a", when: datetime = NOW, condition: str = "ok"
) -> ReportedArrival:
    body = PartArrival(
        id=id_,
        event_type="part_arrival",
        part_number="PN-1",
        quantity=quantity,
        location=at,
        condition=condition,
        timestamp=when,
    )
    return ReportedArrival(arrival=body, at_node=at == NODE)


def po(
    name: str, quantity: int = 1, *, priority: int = 3, place: str | None = None, ticket: int = 1, after: int = 0
) -> WaitingPO:
    staged_at = NOW + timedelta(seconds=after)
    return WaitingPO(
        smart_contract_id=name,
        ticket=ticket,
        quantity=quantity,
        priority=priority,
        staged_at=staged_at,
        place=place,
        node=NODE,
    )


def given_to(allotments: list[Allotment]) -> dict[str, int]:
    return {allotment.smart_contract_id: allotment.quantity for allotment in allotments}


def stock(line: PartLine) -> dict[str, int]:
    return {lot.broadcast_id: lot.quantity for lot in line.stock}


@pytest.fixture
def line() -> PartLine:
    return PartLine(single=False)


@pytest.fixture
def part() -> PartLine:
    return PartLine(single=True)


class TestABroadcast:
    def test_waits_for_a_po_that_comes_later(self, line: PartLine) -> None:
        line.arrive(arrival("B1"), NOW)
        line.join(po("A"))
        assert given_to(line.allot()) == {"A": 1}

    def test_serves_a_po_that_waits_for_it(self, line: PartLine) -> None:
        line.join(po("A"))
        assert line.allot() == []
        line.arrive(arrival("B1"), NOW)
        assert given_to(line.allot()) == {"A": 1}

    def test_that_was_seen_before_changes_nothing(self, line: PartLine) -> None:
        line.arrive(arrival("B1"), NOW)
        before = line.model_dump()
        assert line.arrive(arrival("B1", 5, at="dock-b"), NOW) is ArrivalOutcome.DUPLICATE
        assert line.model_dump() == before

    @pytest.mark.parametrize("when", [NOW - MEMORY - timedelta(seconds=1), NOW + timedelta(minutes=11)])
    def test_out_of_its_time_goes_to_a_person(self, line: PartLine, when: datetime) -> None:
        assert line.arrive(arrival("B1", when=when), NOW) is ArrivalOutcome.OUT_OF_WINDOW
        assert line == PartLine(single=False)

    @pytest.mark.parametrize("when", [NOW - MEMORY, NOW + timedelta(minutes=10)])
    def test_at_the_edge_of_its_time_counts(self, line: PartLine, when: datetime) -> None:
        assert line.arrive(arrival("B1", when=when), NOW) is ArrivalOutcome.COUNTED

    @pytest.mark.parametrize("later", [timedelta(0), MEMORY - timedelta(seconds=1), MEMORY, MEMORY + timedelta(1)])
    def test_never_counts_twice_however_late_it_is_repeated(self, line: PartLine, later: timedelta) -> None:
        line.arrive(arrival("B1"), NOW)
        line.forget(NOW + later)
        assert line.arrive(arrival("B1"), NOW + later) is not ArrivalOutcome.COUNTED
        assert stock(line) == {"B1": 1}

    @pytest.mark.parametrize(
        "wrong",
        [
            {"part_number": None},
            {"part_id": "P-1", "quantity": 2},
            {"quantity": 0},
            {"quantity": "2"},
            {"timestamp": "2026-11-21T12:00:00"},
            {"timestamp": "0001-01-01T00:00:00+14:00"},
            {"id": ""},
            {"id": "a\0b"},
            {"location": "  "},
            {"condition": "bent\0"},
            {"event_type": "part_departure"},
        ],
    )
    def test_that_is_malformed_is_refused(self, wrong: dict[str, Any]) -> None:
        body = arrival("B1").arrival.model_dump(mode="json")
        with pytest.raises(ValidationError):
            PartArrival.model_validate(body | wrong)


class TestTheLine:
    def test_serves_by_priority_then_staging_time_then_id(self, line: PartLine) -> None:
        for entry in [po("D", after=1), po("C"), po("B"), po("A", priority=4), po("E", priority=1, after=9)]:
            line.join(entry)
        served = []
        for number in range(5):
            line.arrive(arrival(f"B{number}"), NOW)
            served += [allotment.smart_contract_id for allotment in line.allot()]
        assert served == ["E", "B", "C", "D", "A"]

    def test_allots_only_whole_quantities(self, line: PartLine) -> None:
        line.join(po("A", 10))
        line.arrive(arrival("B1", 6), NOW)
        assert line.allot() == []
        assert [(count.smart_contract_id, count.arrived) for count in line.changed_counts()] == [("A", 6)]
        line.arrive(arrival("B2", 5), NOW)
        [allotment] = line.allot()
        assert [(share.broadcast_id, share.quantity) for share in allotment.shares] == [("B1", 6), ("B2", 4)]
        assert stock(line) == {"B2": 1}

    def test_tells_a_count_once(self, line: PartLine) -> None:
        line.join(po("A", 10))
        line.arrive(arrival("B1", 6), NOW)
        assert line.changed_counts()
        assert line.changed_counts() == []

    def test_lets_nobody_overtake_who_needs_less(self, line: PartLine) -> None:
        line.join(po("A", 10))
        line.join(po("B", 1, after=1))
        line.arrive(arrival("B1", 6), NOW)
        assert line.allot() == []

    def test_serves_another_place_past_a_head_that_cannot_use_it(self, line: PartLine) -> None:
        line.join(po("A", place="dock-b"))
        line.join(po("B", after=1))
        line.arrive(arrival("B1"), NOW)
        assert given_to(line.allot()) == {"B": 1}

    def test_follows_a_new_priority(self, line: PartLine) -> None:
        line.join(po("A"))
        line.join(po("B", after=1))
        line.reorder(Reorder(smart_contract_id="B", ticket=1, priority=1))
        line.arrive(arrival("B1"), NOW)
        assert given_to(line.allot()) == {"B": 1}

    def test_serves_whoever_accepts_fewer(self, line: PartLine) -> None:
        line.join(po("A", 10))
        line.arrive(arrival("B1", 6), NOW)
        line.accept(AcceptedQuantity(smart_contract_id="A", ticket=1, quantity=6))
        assert given_to(line.allot()) == {"A": 6}

    def test_ignores_a_join_that_is_repeated(self, line: PartLine) -> None:
        line.arrive(arrival("B1", 2), NOW)
        line.join(po("A"))
        line.allot()
        line.join(po("A"))
        assert line.allot() == []
        assert stock(line) == {"B1": 1}

    def test_takes_back_what_a_po_had_that_comes_with_a_new_ticket(self, line: PartLine) -> None:
        line.arrive(arrival("B1"), NOW)
        line.join(po("A"))
        line.allot()
        line.join(po("A", ticket=2))
        [allotment] = line.allot()
        assert allotment.ticket == 2

    def test_gives_what_a_leaving_po_had_to_the_next(self, line: PartLine) -> None:
        line.arrive(arrival("B1"), NOW)
        line.join(po("A"))
        line.join(po("B", after=1))
        line.allot()
        line.leave("A")
        assert given_to(line.allot()) == {"B": 1}

    def test_keeps_the_units_of_a_released_po_that_leaves_out_of_stock(self, line: PartLine) -> None:
        line.arrive(arrival("B1"), NOW)
        line.join(po("A"))
        line.allot()
        line.settle(PORef(smart_contract_id="A", ticket=1), NOW)
        line.leave("A")
        assert stock(line) == {}

    def test_gives_what_nobody_took_to_the_next(self, line: PartLine) -> None:
        line.arrive(arrival("B1"), NOW)
        line.join(po("A"))
        line.join(po("B", after=1))
        [allotment] = line.allot()
        assert line.undeliverable(allotment) is False
        assert given_to(line.allot()) == {"B": 1}

    def test_makes_one_lot_again_of_what_comes_back(self, line: PartLine) -> None:
        line.arrive(arrival("B1", 10), NOW)
        line.join(po("A", 4))
        line.allot()
        line.leave("A")
        assert [(lot.broadcast_id, lot.quantity) for lot in line.stock] == [("B1", 10)]

    @pytest.mark.parametrize("quantity", [0, -1])
    def test_refuses_a_po_that_needs_nothing(self, quantity: int) -> None:
        with pytest.raises(ValidationError):
            po("A", quantity)

    def test_refuses_an_allotment_of_nothing(self) -> None:
        with pytest.raises(ValidationError):
            Allotment(smart_contract_id="A", ticket=1, shares=())


class TestAPOThatWasReleased:
    @pytest.fixture
    def released(self, line: PartLine) -> PartLine:
        line.join(po("A", 2))
        line.arrive(arrival("B1", 3), NOW)
        line.allot()
        line.settle(PORef(smart_contract_id="A", ticket=1), NOW)
        return line

    def test_stays_known_though_it_is_said_to_leave(self, released: PartLine) -> None:
        released.leave("A")
        assert released.released_with("B1") == ("A",)

    def test_does_not_come_into_the_line_again(self, released: PartLine) -> None:
        released.join(po("A", ticket=2))
        assert released.allot() == []
        assert released.released_with("B1") == ("A",)


class TestWhatAPOHolds:
    def test_is_what_it_was_given_under_its_ticket(self, line: PartLine) -> None:
        line.join(po("A", 2))
        line.arrive(arrival("B1", 3), NOW)
        [allotment] = line.allot()
        held = line.held(PORef(smart_contract_id="A", ticket=1))
        assert held is not None
        assert (held.shares, held.revoked) == (allotment.shares, False)

    @pytest.mark.parametrize("other", [PORef(smart_contract_id="A", ticket=2), PORef(smart_contract_id="B", ticket=1)])
    def test_is_nothing_under_another_ticket_or_name(self, line: PartLine, other: PORef) -> None:
        line.join(po("A", 2))
        line.arrive(arrival("B1", 3), NOW)
        line.allot()
        assert line.held(other) is None

    def test_is_nothing_while_it_waits(self, line: PartLine) -> None:
        line.join(po("A", 2))
        assert line.held(PORef(smart_contract_id="A", ticket=1)) is None

    def test_is_to_be_given_back_when_it_was_withdrawn(self, line: PartLine) -> None:
        line.join(po("A", 2))
        line.arrive(arrival("B1", 3), NOW)
        line.allot()
        line.withdraw("B1", "wrong label")
        held = line.held(PORef(smart_contract_id="A", ticket=1))
        assert held is not None
        assert held.revoked


class TestPlaces:
    @pytest.mark.parametrize(
        ("place", "at", "counts"),
        [
            (None, "dock-a", True),
            (None, NODE, False),
            (NODE, NODE, True),
            (NODE, "dock-a", False),
            ("dock-a", "dock-a", True),
            ("dock-a", "dock-b", False),
        ],
    )
    def test_decide_whether_an_arrival_counts(self, line: PartLine, place: str | None, at: str, counts: bool) -> None:
        line.join(po("A", place=place))
        line.arrive(arrival("B1", at=at), NOW)
        assert bool(line.allot()) is counts


class TestAWithdrawal:
    def test_of_what_is_in_stock_tells_nobody(self, line: PartLine) -> None:
        line.arrive(arrival("B1", 3), NOW)
        withdrawn = line.withdraw("B1", "wrong label")
        assert withdrawn is not None
        assert withdrawn.revocations == ()
        assert stock(line) == {}

    def test_of_what_a_po_was_given_sends_it_back_to_waiting(self, line: PartLine) -> None:
        line.arrive(arrival("B1", 4), NOW)
        line.arrive(arrival("B2", 6), NOW)
        line.join(po("A", 6))
        line.allot()
        withdrawn = line.withdraw("B1", "wrong label")
        assert withdrawn is not None
        assert [revocation.smart_contract_id for revocation in withdrawn.revocations] == ["A"]
        line.join(po("A", 6, ticket=2))
        [allotment] = line.allot()
        assert allotment.broadcast_ids == ("B2",)

    def test_of_what_a_released_po_was_given_says_so(self, line: PartLine) -> None:
        line.arrive(arrival("B1"), NOW)
        line.join(po("A"))
        line.allot()
        line.settle(PORef(smart_contract_id="A", ticket=1), NOW)
        withdrawn = line.withdraw("B1", "wrong label")
        assert withdrawn is not None
        assert (withdrawn.revocations, withdrawn.released) == ((), ("A",))

    def test_happens_once(self, line: PartLine) -> None:
        line.arrive(arrival("B1"), NOW)
        assert line.withdraw("B1", "wrong label") is not None
        assert line.withdraw("B1", "wrong label") is None

    def test_revokes_a_po_of_two_broadcasts_once(self, line: PartLine) -> None:
        line.arrive(arrival("B1"), NOW)
        line.arrive(arrival("B2"), NOW)
        line.join(po("A", 2))
        line.allot()
        first, second = line.withdraw("B1", "wrong label"), line.withdraw("B2", "wrong label")
        assert first is not None
        assert second is not None
        assert (len(first.revocations), len(second.revocations)) == (1, 0)

    def test_lets_nobody_overtake_the_po_that_has_to_wait_again(self, line: PartLine) -> None:
        line.join(po("A", 1, priority=1))
        line.join(po("B", 3))
        line.arrive(arrival("B1"), NOW)
        assert given_to(line.allot()) == {"A": 1}
        line.arrive(arrival("B2", 2), NOW)
        line.withdraw("B1", "wrong label")
        line.arrive(arrival("B3", 1), NOW)
        assert line.allot() == []
        line.join(po("A", 1, priority=1, ticket=2))
        assert given_to(line.allot()) == {"A": 1}

    def test_that_no_open_workflow_heard_frees_what_the_po_still_held(self, line: PartLine) -> None:
        line.arrive(arrival("B1"), NOW)
        line.arrive(arrival("B2"), NOW)
        line.join(po("A", 2))
        line.allot()
        withdrawn = line.withdraw("B1", "wrong label")
        assert withdrawn is not None
        assert line.undeliverable(withdrawn.revocations[0]) is False
        assert stock(line) == {"B2": 1}

    def test_that_no_open_workflow_heard_because_it_was_released_says_so(self, line: PartLine) -> None:
        line.arrive(arrival("B1"), NOW)
        line.join(po("A"))
        line.allot()
        withdrawn = line.withdraw("B1", "wrong label")
        assert withdrawn is not None
        line.settle(PORef(smart_contract_id="A", ticket=1), NOW)
        assert line.undeliverable(withdrawn.revocations[0]) is True


class TestOnePart:
    def test_is_present_once_however_often_it_is_scanned(self, part: PartLine) -> None:
        assert part.arrive(arrival("B1"), NOW) is ArrivalOutcome.COUNTED
        assert part.arrive(arrival("B2"), NOW) is ArrivalOutcome.TRACKING
        assert stock(part) == {"B1": 1}

    def test_moves_to_where_it_is_scanned_later(self, part: PartLine) -> None:
        part.arrive(arrival("B1"), NOW)
        assert part.arrive(arrival("B2", at="dock-b", when=NOW + timedelta(minutes=1)), NOW) is ArrivalOutcome.COUNTED
        assert stock(part) == {"B2": 1}

    def test_does_not_move_to_where_it_was_earlier(self, part: PartLine) -> None:
        part.arrive(arrival("B1"), NOW)
        assert part.arrive(arrival("B2", at="dock-b", when=NOW - timedelta(1)), NOW) is ArrivalOutcome.TRACKING
        assert stock(part) == {"B1": 1}

    def test_that_moves_is_taken_from_the_po_that_was_given_it(self, part: PartLine) -> None:
        part.join(po("A"))
        part.arrive(arrival("B1"), NOW)
        part.allot()
        part.arrive(arrival("B2", at="dock-b"), NOW)
        assert [revocation.smart_contract_id for revocation in part.moved_away()] == ["A"]
        assert part.moved_away() == []

    def test_carried_ahead_to_the_node_of_its_po_stays_with_it(self, part: PartLine) -> None:
        part.join(po("A"))
        part.join(po("B", place=NODE, after=1))
        part.arrive(arrival("B1"), NOW)
        part.allot()
        assert part.arrive(arrival("B2", at=NODE), NOW) is ArrivalOutcome.COUNTED
        assert part.moved_away() == []
        assert part.allot() == []
        part.leave("A")
        assert given_to(part.allot()) == {"B": 1}

    def test_carried_ahead_and_found_damaged_is_told_to_its_po(self, part: PartLine) -> None:
        part.join(po("A"))
        part.arrive(arrival("B1"), NOW)
        part.allot()
        cracked = arrival("B2", at=NODE, condition="cracked")
        part.arrive(cracked, NOW)
        [damage] = part.damaged(cracked.arrival)
        assert (damage.smart_contract_id, damage.condition) == ("A", f"cracked at {NODE} (B2)")

    @settings(deadline=None)
    @given(scans=st.lists(st.sampled_from(PLACES), min_size=1, max_size=6), data=st.data())
    def test_is_where_it_was_seen_last_in_whatever_order_the_scans_come(
        self, scans: list[str], data: st.DataObject
    ) -> None:
        part = PartLine(single=True)
        reports = [arrival(f"B{n}", at=at, when=NOW + timedelta(seconds=n)) for n, at in enumerate(scans)]
        for report in data.draw(st.permutations(reports)):
            part.arrive(report, NOW)
        assert part.location == scans[-1]

    def test_is_where_it_was_before_when_a_wrong_scan_is_withdrawn(self, part: PartLine) -> None:
        part.join(po("A", place="dock-a"))
        part.arrive(arrival("B1"), NOW)
        part.allot()
        part.arrive(arrival("B2", at="dock-b"), NOW)
        [revoked] = part.moved_away()
        part.join(po("A", place="dock-a", ticket=2))
        assert part.allot() == []
        part.withdraw("B2", "another part")
        assert part.location == "dock-a"
        assert given_to(part.allot()) == {revoked.smart_contract_id: 1}

    def test_that_left_with_its_po_does_not_come_back_when_a_later_scan_is_withdrawn(self, part: PartLine) -> None:
        part.join(po("A"))
        part.arrive(arrival("B1"), NOW)
        [allotment] = part.allot()
        part.settle(PORef(smart_contract_id="A", ticket=allotment.ticket), NOW)
        part.arrive(arrival("B2", at="dock-b"), NOW)
        part.withdraw("B2", "another part")
        part.join(po("B", after=1))
        assert part.allot() == []

    def test_that_moves_to_another_good_place_still_goes_to_the_head_of_the_line(self, part: PartLine) -> None:
        part.join(po("A", priority=1))
        part.join(po("B"))
        part.arrive(arrival("B1"), NOW)
        assert given_to(part.allot()) == {"A": 1}
        part.arrive(arrival("B2", at="dock-b"), NOW)
        part.moved_away()
        assert part.allot() == []
        part.join(po("A", priority=1, ticket=2))
        assert given_to(part.allot()) == {"A": 1}

    def test_of_a_released_po_may_move(self, part: PartLine) -> None:
        part.join(po("A"))
        part.arrive(arrival("B1"), NOW)
        part.allot()
        part.settle(PORef(smart_contract_id="A", ticket=1), NOW)
        part.arrive(arrival("B2", at=NODE), NOW)
        assert part.moved_away() == []

    def test_does_not_return_to_where_it_no_longer_is(self, part: PartLine) -> None:
        part.join(po("A"))
        part.arrive(arrival("B1"), NOW)
        part.allot()
        part.arrive(arrival("B2", at=NODE), NOW)
        part.leave("A")
        assert stock(part) == {"B2": 1}

    def test_can_be_scanned_anew_after_its_arrival_was_withdrawn(self, part: PartLine) -> None:
        part.arrive(arrival("B1"), NOW)
        part.withdraw("B1", "wrong label")
        assert part.arrive(arrival("B2"), NOW) is ArrivalOutcome.COUNTED

    def test_stays_where_it_is_when_an_older_arrival_is_withdrawn(self, part: PartLine) -> None:
        part.join(po("A"))
        part.arrive(arrival("B1"), NOW)
        part.allot()
        part.settle(PORef(smart_contract_id="A", ticket=1), NOW)
        part.arrive(arrival("B2", at=NODE), NOW + timedelta(minutes=1))
        part.join(po("B", place=NODE))
        assert given_to(part.allot()) == {"B": 1}
        part.withdraw("B1", "wrong label")
        assert part.arrive(arrival("B3", at=NODE), NOW + timedelta(minutes=2)) is ArrivalOutcome.TRACKING

    def test_found_damaged_is_told_to_the_po_that_has_it(self, part: PartLine) -> None:
        part.join(po("A"))
        part.arrive(arrival("B1"), NOW)
        part.allot()
        bent = arrival("B2", condition="bent")
        part.arrive(bent, NOW)
        [damage] = part.damaged(bent.arrival)
        assert (damage.smart_contract_id, damage.condition) == ("A", "bent at dock-a (B2)")

    def test_found_damaged_stays_damaged_when_it_is_given_back(self, part: PartLine) -> None:
        part.join(po("A"))
        part.arrive(arrival("B1"), NOW)
        part.allot()
        bent = arrival("B2", condition="bent")
        part.arrive(bent, NOW)
        part.damaged(bent.arrival)
        part.leave("A")
        part.join(po("B"))
        [allotment] = part.allot()
        assert allotment.damage == "bent at dock-a (B1)"


class TestUnclaimedArrivals:
    def test_are_reported_once_and_stay_in_stock(self, line: PartLine) -> None:
        line.arrive(arrival("B1", 3), NOW)
        assert line.next_report(MONTH) == NOW + MONTH
        assert line.unclaimed(NOW + MONTH - timedelta(seconds=1), MONTH) == []
        assert [lot.broadcast_id for lot in line.unclaimed(NOW + MONTH, MONTH)] == ["B1"]
        assert line.unclaimed(NOW + MONTH, MONTH) == []
        assert line.next_report(MONTH) is None
        assert stock(line) == {"B1": 3}

    def test_are_not_reported_again_when_a_po_gives_them_back(self, line: PartLine) -> None:
        line.arrive(arrival("B1", 10), NOW)
        line.join(po("A", 4))
        line.allot()
        line.unclaimed(NOW + MONTH, MONTH)
        line.join(po("B", 6))
        line.allot()
        line.forget(NOW + MONTH)
        line.leave("A")
        line.leave("B")
        assert line.unclaimed(NOW + MONTH, MONTH) == []

    def test_are_claimed_when_nothing_of_them_is_left(self, line: PartLine) -> None:
        line.arrive(arrival("B1", 10), NOW)
        line.unclaimed(NOW + MONTH, MONTH)
        line.join(po("A", 4))
        line.allot()
        assert line.newly_claimed == []
        line.join(po("B", 6))
        line.allot()
        assert line.newly_claimed == ["B1"]
        line.claim(["B1"])
        assert line.newly_claimed == []

    def test_are_unclaimed_again_once_when_they_come_back(self, line: PartLine) -> None:
        line.arrive(arrival("B1", 10), NOW)
        line.unclaimed(NOW + MONTH, MONTH)
        line.join(po("A", 10))
        line.allot()
        line.claim(line.newly_claimed)
        assert line.unclaimed_again() == []
        line.leave("A")
        assert [(lot.broadcast_id, lot.quantity) for lot in line.unclaimed_again()] == [("B1", 10)]
        assert line.unclaimed_again() == []

    def test_that_were_claimed_are_not_taken_for_a_later_one_of_the_same_id(self, line: PartLine) -> None:
        line.arrive(arrival("B1"), NOW)
        line.unclaimed(NOW + MONTH, MONTH)
        line.join(po("A"))
        line.allot()
        line.claim(line.newly_claimed)
        line.forget(NOW + MONTH)
        line.arrive(arrival("B1", when=NOW + MONTH), NOW + MONTH)
        assert line.unclaimed_again() == []
        assert line.unclaimed(NOW + 2 * MONTH, MONTH)

    def test_at_a_node_are_tracking(self, line: PartLine) -> None:
        line.arrive(arrival("B1", at=NODE), NOW)
        assert line.next_report(MONTH) is None

    def test_of_a_part_that_has_served_are_tracking(self, part: PartLine) -> None:
        part.arrive(arrival("B1"), NOW)
        part.join(po("A"))
        part.allot()
        part.settle(PORef(smart_contract_id="A", ticket=1), NOW)
        part.arrive(arrival("B2", at="dock-b"), NOW)
        assert part.next_report(MONTH) is None


class TestALineIsIdle:
    def test_only_when_nobody_waits_nothing_lies_and_nothing_may_come_back(self, line: PartLine) -> None:
        assert line.idle
        line.arrive(arrival("B1"), NOW)
        assert not line.idle
        line.join(po("A"))
        line.allot()
        assert not line.idle
        line.settle(PORef(smart_contract_id="A", ticket=1), NOW)
        assert line.idle
        line.join(po("B"))
        assert not line.idle


class TestALineSaysWhatItIsAbout:
    def test_nothing(self, line: PartLine) -> None:
        assert line.status is LineStatus.SERVED

    def test_pos_that_wait(self, line: PartLine) -> None:
        line.join(po("A", 2))
        assert line.status is LineStatus.AWAITING_ARRIVAL

    def test_units_that_lie_around(self, line: PartLine) -> None:
        line.join(po("A", 2))
        line.arrive(arrival("B1"), NOW)
        assert line.status is LineStatus.UNCLAIMED


class Matching(RuleBasedStateMachine):
    """Any sequence of events, against a book of what each PO and each broadcast may have.

    The book is kept from what the line says (allotments, revocations), never from its state.
    """

    single = False

    @initialize()
    def open(self) -> None:
        self.line = PartLine(single=self.single)
        self.now = NOW
        self.received: dict[str, int] = {}
        self.pos: dict[str, WaitingPO] = {}
        self.returning: set[str] = set()
        self.held: dict[str, tuple[Share, ...]] = {}
        self.released: dict[str, tuple[Share, ...]] = {}
        self.events = 0

    def pick(self, data: st.DataObject, names: Iterable[str]) -> str:
        name: str = data.draw(st.sampled_from(sorted(names)))
        return name

    def waiting(self) -> list[WaitingPO]:
        return [entry for name, entry in self.pos.items() if name not in self.held and name not in self.released]

    def match(self) -> None:
        """The line's answer to an event, with the laws that every allotment keeps."""
        allotments = self.line.allot()
        served = {allotment.smart_contract_id for allotment in allotments}
        behind = [entry for entry in self.waiting() if entry.smart_contract_id not in served]
        for allotment in allotments:
            name = allotment.smart_contract_id
            entry = self.pos[name]
            assert name not in self.held, "a PO is served once"
            assert name not in self.returning, "a PO that was told to come back comes back first"
            assert allotment.ticket == entry.ticket
            assert allotment.quantity == entry.quantity, "an allotment is whole"
            for share in allotment.shares:
                assert counts(share, entry.place), "units count at their place only"
                for other in behind:
                    ahead = other.order < entry.order
                    assert not (ahead and counts(share, other.place)), f"{name} overtook {other.smart_contract_id}"
            self.held[name] = allotment.shares
        first = min(behind, key=lambda entry: entry.order, default=None)
        if first is not None and first.smart_contract_id not in self.returning:
            there = sum(lot.quantity for lot in self.line.stock if lot.counts_at(first.place))
            assert there < first.quantity, "the head of the line is served as soon as it can be"

    def revoked(self, names: list[str]) -> None:
        for name in names:
            assert name in self.held, "only what was given can be revoked"
            del self.held[name]
            self.returning.add(name)

    @rule(quantity=st.integers(1, 5), at=st.sampled_from(PLACES), age=st.integers(-5, 60), bent=st.booleans())
    def arrives(self, quantity: int, at: str, age: int, bent: bool) -> None:
        self.events += 1
        when = self.now - timedelta(minutes=age)
        quantity = 1 if self.single else quantity
        scan = arrival(f"B{self.events}", quantity, at=at, when=when, condition="bent" if bent else "ok")
        outcome = self.line.arrive(scan, self.now)
        if outcome is ArrivalOutcome.COUNTED:
            self.received[scan.arrival.id] = quantity
            if self.single and at == NODE:
                self.held = {name: (share_of(scan.arrival),) for name in self.held}
            self.revoked([revocation.smart_contract_id for revocation in self.line.moved_away()])
        else:
            assert (outcome, self.single) == (ArrivalOutcome.TRACKING, True)
            assert {damage.smart_contract_id for damage in self.line.damaged(scan.arrival)} <= set(self.held)
        self.match()

    @precondition(lambda self: self.line.seen)
    @rule(data=st.data())
    def is_repeated(self, data: st.DataObject) -> None:
        id_ = self.pick(data, self.line.seen)
        before = self.line.model_dump_json()
        assert self.line.arrive(arrival(id_, at="dock-b"), self.now) is ArrivalOutcome.DUPLICATE
        assert self.line.model_dump_json() == before
        assert self.line.allot() == []

    @rule(quantity=st.integers(1, 8), priority=st.integers(1, 4), place=st.sampled_from([None, *PLACES]))
    def joins(self, quantity: int, priority: int, place: str | None) -> None:
        self.events += 1
        entry = po(
            f"PO-{self.events}", 1 if self.single else quantity, priority=priority, place=place, after=self.events
        )
        self.pos[entry.smart_contract_id] = entry
        self.line.join(entry)
        self.match()

    @precondition(lambda self: self.pos)
    @rule(data=st.data())
    def joins_again_with_an_old_ticket(self, data: st.DataObject) -> None:
        name = self.pick(data, self.pos)
        before = self.line.model_dump_json()
        self.line.join(self.pos[name])
        assert self.line.model_dump_json() == before

    @precondition(lambda self: self.returning)
    @rule(data=st.data())
    def comes_back(self, data: st.DataObject) -> None:
        name = self.pick(data, self.returning)
        self.returning.remove(name)
        self.pos[name] = self.pos[name].model_copy(update={"ticket": self.pos[name].ticket + 1})
        self.line.join(self.pos[name])
        self.match()

    @precondition(lambda self: bool(set(self.pos) - set(self.released)))
    @rule(data=st.data(), silently=st.booleans())
    def leaves(self, data: st.DataObject, silently: bool) -> None:
        name = self.pick(data, set(self.pos) - set(self.released))
        entry = self.pos.pop(name)
        if silently and (name in self.held or name in self.returning):
            assert not self.line.undeliverable(PORef(smart_contract_id=name, ticket=entry.ticket))
        else:
            self.line.leave(name)
        self.held.pop(name, None)
        self.returning.discard(name)
        self.match()

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def is_released(self, data: st.DataObject) -> None:
        name = self.pick(data, self.held)
        self.line.settle(PORef(smart_contract_id=name, ticket=self.pos[name].ticket), self.now)
        self.released[name] = self.held.pop(name)
        self.match()

    @precondition(lambda self: self.waiting())
    @rule(data=st.data(), priority=st.integers(1, 4))
    def is_amended(self, data: st.DataObject, priority: int) -> None:
        name = self.pick(data, [entry.smart_contract_id for entry in self.waiting()])
        self.pos[name] = self.pos[name].model_copy(update={"priority": priority})
        self.line.reorder(Reorder(smart_contract_id=name, ticket=self.pos[name].ticket, priority=priority))
        self.match()

    @precondition(lambda self: not self.single and self.waiting())
    @rule(data=st.data())
    def accepts_fewer(self, data: st.DataObject) -> None:
        name = self.pick(data, [entry.smart_contract_id for entry in self.waiting()])
        fewer = data.draw(st.integers(1, self.pos[name].quantity))
        self.pos[name] = self.pos[name].model_copy(update={"quantity": fewer})
        self.line.accept(AcceptedQuantity(smart_contract_id=name, ticket=self.pos[name].ticket, quantity=fewer))
        self.match()

    @precondition(lambda self: self.received)
    @rule(data=st.data())
    def is_withdrawn(self, data: st.DataObject) -> None:
        id_ = self.pick(data, self.received)
        withdrawn = self.line.withdraw(id_, "scanned by mistake")
        affected = {name for name, shares in self.held.items() if id_ in {share.broadcast_id for share in shares}}
        after_release = {n for n, shares in self.released.items() if id_ in {share.broadcast_id for share in shares}}
        assert affected == {r.smart_contract_id for r in withdrawn.revocations} if withdrawn else not affected
        assert after_release == set(withdrawn.released) if withdrawn else not after_release
        self.revoked(sorted(affected))
        for name in after_release:
            self.released[name] = tuple(share for share in self.released[name] if share.broadcast_id != id_)
        del self.received[id_]
        self.match()

    @rule(hours=st.integers(1, 200))
    def time_passes(self, hours: int) -> None:
        self.now += timedelta(hours=hours)
        for lot in self.line.unclaimed(self.now, MONTH):
            assert lot.timestamp + MONTH <= self.now
        assert (self.line.next_report(MONTH) or self.now) >= self.now

    @invariant()
    def survives_continue_as_new(self) -> None:
        again = PartLine.model_validate_json(self.line.model_dump_json())
        assert again == self.line
        self.line = again

    @invariant()
    def nobody_is_in_two_places(self) -> None:
        in_line = [entry.smart_contract_id for entry in self.line.line]
        assert len(in_line) == len(set(in_line))
        assert set(in_line) == {e.smart_contract_id for e in self.waiting()} - self.returning


def share_of(scan: PartArrival) -> Share:
    return Share(
        broadcast_id=scan.id,
        quantity=scan.quantity,
        location=scan.location,
        at_node=scan.location == NODE,
        condition=scan.condition,
        timestamp=scan.timestamp,
    )


def counts(share: Share, place: str | None) -> bool:
    return share.location == place if place is not None else share.location != NODE


class MatchingByNumber(Matching):
    @invariant()
    def units_are_conserved(self) -> None:
        """received = stock + given + withdrawn, for each broadcast; so none serves more units than it brought."""
        found = dict.fromkeys(self.received, 0)
        for lot in self.line.stock:
            found[lot.broadcast_id] += lot.quantity
        for holder in self.line.given.values():
            for lot in holder.lots:
                found[lot.broadcast_id] += lot.quantity
        assert found == self.received

    @invariant()
    def no_arrival_serves_more_units_than_it_brought(self) -> None:
        served = dict.fromkeys(self.received, 0)
        for shares in [*self.held.values(), *self.released.values()]:
            for share in shares:
                served[share.broadcast_id] += share.quantity
        assert all(served[id_] <= self.received[id_] for id_ in served)


class MatchingOnePart(Matching):
    single = True

    @invariant()
    def the_part_is_present_at_most_once(self) -> None:
        assert sum(lot.quantity for lot in self.line.stock) + len(self.held) <= 1

    @invariant()
    def whoever_has_the_part_has_it_where_it_is(self) -> None:
        for shares in self.held.values():
            assert shares[0].location == self.line.location


def case(machine: type[RuleBasedStateMachine]) -> Callable[[], None]:
    test = machine.TestCase
    test.settings = settings(
        max_examples=150, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    return test  # type: ignore[return-value]


TestAnySequenceForANumber = case(MatchingByNumber)
TestAnySequenceForOnePart = case(MatchingOnePart)
