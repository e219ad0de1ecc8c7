"""What the comparison of rows with workflows found."""

from schemas.base import Model


class Reconciled(Model):
    """POs whose workflow had never started and was started; POs and approvals whose workflow was closed from
    outside."""

    started: tuple[str, ...]
    closed: tuple[str, ...]
