"""The rows of tests, of their results and of the sign-offs on them."""

from datetime import datetime

from sqlalchemy import Executable, update

from infra.rows.base import Reason, inserted, updated
from infra.tables.test_execution import test_results, test_signoffs, tests
from schemas.changes.test_execution import (
    ChangeOfTest,
    ResultSubmitted,
    SignedOff,
    SignOffsVoided,
    TestChanged,
    TestOpened,
)


def statement(change: ChangeOfTest, reason: Reason) -> Executable:
    match change:
        case TestOpened():
            return inserted(tests, change, opened_at=reason.at, updated_at=reason.at).on_conflict_do_nothing()
        case TestChanged():
            return updated(tests, change, reason.at, updated_at=reason.at)
        case ResultSubmitted():
            return inserted(test_results, change, submitted_at=reason.at)
        case SignedOff():
            return inserted(test_signoffs, change, entry=reason.seq, signed_at=reason.at)
        case SignOffsVoided():
            return _voided(change, reason.at)


def _voided(change: SignOffsVoided, at: datetime) -> Executable:
    return (
        update(test_signoffs)
        .where(
            test_signoffs.c.smart_contract_id == change.smart_contract_id,
            test_signoffs.c.test_id == change.test_id,
            test_signoffs.c.void_at.is_(None),
        )
        .values(void_at=at)
    )
