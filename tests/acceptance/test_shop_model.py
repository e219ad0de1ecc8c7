"""The shop against a model of its rules: whatever people, scanners and a killed worker do, both must agree.

The model is the rules in a few lines: one part number at one place. Its parts serve the POs in line by priority and
then by staging; nobody overtakes. What is confirmed and not on hold is released at once.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from temporalio.service import RPCError

from tests.acceptance import invariants
from tests.acceptance.floor import PO, Floor, Json, new, until

Answer = TypeVar("Answer")


@dataclass(eq=False)
class Expected:
    """What a PO must be like."""

    po: PO
    number: int
    """In the order of staging."""
    quantity: int
    priority: int
    held: bool = False
    units: list[Json] = field(default_factory=list)
    """The broadcasts that its units came with, one for each unit."""
    end: str | None = None

    @property
    def waits(self) -> bool:
        return self.end is None and not self.units

    @property
    def status(self) -> str:
        return self.end or ("hold" if self.held else "awaiting_arrival")


class Model:
    """The rules."""

    def __init__(self) -> None:
        self.pos: list[Expected] = []
        self.stock: list[Json] = []
        """Units that nobody has, as the broadcasts that they came with, in order of arrival."""
        self.broadcasts: list[Json] = []

    def line(self) -> list[Expected]:
        return sorted((po for po in self.pos if po.waits), key=lambda po: (po.priority, po.number))

    def settle(self) -> None:
        """Gives units to the head of the line as long as there are enough, and releases what may go."""
        for po in self.line():
            if len(self.stock) < po.quantity:
                break
            po.units, self.stock = self.stock[: po.quantity], self.stock[po.quantity :]
        for po in self.pos:
            if po.units and not po.held and po.end is None:
                po.end = "released"

    def put_back(self, units: list[Json]) -> None:
        self.stock = sorted(self.stock + units, key=self.broadcasts.index)

    def arrived(self, po: Expected) -> int:
        """What is shown: its units, or for the head of the line what is there for it so far."""
        if po.units:
            return len(po.units)
        return len(self.stock) if self.line()[:1] == [po] else 0


class ShopAndModel(RuleBasedStateMachine):
    """Does everything to both. It runs in a thread beside the event loop that the shop's client lives in."""

    def __init__(self, floor: Floor, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.floor = floor
        self.loop = loop
        self.part = new("PN")
        self.model = Model()
        self.restarted = False

    def await_(self, coroutine: Coroutine[Any, Any, Answer]) -> Answer:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(120)

    def done(self, answer: httpx.Response) -> None:
        """Refused is also who was not answered in time, so asked again, and had already been served."""
        assert answer.status_code == 200 or (self.restarted and answer.status_code == 409), answer.text

    def open_pos(self) -> list[Expected]:
        return [po for po in self.model.pos if po.end is None]

    def choose(self, data: st.DataObject, among: list[Any]) -> Any:
        return data.draw(st.sampled_from(among))

    def withdrawable(self) -> list[Json]:
        """Broadcasts with a unit that is in stock or could come back."""
        there = self.model.stock + [unit for po in self.open_pos() for unit in po.units]
        return [body for body in self.model.broadcasts if body in there]

    # --- what people do -------------------------------------------------------------------------------------

    @initialize(pos=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4)), min_size=3, max_size=4))
    def begin(self, pos: list[tuple[int, int]]) -> None:
        for quantity, priority in pos:
            self.stage(quantity, priority)

    @precondition(lambda self: len(self.open_pos()) < 3)
    @rule(quantity=st.integers(1, 3), priority=st.integers(1, 4))
    def stage_another(self, quantity: int, priority: int) -> None:
        self.stage(quantity, priority)

    def stage(self, quantity: int, priority: int) -> None:
        po = self.await_(self.floor.stage(part_number=self.part, quantity=quantity, priority=priority))
        expected = Expected(po, number=len(self.model.pos), quantity=quantity, priority=priority)
        self.model.pos.append(expected)
        self.model.settle()
        if expected.waits:
            self.await_(until(self.details_of_the_line, lambda details: po.name in details))

    async def details_of_the_line(self) -> str:
        line = self.floor.temporal.get_workflow_handle(f"part-number/{self.part}")
        try:
            return str(await line.query("__temporal_workflow_metadata"))
        except RPCError:
            return ""  # nobody has come to it yet

    @precondition(lambda self: self.open_pos())
    @rule(data=st.data())
    def hold_or_resume(self, data: st.DataObject) -> None:
        expected = self.choose(data, self.open_pos())
        self.done(self.await_(expected.po.resume() if expected.held else expected.po.hold()))
        expected.held = not expected.held
        self.model.settle()

    @precondition(lambda self: self.open_pos())
    @rule(data=st.data(), priority=st.integers(1, 4))
    def amend(self, data: st.DataObject, priority: int) -> None:
        expected = self.choose(data, self.open_pos())
        self.done(self.await_(expected.po.amend(priority=priority)))
        expected.priority = priority
        self.model.settle()

    @precondition(lambda self: self.open_pos())
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        expected = self.choose(data, self.open_pos())
        self.done(self.await_(expected.po.cancel()))
        expected.end = "cancelled"
        self.model.put_back(expected.units)
        self.model.settle()

    @precondition(lambda self: any(po.end for po in self.model.pos))
    @rule(data=st.data())
    def ask_too_late(self, data: st.DataObject) -> None:
        expected = self.choose(data, [po for po in self.model.pos if po.end])
        assert self.await_(expected.po.hold()).status_code == 409

    # --- what scanners do -----------------------------------------------------------------------------------

    @precondition(lambda self: len(self.model.stock) < 3)
    @rule(quantity=st.integers(1, 3))
    def broadcast(self, quantity: int) -> None:
        self.arrived(self.await_(self.floor.broadcast(part_number=self.part, quantity=quantity)))

    @precondition(lambda self: len(self.model.stock) < 3)
    @rule(quantity=st.integers(1, 3))
    def scan_by_hand(self, quantity: int) -> None:
        self.arrived(self.await_(self.floor.scan(part_number=self.part, quantity=quantity)))

    def arrived(self, body: Json) -> None:
        self.model.broadcasts.append(body)
        self.model.stock += [body] * body["quantity"]
        self.model.settle()
        self.await_(self.floor.until_recorded(self.part, "receive_arrival", len(self.model.broadcasts)))

    @precondition(lambda self: self.model.broadcasts)
    @rule(data=st.data())
    def broadcast_again(self, data: st.DataObject) -> None:
        self.await_(self.floor.send(self.choose(data, self.model.broadcasts)))

    @precondition(lambda self: self.withdrawable())
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        body = self.choose(data, self.withdrawable())
        answer = self.await_(self.floor.withdraw(body))
        if answer.status_code == 202:  # a PO was released with it: nothing of it comes back
            self.await_(self.floor.approved(answer))
        else:
            self.done(answer)
        for expected in self.open_pos():
            if body in expected.units:
                self.model.put_back(expected.units)
                expected.units = []
        self.model.stock = [unit for unit in self.model.stock if unit is not body]
        self.model.settle()

    # --- what happens ---------------------------------------------------------------------------------------

    @precondition(lambda self: not self.restarted)
    @rule()
    def restart_the_worker(self) -> None:
        self.restarted = True
        self.await_(self.floor.process("worker").kill())
        self.await_(self.floor.process("worker").start())

    @invariant()
    def both_agree(self) -> None:
        model = {
            po.po.name: (po.status, po.priority, None if po.end else self.model.arrived(po)) for po in self.model.pos
        }
        self.await_(until(self.queue, lambda shop: shop == model))

    async def queue(self) -> dict[str, tuple[str, int, int | None]]:
        page = await self.floor.get("/api/v1/staging-queue", part=self.part, limit=500)
        return {
            po["smart_contract_id"]: (
                po["status"],
                po["priority"],
                None if po["status"] in ("released", "cancelled") else po["arrived"],
            )
            for po in page["queue"]
        }

    def teardown(self) -> None:
        self.await_(invariants.check(self.floor))


async def test_the_shop_keeps_the_rules_whatever_is_done_to_it(floor: Floor) -> None:
    loop = asyncio.get_running_loop()

    class OnThisFloor(ShopAndModel):
        def __init__(self) -> None:
            super().__init__(floor, loop)

    few = settings(
        max_examples=5,
        stateful_step_count=18,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],  # a smaller example would cost minutes, and this one is printed as it is
        suppress_health_check=list(HealthCheck),
    )
    await asyncio.to_thread(run_state_machine_as_test, OnThisFloor, settings=few)
