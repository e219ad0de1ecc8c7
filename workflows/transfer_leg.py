"""One leg of a transfer: prepares, sends, pauses and waits for people as its status says; never looks at another leg.

What it finds it puts into the inbox of its transfer, whose main loop alone changes what is known and records it; the
leg goes on when that is committed.
"""

from datetime import timedelta

from pydantic import BaseModel
from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from activities.transfer import TransferActivities
from schemas.guardian import AuthorizationPackage
from schemas.transfer import (
    DONE,
    LEG_NAMES,
    UNDER_WAY,
    Delivery,
    Destination,
    LegStatus,
    Preparation,
    Prepare,
    Sending,
    TransferLife,
)
from workflows import retry
from workflows.inbox import Inbox


class Prepared(BaseModel):
    """What a leg would send, or why there is nothing to send."""

    destination: Destination
    preparation: Preparation


class Attempted(BaseModel):
    """How an attempt of a leg ended."""

    destination: Destination
    delivery: Delivery


class PauseOver(BaseModel):
    """A leg has waited long enough to try again."""

    destination: Destination


class TransferLeg:
    """The way of one package to one destination; it reads what is known of the transfer, and changes nothing of it."""

    def __init__(
        self, destination: Destination, package: AuthorizationPackage, life: TransferLife, inbox: Inbox
    ) -> None:
        self._destination = destination
        self._name = LEG_NAMES[destination]
        self._package = package
        self._life = life
        self._leg = life.legs[destination]
        self._inbox = inbox

    async def carry(self) -> None:
        """From wherever it stands until it is complete or does not apply."""
        leg = self._leg
        while leg.status not in DONE:
            match leg.status:
                case LegStatus.PREPARING:
                    await self._report(await self._prepare())
                case LegStatus.TRANSFERRING:
                    await self._report(await self._send())
                case LegStatus.FAILED:
                    if await self._pause():
                        await self._report(PauseOver(destination=self._destination))
                case _:
                    await workflow.wait_condition(lambda: leg.status in UNDER_WAY | DONE)

    async def _report(self, event: Prepared | Attempted | PauseOver) -> None:
        """Waits until the main loop has recorded it."""
        await self._inbox.put(event.destination, type(event).__name__, event).outcome()

    async def _prepare(self) -> Prepared | Attempted:
        prepare = Prepare(destination=self._destination, package=self._package)
        try:
            preparation = await workflow.execute_activity_method(
                TransferActivities.prepare,
                prepare,
                start_to_close_timeout=retry.ACTIVITY_TIME,
                retry_policy=retry.ONCE,
                summary=f"prepare what the {self._name} leg sends",
            )
        except ActivityError as error:
            return Attempted(destination=self._destination, delivery=_failure(error))
        return Prepared(destination=self._destination, preparation=preparation)

    async def _send(self) -> Attempted:
        body = self._leg.body or {}
        sending = Sending(destination=self._destination, package_id=self._package.package_id, body=body)
        patience = timedelta(seconds=self._life.policies[self._destination].patience)
        try:
            delivery = await workflow.execute_activity_method(
                TransferActivities.send,
                sending,
                start_to_close_timeout=patience + retry.BEYOND_PATIENCE,
                retry_policy=retry.ONCE,
                summary=f"{self._name} leg, attempt {self._leg.attempts + 1}",
            )
        except ActivityError as error:
            delivery = _failure(error)
        return Attempted(destination=self._destination, delivery=delivery)

    async def _pause(self) -> bool:
        """False where a person retried in between."""
        number = self._leg.retries + 1
        try:
            await workflow.wait_condition(
                lambda: self._leg.status is not LegStatus.FAILED,
                timeout=self._life.policies[self._destination].pause(number),
                timeout_summary=f"{self._name} leg: before retry {number}",
            )
        except TimeoutError:
            return True
        return False


def _failure(error: ActivityError) -> Delivery:
    """An activity that failed or timed out is a failed attempt; only its worker knows whether anything was sent."""
    if is_cancelled_exception(error):
        raise error
    cause = error.cause or error
    return Delivery(error=f"no outcome: {getattr(cause, 'message', cause)}")
