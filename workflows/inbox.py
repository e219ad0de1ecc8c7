"""What comes to a workflow from outside, queued for its main loop.

Every name is open as a signal (for the world, and for people in the Temporal Web UI and CLI) and, where somebody
must know the answer, as an update. A signal handler never raises: what it cannot read becomes a `Refused` item,
which the main loop records. (Only a payload that the data converter cannot decode is dropped by the SDK, with a log
line.) An update is refused before it enters the history where that is known already, else with an
`ApplicationError` once the main loop has decided.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from schemas import names
from schemas.base import excerpt
from schemas.faults import faults

Result = TypeVar("Result")

REFUSED = "Refused"
"""Error type of an update that the state forbids or that says nothing understandable."""

CANCELLED = "temporal"
"""Key of the message that stands for Temporal's own Cancel."""

CROWD = 1000
"""Messages that wait. Temporal lets one run have ten thousand signals."""


class Refused(BaseModel):
    """A signal that could not be read, in place of its payload."""

    reason: str


class Item:
    """One message, and the answer once the main loop has given it.

    `key` names it in what is recorded: an update by its ID, a signal by its number among the signals. Both are the
    same when a worker that was killed had already recorded what the message did; a number among all messages would
    not be, because an update whose acceptance was lost comes again behind the signals. `asked` says that it is an
    update.
    """

    def __init__(self, key: str, name: str, payload: BaseModel, *, asked: bool) -> None:
        self.key = key
        self.name = name
        self.payload = payload
        self.asked = asked
        self._answer: BaseModel | None = None
        self._refusal: str | None = None

    def answer(self, answer: BaseModel) -> None:
        """Tells whoever asked that it is done."""
        self._answer = answer

    def refuse(self, reason: str) -> None:
        """Tells whoever asked why it is not done."""
        self._refusal = reason

    def sender(self, user_id: str) -> str:
        """The API says who sends an update; in a signal anybody can say anything."""
        return user_id if self.asked or self.key == CANCELLED else "unidentified"

    async def outcome(self) -> BaseModel:
        """Waits for the main loop; raises `ApplicationError` when it refused."""
        await workflow.wait_condition(lambda: self._answer is not None or self._refusal is not None)
        if self._answer is None:
            raise ApplicationError(self._refusal or "", type=REFUSED, non_retryable=True)
        return self._answer


class Inbox:
    """Opens the handlers of a workflow and keeps what they receive in order.

    `signals` and `updates` map names to the model of their payload; `refusal` says whether an update is impossible
    in the present state. `signals_before` is where the numbering goes on after continue-as-new.
    """

    def __init__(
        self,
        *,
        signals: Mapping[str, type[BaseModel]],
        updates: Mapping[str, type[BaseModel]],
        refusal: Callable[[Any], str | None] = lambda _: None,
        signals_before: int = 0,
    ) -> None:
        self._items: deque[Item] = deque()
        self.signals = signals_before
        for name, model in signals.items():
            self._open_signal(name, model)
        for name, model in updates.items():
            self._open_update(name, model, refusal)
        workflow.set_dynamic_signal_handler(self._unknown_signal)

    def __bool__(self) -> bool:
        return bool(self._items)

    @property
    def crowded(self) -> bool:
        """Whether so many wait that the run should give way to the next, which may have as many again."""
        return len(self._items) >= CROWD

    def next(self) -> Item:
        """The oldest message."""
        return self._items.popleft()

    def take(self, kind: type[BaseModel]) -> Item | None:
        """The oldest message of a kind, before its turn; None where there is none."""
        item = next((item for item in self._items if isinstance(item.payload, kind)), None)
        if item is not None:
            self._items.remove(item)
        return item

    def holds(self, kind: type[BaseModel]) -> bool:
        """Whether a message of that kind waits."""
        return any(isinstance(item.payload, kind) for item in self._items)

    async def filled(self, timeout: timedelta | float | None, summary: str | None = None) -> bool:
        """Waits for a message; False where none came in time (seconds, None is for ever)."""
        try:
            await workflow.wait_condition(lambda: bool(self), timeout=timeout, timeout_summary=summary)
        except TimeoutError:
            return False
        return True

    async def drained(self) -> bool:
        """Waits until there is a message (False), or until there is none and everybody has their answer (True).

        A workflow that ends or continues as new without having seen True loses what came last.
        """
        await workflow.wait_condition(lambda: bool(self) or workflow.all_handlers_finished())
        return not self

    def put(self, key: str, name: str, payload: BaseModel, *, asked: bool = False) -> Item:
        """Queues a message."""
        item = Item(key, name, payload, asked=asked)
        self._items.append(item)
        return item

    async def outlive_cancel(
        self, life: Coroutine[Any, Any, Result], cancel: BaseModel | None, *, name: str = names.CANCEL
    ) -> Result:
        """Lives on to its own end: Temporal's Cancel becomes the message `cancel`, or nothing where there is none."""
        living = asyncio.create_task(life)
        try:
            return await asyncio.shield(living)
        except asyncio.CancelledError:
            if cancel is not None:
                self.put(CANCELLED, name, cancel)
            return await living

    def _signalled(self, name: str, payload: BaseModel) -> None:
        self.signals += 1
        self.put(str(self.signals), name, payload)

    def _open_signal(self, name: str, model: type[BaseModel]) -> None:
        def receive(*payloads: Any) -> None:
            if len(payloads) > 1:
                self._signalled(name, Refused(reason=f"one payload is expected, not {len(payloads)}"))
                return
            try:
                self._signalled(name, _read(model, *payloads))
            except ValidationError as error:
                self._signalled(name, Refused(reason=excerpt("; ".join(map(str, faults(error))))))

        workflow.set_signal_handler(name, receive)

    def _open_update(self, name: str, model: type[BaseModel], refusal: Callable[[Any], str | None]) -> None:
        def refuse(payload: Any = None) -> None:
            try:
                reason = refusal(_read(model, payload))
            except ValidationError as error:
                reason = "; ".join(map(str, faults(error)))
            if reason is not None:
                raise ApplicationError(reason, type=REFUSED, non_retryable=True)

        async def ask(payload: Any = None) -> Any:
            update = workflow.current_update_info()
            if update is None:
                raise RuntimeError("this is an update's handler")
            return await self.put(_key(update.id), name, _read(model, payload), asked=True).outcome()

        workflow.set_update_handler(name, ask, validator=refuse)

    def _unknown_signal(self, name: str, _arguments: Sequence[RawValue]) -> None:
        self._signalled(excerpt(name, 200), Refused(reason="there is no signal of that name here"))


def _key(update_id: str) -> str:
    """Of a length that every record can keep, and never the number of a signal: whoever asks chooses the ID."""
    return f"update-{hashlib.sha256(update_id.encode()).hexdigest()[:32]}"


def _read(model: type[BaseModel], payload: Any = None) -> BaseModel:
    return model.model_validate(payload if payload is not None else {})
