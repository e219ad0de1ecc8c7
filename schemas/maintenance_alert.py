"""What maintenance alerts say beside the alert itself: one schema for nodes and hub (specifications 3 and 4)."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from schemas import names
from schemas.base import Identifier, Model, Text, UtcDateTime, without_null

SEEN = 2000
"""Bytes of all that was seen: alerts are kept by the hundred."""


def _short(data: Mapping[str, str]) -> Mapping[str, str]:
    if sum(len(text.encode()) for item in data.items() for text in item) > SEEN:
        raise ValueError(f"what was seen must be said in {SEEN} bytes")
    return data


Seen = Annotated[str, Field(max_length=500), AfterValidator(without_null)]


class MaintenanceIssue(Model):
    """What an alert is about, where it is about maintenance. `data` is what was seen, such as a reading and its unit.

    `contract_id` is the contract that the check was done for; an issue that names none teaches the hub nothing.
    """

    issue_type: Identifier
    contract_id: Identifier | None = None
    equipment_id: Identifier
    equipment_type: Identifier
    node_id: Identifier
    data: Annotated[Mapping[Seen, Seen], Field(max_length=20), AfterValidator(_short)] = Field(default_factory=dict)


class MaintenanceAlert(MaintenanceIssue):
    """The same as it comes over the broker: once for each `alert_id`, however often it is sent.

    `happened_at` is the time at the node, which may have been cut off since.
    """

    alert_id: Annotated[Text, Field(max_length=400)]
    happened_at: UtcDateTime


class TeachingAlert(MaintenanceAlert):
    """One that names the contract about which it teaches."""

    contract_id: Identifier

    @property
    def workflow_id(self) -> str:
        """Who counts it."""
        return names.maintenance_pattern_id(self.contract_id, self.issue_type)


class IssueType:
    """Those that the house's own nodes report."""

    CALIBRATION_EXPIRED = "calibration_expired"
    CALIBRATION_EXPIRING = "calibration_expiring"
    CALIBRATION_FAILED = "calibration_failed"
    CHECK_FAILED = "check_failed"
    READING_OUT_OF_LIMITS = "reading_out_of_limits"


NEVER_COUNTED = frozenset({IssueType.CALIBRATION_EXPIRING})
"""Routine reminders: they say nothing about a contract."""
