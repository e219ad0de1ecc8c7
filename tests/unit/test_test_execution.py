"""The rules of a test: what is evidence, what a sign-off is for, and where a test stands."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.client_po import SmartClientPO
from schemas.decision import Decision
from schemas.permission import Role
from schemas.signoff import Meaning, Qualification, Sign, SignOff, signed_content
from schemas.test_execution import SubmitRequest, TestLife, TestStatus
from schemas.test_results import Begun, CurrentResult, Reading, Results, TestResult

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
BEGUN = Begun(performer="ivan", started_at=NOW, instruments=(), document_hash="00")

PO = SmartClientPO.model_validate(
    {
        "smart_contract_id": "SC-1",
        "contract_type": "nondestructive_testing",
        "clientpo_id": "CPO-1",
        "client": "ACME",
        "part_id": "PART-1",
        "tests": [
            {
                "test_id": test_id,
                "test_type": "liquid_penetrant",
                "assigned_node": "NODE-1",
                "procedure": {"procedure_id": "E1417", "revision": "2021"},
                "required_signoffs": signoffs,
                "equipment": [],
            }
            for test_id, signoffs in (("T-1", ["inspector", "quality_manager"]), ("T-2", ["inspector"]))
        ],
        "routing_trigger": {"type": "workflow_complete"},
    }
)


def result(test_id: str = "T-1", **fields: Any) -> TestResult:
    values = {"verdict": "accept", "observations": "none", "procedure_followed": True}
    return TestResult.model_validate({"test_id": test_id} | values | fields)


def signoff(life: TestLife, test_id: str, person: str, role: str) -> SignOff:
    return SignOff(
        test_id=test_id,
        role=role,
        person=person,
        meaning=Meaning.REVIEWED,
        content_hash=life.content_hash("SC-1", test_id) or "",
        signed_at=NOW,
        qualification=None,
        proof="proof",
    )


def signed() -> TestLife:
    """A test of which everything is signed."""
    life = TestLife(begun=BEGUN)
    life.submit([result("T-1"), result("T-2")])
    life.signoffs = [
        signoff(life, "T-1", "ines", "inspector"),
        signoff(life, "T-1", "quinn", "quality_manager"),
        signoff(life, "T-2", "ines", "inspector"),
    ]
    return life


def decision(**fields: Any) -> Decision:
    values = {
        "token_id": "t1",
        "workflow_id": "test/SC-1",
        "content_hash": "00",
        "decision": "sign",
        "meaning": "reviewed",
        "person": "bob",
        "role": Role.INSPECTOR,
        "auth_time": NOW,
        "issued_at": NOW,
        "expires_at": NOW,
    }
    return Decision.model_validate(values | fields)


class TestAResult:
    def test_is_no_evidence_as_a_bare_verdict(self) -> None:
        with pytest.raises(ValidationError, match="a bare verdict is no evidence"):
            result(observations=None)

    def test_says_how_it_departed_from_its_procedure(self) -> None:
        with pytest.raises(ValidationError, match="how the test departed"):
            result(procedure_followed=False)
        assert result(procedure_followed=False, deviations="dwell time 8 min").deviations is not None

    def test_needs_the_performers_own_word(self) -> None:
        with pytest.raises(ValidationError, match="procedure_followed"):
            TestResult.model_validate({"test_id": "T-1", "verdict": "accept", "observations": "none"})

    @pytest.mark.parametrize("value", [1.5, "NaN", "Infinity", "1" * 41])
    def test_has_no_value_that_would_be_guessed(self, value: Any) -> None:
        with pytest.raises(ValidationError):
            Reading(name="depth", value=value, unit="mm")

    @given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**9), max_value=10**9).map(str))
    def test_keeps_every_digit_that_was_measured(self, value: str) -> None:
        assert Reading(name="depth", value=value, unit="mm").model_dump(mode="json")["value"] == value

    def test_stands_once_in_a_submission(self) -> None:
        with pytest.raises(ValidationError, match="each test_id stands once"):
            Results(results=(result(), result()))


class TestASubmission:
    def test_is_refused_when_all_results_together_are_too_long_to_travel(self) -> None:
        life = TestLife(begun=BEGUN)
        long = [{"name": "n" * 900, "value": "1", "unit": "mm"}] * 200
        first, second = (SubmitRequest(results=(result(test_id, readings=long),)) for test_id in ("T-1", "T-2"))
        assert life.refusal(PO, first) is None
        life.submit(first.results)
        assert "keep raw data elsewhere" in str(life.refusal(PO, second))
        assert life.refusal(PO, first) is None, "those that it replaces do not count"


class TestWhatIsSigned:
    @pytest.mark.parametrize(
        "other",
        [
            {"verdict": "reject"},
            {"observations": "many"},
            {"readings": [{"name": "depth", "value": "1.0", "unit": "mm"}]},
            {"procedure_followed": False, "deviations": "dwell time"},
            {"deviations": "dwell time"},
        ],
    )
    def test_is_other_content_when_anything_in_the_results_is(self, other: dict[str, Any]) -> None:
        assert self.content(result(**other)) != self.content(result())

    def test_is_other_content_in_another_revision_or_after_another_beginning(self) -> None:
        begun = BEGUN.model_copy(update={"performer": "ines"})
        hashes = {
            self.content(result()),
            self.content(result(), revision=2),
            signed_content("SC-1", begun, CurrentResult(result=result(), revision=1)),
            signed_content("SC-2", BEGUN, CurrentResult(result=result(), revision=1)),
        }
        assert len(hashes) == 4

    def test_is_nothing_before_there_are_results(self) -> None:
        assert TestLife(begun=BEGUN).content_hash("SC-1", "T-1") is None
        assert TestLife().content_hash("SC-1", "T-1") is None

    def content(self, what: TestResult, revision: int = 1) -> str:
        return signed_content("SC-1", BEGUN, CurrentResult(result=what, revision=revision))


class TestResultsThatChange:
    def test_void_the_sign_offs_of_their_test_alone(self) -> None:
        life = signed()
        void = life.submit([result("T-1", observations="many")])
        assert [entry.person for entry in void] == ["ines", "quinn"]
        assert [(entry.test_id, entry.person) for entry in life.signoffs] == [("T-2", "ines")]

    def test_are_a_new_revision_of_those_tests_alone(self) -> None:
        life = signed()
        life.submit([result("T-1")])
        assert {test: current.revision for test, current in life.current.items()} == {"T-1": 2, "T-2": 1}

    def test_have_other_content_though_they_say_the_same(self) -> None:
        life = signed()
        before = life.content_hash("SC-1", "T-1")
        life.submit([result("T-1")])
        assert life.content_hash("SC-1", "T-1") != before

    def test_are_gone_when_a_person_rejects_them_and_their_sign_offs_are_void(self) -> None:
        life = signed()
        void = life.reject("T-1", "wrong lamp")
        assert len(void) == 2
        assert (set(life.current), life.status(PO)) == ({"T-2"}, TestStatus.REWORK)

    @given(st.lists(st.sampled_from(["T-1", "T-2", "sign", "reject"]), max_size=12))
    def test_never_leave_a_sign_off_for_other_content(self, steps: list[str]) -> None:
        life = signed()
        for step in steps:
            if step == "sign":
                life.signoffs += [
                    signoff(life, test, "ines", role) for test, role in life.open_signoffs(PO) if test in life.current
                ]
            elif step == "reject":
                life.reject("T-1", "wrong lamp")
            else:
                life.submit([result(step)])
            assert all(entry.content_hash == life.content_hash("SC-1", entry.test_id) for entry in life.signoffs)


class TestASignOff:
    def test_is_open_for_each_test_and_role_that_has_not_signed(self) -> None:
        life = signed()
        life.signoffs.pop(1)
        assert life.open_signoffs(PO) == [("T-1", "quality_manager")]

    @pytest.mark.parametrize(
        ("test", "fields", "reason"),
        [
            (1, {"role": Role.QUALITY_MANAGER}, "needs no sign-off of a quality_manager, only of inspector"),
            (0, {"person": "ines", "role": Role.QUALITY_MANAGER}, "ines has signed T-1 as inspector already"),
            (0, {"role": Role.INSPECTOR}, "ines has signed T-1 as inspector already"),
        ],
    )
    def test_is_refused_to_the_wrong_role_and_to_who_signed_already(
        self, test: int, fields: dict[str, Any], reason: str
    ) -> None:
        life = signed()
        life.signoffs = life.signoffs[:1]
        assert reason in str(life.signoff_refusal(PO.tests[test], decision(**fields)))

    def test_may_be_of_one_person_for_two_tests(self) -> None:
        life = signed()
        life.signoffs.pop()
        assert life.signoff_refusal(PO.tests[1], decision(person="ines")) is None

    def test_says_what_it_means(self) -> None:
        life = TestLife(begun=BEGUN)
        assert "a signature means" in str(life.signoff_refusal(PO.tests[1], decision(meaning="seen")))
        assert life.signoff_refusal(PO.tests[1], decision(decision="reject", meaning="rejected")) is None

    def test_that_says_performed_is_the_performers_alone(self) -> None:
        life = TestLife(begun=BEGUN)
        assert "ivan performed T-2" in str(life.signoff_refusal(PO.tests[1], decision(meaning="performed")))
        assert life.signoff_refusal(PO.tests[1], decision(meaning="performed", person="ivan")) is None

    @pytest.mark.parametrize(
        ("choice", "meaning", "reason"),
        [("sign", "rejected", None), ("reject", "approved", "why"), ("reject", "rejected", None)],
    )
    def test_is_not_asked_for_in_contradictions(self, choice: str, meaning: str, reason: str | None) -> None:
        with pytest.raises(ValidationError):
            Sign.model_validate(
                {"test_id": "T-1", "decision": choice, "meaning": meaning, "content_hash": "00", "reason": reason}
            )


class TestATest:
    @pytest.mark.parametrize(
        ("change", "status"),
        [
            ({"begun": None, "current": {}}, TestStatus.WAITING),
            ({"begun": None, "current": {}, "missing": ("a lamp",)}, TestStatus.BLOCKED),
            ({"current": {}, "signoffs": []}, TestStatus.RUNNING),
            ({"signoffs": []}, TestStatus.AWAITING_SIGNOFF),
            ({}, TestStatus.AUTHORIZING),
            ({"rework_reason": "wrong lamp"}, TestStatus.REWORK),
            ({"rework_reason": "wrong lamp", "hold_reason": "wait"}, TestStatus.HOLD),
            ({"hold_reason": "wait", "package_id": "PKG-SC-1-R1"}, TestStatus.AUTHORIZED),
            ({"package_id": "PKG-SC-1-R1", "aborted": True}, TestStatus.ABORTED),
        ],
    )
    def test_stands_where_the_first_rule_that_holds_says(self, change: dict[str, Any], status: TestStatus) -> None:
        assert signed().model_copy(update=change).status(PO) is status

    def test_runs_until_all_tests_of_the_contract_have_results(self) -> None:
        life = TestLife(begun=BEGUN)
        life.submit([result("T-1")])
        assert life.status(PO) is TestStatus.RUNNING
        life.submit([result("T-2")])
        assert life.status(PO) is TestStatus.AWAITING_SIGNOFF


class TestAQualification:
    @pytest.mark.parametrize(
        ("method", "level", "on", "holds"),
        [
            ("liquid_penetrant", 2, date(2026, 1, 10), True),
            ("liquid_penetrant", 1, date(2027, 1, 10), True),
            ("liquid_penetrant", 3, date(2026, 6, 1), False),
            ("nital_etch", 2, date(2026, 6, 1), False),
            ("liquid_penetrant", 2, date(2026, 1, 9), False),
            ("liquid_penetrant", 2, date(2027, 1, 11), False),
        ],
    )
    def test_holds_for_its_method_its_level_and_its_time(self, method: str, level: int, on: date, holds: bool) -> None:
        held = Qualification(
            method="liquid_penetrant",
            level=2,
            certificate="PT-1",
            valid_from=date(2026, 1, 10),
            valid_until=date(2027, 1, 10),
        )
        assert held.holds(method, level, on) is holds
