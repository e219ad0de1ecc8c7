"""Analytics of maintenance in SQL (specifications 3 and 4, "Analytics"), from rows and, for checks, from the ledger."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.database import rows
from schemas.calibration import CalibrationState
from schemas.equipment import EquipmentItem, Standing

_CHECKS = text("""
    WITH checks AS (
        SELECT entry::jsonb -> 'metadata' AS metadata FROM ledger_entries
        WHERE action = 'execute_check' AND occurred_at >= :since AND occurred_at < :until
    )
    SELECT metadata ->> 'contract_id' AS contract_id, metadata ->> 'check_type' AS check_type,
        count(*) FILTER (WHERE metadata ->> 'success' = 'true') AS passed,
        count(*) FILTER (WHERE metadata ->> 'success' = 'false') AS failed
    FROM checks GROUP BY 1, 2 ORDER BY 1, 2
""")

_ALERTS = text("""
    SELECT contract_id, issue_type, count(*) AS alerts, count(DISTINCT node_id) AS nodes,
        count(DISTINCT equipment_id) AS instruments
    FROM maintenance_alerts WHERE occurred_at >= :since AND occurred_at < :until GROUP BY 1, 2 ORDER BY 1, 2
""")

_REVIEWS = text("""
    SELECT contract_id, issue_type, count(*) AS opened,
        count(*) FILTER (WHERE status = 'open') AS open,
        count(*) FILTER (WHERE status = 'accepted') AS accepted,
        count(*) FILTER (WHERE status = 'declined') AS declined,
        count(*) FILTER (WHERE status IN ('expired', 'cancelled')) AS undecided,
        count(draft_version) AS drafts,
        extract(epoch FROM percentile_cont(0.5) WITHIN GROUP (ORDER BY ended_at - opened_at))::float AS decision_p50
    FROM maintenance_reviews WHERE opened_at >= :since AND opened_at < :until GROUP BY 1, 2 ORDER BY 1, 2
""")

_DEPLOYMENTS = text("""
    SELECT contract_id, version, count(*) AS nodes,
        count(acknowledged_at) AS acknowledged,
        count(*) FILTER (WHERE status = 'pending') AS pending,
        extract(epoch FROM percentile_cont(0.5) WITHIN GROUP (ORDER BY acknowledged_at - opened_at))::float
            AS acknowledgement_p50,
        extract(epoch FROM max(acknowledged_at - opened_at))::float AS acknowledgement_max
    FROM maintenance_deployments WHERE opened_at >= :since AND opened_at < :until
    GROUP BY 1, 2 ORDER BY 1, min(opened_at)
""")

# An instrument is out of service from the event that says so to the next one that says otherwise, within the period.
_OUT_OF_SERVICE = text("""
    WITH told AS (
        SELECT equipment_id, event, occurred_at,
            lead(occurred_at) OVER (PARTITION BY equipment_id ORDER BY entry) AS next_at
        FROM equipment_events WHERE event IN ('out_of_service', 'returned')
    ), spells AS (
        SELECT equipment_id, greatest(occurred_at, :since) AS begins,
            least(coalesce(next_at, :until), :until, now()) AS ends
        FROM told WHERE event = 'out_of_service'
    )
    SELECT equipment_id, count(*) AS times, extract(epoch FROM sum(ends - begins))::float AS seconds
    FROM spells WHERE ends > begins GROUP BY 1 ORDER BY 1
""")


async def maintenance_figures(engine: AsyncEngine, since: datetime, until: datetime) -> dict[str, Any]:
    """Checks, alerts, reviews and deployments of the period, and how long instruments were out of service within it."""
    period = {"since": since, "until": until}
    queries = {
        "checks": _CHECKS,
        "alerts": _ALERTS,
        "reviews": _REVIEWS,
        "deployments": _DEPLOYMENTS,
        "out_of_service": _OUT_OF_SERVICE,
    }
    async with engine.connect() as connection:
        return {name: await rows(connection, query, period) for name, query in queries.items()}


def compliance(found: Iterable[tuple[EquipmentItem, Standing]]) -> dict[str, Any]:
    """How many calibrations are valid, by node and type; and those that are not, the longest overdue first.

    What is out of service is counted, and neither complies nor is overdue; nothing is said where all of it is.
    """
    counts: dict[tuple[str, str], Counter[str]] = {}
    overdue = []
    for item, where in found:
        count = counts.setdefault((item.node_id, item.equipment_type), Counter())
        count["instruments"] += 1
        count[where.calibration] += 1
        if item.out_of_service is not None:
            count["out_of_service"] += 1
            continue
        count["in_service"] += 1
        count["valid"] += where.calibration_valid
        if where.calibration is CalibrationState.EXPIRED:
            overdue.append(
                {
                    "equipment_id": item.equipment_id,
                    "node_id": item.node_id,
                    "due_on": where.due_on,
                    "days_overdue": -(where.days_left or 0),
                }
            )
    groups = [
        {
            "node_id": node_id,
            "equipment_type": equipment_type,
            **{name: count[name] for name in ("instruments", "out_of_service", *CalibrationState)},
            "compliance": count["valid"] / count["in_service"] if count["in_service"] else None,
        }
        for (node_id, equipment_type), count in sorted(counts.items())
    ]
    return {
        "calibration": groups,
        "overdue": sorted(overdue, key=lambda one: (-one["days_overdue"], one["equipment_id"])),
    }
