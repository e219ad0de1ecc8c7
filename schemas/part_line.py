"""The line of POs that wait for a part, and the rules that match them with the arrivals of it.

A line of POs and a stock of units stand under one identifier: a `part_id`, or a `part_number`. Whoever comes first
waits for the other. The rules (design, "Matching"):

- For a `part_id` an arrival is presence: the part is at one place at a time, a rescan there changes nothing, a
  scan elsewhere moves it; carried ahead to the node of the PO that has it, it stays with that PO. For a
  `part_number` stock is a count per place.
- Units are allotted whole, only to the head of the line at their place, by priority, staging time and ID. Nobody
  overtakes: units that could serve an earlier PO wait for it.
- Each unit serves one PO. An allotment ends when the PO gives it back, or when it cannot be told to any open PO.
- A broadcast ID that was seen before changes nothing. IDs are remembered for seven days, so a broadcast that is
  older than that goes to a person.

`PartLine` is pure and mutable: its methods take the time as an argument and return what has to be told to whom.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from pydantic import BaseModel, Field

from schemas.base import Identifier, Model, UtcDateTime
from schemas.part_arrival import (
    CLOCK_TOLERANCE,
    CONDITION_OK,
    MEMORY,
    AcceptedQuantity,
    Allotment,
    ArrivalOutcome,
    Count,
    Damage,
    Held,
    LineStatus,
    PartArrival,
    PendingWithdrawal,
    PORef,
    Reorder,
    ReportedArrival,
    Revocation,
    RevocationCause,
    Share,
    WaitingPO,
)


class Lot(BaseModel):
    """Units of one broadcast: in stock, or held by a PO until it is released."""

    broadcast_id: str
    quantity: int
    location: str
    at_node: bool
    condition: str
    timestamp: UtcDateTime

    def counts_at(self, place: str | None) -> bool:
        """Whether it serves a PO that waits at this place; None is any place that is not a node."""
        return not self.at_node if place is None else self.location == place


class _Given(BaseModel):
    """What a PO of the line was allotted, and what has become of that since."""

    entry: WaitingPO
    lots: list[Lot]
    revoked: bool = False
    settled_at: UtcDateTime | None = None


class Withdrawn(Model):
    """Effect of a withdrawal: POs to tell, and POs that had already been released; or the approval that it needs."""

    revocations: tuple[Revocation, ...] = ()
    released: tuple[str, ...] = ()
    approval_id: str | None = None


class PartLine(BaseModel):
    """The line and the stock under one identifier. `single` for a `part_id`: presence instead of a count.

    `seen` and `reported` keep the time of the arrival with the broadcast's ID: it was taken in, it was reported as
    unclaimed. `claimed` are those reported ones of which nothing was left in stock. For a `part_id`, `visits` is where
    it was seen, one for each place that it moved to, and `last_seen` when it was last seen at the last of them.
    """

    single: bool
    stock: list[Lot] = Field(default_factory=list)
    line: list[WaitingPO] = Field(default_factory=list)
    given: dict[str, _Given] = Field(default_factory=dict)
    seen: dict[str, UtcDateTime] = Field(default_factory=dict)
    reported: dict[str, UtcDateTime] = Field(default_factory=dict)
    claimed: list[str] = Field(default_factory=list)
    counts: dict[str, int] = Field(default_factory=dict)
    visits: list[Lot] = Field(default_factory=list)
    last_seen: UtcDateTime | None = None
    served: bool = False

    # --- arrivals -------------------------------------------------------------------------------------------

    def arrive(self, reported: ReportedArrival, now: datetime) -> ArrivalOutcome:
        """Takes in a broadcast. After `COUNTED`, `allot` may find somebody for it."""
        arrival = reported.arrival
        if arrival.id in self.seen:
            return ArrivalOutcome.DUPLICATE
        if not now - MEMORY <= arrival.timestamp <= now + CLOCK_TOLERANCE:
            return ArrivalOutcome.OUT_OF_WINDOW
        self.seen[arrival.id] = arrival.timestamp
        lot = Lot(
            broadcast_id=arrival.id,
            quantity=arrival.quantity,
            location=arrival.location,
            at_node=reported.at_node,
            condition=arrival.condition,
            timestamp=arrival.timestamp,
        )
        if self.single and not self._moves(lot):
            return ArrivalOutcome.TRACKING
        carried = next((given for given in self._open_allotments() if self._carried_ahead(given)), None)
        if carried is not None:
            carried.lots = [lot]
        else:
            self.stock.append(lot)
            self.stock.sort(key=lambda lot: (lot.timestamp, lot.broadcast_id))
        return ArrivalOutcome.COUNTED

    def _moves(self, lot: Lot) -> bool:
        """Presence: only a later scan at another place is news; it ends the presence at the old one."""
        if self.last_seen is not None:
            if lot.location == self.location:
                self.last_seen = max(self.last_seen, lot.timestamp)
                return False
            if lot.timestamp < self.last_seen:
                return False
        self.visits.append(lot.model_copy())
        self.last_seen = lot.timestamp
        self.stock.clear()
        return True

    def _carried_ahead(self, given: _Given) -> bool:
        """For a `part_id`: whether it is at the node of the PO that was given it, where it must be next."""
        return self.single and given.entry.node is not None and self.location == given.entry.node

    @property
    def location(self) -> str | None:
        """For a `part_id`: where it is."""
        return self.visits[-1].location if self.visits else None

    def moved_away(self) -> list[Revocation]:
        """For a `part_id`: POs that were given the part where it no longer is and have not been released."""
        return [
            self._revoke(given, RevocationCause.MOVED, f"the part was scanned at {self.location}")
            for given in self._open_allotments()
            if self.single and self.location != given.lots[0].location
        ]

    def damaged(self, arrival: PartArrival) -> list[Damage]:
        """For a `part_id`: the PO to tell that a scan where it has the part found it in another condition."""
        if arrival.condition == CONDITION_OK or not self.single or arrival.location != self.location:
            return []
        held = list(self._open_allotments())
        for lot in [*self.stock, *(lot for given in held for lot in given.lots)]:
            lot.condition = arrival.condition
        condition = f"{arrival.condition} at {arrival.location} ({arrival.id})"
        return [
            Damage(smart_contract_id=g.entry.smart_contract_id, ticket=g.entry.ticket, condition=condition)
            for g in held
        ]

    def held(self, ref: PORef) -> Held | None:
        """What a PO was given under this ticket; None where that is nothing."""
        given = self.given.get(ref.smart_contract_id)
        if given is None or given.entry.ticket != ref.ticket:
            return None
        return Held(shares=tuple(Share(**lot.model_dump()) for lot in given.lots), revoked=given.revoked)

    def released_with(self, broadcast_id: str) -> tuple[str, ...]:
        """POs that were released with units of this broadcast."""
        return tuple(
            name
            for name, given in self.given.items()
            if given.settled_at is not None and broadcast_id in {lot.broadcast_id for lot in given.lots}
        )

    def withdraw(self, broadcast_id: str, reason: str) -> Withdrawn | None:
        """Takes a broadcast's units back; None where no such arrival is known (any more).

        A `part_id` is then where it was seen before.
        """
        taken = [lot for lot in self._units() if lot.broadcast_id == broadcast_id]
        before = [visit for visit in self.visits if visit.broadcast_id != broadcast_id]
        if not taken and len(before) == len(self.visits):
            return None
        self.stock = [lot for lot in self.stock if lot not in taken]
        was_there = self.presence
        self.visits = before
        text = f"arrival {broadcast_id} was withdrawn: {reason}"
        revocations: list[Revocation] = []
        released: list[str] = []
        for given in self.given.values():
            kept = [lot for lot in given.lots if lot not in taken]
            if len(kept) == len(given.lots):
                continue
            given.lots = kept
            if given.settled_at is not None:
                released.append(given.entry.smart_contract_id)
            elif not given.revoked:
                revocations.append(self._revoke(given, RevocationCause.WITHDRAWN, text))
        if was_there == broadcast_id:
            self._return_to_last_visit()
        return Withdrawn(revocations=tuple(revocations), released=tuple(released))

    def _return_to_last_visit(self) -> None:
        self.last_seen = self.visits[-1].timestamp if self.visits else None
        if self.visits and self.presence not in {lot.broadcast_id for lot in self._units()}:
            self.stock.append(self.visits[-1].model_copy())

    @property
    def presence(self) -> str | None:
        """For a `part_id`: the broadcast that says where it is."""
        return self.visits[-1].broadcast_id if self.visits else None

    def _units(self) -> list[Lot]:
        """All that is known of: in stock and given."""
        return [*self.stock, *(lot for given in self.given.values() for lot in given.lots)]

    def _revoke(self, given: _Given, cause: RevocationCause, reason: str) -> Revocation:
        given.revoked = True
        entry = given.entry
        return Revocation(smart_contract_id=entry.smart_contract_id, ticket=entry.ticket, cause=cause, reason=reason)

    def _open_allotments(self) -> Iterator[_Given]:
        return (g for g in self.given.values() if g.settled_at is None and not g.revoked)

    # --- the line -------------------------------------------------------------------------------------------

    def join(self, po: WaitingPO) -> None:
        """A PO comes into the line, or back into it with a higher ticket, giving back what it had."""
        name = po.smart_contract_id
        if self._released(name):
            return
        held = [entry.ticket for entry in self.line if entry.smart_contract_id == name]
        if name in self.given:
            held.append(self.given[name].entry.ticket)
        if held and max(held) >= po.ticket:
            return
        self.leave(name)
        self.line.append(po)
        self.line.sort(key=lambda entry: entry.order)

    def leave(self, smart_contract_id: str) -> None:
        """A PO gives back its units and its place; one that was released has nothing to give back."""
        if self._released(smart_contract_id):
            return
        self.line = [entry for entry in self.line if entry.smart_contract_id != smart_contract_id]
        self.counts.pop(smart_contract_id, None)
        given = self.given.pop(smart_contract_id, None)
        if given is not None:
            self._put_back(given)

    def _released(self, smart_contract_id: str) -> bool:
        given = self.given.get(smart_contract_id)
        return given is not None and given.settled_at is not None

    def _put_back(self, given: _Given) -> None:
        """Units return to stock; a part that has moved away since does not return to where it was."""
        rests = {(lot.broadcast_id, lot.timestamp): lot for lot in self.stock}
        for lot in given.lots:
            if rest := rests.get((lot.broadcast_id, lot.timestamp)):
                rest.quantity += lot.quantity
            elif not self.single or lot.broadcast_id == self.presence:
                self.stock.append(lot)
        self.stock.sort(key=lambda lot: (lot.timestamp, lot.broadcast_id))

    def settle(self, ref: PORef, now: datetime) -> None:
        """A PO was released: its units went with it and never come back into stock."""
        given = self.given.get(ref.smart_contract_id)
        if given is not None:
            given.settled_at = now
            self.served = True

    def reorder(self, change: Reorder) -> None:
        """A new priority for a PO that waits."""
        self._replace(change, {"priority": change.priority})

    def accept(self, change: AcceptedQuantity) -> None:
        """A PO that waits is now confirmed by fewer parts."""
        self._replace(change, {"quantity": change.quantity})

    def _replace(self, ref: PORef, update: dict[str, int]) -> None:
        self.line = sorted(
            (
                entry.model_copy(update=update) if entry.smart_contract_id == ref.smart_contract_id else entry
                for entry in self.line
            ),
            key=lambda entry: entry.order,
        )
        if ref.smart_contract_id in self.given:
            given = self.given[ref.smart_contract_id]
            given.entry = given.entry.model_copy(update=update)

    # --- matching -------------------------------------------------------------------------------------------

    def allot(self) -> list[Allotment]:
        """Gives units to POs, as long as the head of the line at some place can have all that it needs."""
        allotments: list[Allotment] = []
        claimed: set[str | None] = set()
        for entry in self._queue():
            lots = self._lots_for(entry, claimed)
            if entry.smart_contract_id in self.given or sum(lot.quantity for lot in lots) < entry.quantity:
                claimed.add(entry.place)
                continue
            taken = list(self._take(lots, entry.quantity))
            self.given[entry.smart_contract_id] = _Given(entry=entry, lots=taken)
            self.counts.pop(entry.smart_contract_id, None)
            shares = tuple(Share(**lot.model_dump()) for lot in taken)
            allotments.append(Allotment(smart_contract_id=entry.smart_contract_id, ticket=entry.ticket, shares=shares))
        self.line = [entry for entry in self.line if entry.smart_contract_id not in self.given]
        return allotments

    def _queue(self) -> list[WaitingPO]:
        """The line, and those who were told to come back into it: until they do, nobody overtakes them either."""
        returning = (g.entry for g in self.given.values() if g.revoked and g.settled_at is None)
        return sorted([*self.line, *returning], key=lambda entry: entry.order)

    def _lots_for(self, entry: WaitingPO, claimed: set[str | None]) -> list[Lot]:
        """The lots at whose place this PO is the head of the line: those ahead of it claim other places."""
        return [
            lot
            for lot in self.stock
            if lot.counts_at(entry.place) and not any(lot.counts_at(place) for place in claimed)
        ]

    def _take(self, lots: list[Lot], quantity: int) -> Iterator[Lot]:
        """Units in order of arrival; emptied lots leave the stock."""
        for lot in lots:
            units = min(lot.quantity, quantity)
            if units == 0:
                break
            lot.quantity -= units
            quantity -= units
            yield lot.model_copy(update={"quantity": units})
        self.stock = [lot for lot in self.stock if lot.quantity]

    def undeliverable(self, ref: PORef) -> bool:
        """No open workflow took what it was told: its units go to the next in line. True if it was released before."""
        given = self.given.get(ref.smart_contract_id)
        if given is None or given.entry.ticket != ref.ticket:
            return False
        self.leave(ref.smart_contract_id)
        return given.settled_at is not None

    def changed_counts(self) -> list[Count]:
        """For POs that need more than one part: those whose number of arrived parts is not what they were told."""
        claimed: set[str | None] = set()
        changed: list[Count] = []
        for entry in self._queue():
            arrived = sum(lot.quantity for lot in self._lots_for(entry, claimed))
            claimed.add(entry.place)
            if entry.smart_contract_id not in self.given and arrived != self.counts.get(entry.smart_contract_id, 0):
                self.counts[entry.smart_contract_id] = arrived
                changed.append(Count(smart_contract_id=entry.smart_contract_id, ticket=entry.ticket, arrived=arrived))
        return changed

    # --- time -----------------------------------------------------------------------------------------------

    def unclaimed(self, now: datetime, after: timedelta) -> list[Lot]:
        """Arrivals to report: nobody has claimed them for so long. Each is reported once and stays in stock.

        Scans at nodes, and of a part that has served a PO, are tracking and not reported.
        """
        found = [lot for lot in self.stock if self._reportable(lot) and lot.timestamp + after <= now]
        self.reported |= {lot.broadcast_id: lot.timestamp for lot in found}
        self.claimed = [name for name in self.claimed if name not in {lot.broadcast_id for lot in found}]
        return found

    @property
    def newly_claimed(self) -> list[str]:
        """Reported arrivals of which nothing is in stock any more, for `claim`; a rest of one still lies around."""
        settled = {lot.broadcast_id for lot in self.stock} | set(self.claimed)
        return [name for name in self.reported if name not in settled]

    def claim(self, broadcast_ids: Iterable[str]) -> None:
        """Nobody has to look after these any more, unless they come back."""
        self.claimed += broadcast_ids

    def unclaimed_again(self) -> list[Lot]:
        """Arrivals that came back into stock after they were claimed: they are reported once more."""
        found = [lot for lot in self.stock if lot.broadcast_id in self.claimed and self._came_back(lot)]
        self.claimed = [name for name in self.claimed if name not in {lot.broadcast_id for lot in found}]
        return found

    def _came_back(self, lot: Lot) -> bool:
        """It is what was reported, and not a later arrival whose broadcast has the same ID."""
        return self.reported.get(lot.broadcast_id) == lot.timestamp and not (self.single and self.served)

    def next_report(self, after: timedelta) -> datetime | None:
        """When `unclaimed` has something to say next."""
        return min((lot.timestamp + after for lot in self.stock if self._reportable(lot)), default=None)

    def _reportable(self, lot: Lot) -> bool:
        reported = self.reported.get(lot.broadcast_id)
        return (reported is None or reported < lot.timestamp) and not lot.at_node and not (self.single and self.served)

    def forget(self, now: datetime) -> None:
        """Drops what no rule asks for any more: broadcast IDs, visits and released POs older than the memory."""
        self.visits = [v for v in self.visits[:-1] if v.timestamp + MEMORY >= now] + self.visits[-1:]
        self.seen = {key: at for key, at in self.seen.items() if at + MEMORY >= now}
        known = {lot.broadcast_id for lot in self._units()}
        self.reported = {key: at for key, at in self.reported.items() if key in known}
        self.claimed = [name for name in self.claimed if name in self.reported]
        self.given = {key: g for key, g in self.given.items() if g.settled_at is None or g.settled_at + MEMORY > now}

    @property
    def status(self) -> LineStatus:
        """For people who look for parts that lie around, or POs that wait."""
        if self.stock:
            return LineStatus.UNCLAIMED
        return LineStatus.AWAITING_ARRIVAL if self.line else LineStatus.SERVED

    @property
    def idle(self) -> bool:
        """Nothing is in stock, nobody waits, and nobody holds units that may come back."""
        return not self.stock and not self.line and all(g.settled_at is not None for g in self.given.values())


class PartArrivalStart(Model):
    """Input of a `PartArrivalWorkflow`; `unclaimed_after` is in seconds.

    What else there is travels through continue-as-new: `since`, when this life of the entity began, the line, how many
    signals were handled so far, withdrawals that wait for an approval, by its ID, and decision tokens that counted.
    """

    part_id: Identifier | None
    part_number: Identifier | None
    unclaimed_after: int
    since: UtcDateTime | None = None
    line: PartLine | None = None
    signals: int = 0
    withdrawals: dict[str, PendingWithdrawal] = Field(default_factory=dict)
    tokens: tuple[str, ...] = ()


class LineRef(Model):
    """Which line a PO asks what it holds."""

    line_id: str
    po: PORef


class JoinLine(Model):
    """What a PO's workflow asks of the activity that reaches its `PartArrivalWorkflow`."""

    part: PartArrivalStart
    po: WaitingPO
