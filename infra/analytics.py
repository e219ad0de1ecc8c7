"""Analytics in SQL: of staging (specification 1) from the ledger alone, of transfers (2) from rows and ledger."""

from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.database import rows

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
        [total] = await rows(connection, _TOTAL, parameters)
        [broadcasts] = await rows(connection, _BROADCASTS, parameters)
        by_node_and_day = await rows(connection, _BY_NODE_AND_DAY, parameters)
    return {"total": total, "broadcasts": broadcasts, "by_node_and_day": by_node_and_day}


# One row a leg that has to go anywhere, with what the ledger says of its attempts and of calls for a person. A contract
# that is missing is an entry about the contract, which names the package.
_LEGS = """
    WITH packages AS (
        SELECT * FROM transfers WHERE opened_at >= :since AND status <> 'refused'
    ), told AS (
        SELECT metadata ->> 'package_id' AS package_id, metadata ->> 'destination' AS destination,
            count(*) FILTER (WHERE metadata ->> 'outcome' <> 'success') AS failed,
            bool_or(action IN ('escalate_failure', 'contract_missing')) AS escalated
        FROM (
            SELECT action, jsonb_build_object('package_id', target) || (entry::jsonb -> 'metadata') AS metadata
            FROM ledger_entries
            WHERE recorded_at >= :since
              AND action IN ('transfer_to_vault', 'transfer_to_next_node', 'notify_business_hub',
                             'escalate_failure', 'contract_missing')
        ) AS entries
        GROUP BY 1, 2
    ), legs AS (
        SELECT leg.*, leg.receipt_at - packages.received_at AS took, coalesce(told.failed, 0) AS failed,
            coalesce(told.escalated, false) AS escalated, leg.status = 'complete' AS complete,
            leg.attempts > 1 OR leg.status IN ('failed', 'waiting') OR coalesce(told.escalated, false) AS troubled
        FROM packages
        CROSS JOIN LATERAL (VALUES
            ('vault', vault_status, vault_attempts, vault_at),
            ('next_node', next_node_status, next_node_attempts, next_node_at),
            ('business_hub', business_hub_status, business_hub_attempts, NULL)
        ) AS leg (destination, status, attempts, receipt_at)
        LEFT JOIN told ON told.package_id = packages.package_id AND told.destination = leg.destination
        WHERE leg.status <> 'not_applicable'
    )
"""

_BY_DESTINATION = text(f"""
    {_LEGS} SELECT destination,
        count(legs.destination) AS legs,
        count(*) FILTER (WHERE complete) AS complete,
        count(*) FILTER (WHERE complete)::float / nullif(count(legs.destination), 0) AS completion_rate,
        extract(epoch FROM percentile_cont(0.5) WITHIN GROUP (ORDER BY took))::float AS receipt_p50,
        extract(epoch FROM percentile_cont(0.95) WITHIN GROUP (ORDER BY took))::float AS receipt_p95,
        coalesce(sum(attempts), 0)::int AS attempts,
        coalesce(sum(failed), 0)::int AS failed_attempts,
        count(*) FILTER (WHERE troubled) AS troubled,
        count(*) FILTER (WHERE troubled AND complete AND NOT escalated) AS cured_by_retries,
        count(*) FILTER (WHERE complete AND escalated) AS cured_by_operator,
        count(*) FILTER (WHERE status = 'waiting') AS waiting,
        count(*) FILTER (WHERE troubled AND complete AND NOT escalated)::float
            / nullif(count(*) FILTER (WHERE escalated OR (troubled AND complete)), 0) AS retry_effectiveness
    FROM (VALUES (1, 'vault'), (2, 'next_node'), (3, 'business_hub')) AS all_of (number, destination)
    LEFT JOIN legs USING (destination) GROUP BY number, destination ORDER BY number
""")

_AUTHORIZATIONS = text("""
    WITH packages AS (
        SELECT * FROM transfers WHERE opened_at >= :since AND status <> 'refused'
    ), refusals AS (
        SELECT count(*) AS refused FROM ledger_entries
        WHERE recorded_at >= :since AND action = 'refuse_authorization'
    )
    SELECT
        count(*) AS authorized,
        count(received_at) AS received,
        (SELECT refused FROM refusals) AS refused,
        count(received_at)::float / nullif(count(received_at) + (SELECT refused FROM refusals), 0) AS success_rate,
        count(*) FILTER (WHERE status = 'fully_complete') AS fully_complete,
        extract(epoch FROM percentile_cont(0.5) WITHIN GROUP (ORDER BY authorized_at - signed_at))::float
            AS authorization_p50,
        extract(epoch FROM percentile_cont(0.95) WITHIN GROUP (ORDER BY authorized_at - signed_at))::float
            AS authorization_p95,
        extract(epoch FROM percentile_cont(0.5) WITHIN GROUP (ORDER BY received_at - authorized_at))::float
            AS validation_p50,
        extract(epoch FROM percentile_cont(0.95) WITHIN GROUP (ORDER BY received_at - authorized_at))::float
            AS validation_p95
    FROM packages
""")

_NONCONFORMANCES = text("""
    SELECT
        count(*) FILTER (WHERE decided_at IS NULL) AS open,
        count(decided_at) AS decided,
        count(*) FILTER (WHERE disposition = 'use_as_is') AS use_as_is,
        count(*) FILTER (WHERE disposition = 'rework') AS rework,
        count(*) FILTER (WHERE disposition = 'scrap') AS scrap,
        count(*) FILTER (WHERE disposition = 'return_to_client') AS return_to_client,
        extract(epoch FROM percentile_cont(0.5) WITHIN GROUP (ORDER BY decided_at - opened_at))::float
            AS decision_p50
    FROM nonconformances WHERE opened_at >= :since
""")


async def transfer_analytics(engine: AsyncEngine, since: datetime) -> dict[str, Any]:
    """Figures of the packages authorized from then on; durations in seconds, None where there is nothing to count.

    `authorizations`, `nonconformances`, and under `destinations` one row for each of the three, whether it has legs or
    not. `api.analytics` says what each figure is.
    """
    parameters = {"since": since}
    async with engine.connect() as connection:
        [authorizations] = await rows(connection, _AUTHORIZATIONS, parameters)
        destinations = await rows(connection, _BY_DESTINATION, parameters)
        [found] = await rows(connection, _NONCONFORMANCES, parameters)
    return {"authorizations": authorizations, "destinations": destinations, "nonconformances": found}
