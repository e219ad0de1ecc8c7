"""Reading client orders: the rows of all their contracts, with their tests, transfers and vault records."""

import json
from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import ColumnElement, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from infra.client_po import outlook_of
from infra.database import Row, rows
from infra.tables.client_po import client_pos
from infra.tables.test_execution import tests
from infra.tables.transfer import completed_orders, nonconformances, transfers, vault_packages
from schemas.client_order import STUCK_LEGS, STUCK_TESTS, ClientOrder, Contract, Leg, Test, Times, Transfer
from schemas.client_po import ClientPOStatus
from schemas.transfer import Destination, PackageStatus

_CONTRACTS = select(client_pos).order_by(
    client_pos.c.sequence_number, client_pos.c.staged_timestamp, client_pos.c.smart_contract_id
)

_TRANSFERS = (
    select(
        *(column for column in transfers.columns if column is not transfers.c.package),
        nonconformances.c.number.label("nonconformance"),
        vault_packages.c.entry.label("vault_entry"),
        completed_orders.c.received_at.label("notified_at"),
    )
    .outerjoin(nonconformances, nonconformances.c.package_id == transfers.c.package_id)
    .outerjoin(vault_packages, vault_packages.c.package_id == transfers.c.package_id)
    .outerjoin(completed_orders, completed_orders.c.package_id == transfers.c.package_id)
    .order_by(transfers.c.revision)
)

_PO_IS_STUCK = (client_pos.c.status == ClientPOStatus.HOLD) | (
    client_pos.c.release_error.is_not(None) & client_pos.c.status.not_in([ClientPOStatus.CANCELLED])
)
_TEST_IS_STUCK = exists().where(
    tests.c.smart_contract_id == client_pos.c.smart_contract_id, tests.c.status.in_(STUCK_TESTS)
)
_TRANSFER_IS_STUCK = exists().where(
    transfers.c.smart_contract_id == client_pos.c.smart_contract_id,
    or_(
        transfers.c.status == PackageStatus.REFUSED,
        *(transfers.c[f"{destination}_status"].in_(STUCK_LEGS) for destination in Destination),
    ),
)
_RELEASED = client_pos.c.status == ClientPOStatus.RELEASED
_STUCK = _PO_IS_STUCK & ~_RELEASED | _RELEASED & (_TEST_IS_STUCK | _TRANSFER_IS_STUCK)
"""What `schemas.client_order.contract_stand` says, for a whole table (a test compares)."""


class ClientOrders:
    """What people list and look at."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def get(self, clientpo_id: str) -> ClientOrder | None:
        """One order with its chain."""
        async with self._reading() as connection:
            found = await _orders(connection, [clientpo_id])
        return found[0] if found else None

    async def page(self, *, stuck: bool | None, limit: int, offset: int) -> tuple[int, list[ClientOrder]]:
        """One page, the latest staged first, and how many there are in all; `stuck` where a contract is."""
        latest = func.max(client_pos.c.staged_timestamp)
        matching = select(client_pos.c.clientpo_id).group_by(client_pos.c.clientpo_id).having(_stuck(stuck))
        page = matching.order_by(latest.desc(), client_pos.c.clientpo_id).limit(limit).offset(offset)
        async with self._reading() as connection:
            total = await connection.scalar(select(func.count()).select_from(matching.subquery()))
            names = (await connection.scalars(page)).all()
            return total or 0, await _orders(connection, names)

    def _reading(self) -> AsyncConnection:
        """Several queries, which see one moment."""
        return self._engine.execution_options(isolation_level="REPEATABLE READ").connect()


def _stuck(wanted: bool | None) -> ColumnElement[bool]:
    if wanted is None:
        return func.count() > 0
    return func.bool_or(_STUCK).is_(wanted)


async def _orders(connection: AsyncConnection, names: Sequence[str]) -> list[ClientOrder]:
    """In the order of the names."""
    ordered = select(tests).where(tests.c.clientpo_id.in_(names))
    tested = {row["smart_contract_id"]: row for row in await rows(connection, ordered)}
    moved = defaultdict(list)
    for row in await rows(connection, _TRANSFERS.where(transfers.c.clientpo_id.in_(names))):
        moved[row["smart_contract_id"]].append(row)
    staged = defaultdict(list)
    for row in await rows(connection, _CONTRACTS.where(client_pos.c.clientpo_id.in_(names))):
        staged[row["clientpo_id"]].append(row)
    return [
        ClientOrder(
            clientpo_id=name,
            client=staged[name][0]["client"],
            contracts=tuple(
                _contract(po, tested.get(po["smart_contract_id"]), moved[po["smart_contract_id"]])
                for po in staged[name]
            ),
            notified_at=max(
                (
                    transfer["notified_at"]
                    for po in staged[name]
                    for transfer in moved[po["smart_contract_id"]]
                    if transfer["notified_at"] is not None
                ),
                default=None,
            ),
        )
        for name in names
        if name in staged
    ]


def _contract(po: Row, test: Row | None, moved: Sequence[Row]) -> Contract:
    return Contract(
        smart_contract_id=po["smart_contract_id"],
        sequence_number=po["sequence_number"],
        node=po["target_node"],
        routed_from=po["routed_from"],
        po_status=po["status"],
        release_error=po["release_error"],
        outlook=outlook_of(po),
        routing_trigger=json.loads(po["document"])["routing_trigger"],  # Postgres reads no JSON with \u0000
        test=Test.model_validate({name: test[name] for name in Test.model_fields}) if test else None,
        transfers=tuple(_transfer(row) for row in moved),
        times=_times(po, test or {}, moved[-1] if moved else {}),
    )


def _transfer(row: Row) -> Transfer:
    received = {
        Destination.VAULT: row["vault_at"],
        Destination.NEXT_NODE: row["next_node_at"],
        Destination.BUSINESS_HUB: row["notified_at"],
    }
    legs = tuple(
        Leg(
            destination=destination,
            status=row[f"{destination}_status"],
            attempts=row[f"{destination}_attempts"],
            error=row[f"{destination}_error"],
            received_at=received[destination],
        )
        for destination in Destination
    )
    fields = {name: row[name] for name in Transfer.model_fields if name in row}
    return Transfer(**fields, legs=legs)


def _times(po: Row, test: Row, transfer: Row) -> Times:
    return Times(
        staged=po["staged_timestamp"],
        arrived=po["arrival_timestamp"],
        released=po["release_timestamp"],
        started=test.get("started_at"),
        submitted=test.get("submitted_at"),
        signed=test.get("signed_at"),
        authorized=test.get("authorized_at"),
        vault=transfer.get("vault_at"),
        next_node=transfer.get("next_node_at"),
        ended=transfer.get("ended_at"),
    )
