"""Alerts: what a person must see, with what to do about it."""

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from schemas.base import Model, excerpt

AlertText = Annotated[str, Field(min_length=1), AfterValidator(lambda text: excerpt(text, 2000))]
"""Cut rather than refused: an alert quotes what may be long, and it must go out."""


class Severity(StrEnum):
    """The last level of the topic `smart/alertbroadcast/{severity}`."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Alert(Model):
    """One cause, raised once: `alert_id` names the domain event, so a repeat changes nothing.

    `text` says what happened and what to do. `source` is the process that noticed, `subject` the thing concerned.
    """

    alert_id: str
    alert_type: str
    severity: Severity
    source: str
    subject: str
    text: AlertText
