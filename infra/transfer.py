"""Transfers: reading their rows and those of nonconformances, and starting one from outside a workflow."""

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from infra.database import Row, many, one, page
from infra.tables.transfer import nonconformances, transfers
from infra.temporal import RPC_TIMEOUT, search_attributes
from schemas import names
from schemas.transfer import Disposition, PackageStatus, TransferStart

_LISTED = [column for column in transfers.columns if column.name != "package"]


class Transfers:
    """What people list and look at; written only through the ledger's `record`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def get(self, package_id: str) -> Row | None:
        """The row with its package."""
        return await one(self._engine, select(transfers).where(transfers.c.package_id == package_id))

    async def find(
        self,
        *,
        status: str | None = None,
        clientpo_id: str | None = None,
        smart_contract_id: str | None = None,
        limit: int,
        offset: int,
    ) -> tuple[int, list[Row]]:
        """One page without the packages, the newest first, and how many there are in all."""
        wanted = {
            transfers.c.status: status,
            transfers.c.clientpo_id: clientpo_id,
            transfers.c.smart_contract_id: smart_contract_id,
        }
        conditions = [column == value for column, value in wanted.items() if value is not None]
        order = (transfers.c.opened_at.desc(), transfers.c.package_id)
        query = select(*_LISTED).where(*conditions).order_by(*order)
        return await page(self._engine, query, limit=limit, offset=offset)

    async def disposition(self, package_id: str) -> Disposition | None:
        """What was decided on the part of this package; None while it is not, or nothing had to be."""
        row = await one(self._engine, select(nonconformances).where(nonconformances.c.package_id == package_id))
        return Disposition(row["disposition"]) if row and row["disposition"] else None

    async def nonconformance(self, number: int) -> Row | None:
        """One record."""
        return await one(self._engine, select(nonconformances).where(nonconformances.c.number == number))

    async def nonconformances(
        self, *, open_: bool | None = None, clientpo_id: str | None = None, limit: int, offset: int
    ) -> tuple[int, list[Row]]:
        """One page, the newest first, and how many there are in all; `open_`: those without (or with) a disposition."""
        conditions: list[ColumnElement[bool]] = []
        if open_ is not None:
            conditions.append(nonconformances.c.disposition.is_(None) == open_)
        if clientpo_id is not None:
            conditions.append(nonconformances.c.clientpo_id == clientpo_id)
        query = select(nonconformances).where(*conditions).order_by(nonconformances.c.number.desc())
        return await page(self._engine, query, limit=limit, offset=offset)

    async def not_ended(self, *, after: str = "", limit: int = 20) -> list[Row]:
        """Rows whose workflow should be open, by ID from `after` on; with their packages, which may be large."""
        query = (
            select(transfers)
            .where(transfers.c.ended_at.is_(None), transfers.c.status != PackageStatus.REFUSED)
            .where(transfers.c.package_id > after)
            .order_by(transfers.c.package_id)
            .limit(limit)
        )
        return await many(self._engine, query)


async def start_transfer(client: Client, start: TransferStart) -> bool:
    """Starts the transfer of a package whose row is committed; False where one is open, or has come to its end."""
    package = start.package
    data = package.test_data
    try:
        await client.start_workflow(
            "TransferWorkflow",
            start,
            id=names.transfer_id(package.package_id),
            task_queue=names.MAIN_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
            search_attributes=search_attributes(
                PackageStatus.AUTHORIZED,
                part=data.part_id or data.part_number or "",
                node=data.node_id,
                order=package.clientpo_id,
            ),
            static_summary=f"{package.package_id} · {data.client} · from {data.node_id}",
            rpc_timeout=RPC_TIMEOUT,
        )
    except WorkflowAlreadyStartedError:
        return False
    return True
