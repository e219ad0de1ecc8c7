"""The value types that every model of the house is built from."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
)


class Model(BaseModel):
    """A frozen value that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Partial(Model):
    """A value in which a field that is not set and one that is None are two things, on the wire as well."""

    @model_serializer(mode="wrap")
    def _only_what_is_set(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = serialize(self)
        return {name: value for name, value in fields.items() if name in self.model_fields_set or name == "kind"}


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the time is before the year 1 or after the year 9999 in UTC") from error


def _written_out(value: Any) -> Any:
    """Not a number, whose unit and beginning would be guessed, whether it comes as one or as text."""
    if isinstance(value, str | bytes):
        try:
            float(value)
        except ValueError:
            return value
    elif not isinstance(value, int | float):
        return value
    raise ValueError("write the time as ISO 8601 with its offset, 2026-01-31T08:00:00Z")


UtcDateTime = Annotated[AwareDatetime, BeforeValidator(_written_out), AfterValidator(_utc)]
"""An aware time, kept in UTC; a time without an offset is refused, and so is a number."""

Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
"""A business key: safe in workflow IDs, URLs, topics and file names."""


def without_null(text: str) -> str:
    """Refused at the door: Postgres keeps no text with U+0000, so what waits to record it would wait for ever."""
    if "\0" in text:
        raise ValueError("the null character cannot be kept")
    return text


Text = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000), AfterValidator(without_null)
]
"""A short text that a person wrote and that must not be empty."""

BroadcastId = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(without_null)]
"""What a scanner calls its broadcast."""


def _exact(value: object) -> object:
    if isinstance(value, float):
        raise ValueError("write measured values as text, so that no digit is lost or made up")
    return value


Measured = Annotated[Decimal, BeforeValidator(_exact), Field(allow_inf_nan=False, max_digits=40)]
"""Exact; on the wire as text."""


def excerpt(text: str, longest: int = 1000) -> str:
    """What is quoted from a foreign message: it must outgrow no limit, and be storable, so that it can be recorded."""
    text = text.replace("\0", "\ufffd")
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def timestamp(moment: datetime) -> str:
    """UTC with microseconds and a fixed width, so that text order is time order."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
