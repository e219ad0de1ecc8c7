"""What people are told of a process that waits."""

from schemas.base import Model


class Outlook(Model):
    """What something waits for and who can move it on, in words."""

    waits_for: str
    moved_on_by: str
