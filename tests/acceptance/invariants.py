"""What must hold whatever happened: queries over the ledger, the rows, the nodes' disks and the histories.

Each query returns what breaks its rule, and nothing where it holds. The ledger forgets nothing, so that asking again
for a while hides no error: it only lets arrive what is still on its way.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from infra.database import create_engine
from infra.verify import verify_ledger
from infra.verify_export import Broken
from schemas import names
from tests.acceptance.floor import CP, FI, LP, Floor, until

_ENTRIES = """
    WITH entries AS (
        SELECT seq, action, target, entry::jsonb -> 'metadata' AS metadata FROM ledger_entries
    ),
    -- The last word of the ledger on the parts of a PO, before an entry or at all.
    parts AS (
        SELECT seq, target, action, (metadata ->> 'quantity')::int AS quantity,
            metadata -> 'broadcast_ids' AS broadcast_ids
        FROM entries
        WHERE action = 'confirm_arrival'
           OR (action IN ('withdraw_arrival', 'part_moved', 'cancel_client_po')
               AND target IN (SELECT smart_contract_id FROM client_pos))
    ),
    releases AS (SELECT seq, target, metadata FROM entries WHERE action = 'release_client_po')
"""

NO_RELEASE_WITHOUT_ITS_PARTS = f"""{_ENTRIES}
    SELECT r.target || ' was released by entry ' || r.seq || ', of its parts the ledger says last: '
        || coalesce(last.action, 'nothing') || ' ' || coalesce(last.quantity::text, '')
    FROM releases r
    LEFT JOIN client_pos p ON p.smart_contract_id = r.target
    LEFT JOIN LATERAL (
        SELECT * FROM parts WHERE parts.target = r.target AND parts.seq < r.seq ORDER BY seq DESC LIMIT 1
    ) last ON true
    WHERE last.action IS DISTINCT FROM 'confirm_arrival'
       OR last.quantity IS DISTINCT FROM coalesce(p.accepted_quantity, p.quantity)
       OR last.broadcast_ids IS DISTINCT FROM r.metadata -> 'broadcast_ids'
"""

EVERY_CONFIRMATION_NAMES_ARRIVALS = f"""{_ENTRIES}
    SELECT target || ' was confirmed by broadcast ' || id || ', which was never received'
    FROM parts, jsonb_array_elements_text(broadcast_ids) AS id
    WHERE action = 'confirm_arrival' AND id NOT IN (
        SELECT metadata ->> 'broadcast_id' FROM entries WHERE action = 'receive_arrival')
"""

# Where several broadcasts serve several POs, the shares are not in the ledger. By Hall's theorem it is enough that no
# set of broadcasts is asked for more than it brought by the POs that it alone serves: checked for every set that is
# the set of some PO, and for each part as a whole.
NO_ARRIVAL_SERVES_MORE_UNITS_THAN_IT_BROUGHT = f"""{_ENTRIES},
    received AS (
        SELECT metadata ->> 'broadcast_id' AS id, target AS part, (metadata ->> 'quantity')::int AS quantity
        FROM entries WHERE action = 'receive_arrival'
    ),
    held AS (
        SELECT * FROM (SELECT DISTINCT ON (target) * FROM parts ORDER BY target, seq DESC) last
        WHERE action = 'confirm_arrival'
    ),
    sets AS (
        SELECT DISTINCT broadcast_ids AS ids FROM held
        UNION SELECT jsonb_agg(id) FROM received GROUP BY part
    )
    SELECT 'broadcasts ' || ids::text || ' brought ' || brought || ' units and serve ' || serve
    FROM sets,
        LATERAL (SELECT coalesce(sum(quantity), 0) AS brought FROM received WHERE ids ? id) b,
        LATERAL (SELECT sum(quantity) AS serve FROM held WHERE broadcast_ids <@ ids) h
    WHERE serve > brought
"""

RELEASES_AND_ENTRIES_MATCH = f"""{_ENTRIES}
    SELECT coalesce(p.smart_contract_id, r.target) || ' has ' || count(r.seq) || ' release entries, row: '
        || coalesce(p.status, 'none') || ' ' || coalesce(p.receipt_hash, '')
    FROM (SELECT * FROM client_pos WHERE status = 'released') p
    FULL JOIN releases r ON r.target = p.smart_contract_id AND r.metadata ->> 'receipt_hash' = p.receipt_hash
    GROUP BY p.smart_contract_id, r.target, p.status, p.receipt_hash
    HAVING count(r.seq) <> 1 OR p.smart_contract_id IS NULL
"""

ROWS_SAY_WHAT_THE_LEDGER_SAYS = f"""{_ENTRIES},
    told AS (
        SELECT DISTINCT ON (target) target, action FROM entries
        WHERE action IN
            ('stage_client_po', 'release_client_po', 'cancel_client_po', 'hold_client_po', 'resume_client_po')
        ORDER BY target, seq DESC
    )
    SELECT smart_contract_id || ' is ' || status || ', the ledger says ' || coalesce(action, 'nothing')
    FROM client_pos LEFT JOIN told ON target = smart_contract_id
    WHERE CASE action
        WHEN 'release_client_po' THEN status <> 'released'
        WHEN 'cancel_client_po' THEN status <> 'cancelled'
        WHEN 'hold_client_po' THEN status <> 'hold'
        WHEN 'stage_client_po' THEN status NOT IN ('awaiting_arrival', 'arrival_confirmed', 'ready_for_release')
        WHEN 'resume_client_po' THEN status NOT IN ('awaiting_arrival', 'arrival_confirmed', 'ready_for_release')
        ELSE true END
"""

QUERIES = (
    NO_RELEASE_WITHOUT_ITS_PARTS,
    EVERY_CONFIRMATION_NAMES_ARRIVALS,
    NO_ARRIVAL_SERVES_MORE_UNITS_THAN_IT_BROUGHT,
    RELEASES_AND_ENTRIES_MATCH,
    ROWS_SAY_WHAT_THE_LEDGER_SAYS,
)


async def check(floor: Floor, within: float = 30.0) -> None:
    """Fails with all that does not hold."""
    async with database(floor) as connection:

        async def broken() -> list[str]:
            found = [line for query in QUERIES for (line,) in await connection.fetch(query)]
            return found + await _nodes_and_histories(floor, connection) + await _not_kept(floor, connection)

        await until(broken, lambda found: not found, within)
    await _ledger_verifies(floor)


async def _nodes_and_histories(floor: Floor, connection: asyncpg.Connection) -> list[str]:
    """Each released PO is once on its node's disk, as its receipt says, and has one test; no other PO has either."""
    released = {
        (row["smart_contract_id"], row["target_node"], row["receipt_hash"])
        for row in await connection.fetch("SELECT * FROM client_pos WHERE status = 'released'")
    }
    taken = {
        (name, node, delivery.content_hash()) for node in (LP, CP, FI) for name, delivery in floor.inbox(node).items()
    }
    tests = Counter(test.id for test in await floor.list_workflows('WorkflowType="TestExecutionWorkflow"'))
    expected = {names.test_execution_id(name) for name, _, _ in released}
    return [
        *(f"{name} was released, but {node} does not have it as {hash_}" for name, node, hash_ in released - taken),
        *(f"{node} has {name} as {hash_}, but it was not released so" for name, node, hash_ in taken - released),
        *(f"{test} is missing" for test in expected - tests.keys()),
        *(f"{test} runs, but its PO was not released" for test in tests.keys() - expected),
        *(f"{test} ran {times} times" for test, times in tests.items() if times > 1),
    ]


async def _not_kept(floor: Floor, connection: asyncpg.Connection) -> list[str]:
    """Everything that was acknowledged is stored."""
    said = floor.acknowledged
    staged = {row["smart_contract_id"]: row for row in await connection.fetch("SELECT * FROM client_pos")}
    open_ones = {found.id for found in await floor.list_workflows('WorkflowType="ClientPOWorkflow"')}
    arrivals = await connection.fetch(
        """SELECT DISTINCT entry::jsonb #>> '{metadata,broadcast_id}' FROM ledger_entries
        WHERE action IN ('receive_arrival', 'track_arrival', 'duplicate_broadcast', 'refuse_arrival')"""
    )
    letters = await connection.fetch(
        "SELECT entry::jsonb #>> '{metadata,sha256}' FROM ledger_entries WHERE action = 'dead_letter'"
    )
    done = Counter(
        (row["target"], row["action"]) for row in await connection.fetch("SELECT target, action FROM ledger_entries")
    )
    return [
        *(
            f"{name} was acknowledged and has no row with this document"
            for name, hash_ in said.documents.items()
            if name not in staged or staged[name]["document_hash"] != hash_
        ),
        *(f"{name} was not staged exactly once" for name in staged if done[name, "stage_client_po"] != 1),
        *(f"{name} has no workflow" for name in said.documents if names.client_po_id(name) not in open_ones),
        *(f"broadcast {id_} was acknowledged and is lost" for id_ in said.broadcasts - {id_ for (id_,) in arrivals}),
        *(f"the malformed {sha} was acknowledged and is lost" for sha in said.malformed - {sha for (sha,) in letters}),
        *(
            f"{action} of {name} was acknowledged {times} times and done {done[name, action]} times"
            for (name, action), times in said.requests.items()
            if done[name, action] < times
        ),
    ]


async def _ledger_verifies(floor: Floor) -> None:
    """Its chain, its columns and every checkpoint that was signed: by now there is one."""
    engine = create_engine(floor.settings.database_writer_url)
    try:
        await until(lambda: verify_ledger(engine, floor.settings), lambda verdict: verdict.covered > 0)
    except Broken as broken:
        raise AssertionError(str(broken)) from broken
    finally:
        await engine.dispose()


@asynccontextmanager
async def database(floor: Floor) -> AsyncIterator[asyncpg.Connection]:
    """A connection, as soon as the database lets in."""
    for patience in range(50):
        try:
            connection = await asyncpg.connect(floor.settings.database_writer_url)
            break
        except (OSError, asyncpg.PostgresError):
            assert patience < 49, "the database is away"
            await asyncio.sleep(0.2)
    try:
        yield connection
    finally:
        await connection.close()
