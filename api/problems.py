"""Errors as RFC 9457 problem details: a stable `type`, what is wrong, and what would be right."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from temporalio.client import WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError

from schemas.faults import Fault

TYPES = "urn:smartfloor:problem:"
_DATA_EXCEPTION = "22"  # class of SQLSTATE


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
        retry_after: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.title = title
        self.detail = detail
        self.errors = errors
        self.retry_after = retry_after

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
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after is not None else None
        return JSONResponse(body, self.status, headers, media_type="application/problem+json")


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
    async def _http(_: Request, error: HTTPException) -> JSONResponse:
        return Problem(error.status_code, "http", str(error.detail), str(error.detail)).response()

    @app.exception_handler(WorkflowUpdateRPCTimeoutOrCancelledError)
    async def _no_answer(_: Request, error: WorkflowUpdateRPCTimeoutOrCancelledError) -> JSONResponse:
        detail = (
            "the workflow has not answered in time; it may still do what was asked: look before asking again, "
            "or ask again under the Idempotency-Key of the first time"
        )
        return Problem(503, "no-answer", "No answer yet", detail, retry_after=5).response()

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
