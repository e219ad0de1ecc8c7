"""Alerts: whose they are, and what makes two reports the same."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.alert import KINDS, OWNERS, Alert, Severity, kind_of
from schemas.permission import Permission, Role, may


def alert(**fields: str) -> Alert:
    given = {"alert_id": "A", "alert_type": "t", "severity": "low", "source": "s", "subject": "SC-1", "text": "look"}
    return Alert.model_validate(given | fields)


def types_in_the_source() -> Iterator[str]:
    """What becomes the `alert_type` of an `Alert`: given as text, by the name of a constant, or through a variable."""
    house = Path(__file__).parents[2]
    for room in ("schemas", "workflows", "activities", "infra", "workers", "api"):
        for file in (house / room).rglob("*.py"):
            tree = ast.parse(file.read_text())
            constants: dict[str, object] = {
                target.id: assigned.value.value
                for assigned in tree.body
                if isinstance(assigned, ast.Assign) and isinstance(assigned.value, ast.Constant)
                for target in assigned.targets
                if isinstance(target, ast.Name)
            }
            for node in ast.walk(tree):
                yield from (str(value) for given in _types(node) if (value := _text(given, constants)) is not None)


def _types(call: ast.AST) -> Iterator[ast.AST]:
    if isinstance(call, ast.Assign) and any(isinstance(to, ast.Name) and to.id == "alert_type" for to in call.targets):
        yield from ast.walk(call.value)
    if not isinstance(call, ast.Call):
        return
    called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", None)
    if called == "_alert":
        yield from call.args[1:2]
    if called in ("_alert", "Alert", "cause_of"):
        yield from (keyword.value for keyword in call.keywords if keyword.arg == "alert_type")
    if called == "cause_of":
        yield from call.args[:1]


def _text(given: ast.AST, constants: dict[str, object]) -> object:
    if isinstance(given, ast.Name):
        return constants.get(given.id)
    return given.value if isinstance(given, ast.Constant) else None


class TestAnOwner:
    @pytest.mark.parametrize("owner", sorted({*(kind.owner for kind in KINDS.values()), *OWNERS.values()}))
    def test_may_acknowledge_what_is_theirs(self, owner: Role) -> None:
        assert may(owner, Permission.ALERT_ACKNOWLEDGE)

    def test_is_who_the_table_names_for_the_type(self) -> None:
        assert alert(alert_type="withdrawn_after_release").kind.owner is Role.QUALITY_MANAGER

    @pytest.mark.parametrize("severity", Severity)
    def test_follows_from_the_severity_where_the_table_does_not_know_the_type(self, severity: Severity) -> None:
        assert kind_of("never_heard_of", severity).owner is OWNERS[severity]

    def test_is_named_for_every_type_that_the_house_raises(self) -> None:
        raised = set(types_in_the_source())
        assert {"ledger_broken", "malformed_broadcast", "approval_waits"} <= raised  # they are found
        assert raised <= KINDS.keys()

    def test_of_what_the_table_does_not_know_ends_it_by_acknowledging(self) -> None:
        assert not alert(alert_type="never_heard_of").kind.lasting


class TestACause:
    def test_is_the_type_and_the_subject_where_nothing_else_is_said(self) -> None:
        assert alert(alert_id="one").cause == alert(alert_id="two").cause == "t:SC-1"
        assert alert(subject="SC-2").cause != alert(subject="SC-1").cause

    def test_that_is_given_counts(self) -> None:
        assert alert(cause="t:SC-1:late").cause == "t:SC-1:late"

    def test_survives_the_wire(self) -> None:
        said = alert(cause="t:SC-1:late")
        assert Alert.model_validate_json(said.model_dump_json()) == said

    def test_is_filled_in_where_a_message_is_older_than_causes(self) -> None:
        old = alert().model_dump(exclude={"cause"})
        assert Alert.model_validate(old).cause == "t:SC-1"
