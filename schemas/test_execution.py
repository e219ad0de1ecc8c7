"""The test of a released contract, from its start to its authorization (specification 2, "all signoffs complete").

Results and sign-offs are keyed by `test_id`. Every submission of results is a *revision* of the contract's results and
replaces those of the tests that it names; their sign-offs are void from then on, because a signature is for exactly
one content. A test counts as signed when every role that its contract requires has signed what is current.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, Field

from schemas import names
from schemas.alert import cause_of
from schemas.approval import StepKind, TimedStep
from schemas.base import Identifier, Model, Text, UtcDateTime
from schemas.client_po import RequiredTest, SmartClientPO
from schemas.decision import Decision, Wanted
from schemas.outlook import Outlook
from schemas.permission import Permission, Role
from schemas.request import Reasoned, Request
from schemas.signoff import Meaning, SignOff, SignOffDecision, signed_content
from schemas.test_results import LONGEST_RESULTS, Begun, CurrentResult, Results, TestResult


class TestStatus(StrEnum):
    """Where a test stands. `rework` waits for results again, because a person refused those that were there."""

    __test__ = False

    WAITING = "waiting"
    BLOCKED = "blocked"
    RUNNING = "running"
    AWAITING_SIGNOFF = "awaiting_signoff"
    REWORK = "rework"
    HOLD = "hold"
    AUTHORIZING = "authorizing"
    AUTHORIZED = "authorized"
    ABORTED = "aborted"


TERMINAL = frozenset({TestStatus.AUTHORIZED, TestStatus.ABORTED})

STARTABLE = frozenset({TestStatus.WAITING, TestStatus.BLOCKED, TestStatus.REWORK})
"""A rework may begin again, with other instruments: then all is measured anew."""


# --- what a test is told ---------------------------------------------------------------------------------------------


class StartRequest(Request):
    """Names who performs the test and with which instruments; the gate decides."""

    reason: Text = "test"
    performer: Identifier
    instruments: Annotated[tuple[Identifier, ...], Field(max_length=100)]


class SubmitRequest(Results):
    """Results, with the decision token by which the performer declares them."""

    token: str | None = None


class SignOffRequest(Model):
    """A decision on the current results of one test; `reason` is needed for a rejection."""

    test_id: Identifier
    token: str | None = None
    reason: Text | None = None


class HoldRequest(Request):
    """Nothing is measured or signed until it is resumed."""


class ResumeRequest(Request):
    """Ends a hold."""


class AbortRequest(Request):
    """Ends the test without results."""


class Disposed(Model):
    """Wakes a test whose results were not accepted: their disposition is there, and read where it is recorded."""

    package_id: Text


class EquipmentNews(Model):
    """Wakes a test that waits for equipment. It says nothing else: the gate is asked again, and nobody believed."""


REQUESTS: dict[str, type[BaseModel]] = {
    names.START: StartRequest,
    names.SUBMIT_RESULTS: SubmitRequest,
    names.SIGN_OFF: SignOffRequest,
    names.HOLD: HoldRequest,
    names.RESUME: ResumeRequest,
    names.ABORT: AbortRequest,
}


# --- the life of a test ----------------------------------------------------------------------------------------------


class BlockedStart(Model):
    """A start that the gate did not let through, kept so that the gate can be asked again; `by` is who asked."""

    request: StartRequest
    by: str


class TestLife(BaseModel):
    """What is known of a test: mutable, and the only state of its workflow. `revision` counts the submissions.

    `missing` is what the gate asks for, `blocked` the start that it did not let through.
    `waits_since` is since when the next sign-off can be given, `asked` how often somebody was told so, `alerted` the
    causes of the lasting alerts that are open, `tokens` are the decision tokens that counted. An authorized test is
    `closed` when nothing can bring it back: its results are accepted, or their disposition is not to rework.
    """

    __test__ = False

    begun: Begun | None = None
    missing: tuple[str, ...] = ()
    blocked: BlockedStart | None = None
    current: dict[str, CurrentResult] = Field(default_factory=dict)
    revision: int = 0
    signoffs: list[SignOff] = Field(default_factory=list)
    rework_reason: str | None = None
    hold_reason: str | None = None
    package_id: str | None = None
    replaces: str | None = None
    closed: bool = False
    aborted: bool = False
    waits_since: UtcDateTime | None = None
    asked: int = 0
    reminders: int = 0
    delays: int = 0
    alerted: list[str] = Field(default_factory=list)
    tokens: list[str] = Field(default_factory=list)
    last_refusal: str | None = None

    def status(self, po: SmartClientPO) -> TestStatus:
        """Derived: the first of these that holds."""
        if self.aborted:
            return TestStatus.ABORTED
        if self.package_id is not None:
            return TestStatus.AUTHORIZED
        if self.hold_reason is not None:
            return TestStatus.HOLD
        if self.missing:
            return TestStatus.BLOCKED
        if self.rework_reason is not None:
            return TestStatus.REWORK
        if self.begun is None:
            return TestStatus.WAITING
        if len(self.current) < len(po.tests):
            return TestStatus.RUNNING
        return TestStatus.AWAITING_SIGNOFF if self.open_signoffs(po) else TestStatus.AUTHORIZING

    def refusal(self, po: SmartClientPO, message: BaseModel) -> str | None:
        """Why a request is not possible now, in words for the person who asked; None where it is."""
        status = self.status(po)
        if status in {*TERMINAL, TestStatus.AUTHORIZING}:
            return f"the test is {status}: nothing can be changed any more"
        match message:
            case HoldRequest() if self.hold_reason is not None:
                return f"the test is already on hold: {self.hold_reason}"
            case ResumeRequest() if self.hold_reason is None:
                return f"the test is not on hold, it is {status}"
            case StartRequest() | SubmitRequest() | SignOffRequest() if self.hold_reason is not None:
                return f"the test is on hold, resume it first: {self.hold_reason}"
            case StartRequest() if status not in STARTABLE:
                return f"the test is {status}: it was started before"
            case SubmitRequest():
                return self._submission_refusal(po, message)
            case SignOffRequest():
                return self._signing_refusal(po, message.test_id)
        return None

    def _submission_refusal(self, po: SmartClientPO, submission: Results) -> str | None:
        if self.begun is None or self.missing:
            return f"the test is {self.status(po)}: start it before giving results"
        known = [test.test_id for test in po.tests]
        foreign = [result.test_id for result in submission.results if result.test_id not in known]
        if foreign:
            return f"{', '.join(foreign)}: not of this contract, whose tests are {', '.join(known)}"
        all_ = {test_id: current.result for test_id, current in self.current.items()}
        all_ |= {result.test_id: result for result in submission.results}
        if sum(len(result.model_dump_json()) for result in all_.values()) > LONGEST_RESULTS:
            return (
                f"the results of a contract have at most {LONGEST_RESULTS} bytes: keep raw data elsewhere, and cite it"
            )
        return None

    def _signing_refusal(self, po: SmartClientPO, test_id: str) -> str | None:
        known = [test.test_id for test in po.tests]
        if test_id not in known:
            return f"{test_id}: not of this contract, whose tests are {', '.join(known)}"
        if test_id not in self.current or self.missing:
            return f"{test_id} has no results that could be signed"
        return None

    def content_hash(self, smart_contract_id: str, test_id: str) -> str | None:
        """What a sign-off of this test signs; None while it has no results."""
        if self.begun is None or (current := self.current.get(test_id)) is None:
            return None
        return signed_content(smart_contract_id, self.begun, current)

    def begin(self, begun: Begun) -> list[SignOff]:
        """Everything is measured from here on; returns the sign-offs that are void now."""
        self.begun, self.missing, self.blocked, self.rework_reason = begun, (), None, None
        void, self.current, self.signoffs = self.signoffs, {}, []
        return void

    def submit(self, submission: Sequence[TestResult]) -> list[SignOff]:
        """Takes results as a new revision; returns the sign-offs that are void now."""
        self.rework_reason = None
        self.revision += 1
        self.current |= {result.test_id: CurrentResult(result=result, revision=self.revision) for result in submission}
        return self._withdraw_signoffs({result.test_id for result in submission})

    def reject(self, test_id: str, reason: str) -> list[SignOff]:
        """Takes a test's results away; returns the sign-offs that are void now."""
        self.rework_reason = reason
        self.current.pop(test_id, None)
        return self._withdraw_signoffs({test_id})

    def _withdraw_signoffs(self, test_ids: set[str]) -> list[SignOff]:
        void = [signoff for signoff in self.signoffs if signoff.test_id in test_ids]
        self.signoffs = [signoff for signoff in self.signoffs if signoff.test_id not in test_ids]
        return void

    def reopen(self, reason: str) -> None:
        """All is tested anew, for a package that replaces the last one."""
        self.replaces, self.package_id = self.package_id, None
        self.begun, self.rework_reason = None, reason
        self.current, self.signoffs = {}, []

    def open_signoffs(self, po: SmartClientPO) -> list[tuple[str, str]]:
        """Test and role of what is not signed yet, in the order of the contract."""
        signed = {(signoff.test_id, signoff.role) for signoff in self.signoffs}
        return [
            (test.test_id, role)
            for test in po.tests
            for role in test.required_signoffs
            if (test.test_id, role) not in signed
        ]

    def signoff_refusal(self, test: RequiredTest, decision: Decision) -> str | None:
        """Why a verified decision on current content does not count as a sign-off; None where it does."""
        if decision.role not in test.required_signoffs:
            return f"{test.test_id} needs no sign-off of a {decision.role}, only of {', '.join(test.required_signoffs)}"
        for signoff in self.signoffs:
            if signoff.test_id != test.test_id:
                continue
            if signoff.person == decision.person:
                return f"{decision.person} has signed {test.test_id} as {signoff.role} already"
            if signoff.role == decision.role:
                return f"{signoff.person} has signed {test.test_id} as {signoff.role} already"
        if decision.decision == SignOffDecision.SIGN and decision.meaning not in set(Meaning):
            return f"a signature means {', '.join(Meaning)}, not {decision.meaning!r}"
        if decision.meaning == Meaning.PERFORMED and self.begun and decision.person != self.begun.performer:
            return f"{self.begun.performer} performed {test.test_id}: {decision.person} signs what they did"
        return None

    def await_signoffs(self, po: SmartClientPO, now: datetime) -> None:
        """The next sign-off is waited for from now on, where it can be given."""
        self.waits_since = now if self.status(po) is TestStatus.AWAITING_SIGNOFF else None
        self.asked = 0

    def next_step(self, po: SmartClientPO) -> TimedStep | None:
        """What happens if the next sign-off is not given before: whoever should is reminded, then another is told."""
        if self.waits_since is None or self.asked > 1:
            return None
        if self.asked:
            at = self.waits_since + ESCALATE_AFTER
            return TimedStep(kind=StepKind.ESCALATE, at=at, owner=Role.PRODUCTION_MANAGER)
        (_, role), *_ = self.open_signoffs(po)
        owner = Role(role) if role in set(Role) else Role.QUALITY_MANAGER  # older contracts name anything as a role
        return TimedStep(kind=StepKind.REMIND, at=self.waits_since + REMIND_AFTER, owner=owner)


REMIND_AFTER = timedelta(hours=4)
"""A sign-off that nobody gave is reminded of."""

ESCALATE_AFTER = timedelta(days=1)
"""And then it is the production manager's. Both are counted from when the sign-off could be given."""


class TestExecutionStart(Model):
    """Input: the contract, its node and the receipt that the node gave for it.

    `document` is left out in runs that were started before a test could be performed: they only wait, as they did.
    `late_after` is how many seconds the node may leave the test waiting before that is alerted. `life` and `signals`
    travel through continue-as-new.
    """

    __test__ = False

    smart_contract_id: str
    node_id: str
    receipt_hash: str
    document: dict[str, Any] | None = None
    document_hash: str | None = None
    late_after: int = 300
    life: TestLife | None = None
    signals: int = 0


class TestEnd(Model):
    """How a test ended; `package_id` is that of its last authorization."""

    __test__ = False

    smart_contract_id: str
    status: TestStatus
    package_id: str | None


def alert_cause(alert_type: str, smart_contract_id: str) -> str:
    """The cause of a lasting alert: one test has one of a type."""
    return cause_of(alert_type, names.test_execution_id(smart_contract_id))


def sentence(open_signoffs: Iterable[tuple[str, str]]) -> str | None:
    """What is not signed yet, for people; None where nothing is."""
    return ", ".join(f"{test_id} by a {role}" for test_id, role in open_signoffs) or None


def outlook(
    status: TestStatus,
    *,
    node: str,
    performer: str | None,
    missing: str | None,
    open_signoffs: str | None,
    hold_reason: str | None,
    rework_reason: str | None,
) -> Outlook:
    """What a test waits for and who can move it on: the same sentence for the API and the Temporal Web UI."""
    perform = "whoever may perform the test"
    match status:
        case TestStatus.WAITING:
            return Outlook(waits_for=f"its start at {node}", moved_on_by=perform)
        case TestStatus.BLOCKED:
            waits_for = f"equipment: {missing}"
            return Outlook(waits_for=waits_for, moved_on_by="whoever brings it in order: then it begins by itself")
        case TestStatus.RUNNING:
            return Outlook(waits_for="results", moved_on_by=performer or perform)
        case TestStatus.REWORK:
            waits_for = f"results of its rework: {rework_reason}"
            return Outlook(waits_for=waits_for, moved_on_by=performer or f"{perform}, by starting it again")
        case TestStatus.AWAITING_SIGNOFF:
            return Outlook(waits_for=f"sign-offs: {open_signoffs}", moved_on_by="qualified persons in these roles")
        case TestStatus.HOLD:
            return Outlook(waits_for=f"a resume; on hold: {hold_reason}", moved_on_by="whoever may resume it")
        case TestStatus.AUTHORIZING:
            return Outlook(waits_for=f"the Guardian of {node}", moved_on_by=f"the worker of node {node}")
        case TestStatus.AUTHORIZED:
            return Outlook(waits_for="nothing: authorized", moved_on_by="nobody")
        case TestStatus.ABORTED:
            return Outlook(waits_for="nothing: aborted", moved_on_by="nobody")


def results_wanted(smart_contract_id: str, content_hash: str) -> Wanted:
    """The declaration by which a performer gives results."""
    return Wanted(
        workflow_id=names.test_execution_id(smart_contract_id),
        content_hash=content_hash,
        decisions=(names.SUBMIT_RESULTS,),
        permission=Permission.TEST_PERFORM,
        signs_record=False,
    )


class Start(Reasoned):
    """What a person asks over HTTP: to begin, as performer unless another one is named."""

    reason: Text = "test"
    performer: Identifier | None = None
    instruments: Annotated[tuple[Identifier, ...], Field(max_length=100)]
