"""Staging analytics (specification 1), counted from the ledger alone."""

from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

# One row a PO, with the times of its entries. The first stage, the last confirmation and the release count.
_POS = """
    WITH entries AS (
        SELECT seq, action, target, recorded_at, entry::jsonb -> 'metadata' AS metadata
        FROM ledger_entries
        WHERE recorded_at >= :since
          AND action IN ('stage_client_po', 'confirm_arrival', 'release_client_po', 'cancel_client_po',
                         'release_failed', 'withdraw_arrival', 'part_moved', 'receive_arrival',
                         'duplicate_broadcast', 'track_arrival', 'refuse_arrival', 'dead_letter')
    ), confirmations AS (
        -- Whether the next word on the parts of the same PO took it back.
        SELECT *, lead(action) OVER (PARTITION BY target ORDER BY seq)
            IN ('withdraw_arrival', 'part_moved') AS taken_back
        FROM entries WHERE action IN ('confirm_arrival', 'withdraw_arrival', 'part_moved')
    ), standing AS (
        SELECT target, max(recorded_at) AS recorded_at FROM confirmations
        WHERE action = 'confirm_arrival' AND taken_back IS NOT TRUE GROUP BY target
    ), pos AS (
        SELECT target,
            min(entries.metadata ->> 'target_node') FILTER (WHERE entries.action = 'stage_client_po') AS node,
            min(entries.recorded_at) FILTER (WHERE entries.action = 'stage_client_po') AS staged,
            min(standing.recorded_at) AS confirmed,
            max(entries.recorded_at) FILTER (WHERE entries.action = 'release_client_po') AS released,
            max(entries.recorded_at) FILTER (WHERE entries.action = 'cancel_client_po') AS cancelled,
            count(*) FILTER (WHERE entries.action = 'release_failed') AS failures
        FROM entries LEFT JOIN standing USING (target) GROUP BY target
        HAVING bool_or(entries.action = 'stage_client_po')
    )
"""

_FIGURES = """
    count(*) AS staged,
    count(*) FILTER (WHERE released IS NULL AND cancelled IS NULL) AS queue_length,
    count(confirmed) AS confirmed,
    count(released) AS released,
    count(cancelled) AS cancelled,
    coalesce(sum(failures), 0)::int AS release_failures,
    count(confirmed)::float / nullif(count(*), 0) AS confirmation_rate,
    extract(epoch FROM percentile_cont(0.5) WITHIN GROUP (ORDER BY confirmed - staged))::float AS part_wait_p50,
    extract(epoch FROM percentile_cont(0.95) WITHIN GROUP (ORDER BY confirmed - staged))::float AS part_wait_p95,
    extract(epoch FROM percentile_cont(0.5) WITHIN GROUP (ORDER BY released - confirmed))::float AS release_p50,
    extract(epoch FROM percentile_cont(0.95) WITHIN GROUP (ORDER BY released - confirmed))::float AS release_p95
"""

_TOTAL = text(f"{_POS} SELECT {_FIGURES} FROM pos")
_BY_NODE_AND_DAY = text(f"""
    {_POS} SELECT node, (staged AT TIME ZONE 'UTC')::date AS day, {_FIGURES} FROM pos GROUP BY 1, 2 ORDER BY 2, 1
""")
_BROADCASTS = text(f"""
    {_POS}, matched AS (
        SELECT DISTINCT jsonb_array_elements_text(metadata -> 'broadcast_ids') AS broadcast_id
        FROM entries WHERE action = 'confirm_arrival'
    )
    SELECT
        count(*) FILTER (WHERE action = 'receive_arrival') AS received,
        count(*) FILTER (WHERE action = 'receive_arrival' AND metadata ->> 'at_node' = 'false'
            AND metadata ->> 'broadcast_id' NOT IN
            (SELECT broadcast_id FROM matched)) AS unmatched,
        count(*) FILTER (WHERE action = 'duplicate_broadcast') AS duplicates,
        count(*) FILTER (WHERE action = 'track_arrival') AS tracking,
        count(*) FILTER (WHERE action = 'refuse_arrival') AS refused,
        count(*) FILTER (WHERE action = 'dead_letter') AS malformed,
        (SELECT 1 - count(*) FILTER (WHERE taken_back)::float / nullif(count(*), 0)
         FROM confirmations WHERE action = 'confirm_arrival') AS match_accuracy
    FROM entries
""")


async def staging_analytics(engine: AsyncEngine, since: datetime) -> dict[str, Any]:
    """Totals, broadcasts, and one row for each node and day of staging (UTC); waiting times in seconds.

    A confirmation that was taken back, because the arrival was withdrawn or the part moved, is none; `match_accuracy`
    is the share of all that were made and stand.
    """
    parameters = {"since": since}
    async with engine.connect() as connection:
        total = (await connection.execute(_TOTAL, parameters)).mappings().one()
        broadcasts = (await connection.execute(_BROADCASTS, parameters)).mappings().one()
        rows = (await connection.execute(_BY_NODE_AND_DAY, parameters)).mappings().all()
    return {"total": dict(total), "broadcasts": dict(broadcasts), "by_node_and_day": [dict(row) for row in rows]}
