"""What becomes of the rows of reverse traces and of the results in doubt."""

from datetime import date
from typing import Literal

from schemas.base import Model, UtcDateTime
from schemas.reverse_trace import Selection, TracedResult


class TraceOpened(Model):
    """Inserts the row of a reverse trace; `searched_at` is empty until its first search is over."""

    kind: Literal["trace_opened"] = "trace_opened"
    trace_id: str
    equipment_id: str
    certificate_number: str
    calibrated_on: date
    since: date | None
    found_at: UtcDateTime


class ResultsTraced(Model):
    """Inserts results in doubt."""

    kind: Literal["results_traced"] = "results_traced"
    trace_id: str
    results: tuple[TracedResult, ...]


class TraceSearched(Model):
    """All results are listed that the ledger has."""

    kind: Literal["trace_searched"] = "trace_searched"
    trace_id: str


class TracedResultsDisposed(Model):
    """The entry's user has decided what becomes of all selected results that wait."""

    kind: Literal["traced_results_disposed"] = "traced_results_disposed"
    trace_id: str
    selection: Selection
    disposition: str
    decided_role: str
    reason: str


class TraceAlertsResolved(Model):
    """The alerts are over of those client orders of which no result of this trace waits any more."""

    kind: Literal["trace_alerts_resolved"] = "trace_alerts_resolved"
    trace_id: str


class TraceClosed(Model):
    """Every result of a trace has its disposition."""

    kind: Literal["trace_closed"] = "trace_closed"
    trace_id: str


class VaultAmended(Model):
    """Inserts an amendment for each result that the same entry has disposed of: it is withdrawn, or measured again.

    It names the result and not its package: so it holds for one that comes into the vault later, too.
    """

    kind: Literal["vault_amended"] = "vault_amended"
    trace_id: str


ChangeOfTrace = (
    TraceOpened
    | ResultsTraced
    | TraceSearched
    | TracedResultsDisposed
    | TraceAlertsResolved
    | TraceClosed
    | VaultAmended
)
