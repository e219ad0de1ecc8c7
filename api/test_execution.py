"""Tests over HTTP: starting them, giving their results, signing them off, holding and aborting them."""

import json
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel

from api.house import House, TheHouse
from api.problems import Problem, not_found
from api.security import GuardedRoute, requires
from api.updates import NotOpen, Once, decision_token, refused
from infra.database import Row
from infra.test_execution import TestRecord
from schemas import names
from schemas import test_execution as schema
from schemas.base import Model, excerpt
from schemas.client_po import SmartClientPO
from schemas.decision import Wanted
from schemas.identity import Identity
from schemas.permission import Permission
from schemas.request import Reasoned
from schemas.signoff import Sign, SignOffDecision, signoff_wanted
from schemas.test_execution import TERMINAL, Start, TestStatus, outlook, results_wanted
from schemas.test_results import Begun, Results, TestResult

router = APIRouter(prefix="/api/v1", tags=["Tests"], route_class=GuardedRoute)

MayPerform = Annotated[Identity, requires(Permission.TEST_PERFORM)]
MayHold = Annotated[Identity, requires(Permission.PO_HOLD)]

FOLLOWED = "the procedure was followed"


class TestResource(BaseModel):
    """The test of one contract, as everybody sees it."""

    __test__ = False

    smart_contract_id: str
    clientpo_id: str
    node_id: str
    status: TestStatus
    performer: str | None
    revision: int
    missing: str | None
    open_signoffs: str | None
    hold_reason: str | None
    rework_reason: str | None
    package_id: str | None
    opened_at: datetime
    started_at: datetime | None
    submitted_at: datetime | None
    signed_at: datetime | None
    authorized_at: datetime | None
    waits_for: str
    moved_on_by: str
    links: dict[str, str]


class ResultResource(BaseModel):
    """Results of one test in one revision; `content_hash` is what a sign-off of them signs, while they are current.

    `flags` say which equipment was not fit any more when they were given.
    """

    test_id: str
    revision: int
    current: bool
    result: TestResult
    content_hash: str
    submitted_by: str
    submitted_at: datetime
    flags: str | None


class SignOffResource(BaseModel):
    """A person's decision; `void_at` is since when the results that it is for do not count any more."""

    test_id: str
    role: str
    person: str
    decision: SignOffDecision
    meaning: str
    reason: str | None
    content_hash: str
    qualification: str | None
    ledger_entry: int
    signed_at: datetime
    void_at: datetime | None


class ToSign(BaseModel):
    """A sign-off that can be given now, and the hash of what it signs."""

    test_id: str
    role: str
    content_hash: str


class TestDetails(TestResource):
    """A test with what was frozen when it began, all results, and all sign-offs, given, void and still open."""

    begun: Begun | None
    results: list[ResultResource]
    signoffs: list[SignOffResource]
    to_sign: list[ToSign]


class TestList(BaseModel):
    """One page, the oldest first."""

    __test__ = False

    matching: int
    limit: int
    offset: int
    tests: list[TestResource]


@router.get("/tests", dependencies=[requires(Permission.JOB_VIEW)])
async def all_tests(
    house: TheHouse,
    status: TestStatus | None = None,
    node: str | None = None,
    clientpo_id: str | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> TestList:
    """Tests by state, node and client order."""
    matching, rows = await house.tests.find(
        status=status, node=node, clientpo_id=clientpo_id, limit=limit, offset=offset
    )
    return TestList(matching=matching, limit=limit, offset=offset, tests=[_resource(house, row) for row in rows])


@router.get("/tests/{smart_contract_id}", dependencies=[requires(Permission.JOB_VIEW)])
async def show(smart_contract_id: str, house: TheHouse) -> TestDetails:
    """What it waits for and who can move it on, its results, and what can be signed."""
    return await _details(house, await _record(house, smart_contract_id))


class Asking:
    """Asks the test in the path, and answers with what its answer is committed in."""

    def __init__(self, smart_contract_id: str, house: TheHouse, once: Annotated[Once, Depends()]) -> None:
        self.name = smart_contract_id
        self._house = house
        self._once = once

    async def __call__(self, update: str, message: Model, who: Identity) -> TestDetails:
        await self.record()
        try:
            await self._once.ask(names.test_execution_id(self.name), update, message, who)
        except NotOpen as error:
            status = (await self.record()).row["status"]
            if status not in TERMINAL:
                raise Problem(
                    409, "not-open", "Its workflow is closed", f"the test is {status}, and was ended from outside"
                ) from error
            raise refused(f"the test is {status}: nothing can be changed any more") from error
        return await _details(self._house, await self.record())

    async def record(self) -> TestRecord:
        """As it is now; raises `Problem` where there is none."""
        return await _record(self._house, self.name)

    def decision(self, wanted: Wanted, who: Identity, decision: str, meaning: str) -> str:
        """The token that says that this person decides it; raises `Problem`, 401 where they must log in again first."""
        return decision_token(self._house, who, wanted, meaning=meaning, decision=decision)


Ask = Annotated[Asking, Depends()]


@router.post("/tests/{smart_contract_id}/start")
async def start(request: Start, ask: Ask, who: MayPerform) -> TestDetails:
    """Begin it with these instruments; `blocked`, with all that is missing, where the gate does not open."""
    asked = schema.StartRequest(
        reason=request.reason,
        user_id=who.user_id,
        performer=request.performer or who.user_id,
        instruments=request.instruments,
    )
    return await ask(names.START, asked, who)


@router.post("/tests/{smart_contract_id}/results")
async def results(submission: Results, ask: Ask, who: MayPerform) -> TestDetails:
    """Give results, as whoever performs the test: they are declared with it. Those that they replace stay visible."""
    wanted = results_wanted(ask.name, submission.content_hash(ask.name))
    token = ask.decision(wanted, who, names.SUBMIT_RESULTS, _declaration(submission))
    return await ask(names.SUBMIT_RESULTS, schema.SubmitRequest(results=submission.results, token=token), who)


@router.post("/tests/{smart_contract_id}/signoffs")
async def sign(request: Sign, ask: Ask, who: Annotated[Identity, requires(Permission.TEST_SIGN)]) -> TestDetails:
    """Sign or reject the results of one test, exactly those that `content_hash` stands for."""
    current = (await ask.record()).current().get(request.test_id)
    if current != request.content_hash:
        seen = f"the current results of {request.test_id} have the hash {current}" if current else "it has no results"
        raise refused(f"{seen}: look at {request.test_id} again and decide anew")
    wanted = signoff_wanted(ask.name, request.content_hash)
    token = ask.decision(wanted, who, request.decision, request.meaning)
    message = schema.SignOffRequest(test_id=request.test_id, token=token, reason=request.reason)
    return await ask(names.SIGN_OFF, message, who)


@router.post("/tests/{smart_contract_id}/hold")
async def hold(request: Reasoned, ask: Ask, who: MayHold) -> TestDetails:
    """Keep it from being measured and signed."""
    return await ask(names.HOLD, schema.HoldRequest(reason=request.reason, user_id=who.user_id), who)


@router.post("/tests/{smart_contract_id}/resume")
async def resume(request: Reasoned, ask: Ask, who: MayHold) -> TestDetails:
    """End a hold."""
    return await ask(names.RESUME, schema.ResumeRequest(reason=request.reason, user_id=who.user_id), who)


@router.post("/tests/{smart_contract_id}/abort")
async def abort(request: Reasoned, ask: Ask, who: Annotated[Identity, requires(Permission.PO_CANCEL)]) -> TestDetails:
    """End it without an authorization."""
    return await ask(names.ABORT, schema.AbortRequest(reason=request.reason, user_id=who.user_id), who)


def _declaration(submission: Results) -> str:
    """What the performer says about how it was done, in their own results."""
    departed = [f"{result.test_id}: {result.deviations}" for result in submission.results if result.deviations]
    if any(not result.procedure_followed for result in submission.results):
        return excerpt(f"the procedure was not followed: {'; '.join(departed)}")
    return excerpt(f"{FOLLOWED}, with deviations: {'; '.join(departed)}") if departed else FOLLOWED


async def _record(house: House, smart_contract_id: str) -> TestRecord:
    record = await house.tests.get(smart_contract_id)
    if record is None:
        raise not_found(f"a test of {smart_contract_id}")
    return record


def _resource(house: House, row: Row) -> TestResource:
    name, status = row["smart_contract_id"], TestStatus(row["status"])
    shown = ("performer", "missing", "open_signoffs", "hold_reason", "rework_reason")
    view = outlook(status, node=row["node_id"], **{field: row[field] for field in shown})
    links = {
        "self": f"/api/v1/tests/{name}",
        "client_po": f"/api/v1/client-pos/{name}",
        "temporal_ui": house.workflow_url(names.test_execution_id(name)),
    }
    if row["package_id"]:
        links["transfer"] = f"/api/v1/transfers/{row['package_id']}"
    fields = {field: row[field] for field in TestResource.model_fields if field in row}
    return TestResource(**fields, **view.model_dump(), links=links)


async def _details(house: House, record: TestRecord) -> TestDetails:
    row, current = record.row, record.current()
    begun = row["begun"]
    return TestDetails(
        **_resource(house, row).model_dump(),
        begun=Begun.model_validate_json(begun) if begun else None,
        results=[_result(result, current) for result in record.results],
        signoffs=[SignOffResource(**{**one, "ledger_entry": one["entry"]}) for one in record.signoffs],
        to_sign=await _to_sign(house, record),
    )


def _result(row: Row, current: dict[str, str]) -> ResultResource:
    values: dict[str, Any] = {**row, "result": json.loads(row["result"])}
    return ResultResource(**values, current=current.get(row["test_id"]) == row["content_hash"])


async def _to_sign(house: House, record: TestRecord) -> list[ToSign]:
    row, current, signed = record.row, record.current(), record.signed()
    staged = await house.client_pos.get(row["smart_contract_id"])
    if staged is None or row["status"] in TERMINAL:
        return []
    return [
        ToSign(test_id=test.test_id, role=role, content_hash=current[test.test_id])
        for test in SmartClientPO.model_validate(json.loads(staged["document"])).tests
        for role in test.required_signoffs
        if test.test_id in current and (test.test_id, role) not in signed
    ]
