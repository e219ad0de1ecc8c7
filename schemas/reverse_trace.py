"""What was measured with an instrument that turned out to be bad, and what becomes of it (ISO/IEC 17025, 7.10).

A calibration finds an instrument out of tolerance, or fails it and does not say how it was found: then every result is
in doubt that relied on an earlier one, since the instrument was good for the last time. Each is found in the ledger and
waits for a person's disposition.
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from enum import StrEnum
from typing import Annotated, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field, model_validator

from schemas import names
from schemas.alert import cause_of
from schemas.base import Identifier, Model, Text, UtcDateTime
from schemas.canonical import canonical, document_hash
from schemas.decision import Wanted
from schemas.equipment import CalibrationRecord
from schemas.permission import Permission
from schemas.test_execution import TestStatus
from schemas.test_results import Instrument

FIRST_ZONE = timezone(timedelta(hours=14))
"""Where a day begins first: for a node whose zone nobody knows any more, rather too much is found than too little."""

SEARCH_AGAIN = timedelta(days=1)
"""After this an open trace looks for results of tests that were under way with the instrument, or whose start had just
been answered by a node that had not heard of it."""


class TraceDisposition(StrEnum):
    """What a person decides on a result: one that is withdrawn or measured again is amended where the vault has it."""

    USE_AS_IS = "use_as_is"
    RETEST = "retest"
    WITHDRAW = "withdraw"


AMENDING = frozenset({TraceDisposition.RETEST, TraceDisposition.WITHDRAW})


class TraceStatus(StrEnum):
    """An open trace with nothing in doubt waits for tests that are under way with the instrument, or may just be."""

    SEARCHING = "searching"
    AWAITING_DISPOSITION = "awaiting_disposition"
    AWAITING_TESTS = "awaiting_tests"
    CLOSED = "closed"


def trace_id(equipment_id: str, certificate_number: str) -> str:
    """One for a calibration, whose certificate may be named by anything."""
    return f"{equipment_id[:96]}.{document_hash([equipment_id, certificate_number])[:24]}"


class TraceLife(BaseModel):
    """What is known of a trace: mutable, and the only state of its workflow.

    `searched` is the number of the last ledger entry that was searched, -1 before the first search is over. `heard_at`
    is since when the instrument's node is known to have the calibration. `waiting` results have no disposition; tests
    that are `under_way` with the instrument may still give results, `held` are those that were told to hold.
    """

    searched: int = -1
    searched_at: UtcDateTime | None = None
    heard_at: UtcDateTime | None = None
    found: int = 0
    waiting: int = 0
    under_way: tuple[str, ...] = ()
    held: list[str] = Field(default_factory=list)
    tokens: list[str] = Field(default_factory=list)
    last_refusal: str | None = None
    closed: bool = False

    @property
    def status(self) -> TraceStatus:
        if self.closed:
            return TraceStatus.CLOSED
        if self.searched_at is None:
            return TraceStatus.SEARCHING
        return TraceStatus.AWAITING_DISPOSITION if self.waiting else TraceStatus.AWAITING_TESTS

    def patience(self, now: datetime) -> timedelta:
        """How long until the next search."""
        return max((self.searched_at or now) + SEARCH_AGAIN - now, timedelta())

    @property
    def over(self) -> bool:
        """Nothing waits, and nothing can come: a test that had begun before its node heard of it is found by now."""
        if self.waiting or self.under_way or self.searched_at is None or self.heard_at is None:
            return False
        return self.searched_at >= self.heard_at + SEARCH_AGAIN


class TraceStart(Model):
    """Input of a `ReverseTraceWorkflow`: a calibration that puts earlier measurements in doubt.

    `since` is the day of the last calibration that left it good; None where there never was one: then
    everything is in doubt that was ever measured with it. `calibrated_on` is the day of the one that found it bad,
    `found_at` when that was recorded: here, or at its node if that is later. `life` and `signals` travel through
    continue-as-new.
    """

    trace_id: Identifier
    equipment_id: Identifier
    certificate_number: str
    calibrated_on: date
    since: date | None
    found_at: UtcDateTime
    life: TraceLife | None = None
    signals: int = 0

    @classmethod
    def of(cls, calibration: CalibrationRecord, since: date | None, found_at: datetime) -> Self:
        return cls(
            trace_id=trace_id(calibration.equipment_id, calibration.certificate_number),
            equipment_id=calibration.equipment_id,
            certificate_number=calibration.certificate_number,
            calibrated_on=calibration.calibrated_on,
            since=since,
            found_at=found_at,
        )

    def begins_at(self, zone: ZoneInfo | None) -> datetime:
        """When the day of the last good calibration began at a node in this zone."""
        if self.since is None or self.since == date.min:
            return datetime.min.replace(tzinfo=UTC)
        return datetime.combine(self.since, time.min, zone or FIRST_ZONE).astimezone(UTC)

    def doubts(self, instruments: Sequence[Instrument], started_at: datetime) -> bool:
        """Whether a test that began then with these, as they stood in the register, relied on an earlier calibration.

        The calibration that found the instrument bad was known to whoever cites it, and one after it begins anew.
        Another one of the same day may be earlier or later: then it is the later one where the test began after the
        bad one was recorded. Where nothing asked for a calibration there was none to rely on, and it is in doubt until
        it was found bad.
        """
        for used in instruments:
            if used.equipment_id == self.equipment_id:
                if used.calibrated_on is None or used.calibrated_on == self.calibrated_on:
                    return used.certificate != self.certificate_number and started_at <= self.found_at
                return used.calibrated_on < self.calibrated_on
        return False


class TracedResult(Model):
    """One result in doubt, as the ledger knows it."""

    smart_contract_id: Identifier
    revision: int
    test_id: Identifier
    clientpo_id: Identifier
    node_id: Identifier
    verdict: str
    content_hash: str
    submitted_at: UtcDateTime


class Selection(Model):
    """Those results of a trace that wait for a disposition: all, or those of a client order, a contract, a test."""

    clientpo_id: Identifier | None = None
    smart_contract_id: Identifier | None = None
    revision: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    test_id: Identifier | None = None

    @model_validator(mode="after")
    def _names_a_result(self) -> Self:
        if self.smart_contract_id is None and (self.revision is not None or self.test_id is not None):
            raise ValueError("revision and test_id are those of a contract: name its smart_contract_id")
        return self

    @property
    def terms(self) -> dict[str, str | int]:
        """What it names."""
        return self.model_dump(include=set(Selection.model_fields), exclude_none=True)

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.terms.items()) or "all that wait"


class DisposeTraced(Selection):
    """A person's disposition of the selected results; its token decides on exactly these."""

    token: str | None = None
    reason: Text


def decided_content(trace: str, results: Iterable[tuple[str, int, str, str]]) -> str:
    """What a disposition decides on: SHA-256 (hex) over exactly these results, whose order is of no account.

    Each is its contract, revision, test and content hash. Hashed is the trace's ID and one line (RFC 8785) for each.
    """
    digest = hashlib.sha256(canonical(trace))
    for result in sorted(results):
        digest.update(b"\n" + canonical(list(result)))
    return digest.hexdigest()


def disposition_wanted(trace: str, content_hash: str) -> Wanted:
    """The disposition of exactly these results."""
    return Wanted(
        workflow_id=names.reverse_trace_id(trace),
        content_hash=content_hash,
        decisions=tuple(disposition.value for disposition in TraceDisposition),
        permission=Permission.DISPOSITION_DECIDE,
    )


def decide_first(trace: str) -> str:
    """What a test waits for that the trace holds: told to whoever resumes it, and by this the trace knows its holds."""
    return f"decide on them in trace {trace}, then resume"


def in_doubt_cause(trace: str, clientpo_id: str) -> str:
    """The cause of the alert of a client order, some of whose results wait."""
    return cause_of("results_in_doubt", trace, clientpo_id)


# --- what the search and its effects are told -----------------------------------------------------------------------


class UnderWay(Model):
    """A test that has begun with the instrument, and may still give results."""

    smart_contract_id: Identifier
    status: TestStatus


class Horizon(Model):
    """How far the ledger goes, and which tests were under way before that was read: the others have given theirs.

    `heard` says that the node where the instrument is has what the hub knows: a test begins there with it no more.
    """

    until: int
    heard: bool = True
    tests: tuple[UnderWay, ...]

    @property
    def under_way(self) -> tuple[str, ...]:
        return tuple(test.smart_contract_id for test in self.tests)

    @property
    def holdable(self) -> tuple[str, ...]:
        """Not those that are on hold already, or with the Guardian."""
        not_held = (test for test in self.tests if test.status not in {TestStatus.HOLD, TestStatus.AUTHORIZING})
        return tuple(test.smart_contract_id for test in not_held)


class Search(Model):
    """Which entries of the ledger are searched: those after the number `after`, up to and including `until`.

    `known` is how many results were found before.
    """

    trace: TraceStart
    after: int
    until: int
    known: int


class Searched(Model):
    """How many results of a trace are found in all, and how many of them wait."""

    found: int
    waiting: int


class Selecting(Model):
    """Which results of a trace are looked up."""

    trace_id: Identifier
    selection: Selection


class Selected(Model):
    """Those that wait: how many, what a decision on them decides on, and who performed or signed them."""

    count: int
    content_hash: str
    involved: tuple[str, ...]
