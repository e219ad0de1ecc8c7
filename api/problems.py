"""Errors as RFC 9457 problem details: a stable `type`, what is wrong, and what would be right."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.middleware.body_limit import MAX_BODY_SIZE_SCOPE_KEY
from temporalio.client import WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError

from infra.temporal import NotStarted
from schemas.faults import Fault

TYPES = "urn:smartfloor:problem:"
MEDIA_TYPE = "application/problem+json"
_DATA_EXCEPTION = "22"  # class of SQLSTATE


class ProblemDetails(BaseModel):
    """RFC 9457. `errors` names each field at fault, and what would be right."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[Fault] = []


ANY_PROBLEM: dict[int | str, dict[str, Any]] = {
    status: {
        "description": description,
        "content": {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{ProblemDetails.__name__}"}}},
    }
    for status, description in (("4XX", "What would be right"), ("5XX", "What is away, and when to ask again"))
}
"""The answers that every route may give, for the documentation."""


class Problem(Exception):
    """Answers the request with a problem; `kind` is the stable end of its type."""

    def __init__(
        self,
        status: int,
        kind: str,
        title: str,
        detail: str,
        *,
        errors: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.title = title
        self.detail = detail
        self.errors = errors
        self.headers = {**(headers or {})}
        if retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)

    def response(self) -> JSONResponse:
        """As `application/problem+json`."""
        body: dict[str, Any] = {
            "type": f"{TYPES}{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            body["errors"] = [fault.model_dump() for fault in self.errors]
        return JSONResponse(body, self.status, self.headers, media_type=MEDIA_TYPE)


def invalid(errors: Sequence[Fault]) -> Problem:
    """422, naming every field at fault."""
    detail = "; ".join(str(fault) for fault in errors)
    return Problem(422, "invalid", "The document is not valid", detail, errors=errors)


def not_found(what: str) -> Problem:
    """404."""
    return Problem(404, "not-found", "Not found", f"{what} is not known here")


def away(what: str) -> Problem:
    """503: nothing is known to have happened; the same request may be sent again."""
    return Problem(
        503, "away", f"{what} is away", f"{what} does not answer; send the same request again", retry_after=2
    )


def too_large(limit: int) -> Problem:
    """413."""
    return Problem(413, "too-large", "The request is too large", f"a request has at most {limit} bytes")


def _of_the_framework(request: Request, error: HTTPException) -> Problem:
    """What Starlette and FastAPI refuse by themselves."""
    match error.status_code:
        case 404:
            return not_found(f"the path {request.url.path}")
        case 405:
            allowed = ", ".join(sorted(_methods(request)))  # Starlette names those of the first route alone
            detail = f"{request.method} is not for this path; it takes {allowed}"
            return Problem(405, "method-not-allowed", "Another method is needed", detail, headers={"Allow": allowed})
        case 413:
            return too_large(request.scope[MAX_BODY_SIZE_SCOPE_KEY])
        case status:
            text = str(error.detail)
            return Problem(status, "bad-request" if status == 400 else "http", text, text, headers=error.headers)


def _methods(request: Request) -> set[str]:
    """What the path takes."""
    found: set[str] = set()
    for route in iter_route_contexts(request.app.routes):
        pattern = getattr(route, "path_regex", None)
        if pattern and pattern.match(request.url.path):
            found |= route.methods or {"GET", "HEAD"}  # a mount has no methods: its files are only read
    return found


def install(app: FastAPI) -> None:
    """Every error of this application becomes a problem."""

    @app.exception_handler(Problem)
    async def _problem(_: Request, problem: Problem) -> JSONResponse:
        return problem.response()

    @app.exception_handler(RequestValidationError)
    async def _invalid_request(_: Request, error: RequestValidationError) -> JSONResponse:
        found = [
            Fault(field=".".join(str(part) for part in fault["loc"][1:]) or "body", message=fault["msg"])
            for fault in error.errors()
        ]
        return invalid(found).response()

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        return _of_the_framework(request, error).response()

    @app.exception_handler(Exception)
    async def _unforeseen(_: Request, error: Exception) -> JSONResponse:
        detail = "this is a fault of ours; the log of the API has it with its time"
        return Problem(500, "internal-error", "The API failed", detail).response()

    @app.exception_handler(WorkflowUpdateRPCTimeoutOrCancelledError)
    async def _no_answer(_: Request, error: WorkflowUpdateRPCTimeoutOrCancelledError) -> JSONResponse:
        detail = (
            "the workflow has not answered in time; it may still do what was asked: look before asking again, "
            "or ask again under the Idempotency-Key of the first time"
        )
        return Problem(503, "no-answer", "No answer yet", detail, retry_after=5).response()

    @app.exception_handler(NotStarted)
    async def _not_started(_: Request, error: NotStarted) -> JSONResponse:
        return Problem(503, "not-started", "Recorded, but Temporal is away", str(error), retry_after=2).response()

    @app.exception_handler(RPCError)
    async def _temporal_away(_: Request, error: RPCError) -> JSONResponse:
        return away("Temporal").response()

    @app.exception_handler(SQLAlchemyError)
    @app.exception_handler(ConnectionError)
    @app.exception_handler(TimeoutError)
    async def _database_away(_: Request, error: Exception) -> JSONResponse:
        if (getattr(getattr(error, "orig", None), "sqlstate", None) or "").startswith(_DATA_EXCEPTION):
            return invalid([Fault(field="request", message="it holds text that the database cannot keep")]).response()
        return away("The database").response()
