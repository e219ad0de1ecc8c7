"""Approvals and decisions: who may answer what, and what time does."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.decisions import DecisionSigner, DecisionVerifier
from infra.settings import Settings
from schemas.approval import (
    RULES,
    ApprovalLife,
    ApprovalRequest,
    ApprovalRule,
    ApprovalType,
    Difference,
    StepKind,
    timed_steps,
)
from schemas.decision import Decision, DecisionCheck, refusal
from schemas.identity import Identity
from schemas.permission import Permission, Role, may

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
QUARTER = timedelta(minutes=15)

REQUEST = ApprovalRequest(
    approval_id="SC-1.fewer-parts.1",
    request_type=ApprovalType.FEWER_PARTS,
    subject="SC-1",
    requested_by="ada",
    on_behalf_of="eve",
    changes=(Difference(field="parts", before=10, after=6),),
    reason="urgent",
    wakes="client-po/SC-1",
)


def decision(**fields: Any) -> Decision:
    values = {
        "token_id": "t1",
        "workflow_id": "approval/SC-1.fewer-parts.1",
        "content_hash": REQUEST.content_hash,
        "decision": "approve",
        "meaning": "approved",
        "person": "bob",
        "role": Role.QUALITY_MANAGER,
        "auth_time": NOW,
        "issued_at": NOW,
        "expires_at": NOW + QUARTER,
    }
    return Decision.model_validate(values | fields)


class TestTheContentHash:
    @pytest.mark.parametrize(
        "other",
        [
            {"changes": (Difference(field="parts", before=10, after=5),)},
            {"subject": "SC-2"},
            {"reason": "not urgent"},
            {"requested_by": "bob"},
            {"on_behalf_of": None},
        ],
    )
    def test_is_another_when_anything_else_is_asked(self, other: dict[str, Any]) -> None:
        assert REQUEST.model_copy(update=other).content_hash != REQUEST.content_hash

    def test_does_not_depend_on_who_is_woken(self) -> None:
        assert REQUEST.model_copy(update={"wakes": None}).content_hash == REQUEST.content_hash


class TestADecision:
    def test_counts_when_it_is_the_wanted_one(self) -> None:
        assert refusal(decision(), REQUEST.wanted, at=NOW, login_lasts=QUARTER) is None

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"workflow_id": "approval/other"}, "a decision for approval/other"),
            ({"content_hash": "0" * 64}, "other content"),
            ({"decision": "sign"}, "approve or refuse"),
            ({"role": Role.SUPERVISOR}, "disposition:decide"),
            ({"expires_at": NOW}, "expired"),
            ({"auth_time": NOW - QUARTER - timedelta(seconds=1)}, "log in again"),
        ],
    )
    def test_does_not_count_otherwise(self, fields: dict[str, Any], reason: str) -> None:
        assert reason in (refusal(decision(**fields), REQUEST.wanted, at=NOW, login_lasts=QUARTER) or "")

    def test_that_signs_no_record_needs_no_fresh_login(self) -> None:
        wanted = REQUEST.wanted.model_copy(update={"signs_record": False})
        assert refusal(decision(auth_time=NOW - timedelta(days=1)), wanted, at=NOW, login_lasts=QUARTER) is None


class TestTheTimeOfAnAnswer:
    @pytest.mark.parametrize(("early", "counts"), [(timedelta(microseconds=1), True), (timedelta(), False)])
    def test_is_when_it_was_given_and_not_when_it_was_taken_in(self, early: timedelta, counts: bool) -> None:
        life = ApprovalLife(opened_at=NOW)
        given = decision(issued_at=NOW + REQUEST.rule.expires_after - early)
        assert (life.refusal(REQUEST, given, None) is None) is counts


class TestFourEyes:
    @pytest.mark.parametrize("person", ["ada", "eve"])
    def test_are_not_those_who_asked_nor_on_whose_behalf(self, person: str) -> None:
        assert f"{person} asked" in (REQUEST.refusal(decision(person=person)) or "")


class TestTheRules:
    @pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
    def test_ask_only_roles_that_may_answer(self, rule: ApprovalRule) -> None:
        for owner in rule.owners:
            assert may(owner, rule.permission)
            assert may(owner, Permission.APPROVAL_RESPOND)


class TestTime:
    RULE = ApprovalRule(
        permission=Permission.DISPOSITION_DECIDE,
        owners=(Role.QUALITY_MANAGER, Role.ADMIN),
        remind_after=timedelta(hours=1),
        escalate_after=timedelta(hours=4),
        expires_after=timedelta(hours=10),
    )

    def test_reminds_each_owner_once_and_ends(self) -> None:
        steps = [(step.kind, (step.at - NOW) / timedelta(hours=1), step.owner) for step in timed_steps(self.RULE, NOW)]
        assert steps == [
            (StepKind.REMIND, 1, Role.QUALITY_MANAGER),
            (StepKind.ESCALATE, 4, Role.ADMIN),
            (StepKind.REMIND, 5, Role.ADMIN),
            (StepKind.EXPIRE, 10, Role.ADMIN),
        ]

    def test_escalates_to_nobody_after_it_expired(self) -> None:
        short = self.RULE.model_copy(update={"expires_after": timedelta(hours=3)})
        kinds = [step.kind for step in timed_steps(short, NOW)]
        assert kinds == [StepKind.REMIND, StepKind.EXPIRE]


class TestTheVerifier:
    def signed(self, settings: Settings) -> str:
        identity = Identity(user_id="bob", role=Role.QUALITY_MANAGER, auth_time=NOW)
        wanted = REQUEST.wanted
        return DecisionSigner(settings).sign(
            identity,
            workflow_id=wanted.workflow_id,
            content_hash=wanted.content_hash,
            decision="approve",
            meaning="approved",
            at=NOW,
        )

    def test_gives_what_was_signed(self, tmp_path: Path) -> None:
        settings = Settings(state_dir=tmp_path)
        check = DecisionCheck(token=self.signed(settings), wanted=REQUEST.wanted, at=NOW)
        verdict = DecisionVerifier(settings).verify(check)
        assert verdict.decision is not None
        assert (verdict.decision.person, verdict.decision.meaning) == ("bob", "approved")

    def test_without_a_key_refuses_and_says_what_is_missing(self, tmp_path: Path) -> None:
        settings = Settings(state_dir=tmp_path)
        token = self.signed(settings)
        settings.decision_public_key_file.unlink()
        verdict = DecisionVerifier(settings).verify(DecisionCheck(token=token, wanted=REQUEST.wanted, at=NOW))
        assert "decision.pub" in (verdict.refusal or "")

    def test_needs_nothing_but_the_public_key(self, tmp_path: Path) -> None:
        settings = Settings(state_dir=tmp_path)
        token = self.signed(settings)
        settings.decision_key_file.unlink()
        verdict = DecisionVerifier(settings).verify(DecisionCheck(token=token, wanted=REQUEST.wanted, at=NOW))
        assert verdict.refusal is None
