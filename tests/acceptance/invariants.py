"""What must hold whatever happened: queries over the ledger, the rows, the nodes' disks and the histories.

Each query returns what breaks its rule, and nothing where it holds. The ledger forgets nothing, so that asking again
for a while hides no error: it only lets arrive what is still on its way.
"""

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import asyncpg
import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from infra.database import create_engine
from infra.verify import verify_ledger
from infra.verify_export import Broken
from schemas import names
from tests.acceptance.floor import CP, FI, LP, LP_2, Floor, Json, until

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

EACH_COMPLETE_PACKAGE_IS_IN_THE_VAULT_AS_IT_WAS_AUTHORIZED = f"""{_ENTRIES}
    SELECT coalesce(t.package_id, v.package_id) || ' is ' || coalesce(t.vault_status, 'not authorized')
        || ', the vault has ' || coalesce(v.content_hash, 'nothing')
        || ', its receipt says ' || coalesce(receipt.hash, 'nothing')
    FROM transfers t
    FULL JOIN vault_packages v ON v.package_id = t.package_id
        AND (v.smart_contract_id, v.revision, v.verdict) = (t.smart_contract_id, t.revision, t.verdict)
        AND v.body::jsonb -> 'authorization' = t.package::jsonb
    LEFT JOIN (
        SELECT target, metadata ->> 'hash_received' AS hash FROM entries
        WHERE action = 'transfer_to_vault' AND metadata ->> 'outcome' = 'success'
    ) receipt ON receipt.target = t.package_id
    WHERE t.package_id IS NULL
       OR (t.vault_status = 'complete') <> (receipt.hash IS NOT NULL)
       OR receipt.hash IS DISTINCT FROM CASE WHEN t.vault_status = 'complete' THEN v.content_hash END
"""

EACH_COMPLETED_CONTRACT_HAS_ONE_VAULT_RECORD_A_REVISION = """
    SELECT c.smart_contract_id || ' is authorized in revision ' || t.revision || ' and has ' || count(v.package_id)
        || ' vault records of it'
    FROM client_pos c JOIN transfers t USING (smart_contract_id)
    LEFT JOIN vault_packages v ON (v.smart_contract_id, v.revision) = (t.smart_contract_id, t.revision)
    WHERE t.status = 'fully_complete'
    GROUP BY c.smart_contract_id, t.revision HAVING count(v.package_id) <> 1
"""

AT_MOST_ONE_NEXT_CONTRACT_IS_STAGED = """
    SELECT t.smart_contract_id || ' was followed by ' || string_agg(c.smart_contract_id, ', ')
    FROM transfers t JOIN client_pos c ON c.routed_from = t.package_id
    GROUP BY t.smart_contract_id HAVING count(*) > 1
    UNION ALL
    SELECT t.package_id || ' went on to its next node, and nothing was staged there'
    FROM transfers t LEFT JOIN client_pos c
        ON c.routed_from = t.package_id AND c.target_node = t.next_station AND c.clientpo_id = t.clientpo_id
        AND c.smart_contract_id = regexp_replace(t.next_contract, '\\.yaml$', '')
    WHERE t.next_node_status = 'complete' AND c.smart_contract_id IS NULL
"""

NOTHING_MOVES_WITHOUT_AN_AUTHORIZATION = f"""{_ENTRIES},
    moved AS (
        SELECT target AS package_id, action, seq FROM entries
        WHERE action IN ('transfer_to_vault', 'transfer_to_next_node', 'notify_business_hub')
    )
    SELECT package_id || ': entry ' || seq || ' ' || action || ' comes before any entry receive_authorization'
    FROM moved WHERE NOT EXISTS (
        SELECT FROM entries
        WHERE action = 'receive_authorization' AND target = moved.package_id AND entries.seq < moved.seq)
    UNION ALL
    SELECT package_id || ' is ' || status || ', and the ledger has received no authorization'
    FROM transfers WHERE received_at IS NULL
        AND (vault_attempts > 0 OR next_node_attempts > 0 OR business_hub_attempts > 0)
    UNION ALL
    SELECT routed_from || ' brought ' || smart_contract_id || ', but is no authorized package'
    FROM client_pos WHERE routed_from IS NOT NULL
        AND routed_from NOT IN (SELECT package_id FROM transfers WHERE received_at IS NOT NULL)
    UNION ALL
    SELECT package_id || ' completed an order, but is no authorized package'
    FROM completed_orders WHERE package_id NOT IN (SELECT package_id FROM transfers WHERE received_at IS NOT NULL)
    UNION ALL
    SELECT package_id || ' went on with verdict ' || verdict || ' and disposition ' || coalesce(disposition, 'none')
    FROM transfers WHERE next_node_attempts > 0
        AND verdict <> 'accept' AND disposition IS DISTINCT FROM 'use_as_is'
"""

# A contract that is missing from the store is an attempt whose entry is about the contract.
EVERY_ATTEMPT_IS_IN_THE_LEDGER_WITH_ITS_OUTCOME = f"""{_ENTRIES},
    attempts AS (
        SELECT coalesce(metadata ->> 'package_id', target) AS package_id, metadata ->> 'destination' AS destination,
            metadata ->> 'attempt' AS number,
            CASE action WHEN 'contract_missing' THEN 'missing' ELSE metadata ->> 'outcome' END AS outcome
        FROM entries WHERE action IN
            ('transfer_to_vault', 'transfer_to_next_node', 'notify_business_hub', 'contract_missing')
    )
    SELECT package_id || ' was sent to ' || leg.destination || ' ' || leg.attempts || ' times and is ' || leg.status
        || ', the ledger has ' || count(attempts.number) || ' attempts, of which '
        || count(*) FILTER (WHERE outcome = 'success') || ' succeeded'
    FROM transfers
    CROSS JOIN LATERAL (VALUES
        ('vault', vault_status, vault_attempts),
        ('next_node', next_node_status, next_node_attempts),
        ('business_hub', business_hub_status, business_hub_attempts)
    ) AS leg (destination, status, attempts)
    LEFT JOIN attempts USING (package_id, destination)
    GROUP BY package_id, leg.destination, leg.status, leg.attempts
    HAVING count(DISTINCT attempts.number) <> leg.attempts
        OR count(attempts.number) <> leg.attempts
        OR count(outcome) <> leg.attempts
        OR count(*) FILTER (WHERE outcome = 'success') <> CASE leg.status WHEN 'complete' THEN 1 ELSE 0 END
"""

QUERIES = (
    NO_RELEASE_WITHOUT_ITS_PARTS,
    EVERY_CONFIRMATION_NAMES_ARRIVALS,
    NO_ARRIVAL_SERVES_MORE_UNITS_THAN_IT_BROUGHT,
    RELEASES_AND_ENTRIES_MATCH,
    ROWS_SAY_WHAT_THE_LEDGER_SAYS,
    EACH_COMPLETE_PACKAGE_IS_IN_THE_VAULT_AS_IT_WAS_AUTHORIZED,
    EACH_COMPLETED_CONTRACT_HAS_ONE_VAULT_RECORD_A_REVISION,
    AT_MOST_ONE_NEXT_CONTRACT_IS_STAGED,
    NOTHING_MOVES_WITHOUT_AN_AUTHORIZATION,
    EVERY_ATTEMPT_IS_IN_THE_LEDGER_WITH_ITS_OUTCOME,
)


async def check(floor: Floor, within: float = 30.0) -> None:
    """Fails with all that does not hold."""
    async with database(floor) as connection:

        async def broken() -> list[str]:
            found = [line for query in QUERIES for (line,) in await connection.fetch(query)]
            found += await _nodes_and_histories(floor, connection) + await _not_kept(floor, connection)
            return found + await _not_authorized(floor, connection)

        await until(broken, lambda found: not found, within)
    await _ledger_verifies(floor)


async def _nodes_and_histories(floor: Floor, connection: asyncpg.Connection) -> list[str]:
    """Each released PO is once on its node's disk, as its receipt says, and has one test; no other PO has either."""
    released = {
        (row["smart_contract_id"], row["target_node"], row["receipt_hash"])
        for row in await connection.fetch("SELECT * FROM client_pos WHERE status = 'released'")
    }
    taken = {
        (name, node, delivery.content_hash())
        for node in (LP, LP_2, CP, FI)
        for name, delivery in floor.inbox(node).items()
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


async def _not_authorized(floor: Floor, connection: asyncpg.Connection) -> list[str]:
    """Every package that was received is signed by its node's Guardian, and by everybody whom the contract requires."""
    keys = _guardian_keys(floor)
    documents = {
        row["smart_contract_id"]: json.loads(row["document"])
        for row in await connection.fetch("SELECT smart_contract_id, document FROM client_pos")
    }
    signed = {
        (row["smart_contract_id"], row["test_id"], row["role"], row["person"], row["content_hash"])
        for row in await connection.fetch("SELECT * FROM test_signoffs WHERE decision = 'sign'")
    }
    found = []
    for row in await connection.fetch("SELECT * FROM transfers WHERE received_at IS NOT NULL"):
        package, name = json.loads(row["package"]), row["smart_contract_id"]
        approvals = {
            (name, given["test_id"], given["role"], given["person"], given["content_hash"])
            for given in package["approvals"]
        }
        required = {(test["test_id"], role) for test in documents[name]["tests"] for role in test["required_signoffs"]}
        current = {(test["test_id"], test["content_hash"]) for test in package["test_data"]["tests"]}
        persons = {(test_id, person) for _, test_id, _, person, _ in approvals}
        if not _guardian_signed(package, keys):
            found.append(f"{row['package_id']} does not bear the signature of the Guardian of {row['node_id']}")
        if {(test_id, role) for _, test_id, role, _, _ in approvals} != required or len(persons) < len(approvals):
            found.append(f"{row['package_id']} is signed by {approvals}, and the contract requires {required}")
        if {(test_id, hash_) for _, test_id, _, _, hash_ in approvals} != current:
            found.append(f"{row['package_id']} has other results than were signed")
        found += [f"{row['package_id']} has a signature that nobody gave: {given}" for given in approvals - signed]
    return found


def _guardian_keys(floor: Floor) -> dict[tuple[str, str], Ed25519PublicKey]:
    """The trust list, by node and key ID."""
    keys = {}
    for file in floor.settings.guardian_trust_dir.glob("*.pub"):
        key = load_pem_public_key(file.read_bytes())
        assert isinstance(key, Ed25519PublicKey)
        key_id = hashlib.sha256(key.public_bytes_raw()).hexdigest()[:32]
        keys[file.stem.partition("+")[0], key_id] = key
    return keys


def _guardian_signed(package: Json, keys: Mapping[tuple[str, str], Ed25519PublicKey]) -> bool:
    """Over the RFC 8785 bytes of all of it but the signature."""
    signature = package["guardian_signature"]
    signed = {name: value for name, value in package.items() if name != "guardian_signature"}
    try:
        keys[package["test_data"]["node_id"], signature["key_id"]].verify(
            bytes.fromhex(signature["signature"]), rfc8785.dumps(signed)
        )
    except (KeyError, InvalidSignature):
        return False
    return True


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
