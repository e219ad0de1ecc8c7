"""Asking a workflow by an update, and saying over HTTP what became of it."""

from typing import Any

from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from api.house import House
from api.problems import Problem, away
from infra.temporal import RPC_TIMEOUT
from schemas.base import Model


class NotOpen(Exception):
    """No workflow of that ID is open."""


async def ask_workflow(
    house: House, workflow_id: str, update: str, message: Model, *, update_id: str | None = None
) -> Any:
    """What it answers. Raises `Problem`, 409 where it refuses, and `NotOpen`."""
    handle = house.temporal.get_workflow_handle(workflow_id)
    try:
        return await handle.execute_update(update, message, id=update_id, rpc_timeout=2 * RPC_TIMEOUT)
    except WorkflowUpdateFailedError as error:
        raise refused(error.cause.message if isinstance(error.cause, ApplicationError) else str(error.cause)) from error
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise away("Temporal") from error
        raise NotOpen(workflow_id) from error


def refused(detail: str) -> Problem:
    """409: understood, and not possible now."""
    return Problem(409, "refused", "The state forbids it", detail)
