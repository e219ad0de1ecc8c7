"""Reading the rows of SmartClientPOs."""

import json

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.database import Row, many, one, page
from infra.tables.client_po import client_pos
from infra.tables.transfer import transfers
from schemas.client_po import TERMINAL, ClientPOStatus, SmartClientPO
from schemas.client_po_life import outlook
from schemas.outlook import Outlook


def outlook_of(row: Row) -> Outlook:
    """What the PO of a row waits for and who can move it on."""
    chained = row["sequence_number"] > 1
    return outlook(
        ClientPOStatus(row["status"]),
        part=row["part_id"] or row["part_number"],
        arrived=row["arrived"],
        quantity=row["accepted_quantity"] or row["quantity"],
        place=row["arrival_location"] or (row["target_node"] if chained else None),
        node=row["target_node"],
        hold_reason=row["hold_reason"],
        release_error=row["release_error"],
        pending_approval=row["pending_approval"],
    )


_LISTED = [column for column in client_pos.columns if column.name != "document"]


def released_contract(row: Row) -> SmartClientPO:
    """The contract of a row, with the quantity that is released.

    That is what was there when it was confirmed: fewer than ordered where two persons accepted that, and more than they
    accepted where the rest came in that moment.
    """
    po = SmartClientPO.model_validate(json.loads(row["document"]))
    return po.model_copy(update={"quantity": row["arrived"] or row["accepted_quantity"] or row["quantity"]})


class ClientPOs:
    """What people list, page and count; written only through the ledger's `record`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def get(self, smart_contract_id: str) -> Row | None:
        """The row with its document."""
        query = select(client_pos).where(client_pos.c.smart_contract_id == smart_contract_id)
        return await one(self._engine, query)

    async def is_routed(self, smart_contract_id: str, package_id: str, place: str) -> bool:
        """Whether the transfer of this package, from this node, brought the contract."""
        brought = (
            select(client_pos.c.smart_contract_id)
            .join(transfers, transfers.c.package_id == client_pos.c.routed_from)
            .where(client_pos.c.smart_contract_id == smart_contract_id)
            .where(transfers.c.package_id == package_id, transfers.c.node_id == place)
        )
        return await one(self._engine, brought) is not None

    async def counts(self) -> dict[str, int]:
        """How many POs are in each state."""
        query = select(client_pos.c.status, func.count()).group_by(client_pos.c.status)
        async with self._engine.connect() as connection:
            found: dict[str, int] = dict((await connection.execute(query)).tuples().all())
        return {status.value: found.get(status.value, 0) for status in ClientPOStatus}

    async def queue(
        self,
        *,
        status: str | None = None,
        node: str | None = None,
        clientpo_id: str | None = None,
        part: str | None = None,
        limit: int,
        offset: int,
    ) -> tuple[int, list[Row]]:
        """One page in the order of the line (priority, staging time, ID), and how many rows match in all."""
        conditions = []
        if status:
            conditions.append(client_pos.c.status == status)
        if node:
            conditions.append(client_pos.c.target_node == node)
        if clientpo_id:
            conditions.append(client_pos.c.clientpo_id == clientpo_id)
        if part:
            conditions.append((client_pos.c.part_id == part) | (client_pos.c.part_number == part))
        order = (client_pos.c.priority, client_pos.c.staged_timestamp, client_pos.c.smart_contract_id)
        query = select(*_LISTED).where(*conditions).order_by(*order)
        return await page(self._engine, query, limit=limit, offset=offset)

    async def not_terminal(self, *, after: str = "", limit: int = 500) -> list[Row]:
        """Rows whose workflow should be open, by ID from `after` on; with their documents."""
        query = (
            select(client_pos)
            .where(client_pos.c.status.not_in([status.value for status in TERMINAL]))
            .where(client_pos.c.smart_contract_id > after)
            .order_by(client_pos.c.smart_contract_id)
            .limit(limit)
        )
        return await many(self._engine, query)
