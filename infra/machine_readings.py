"""Readings that a node's machine gives by itself, over OPC-UA."""

import asyncio
import math
import struct
from collections.abc import Mapping
from decimal import Decimal

from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.node import Node
from asyncua.ua.uaerrors import UaError
from pydantic import ValidationError

from schemas.base import excerpt
from schemas.maintenance_check import GivenReading

TIMEOUT = 5.0
"""Seconds, of each request."""

Readings = dict[str, GivenReading | str]
"""By step: a reading, or why there is none, in a sentence."""


def read_machine(url: str | None, steps: Mapping[str, str]) -> Readings:
    """What the machine shows now; `steps` are OPC-UA node IDs by step. It never raises for a machine that fails.

    A value counts only with the unit that the machine itself gives for it (`EngineeringUnits`, OPC 10000-8).
    """
    if not steps:
        return {}
    if url is None:
        return dict.fromkeys(steps, "the registry names no opcua_url for this node: give the reading by hand")
    return asyncio.run(_read(url, steps))


async def _read(url: str, steps: Mapping[str, str]) -> Readings:
    try:
        async with Client(url, timeout=TIMEOUT) as client:
            return {step: await _reading(client, node_id) for step, node_id in steps.items()}
    except Exception as error:  # whatever it is, it concerns the machine alone: its steps are unread
        why = f"the machine at {url} cannot be reached ({_named(error)}): see that it runs, or give the reading by hand"
        return dict.fromkeys(steps, why)


async def _reading(client: Client, node_id: str) -> GivenReading | str:
    try:
        node = client.get_node(node_id)
        value = await node.read_data_value(raise_on_bad_status=True)
    except (UaError, ValueError) as error:
        return f"the machine gives no value for {node_id} ({_named(error)}): give the reading by hand"
    number = _exact(value.Value)
    if number is None:
        return f"{node_id} is no number: look at the machine, or give the reading by hand"
    unit = await _unit(node)
    if unit is None:
        return f"the machine gives {number} for {node_id} without a unit: give the reading by hand"
    try:
        return GivenReading(value=number, unit=unit)
    except ValidationError:
        return f"{node_id} is no reading ({excerpt(str(number), 100)}): give it by hand"


async def _unit(node: Node) -> str | None:
    try:
        found = await (await node.get_child("0:EngineeringUnits")).read_value()
    except UaError:
        return None
    return found.DisplayName.Text if isinstance(found, ua.EUInformation) else None


def _exact(variant: ua.Variant | None) -> Decimal | None:
    """The shortest decimal that is this number to the machine."""
    value = variant.Value if variant is not None else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    if variant is not None and variant.VariantType is ua.VariantType.Float:
        packed = struct.pack("f", value)
        return next(
            Decimal(text) for digits in range(6, 10) if struct.pack("f", float(text := f"{value:.{digits}g}")) == packed
        )
    return Decimal(str(value))


def _named(error: BaseException) -> str:
    return excerpt(str(error) or type(error).__name__, 200)
