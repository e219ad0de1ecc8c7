"""The rows of reverse traces and of the results in doubt: one statement for whatever number of results."""

from pydantic import TypeAdapter
from sqlalchemy import JSON, ColumnElement, Executable, Text, cast, column, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert

from infra.rows.alert import resolved
from infra.rows.base import Reason, inserted, updated
from infra.tables.alert import alerts
from infra.tables.reverse_trace import traced_results, traces, vault_amendments
from schemas.changes.reverse_trace import (
    ChangeOfTrace,
    ResultsTraced,
    TraceAlertsResolved,
    TraceClosed,
    TracedResultsDisposed,
    TraceOpened,
    TraceSearched,
    VaultAmended,
)
from schemas.reverse_trace import Selection, TracedResult, in_doubt_cause


def statement(change: ChangeOfTrace, reason: Reason) -> Executable:
    match change:
        case TraceOpened():
            return inserted(traces, change, opened_at=reason.at)
        case ResultsTraced():
            return _results_traced(change)
        case TraceSearched():
            return updated(traces, change, reason.at, searched_at=reason.at).where(traces.c.searched_at.is_(None))
        case TracedResultsDisposed():
            return _results_disposed(change, reason)
        case TraceAlertsResolved():
            return _alerts_resolved(change, reason)
        case TraceClosed():
            return updated(traces, change, reason.at, closed_at=reason.at)
        case VaultAmended():
            return _vault_amended(change, reason)


_TRACED = TypeAdapter(tuple[TracedResult, ...])


def _results_traced(change: ResultsTraced) -> Executable:
    """As one JSON text: a statement with a parameter for each value takes longer to write than to run."""
    columns = [traced_results.c[name] for name in TracedResult.model_fields]
    found = (
        func.json_to_recordset(cast(literal(_TRACED.dump_json(change.results).decode(), Text), JSON))
        .table_valued(*(column(one.name, one.type) for one in columns))
        .render_derived(with_types=True)
    )
    rows = select(literal(change.trace_id), *(found.c[one.name] for one in columns))
    return insert(traced_results).from_select([traced_results.c.trace_id, *columns], rows).on_conflict_do_nothing()


def waiting_results(trace_id: str, selection: Selection) -> list[ColumnElement[bool]]:
    """Which rows a selection means."""
    return [
        traced_results.c.trace_id == trace_id,
        traced_results.c.disposition.is_(None),
        *(traced_results.c[name] == value for name, value in selection.terms.items()),
    ]


def _results_disposed(change: TracedResultsDisposed, reason: Reason) -> Executable:
    return (
        update(traced_results)
        .where(*waiting_results(change.trace_id, change.selection))
        .values(
            disposition=change.disposition,
            decided_role=change.decided_role,
            reason=change.reason,
            decided_by=reason.entry.user_id,
            decided_entry=reason.seq,
            decided_at=reason.at,
        )
    )


def _vault_amended(change: VaultAmended, reason: Reason) -> Executable:
    row = traced_results.c
    values = {
        **{name: row[name] for name in ("smart_contract_id", "revision", "test_id", "reason", "trace_id")},
        **{name: row[name] for name in ("decided_by", "decided_at")},
        "entry": row.decided_entry,
        "amendment": row.disposition,
    }
    decided = select(*values.values()).where(row.trace_id == change.trace_id, row.decided_entry == reason.seq)
    return insert(vault_amendments).from_select(list(values), decided)


def _alerts_resolved(change: TraceAlertsResolved, reason: Reason) -> Executable:
    row = traced_results.c
    decided = (
        select(literal(in_doubt_cause(change.trace_id, "")).concat(row.clientpo_id))
        .where(row.trace_id == change.trace_id)
        .group_by(row.clientpo_id)
        .having(func.count() == func.count(row.disposition))
    )
    return resolved(alerts.c.cause.in_(decided), reason)
