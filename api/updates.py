"""Asking a workflow by an update, with a decision where it wants one, and saying over HTTP what became of it."""

import hashlib
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Header, Request
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from api.house import House, TheHouse
from api.problems import Problem, away
from infra.temporal import RPC_TIMEOUT
from schemas.base import Model
from schemas.decision import Wanted
from schemas.identity import Identity


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
        raise refused_by(error) from error
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise away("Temporal") from error
        raise NotOpen(workflow_id) from error


class Once:
    """Asks a workflow for somebody, and with an `Idempotency-Key` once: the same again is answered as it was.

    The same as long as the workflow is open, and with the same body: under one key another body is another request.
    """

    def __init__(
        self,
        request: Request,
        house: TheHouse,
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
    ) -> None:
        self._request = request
        self._house = house
        self._key = idempotency_key

    async def ask(self, workflow_id: str, update: str, message: Model, who: Identity) -> Any:
        """Raises as `ask_workflow` does."""
        update_id = await self.update_id(update, who)
        return await ask_workflow(self._house, workflow_id, update, message, update_id=update_id)

    async def update_id(self, update: str, who: Identity) -> str | None:
        """What makes the same again the same; None without an `Idempotency-Key`."""
        if not self._key:
            return None
        body = hashlib.sha256(await self._request.body()).hexdigest()
        return f"{update}:{who.user_id}:{self._key}:{body}"


def decision_token(house: House, who: Identity, wanted: Wanted, *, meaning: str, decision: str | None = None) -> str:
    """The token that says that this person decides it: the first of what is wanted, where it is not said.

    Raises `Problem`, 401 where they must log in again first.
    """
    now = datetime.now(UTC)
    house.access.demand_login(who, wanted, now, house.settings.login_lasts)
    return house.decisions.sign(
        who,
        workflow_id=wanted.workflow_id,
        content_hash=wanted.content_hash,
        decision=decision or wanted.decisions[0],
        meaning=meaning,
        at=now,
    )


def refused_by(error: WorkflowUpdateFailedError) -> Problem:
    """409, with the workflow's own reason."""
    return refused(error.cause.message if isinstance(error.cause, ApplicationError) else str(error.cause))


def refused(detail: str) -> Problem:
    """409: understood, and not possible now."""
    return Problem(409, "refused", "The state forbids it", detail)
