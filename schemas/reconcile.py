"""What the comparison of rows with workflows found."""

from schemas.base import Model


class Reconciled(Model):
    """POs and transfers whose workflow was started; POs, tests (by workflow ID) and approvals whose workflow was closed
    from outside."""

    started: tuple[str, ...]
    closed: tuple[str, ...]
