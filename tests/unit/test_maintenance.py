"""Maintenance contracts: what their validation finds, and what their versions may become."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from infra.templates import Templates
from schemas.canonical import NotCanonical
from schemas.maintenance import NEXT, ContractStatus, MaintenanceContract, validate
from schemas.maintenance_life import ContractLife, Progress
from schemas.maintenance_version import (
    LARGEST,
    CannotApply,
    ContractChange,
    FromTemplate,
    apply,
    difference,
    draft_faults,
    next_version,
)

Json = dict[str, Any]

READING = {"step_id": "uv", "description": "irradiance", "kind": "reading", "rule": "uv-a"}
VISUAL = {"step_id": "look", "description": "the filter is whole", "kind": "visual"}


def contract(**fields: Any) -> Json:
    """One without faults."""
    return {
        "smart_contract_id": "LP-uv-lamp",
        "title": "UV lamp",
        "description": "before each shift",
        "equipment_types": ["uv_lamp"],
        "conditions": ["must-calibrate-before-test"],
        "calibration_interval_days": 180,
        "maintenance_procedures": {"daily": {"title": "Daily", "every": "day", "steps": [READING, VISUAL]}},
        "validation_rules": {"uv-a": {"unit": "uW/cm2", "minimum": "1000"}},
        **fields,
    }


def daily(*steps: Json) -> Json:
    return {"daily": {"title": "Daily", "every": "day", "steps": list(steps)}}


class TestAValidation:
    def test_finds_nothing_where_nothing_is_wrong(self) -> None:
        assert validate(contract()).valid

    @pytest.mark.parametrize(
        ("fields", "found"),
        [
            ({"title": ""}, "title"),
            ({"equipment_types": []}, "equipment_types"),
            ({"equipment_types": None}, "equipment_types"),
            ({"conditions": ["must-shine"]}, "conditions.0"),
            ({"version": "1.0"}, "version"),
            ({"contract_type": "SmartClientPO"}, "contract_type"),
            ({"calibration_interval_days": 0}, "calibration_interval_days"),
            ({"calibration_interval_days": True}, "calibration_interval_days"),
            ({"warning_days": -1}, "warning_days"),
            ({"warning_days": True}, "warning_days"),
            ({"checklist_every": True}, "checklist_every"),
            ({"checklist_every": "week"}, "checklist_every"),
            ({"maintenance_procedures": daily()}, "maintenance_procedures.daily.steps"),
            ({"maintenance_procedures": daily({**READING, "kind": "guess"})}, "maintenance_procedures.daily.steps.0"),
            ({"validation_rules": {"uv-a": {"minimum": "1"}}}, "validation_rules.uv-a.unit"),
            ({"validation_rules": {"uv-a": {"unit": "lx", "minimum": 0.1}}}, "validation_rules.uv-a.minimum"),
        ],
    )
    def test_names_a_fault_of_structure_by_its_field(self, fields: Json, found: str) -> None:
        result = validate(contract(**fields))
        assert any(fault.startswith(found) for fault in result.structure), result
        assert not result.valid

    @pytest.mark.parametrize(
        ("fields", "found"),
        [
            ({"warning_days": 181}, "warning_days: 181 is above the interval of 180 days"),
            ({"validation_rules": {"uv-a": {"unit": "lx"}}}, "validation_rules.uv-a: give a minimum"),
            (
                {"validation_rules": {"uv-a": {"unit": "lx", "minimum": "2", "maximum": "1"}}},
                "validation_rules.uv-a: its minimum 2 is above its maximum 1",
            ),
            ({"maintenance_procedures": daily(READING, READING)}, "daily.uv: each step_id stands once"),
            ({"maintenance_procedures": daily({**READING, "rule": None})}, "daily.uv: a reading names"),
            ({"maintenance_procedures": daily({**READING, "rule": "no"})}, "daily.uv: there is no validation rule no"),
            ({"maintenance_procedures": daily(READING, {**VISUAL, "rule": "uv-a"})}, "daily.look: only a reading"),
            (
                {"maintenance_procedures": daily(READING, {**VISUAL, "opcua_node": "ns=2;s=UV"})},
                "daily.look: only a reading",
            ),
            (
                {"maintenance_procedures": {**daily(READING), "checklist": daily(VISUAL)["daily"]}},
                "maintenance_procedures.checklist: the checklist has its own field",
            ),
            ({"maintenance_procedures": daily(VISUAL)}, "validation_rules.uv-a: no step uses it"),
        ],
    )
    def test_names_a_fault_of_logic(self, fields: Json, found: str) -> None:
        result = validate(contract(**fields))
        assert (result.structure, result.conditions) == ((), ())
        assert any(fault.startswith(found) for fault in result.logic), result

    @pytest.mark.parametrize(
        ("fields", "found"),
        [
            ({"calibration_interval_days": None}, "must-calibrate-before-test: give calibration_interval_days"),
            (
                {"conditions": ["require-maintenance-acknowledgement"]},
                "require-maintenance-acknowledgement: give checklist_steps",
            ),
            ({"conditions": []}, "calibration_interval_days: add the condition must-calibrate-before-test"),
            ({"checklist_steps": [VISUAL]}, "checklist_steps: nobody has to do them"),
            (
                {"conditions": [], "maintenance_procedures": {}, "validation_rules": {}},
                "conditions: the contract asks for nothing",
            ),
        ],
    )
    def test_names_a_fault_of_its_conditions(self, fields: Json, found: str) -> None:
        result = validate(contract(**fields))
        assert result.structure == ()
        assert any(fault.startswith(found) for fault in result.conditions), result

    def test_names_every_fault_at_once(self) -> None:
        result = validate(
            contract(
                calibration_interval_days=None,
                maintenance_procedures=daily({**READING, "rule": "no"}, {**VISUAL, "rule": "uv-a"}),
            )
        )
        assert (len(result.logic), len(result.conditions)) == (2, 1)

    @pytest.mark.parametrize("template", Templates().all())
    def test_finds_nothing_in_what_is_made_from_a_template(self, template: str) -> None:
        document = Templates().fill(FromTemplate(template=template, station_type="LP", name="lamp.1"))
        assert validate(document).faults == ()
        assert document["smart_contract_id"] == "LP-lamp.1"


class TestTheTemplates:
    def test_make_nothing_for_a_station_type_with_a_hyphen(self) -> None:
        """`LP-NEW-lamp` would be a contract of the stations LP."""
        with pytest.raises(ValidationError, match="LP-NEW has a hyphen"):
            FromTemplate(template="uv-lamp", station_type="LP-NEW", name="lamp")

    def test_ask_for_their_checks_as_often_as_the_standards_do(self) -> None:
        """ASTM E1417 of a penetrant line, E1444 of a magnetic particle bench, both of a lamp."""
        asked = {}
        for template in Templates().all():
            document = Templates().fill(FromTemplate(template=template, station_type="LP", name="any"))
            checks = MaintenanceContract.model_validate(document).required_checks
            asked[template] = {check_type: check.every for check_type, check in checks.items()}
        assert asked == {
            "calibrated-instrument": {"daily-look": "day"},
            "magnetic-particle-bench": {
                "concentration": "shift",
                "system-performance": "day",
                "ammeter": 180,
                "timer": 180,
                "quick-break": 180,
            },
            "penetrant-line": {"system-performance": "day", "water-and-dryer": "shift", "checklist": "day"},
            "uv-lamp": {"irradiance": "shift", "checklist": "shift"},
        }


WAYS = {
    ("draft", "validated"),
    ("validated", "deployed"),
    ("deployed", "active"),
    ("active", "monitoring"),
    ("monitoring", "active"),
    ("draft", "deprecated"),
    ("validated", "deprecated"),
    ("deployed", "deprecated"),
    ("active", "deprecated"),
    ("monitoring", "deprecated"),
    ("deprecated", "archived"),
}
"""Between the states of specification 3; back from monitoring to active after a version's first 30 days."""


class TestALife:
    def test_has_the_states_of_the_specification(self) -> None:
        assert set(ContractStatus) == {
            "draft",
            "validated",
            "deployed",
            "active",
            "monitoring",
            "deprecated",
            "archived",
        }

    def test_has_the_ways_of_the_specification(self) -> None:
        assert {(before, after) for before in NEXT for after in NEXT[before]} == WAYS

    @pytest.mark.parametrize("before", ContractStatus)
    @pytest.mark.parametrize("after", ContractStatus)
    def test_goes_no_other_way_than_the_specification(self, before: ContractStatus, after: ContractStatus) -> None:
        life = ContractLife(status=before, document=contract(), document_hash="")
        if (before, after) in WAYS:
            life.enter(after)
            assert life.status is after
        else:
            with pytest.raises(ValueError, match=f"no way from {before} to {after}"):
                life.enter(after)

    @given(st.sampled_from(ContractStatus), st.integers(0, 3), st.integers(0, 3))
    def test_follows_from_its_nodes_by_a_way_that_there_is(
        self, status: ContractStatus, pending: int, acknowledged: int
    ) -> None:
        after = Progress(status=status, pending=pending, acknowledged=acknowledged).next
        assert after is None or after in NEXT[status]

    @pytest.mark.parametrize(
        ("status", "pending", "acknowledged", "after"),
        [
            ("deployed", 1, 1, None),
            ("deployed", 0, 2, "active"),
            ("deployed", 0, 0, "deprecated"),
            ("monitoring", 0, 1, None),
            ("monitoring", 0, 0, "deprecated"),
            ("active", 0, 0, "deprecated"),
            ("deprecated", 1, 0, None),
            ("deprecated", 0, 1, None),
            ("deprecated", 0, 0, "archived"),
            ("draft", 0, 0, None),
            ("validated", 0, 0, None),
            ("archived", 0, 0, None),
        ],
    )
    def test_moves_on_with_what_its_nodes_said(
        self, status: str, pending: int, acknowledged: int, after: str | None
    ) -> None:
        progress = Progress(status=ContractStatus(status), pending=pending, acknowledged=acknowledged)
        assert progress.next == after


NAMES = st.text(min_size=0, max_size=5)
VALUES = st.recursive(
    st.none() | st.integers(-(2**50), 2**50) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


def without_nothing(value: Any) -> Any:
    """A field that is None and one that is not there are the same."""
    match value:
        case dict():
            return {name: without_nothing(item) for name, item in value.items() if item is not None}
        case _:
            return value


class TestChanges:
    @given(st.dictionaries(NAMES, VALUES, max_size=4), st.dictionaries(NAMES, VALUES, max_size=4))
    def test_that_are_the_difference_of_two_documents_make_one_of_the_other(self, before: Json, after: Json) -> None:
        try:
            changes = difference(before, after, "because")
        except ValidationError:
            return  # a name that no pointer or ledger can hold
        assert without_nothing(apply(before, changes)) == without_nothing(after)

    @pytest.mark.parametrize(("before", "after"), [(1, True), (0, False), ([1], [True]), ({"a": 0}, {"a": False})])
    def test_tell_a_number_from_true_and_false(self, before: Any, after: Any) -> None:
        [change] = difference({"x": [before]}, {"x": [after]}, "because")
        assert (change.before, change.after) == ([before], [after])
        with pytest.raises(CannotApply):
            apply({"x": [after]}, [change])

    def test_reach_names_with_dots_and_slashes(self) -> None:
        document = contract(validation_rules={"a.b/c": {"unit": "lx", "minimum": "1"}})
        change = ContractChange(field="/validation_rules/a.b~1c/minimum", before="1", after="2", reason="r")
        assert apply(document, [change])["validation_rules"]["a.b/c"]["minimum"] == "2"

    def test_reach_a_step_of_a_list(self) -> None:
        field = "/maintenance_procedures/daily/steps/0/description"
        change = ContractChange(field=field, before="irradiance", after="UV-A irradiance", reason="r")
        changed = apply(contract(), [change])
        assert changed["maintenance_procedures"]["daily"]["steps"][0]["description"] == "UV-A irradiance"

    def test_leave_the_document_that_they_are_for_as_it_is(self) -> None:
        document = contract()
        apply(document, [ContractChange(field="/title", before="UV lamp", after="Lamp", reason="r")])
        assert document == contract()

    def test_do_not_fit_where_something_else_is_there(self) -> None:
        with pytest.raises(CannotApply, match="is 180, not 365"):
            apply(
                contract(),
                [ContractChange(field="/calibration_interval_days", before=365, after=90, reason="r")],
            )

    @pytest.mark.parametrize("field", ["/title/x", "/equipment_types/7", "/equipment_types/-"])
    def test_do_not_fit_where_nothing_can_be(self, field: str) -> None:
        with pytest.raises(CannotApply, match="cannot be set"):
            apply(contract(), [ContractChange(field=field, after="x", reason="r")])

    @pytest.mark.parametrize("value", [0.1, {"limit": 0.1}, [0.1]])
    def test_hold_no_floats(self, value: Any) -> None:
        with pytest.raises(ValidationError):
            ContractChange(field="/title", after=value, reason="r")


class TestADraft:
    @pytest.mark.parametrize("name", ["LP", "LP_x", "XX-lamp", "", "LP-a b", None, 7])
    def test_has_an_id_with_a_station_type_of_the_registry(self, name: Any) -> None:
        [fault] = draft_faults(contract(smart_contract_id=name), {"LP", "CP"})
        assert fault.field == "smart_contract_id"

    def test_may_be_wrong_otherwise(self) -> None:
        assert draft_faults({"smart_contract_id": "LP-lamp", "title": 7, "x": [0.5]}, {"LP"}) == []

    def test_is_not_larger_than_what_is_sent_to_each_node(self) -> None:
        [fault] = draft_faults(contract(description="x" * LARGEST), {"LP"})
        assert str(LARGEST) in fault.message

    def test_can_be_hashed(self) -> None:
        with pytest.raises(NotCanonical):
            draft_faults(contract(title="\ud800"), {"LP"})

    @pytest.mark.parametrize(
        ("versions", "after"), [(["1.0"], "1.1"), (["1.9", "1.10", "1.2"], "1.11"), (["2.0", "1.7"], "2.1")]
    )
    def test_has_the_next_number(self, versions: list[str], after: str) -> None:
        assert next_version(versions) == after


class TestAContract:
    def test_requires_its_checklist_only_under_its_condition(self) -> None:
        asks = contract(conditions=["require-maintenance-acknowledgement"], checklist_steps=[VISUAL])
        assert set(MaintenanceContract.model_validate(asks).required_checks) == {"daily", "checklist"}
        assert set(MaintenanceContract.model_validate(contract()).required_checks) == {"daily"}
