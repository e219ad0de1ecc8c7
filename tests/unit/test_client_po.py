"""The SmartClientPO at the door, and the rules of its life."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.client_po import (
    REQUESTS,
    AcceptQuantityRequest,
    AmendRequest,
    CancelRequest,
    ClientPOStatus,
    HoldRequest,
    ResumeRequest,
    RetryRequest,
    SmartClientPO,
)
from schemas.client_po_life import ClientPOLife
from schemas.faults import faults
from schemas.part_arrival import Allotment, Share
from schemas.request import Request
from workflows.client_po import FROM_THE_LINE
from workflows.part_arrival import SIGNALS

NODE = "NODE-1"
TEST: dict[str, Any] = {
    "test_id": "T-1",
    "test_type": "liquid_penetrant",
    "assigned_node": NODE,
    "procedure": {"procedure_id": "E1417", "revision": "2021"},
    "required_signoffs": ["inspector"],
    "equipment": ["LAMP-1", {"equipment_type": "uv-meter"}],
}
DOCUMENT: dict[str, Any] = {
    "smart_contract_id": "SC-1",
    "contract_type": "nondestructive_testing",
    "clientpo_id": "CPO-1",
    "client": "ACME",
    "part_id": "P-1",
    "tests": [TEST],
    "routing_trigger": {"type": "workflow_complete"},
}
BY_NUMBER = {"part_id": None, "part_number": "PN-1", "quantity": 10}


def read(**fields: Any) -> SmartClientPO:
    return SmartClientPO.model_validate(DOCUMENT | fields)


def fields_at_fault(**fields: Any) -> set[str]:
    with pytest.raises(ValidationError) as error:
        SmartClientPO.model_validate(DOCUMENT | fields, context={"nodes": {NODE}})
    return {fault.field for fault in faults(error.value)}


class TestADocument:
    def test_keeps_fields_that_nobody_knows(self) -> None:
        po = read(colour="red", tests=[TEST | {"lamp_hours": 7}])
        assert po.model_dump()["colour"] == "red"
        assert po.model_dump()["tests"][0]["lamp_hours"] == 7

    def test_is_refused_in_words_that_people_can_read_whatever_its_fields_are_called(self) -> None:
        with pytest.raises(ValidationError) as error:
            HoldRequest.model_validate({"reason": "why", "x" * 100_000: 1})
        assert len(str(faults(error.value)[0])) < 1000

    def test_has_the_specifications_defaults(self) -> None:
        po = read()
        assert (po.quantity, po.priority, po.sequence_number) == (1, 3, 1)

    @pytest.mark.parametrize(
        ("wrong", "field"),
        [
            ({"smart_contract_id": "no/slash"}, "smart_contract_id"),
            ({"smart_contract_id": "x" * 129}, "smart_contract_id"),
            ({"contract_type": ""}, "contract_type"),
            ({"client": "null\0"}, "client"),
            ({"part_id": None}, "part_number"),
            ({"quantity": 2}, "quantity"),
            ({**BY_NUMBER, "quantity": 0}, "quantity"),
            ({**BY_NUMBER, "quantity": 2.0}, "quantity"),
            ({"priority": 0}, "priority"),
            ({"priority": 5}, "priority"),
            ({"priority": "1"}, "priority"),
            ({"priority": True}, "priority"),
            ({"due_date": "2026-02-30"}, "due_date"),
            ({"due_date": "2026-01-31T12:00:00"}, "due_date"),
            ({"due_date": "9999-12-31T23:59:59-14:00"}, "due_date"),
            ({"expected_arrival": "soon"}, "expected_arrival"),
            ({"sequence_number": 0}, "sequence_number"),
            ({"tests": []}, "tests"),
            ({"tests": [TEST, TEST]}, "tests"),
            ({"tests": [TEST, TEST | {"test_id": "T-2", "assigned_node": "NODE-2"}]}, "tests.1.assigned_node"),
            ({"tests": [TEST | {"assigned_node": "NODE-9"}]}, "tests.0.assigned_node"),
            ({"tests": [TEST | {"required_signoffs": []}]}, "tests.0.required_signoffs"),
            ({"tests": [TEST | {"required_signoffs": ["operator"]}]}, "tests.0.required_signoffs"),
            ({"tests": [TEST | {"required_signoffs": ["inspector", "inspector"]}]}, "tests.0.required_signoffs"),
            ({"tests": [TEST | {"procedure": {"procedure_id": "E1417"}}]}, "tests.0.procedure.revision"),
            ({"routing_trigger": {"type": "to_the_moon"}}, "routing_trigger.type"),
        ],
    )
    def test_is_refused_at_the_field_at_fault(self, wrong: dict[str, Any], field: str) -> None:
        assert field in fields_at_fault(**wrong)

    def test_says_who_can_sign(self) -> None:
        with pytest.raises(ValidationError, match="possible are admin, inspector, quality_manager"):
            SmartClientPO.model_validate(
                DOCUMENT | {"tests": [TEST | {"required_signoffs": ["welder"]}]}, context={"nodes": {NODE}}
            )

    def test_that_is_staged_already_is_not_refused_for_who_signs(self) -> None:
        assert read(tests=[TEST | {"required_signoffs": ["welder", "welder"]}]).tests[0].required_signoffs

    def test_names_one_node_in_all_of_its_tests(self) -> None:
        tests = [TEST, TEST | {"test_id": "T-2", "assigned_node": "NODE-2"}]
        with pytest.raises(ValidationError, match="name one assigned_node"):
            read(tests=tests)

    def test_names_every_fault_at_once(self) -> None:
        assert {"client", "priority", "routing_trigger.type"} <= fields_at_fault(
            client="", priority=9, routing_trigger={}
        )

    def test_without_a_field_is_refused(self) -> None:
        for field in DOCUMENT.keys() - {"part_id"}:
            with pytest.raises(ValidationError, match=field):
                SmartClientPO.model_validate({key: value for key, value in DOCUMENT.items() if key != field})

    def test_is_due_through_the_day_that_it_names(self) -> None:
        assert read(due_date="2026-12-01").due_date == datetime(2026, 12, 1, 23, 59, 59, tzinfo=UTC)

    def test_is_expected_from_the_day_that_it_names(self) -> None:
        assert read(expected_arrival="2026-12-01").expected_arrival == datetime(2026, 12, 1, tzinfo=UTC)

    def test_keeps_times_in_utc(self) -> None:
        due = read(due_date="2026-12-01T12:00:00+02:00").due_date
        assert due == datetime(2026, 12, 1, 10, tzinfo=UTC)


class TestThePlaceWhereAnArrivalCounts:
    @pytest.mark.parametrize(
        ("fields", "place"),
        [
            ({}, None),
            ({"sequence_number": 2}, NODE),
            ({"arrival_location": "dock"}, "dock"),
            ({"sequence_number": 2, "arrival_location": "dock"}, "dock"),
        ],
    )
    def test_follows_from_the_contract(self, fields: dict[str, Any], place: str | None) -> None:
        assert read(**fields).arrival_place == place


SHARE = Share(
    broadcast_id="B1",
    quantity=1,
    location="dock",
    at_node=False,
    condition="ok",
    timestamp=datetime(2026, 11, 21, tzinfo=UTC),
)
ALLOTMENT = Allotment(smart_contract_id="SC-1", ticket=1, shares=(SHARE,))


def life(**known: Any) -> ClientPOLife:
    return ClientPOLife.of(read(**BY_NUMBER)).model_copy(update=known)


AWAITING = life()
CONFIRMED = life(allotment=ALLOTMENT)
READY = life(allotment=ALLOTMENT, confirmation_recorded=True)
HELD = life(hold_reason="because")
HELD_READY = READY.model_copy(update={"hold_reason": "because"})
RELEASED = READY.model_copy(update={"receipt_hash": "00"})
CANCELLED = life(cancelled=True)


class TestTheState:
    @pytest.mark.parametrize(
        ("known", "status"),
        [
            (AWAITING, ClientPOStatus.AWAITING_ARRIVAL),
            (CONFIRMED, ClientPOStatus.ARRIVAL_CONFIRMED),
            (READY, ClientPOStatus.READY_FOR_RELEASE),
            (HELD, ClientPOStatus.HOLD),
            (HELD_READY, ClientPOStatus.HOLD),
            (RELEASED, ClientPOStatus.RELEASED),
            (CANCELLED, ClientPOStatus.CANCELLED),
        ],
    )
    def test_follows_from_what_is_known(self, known: ClientPOLife, status: ClientPOStatus) -> None:
        assert known.status is status

    def test_allows_a_release_only_when_nothing_is_missing(self) -> None:
        stuck = READY.model_copy(update={"release_error": "refused"})
        allowed = [known.may_release for known in (AWAITING, CONFIRMED, READY, HELD_READY, RELEASED, CANCELLED, stuck)]
        assert allowed == [False, False, True, False, False, False, False]

    def test_survives_the_wire(self) -> None:
        assert ClientPOLife.model_validate_json(HELD_READY.model_dump_json()) == HELD_READY

    def test_keeps_every_reason_of_a_hold(self) -> None:
        held = life()
        held.hold("because")
        held.hold("part bent")
        assert held.hold_reason == "because; part bent"


HOLD, RESUME, CANCEL = (kind(reason="r") for kind in (HoldRequest, ResumeRequest, CancelRequest))
RETRY, AMEND = RetryRequest(), AmendRequest(reason="r", priority=1)
ACCEPT = AcceptQuantityRequest(reason="r", quantity=6)


class TestARequest:
    @pytest.mark.parametrize(
        ("request_", "possible"),
        [
            (HOLD, [AWAITING, CONFIRMED, READY]),
            (RESUME, [HELD, HELD_READY]),
            (CANCEL, [AWAITING, CONFIRMED, READY, HELD, HELD_READY]),
            (AMEND, [AWAITING, CONFIRMED, READY, HELD, HELD_READY]),
            (RETRY, [READY]),
            (ACCEPT, [AWAITING, HELD]),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_is_possible_in_these_states_only(self, request_: Request, possible: list[ClientPOLife]) -> None:
        for known in (AWAITING, CONFIRMED, READY, HELD, HELD_READY, RELEASED, CANCELLED):
            refusal = known.refusal(request_)
            assert (refusal is None) is (known in possible), (known.status, refusal)

    @pytest.mark.parametrize(
        ("quantity", "arrived", "possible"),
        [
            (None, 0, False),
            (None, 6, True),
            (4, 6, True),
            (9, 0, True),
            (10, 6, False),
            (11, 6, False),
        ],
    )
    def test_to_accept_fewer_parts_must_mean_fewer(self, quantity: int | None, arrived: int, possible: bool) -> None:
        request = AcceptQuantityRequest(reason="r", quantity=quantity)
        assert (life(arrived=arrived).refusal(request) is None) is possible

    def test_to_accept_fewer_than_one_part_is_refused(self) -> None:
        single = ClientPOLife.of(read())
        assert single.refusal(ACCEPT) == "a part_id is one part: fewer cannot be accepted"

    def test_to_amend_tells_a_date_taken_away_from_one_not_named(self) -> None:
        request = AmendRequest.model_validate({"reason": "r", "due_date": None})
        assert request.terms() == {"due_date": None}
        assert AmendRequest.model_validate_json(request.model_dump_json()).terms() == {"due_date": None}

    @pytest.mark.parametrize("terms", [{}, {"priority": None}, {"priority": 0}, {"due_date": "soon"}])
    def test_to_amend_must_change_something_possible(self, terms: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            AmendRequest.model_validate({"reason": "r", **terms})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes().map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
MODELS = sorted(
    {*REQUESTS.values(), *FROM_THE_LINE.values(), *SIGNALS.values()},  # what people and workflows send by signal
    key=lambda model: model.__name__,
)


class TestWhatCannotBeRead:
    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.data())
    def test_is_refused_and_never_raises_anything_else(self, data: st.DataObject) -> None:
        """A signal handler that lets any other exception through sticks its workflow."""
        model = data.draw(st.sampled_from(MODELS))
        known = st.dictionaries(st.sampled_from(sorted(model.model_fields)), JSON)
        payload = data.draw(JSON | known)
        with suppress(ValidationError):
            model.model_validate(payload)
