"""Reading the rows of maintenance contracts and of their deployments."""

from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.database import Row, many, one, page
from infra.tables.maintenance import maintenance_contracts, maintenance_deployments
from schemas.maintenance import IN_FORCE, OPEN_DEPLOYMENTS, RETIRED, ContractStatus, DeploymentStatus
from schemas.maintenance_life import Progress
from schemas.maintenance_orders import NodeOrder
from schemas.maintenance_version import VersionRef

_LISTED = [column for column in maintenance_contracts.columns if column.name != "document"]

_ITS_VERSION = and_(
    maintenance_contracts.c.contract_id == maintenance_deployments.c.contract_id,
    maintenance_contracts.c.version == maintenance_deployments.c.version,
)


class MaintenanceContracts:
    """What people list and look at; written only through the ledger's `record`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def get(self, ref: VersionRef) -> Row | None:
        """The row of a version, with its document."""
        return await one(self._engine, select(maintenance_contracts).where(*_of(maintenance_contracts, ref)))

    async def knows(self, contract_id: str) -> bool:
        """Whether the hub ever made a contract of that ID."""
        query = select(maintenance_contracts.c.version).where(maintenance_contracts.c.contract_id == contract_id)
        return await one(self._engine, query) is not None

    async def versions(self, contract_id: str) -> list[Row]:
        """All versions of a contract as they were created, without their documents."""
        query = select(*_LISTED).where(maintenance_contracts.c.contract_id == contract_id)
        return await many(self._engine, query.order_by(maintenance_contracts.c.created_at))

    async def find(
        self, *, status: str | None = None, station_type: str | None = None, limit: int, offset: int
    ) -> tuple[int, list[Row]]:
        """One page of versions by contract, and how many there are in all."""
        table = maintenance_contracts.c
        wanted = {table.status: status, table.station_type: station_type}
        conditions = [column == value for column, value in wanted.items() if value is not None]
        query = select(*_LISTED).where(*conditions).order_by(table.contract_id, table.created_at)
        return await page(self._engine, query, limit=limit, offset=offset)

    async def deployments(self, ref: VersionRef) -> list[Row]:
        """Where a version is, by node."""
        query = select(maintenance_deployments).where(*_of(maintenance_deployments, ref))
        return await many(self._engine, query.order_by(maintenance_deployments.c.node_id))

    async def nodes(self, ref: VersionRef) -> set[str]:
        """Those that a version ever went to."""
        return {row["node_id"] for row in await self.deployments(ref)}

    async def open_nodes(self, ref: VersionRef) -> list[Row]:
        """Where a version is on its way to or in force: node, status, and the number under which it went there."""
        table = maintenance_deployments.c
        query = select(table.node_id, table.status, table.number)
        query = query.where(*_of(maintenance_deployments, ref), table.status.in_(OPEN_DEPLOYMENTS))
        return await many(self._engine, query.order_by(table.node_id))

    async def of_whole_types(self) -> list[VersionRef]:
        """Of each contract the version in force that was last to go to all nodes of its station type."""
        table = maintenance_contracts.c
        query = select(table.contract_id, table.version).where(table.whole_type, table.status.in_(IN_FORCE))
        found = await many(self._engine, query.order_by(table.contract_id, table.deployed_at))
        return list({row["contract_id"]: VersionRef(**row) for row in found}.values())

    async def progress(self, ref: VersionRef) -> Progress | None:
        """What is recorded of a version; None where there is none."""
        return (await self._progress(*_of(maintenance_contracts, ref))).get(ref.version)

    async def moved(self, contract_id: str) -> list[str]:
        """The versions of a contract for which something follows from what is recorded of their nodes."""
        found = await self._progress(maintenance_contracts.c.contract_id == contract_id)
        return [version for version, progress in found.items() if progress.next is not None]

    async def _progress(self, *conditions: ColumnElement[bool]) -> dict[str, Progress]:
        """Read in one statement, so that of two nodes that answer at the same time the later sees both."""
        version, on_node = maintenance_contracts.c, maintenance_deployments.c
        count = {
            status: select(func.count())
            .select_from(maintenance_deployments)
            .where(on_node.contract_id == version.contract_id, on_node.version == version.version)
            .where(on_node.status == status)
            .correlate(maintenance_contracts)
            .scalar_subquery()
            .label(status.value)
            for status in OPEN_DEPLOYMENTS
        }
        query = select(version.version, version.status, *count.values()).where(*conditions)
        return {
            row["version"]: Progress(**{name: row[name] for name in Progress.model_fields})
            for row in await many(self._engine, query)
        }

    async def last_deployed(self, contract_id: str, *, before: int | None = None) -> dict[str, str]:
        """By node, the version that it executes or that is on its way there: the last one that was deployed.

        One that was retired on its way does not count: it never comes into force there. `before` is the number of a
        deployment that does not count, nor any later one.
        """
        version, on_node = maintenance_contracts.c, maintenance_deployments.c
        retired = exists().where(
            version.contract_id == on_node.contract_id, version.version == on_node.version, version.status.in_(RETIRED)
        )
        query = (
            select(on_node.node_id, on_node.version)
            .where(on_node.contract_id == contract_id, on_node.status.in_(OPEN_DEPLOYMENTS))
            .where(~and_(on_node.status == DeploymentStatus.PENDING, retired))
            .order_by(on_node.number)
        )
        if before is not None:
            query = query.where(on_node.number < before)
        return {row["node_id"]: row["version"] for row in await many(self._engine, query)}

    async def is_wanted(self, order: NodeOrder) -> bool:
        """Whether the version has not ended on the node, and is deprecated where the order is to end it."""
        on_node = maintenance_deployments.c
        query = (
            select(maintenance_contracts.c.status)
            .join_from(maintenance_deployments, maintenance_contracts, _ITS_VERSION)
            .where(*_of(maintenance_deployments, order), on_node.node_id == order.node_id)
            .where(on_node.status.in_(OPEN_DEPLOYMENTS))
        )
        row = await one(self._engine, query)
        return row is not None and order.retire == (row["status"] in RETIRED)

    async def open_deployments(self, *, after: tuple[str, str, str] = ("", "", ""), limit: int = 500) -> list[Row]:
        """Where versions are in force or on their way, from after this contract, version and node on.

        `contract_status` is that of the version.
        """
        version, on_node = maintenance_contracts.c, maintenance_deployments.c
        key = (on_node.contract_id, on_node.version, on_node.node_id)
        query = (
            select(
                *(*key, on_node.number, on_node.status, version.document_hash, version.file_hash),
                version.status.label("contract_status"),
            )
            .join_from(maintenance_deployments, maintenance_contracts, _ITS_VERSION)
            .where(on_node.status.in_(OPEN_DEPLOYMENTS), func.row(*key) > func.row(*after))
            .order_by(*key)
            .limit(limit)
        )
        return await many(self._engine, query)

    async def not_terminal(self, *, after: tuple[str, str] = ("", ""), limit: int = 500) -> list[Row]:
        """Rows whose workflow should be open, from after this contract and version on; with their documents."""
        table = maintenance_contracts.c
        query = (
            select(maintenance_contracts)
            .where(table.status != ContractStatus.ARCHIVED)
            .where(func.row(table.contract_id, table.version) > func.row(*after))
            .order_by(table.contract_id, table.version)
            .limit(limit)
        )
        return await many(self._engine, query)


def _of(table: Any, ref: VersionRef) -> tuple[Any, Any]:
    return table.c.contract_id == ref.contract_id, table.c.version == ref.version
