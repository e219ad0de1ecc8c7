"""What the comparison of rows with workflows found."""

from enum import StrEnum

from schemas.base import Model


class Repaired(StrEnum):
    """What was done for a row: its workflow was started, or the row says now that it was closed from outside."""

    STARTED = "started"
    CLOSED = "closed"


class Reconciled(Model):
    """POs and transfers whose workflow was started; POs, tests (by workflow ID) and approvals whose workflow was closed
    from outside."""

    started: tuple[str, ...]
    closed: tuple[str, ...]
