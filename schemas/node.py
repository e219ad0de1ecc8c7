"""What a node is told of a SmartClientPO, and what it answers; and the registry of nodes."""

from datetime import date, datetime
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field

from schemas.base import Identifier, Model, Text, UtcDateTime
from schemas.canonical import document_hash
from schemas.shift import Shift, period


def _known(time_zone: str) -> str:
    try:
        ZoneInfo(time_zone)
    except (LookupError, ValueError, OSError) as error:
        raise ValueError(f"{time_zone} is no time zone of the IANA database, such as Europe/Berlin") from error
    return time_zone


TimeZone = Annotated[Text, AfterValidator(_known)]
"""A name in the IANA time zone database."""


def _of_a_machine(url: str) -> str:
    try:
        parts = urlsplit(url)
        right = parts.scheme == "opc.tcp" and parts.hostname and parts.port != 0
    except ValueError:  # a port that is none, or brackets that do not close
        right = False
    if not right or any(character.isspace() for character in url):
        raise ValueError(f"{url} is no address of an OPC-UA server, such as opc.tcp://lp-cell-1:4840")
    return url


MachineUrl = Annotated[Text, AfterValidator(_of_a_machine)]
"""Where an OPC-UA server is."""


def _without_hyphen(station_type: str) -> str:
    if "-" in station_type:
        raise ValueError(
            f"{station_type} has a hyphen, which would end it in the ID of a maintenance contract,"
            " {station_type}-{name}: use . or _"
        )
    return station_type


StationType = Annotated[Identifier, AfterValidator(_without_hyphen)]
"""What the IDs of maintenance contracts begin with."""


class Node(Model):
    """One test station of the registry. Without `shifts` it has one a day, from midnight.

    `opcua_url` is where its machine gives its readings, such as `opc.tcp://lp-cell-1:4840`.
    """

    node_id: Identifier
    station_type: StationType
    name: Text
    time_zone: TimeZone = "UTC"
    shifts: dict[Identifier, Shift] = Field(default_factory=dict)
    opcua_url: MachineUrl | None = None

    @property
    def zone(self) -> ZoneInfo:
        """Says which day it is at the node."""
        return ZoneInfo(self.time_zone)

    def day(self, at: datetime) -> date:
        """Which day it is there."""
        return at.astimezone(self.zone).date()

    def shift(self, at: datetime) -> datetime:
        """Names the shift that this time belongs to by when it began on the wall, as `schemas.shift.period` says."""
        return period(self.shifts.values(), at.astimezone(self.zone))


class NodeDelivery(Model):
    """A SmartClientPO on its way to its node: the document untouched, beside it the terms as amended since.

    `number` grows with every amendment between two dispatches, so that a node can tell a newer delivery from a
    conflicting one.
    """

    smart_contract_id: Identifier
    number: int
    document: dict[str, Any]
    document_hash: str
    priority: int
    due_date: UtcDateTime | None
    quantity: int
    broadcast_ids: tuple[str, ...]

    def content_hash(self) -> str:
        """SHA-256 (hex, RFC 8785) over all that the node takes."""
        return document_hash(self.model_dump(mode="json"))


class NodeReceipt(Model):
    """A node's answer once the delivery is on its disk."""

    node_id: Identifier
    smart_contract_id: Identifier
    receipt_hash: str


class PartReady(Model):
    """What a node is told before the part comes: where it lies, and which contract it is for."""

    smart_contract_id: Identifier
    node_id: Identifier
    part_id: Identifier | None
    part_number: Identifier | None
    quantity: int
    place: Text
    package_id: Text
    ready_at: UtcDateTime


DELIVERY_REFUSED = "DeliveryRefused"
"""Error type of a delivery that repeating cannot cure."""


class DeliveryConflict(ValueError):
    """The node holds other content under this ID and number."""


class NotHeld(LookupError):
    """The node holds no contract of this ID."""
