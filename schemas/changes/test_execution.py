"""What becomes of the rows of tests, of their results and of the sign-offs on them."""

from typing import Literal

from schemas.base import Model, Partial


class TestOpened(Model):
    """Inserts the row of a test that waits at its node."""

    __test__ = False

    kind: Literal["test_opened"] = "test_opened"
    smart_contract_id: str
    clientpo_id: str
    node_id: str
    status: str


class TestChanged(Partial):
    """Changes columns of one test's row; the stamps give it the time of the ledger entry.

    `missing` and `open_signoffs` are sentences for people; `begun` is JSON.
    """

    __test__ = False

    kind: Literal["test_changed"] = "test_changed"
    smart_contract_id: str
    status: str | None = None
    performer: str | None = None
    begun: str | None = None
    revision: int | None = None
    missing: str | None = None
    open_signoffs: str | None = None
    hold_reason: str | None = None
    rework_reason: str | None = None
    package_id: str | None = None
    started_now: bool = False
    submitted_now: bool = False
    signed_now: bool = False
    authorized_now: bool = False


class ResultSubmitted(Model):
    """Inserts one test's results of one revision; `result` is JSON. Earlier ones stay. `flags` are for people."""

    kind: Literal["result_submitted"] = "result_submitted"
    smart_contract_id: str
    revision: int
    test_id: str
    verdict: str
    result: str
    content_hash: str
    submitted_by: str
    flags: str | None = None


class SignedOff(Model):
    """Inserts a person's decision on the results of one test: `sign` or `reject`."""

    kind: Literal["signed_off"] = "signed_off"
    smart_contract_id: str
    test_id: str
    role: str
    person: str
    decision: str
    meaning: str
    reason: str | None
    content_hash: str
    qualification: str | None


class SignOffsVoided(Model):
    """The sign-offs of this test are for content that is not current any more."""

    kind: Literal["sign_offs_voided"] = "sign_offs_voided"
    smart_contract_id: str
    test_id: str


ChangeOfTest = TestOpened | TestChanged | ResultSubmitted | SignedOff | SignOffsVoided
