"""The daily watch over the calibrations of a node, as the hub starts it."""

from datetime import timedelta

from schemas.base import Identifier, Model

HOUR = 6
"""When the watch begins, on the clock of the node."""

PATIENCE = timedelta(hours=2)
"""How long a node may take to answer before people are told; a shift may begin late."""


class WatchStart(Model):
    """Input of a `NodeWatchWorkflow`; `late_after` is seconds."""

    node_id: Identifier
    late_after: int = int(PATIENCE.total_seconds())
