"""The equipment register: what its rows say, for whoever asks, decides, or keeps a copy of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, cast, func, lateral, select, true, tuple_
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from infra.database import Row, many, rows
from infra.registry import Registry
from infra.rows.equipment import COUNTS, ORDER, newest_calibration, newest_first
from infra.tables.equipment import calibrations, equipment, equipment_events
from infra.tables.ledger import ledger_entries
from infra.tables.maintenance import maintenance_contracts, maintenance_deployments
from infra.tables.test_execution import tests
from schemas.equipment import (
    CalibrationRecord,
    CalibrationResult,
    ContractInForce,
    EquipmentItem,
    shortest_interval,
    standing,
)
from schemas.equipment_register import CalibrationAsked, CalibrationFound, LineAsked, LineFound
from schemas.expiry import asking_contract
from schemas.maintenance import DeploymentStatus, MaintenanceContract
from schemas.maintenance_orders import DeployedContract, HeldContracts
from schemas.node_report import RegisteredItem, RegisterPage
from schemas.test_execution import TestStatus

PAGE_LINES = 500
PAGE_BYTES = 1_000_000
"""Of one page of the register on its way to a node: Temporal takes 2 MB at once, and a calibration has many points."""

MEASURING = (TestStatus.RUNNING, TestStatus.REWORK, TestStatus.HOLD)
"""States in which a test may go on measuring with the instruments that it began with."""


@dataclass(frozen=True)
class EquipmentRecord:
    """An instrument with everything that is recorded of it, the newest first."""

    registered: RegisteredItem
    row: Row
    calibrations: list[Row]
    events: list[Row]
    contracts: tuple[ContractInForce, ...]


class EquipmentRegister:
    """Written only through the ledger's `record`."""

    def __init__(self, engine: AsyncEngine, registry: Registry) -> None:
        self._engine = engine
        self._registry = registry

    # --- for workflows

    async def line(self, asked: LineAsked) -> LineFound:
        """What a request about this instrument must know."""
        name, calibration = asked.equipment_id, asked.calibration
        corrects = calibration.corrects if calibration else None
        beside = calibrations.c.certificate_number.is_distinct_from(corrects)
        async with self._engine.connect() as connection:
            found = await self._registered(connection, equipment.c.equipment_id == name)
            item = found[0].item if found else None
            contracts = await _in_force(connection, item.node_id, item.equipment_type) if item else ()
            newest = newest_calibration(name).where(beside).with_only_columns(calibrations.c.calibration)
            last = await connection.scalar(newest) if item else None
            recorded = await _recorded(connection, name, calibration.certificate_number if calibration else None)
            corrected = await _recorded(connection, name, corrects)
            used_by = (await connection.scalars(_measuring_with(name))).all()
            done = await _is_recorded(connection, asked.entry)
        node = self._registry.or_unknown(item.node_id if item else "HUB")
        return LineFound(
            item=item,
            day=node.day(asked.at),
            last=CalibrationRecord.model_validate_json(last) if last else None,
            recorded=recorded,
            counts=item is not None and standing(item, calibration, contracts, {}, node, asked.at).calibration_valid,
            corrects_known=corrects is None or corrected is not None,
            interval_days=shortest_interval(item, (each.contract for each in contracts)) if item else None,
            contract_id=asking_contract(item, contracts) if item else None,
            used_by=tuple(used_by),
            node_known=asked.node_id is None or asked.node_id in self._registry,
            done=done,
            station_type=node.station_type,
        )

    async def calibration(self, asked: CalibrationAsked) -> CalibrationFound:
        """What stands under this certificate, and what was good before it."""
        name = asked.equipment_id
        async with self._engine.connect() as connection:
            node_id = await connection.scalar(select(equipment.c.node_id).where(equipment.c.equipment_id == name))
            found = await rows(connection, _under(name, asked.certificate_number))
            if not found:
                return CalibrationFound(recorded=None, node_id=node_id)
            [this] = found
            before = tuple_(*ORDER) < tuple(this[column.name] for column in ORDER)
            passed = calibrations.c.result == CalibrationResult.PASSED
            good = and_(calibrations.c.equipment_id == name, passed, before, COUNTS)
            since = await connection.scalar(select(func.max(calibrations.c.calibrated_on)).where(good))
        return CalibrationFound(
            recorded=CalibrationRecord.model_validate_json(this["calibration"]), good_since=since, node_id=node_id
        )

    async def page(self, since: int) -> RegisterPage:
        """Lines that changed after `since`, the oldest change first. Nothing is left out: writers commit in order."""
        async with self._engine.connect() as connection:
            found = await self._registered(connection, equipment.c.revision > since, limit=PAGE_LINES)
        items: list[RegisteredItem] = []
        size = 0
        for line in found:
            size += len(line.model_dump_json().encode())
            if items and size > PAGE_BYTES:
                break
            items.append(line)
        return RegisterPage(since=since, revision=items[-1].revision if items else since, items=tuple(items))

    async def newest_change(self, equipment_ids: Sequence[str]) -> int:
        """The highest revision of these lines; 0 where the register knows none of them."""
        newest = select(func.max(equipment.c.revision)).where(equipment.c.equipment_id.in_(equipment_ids))
        async with self._engine.connect() as connection:
            return await connection.scalar(newest) or 0

    async def lost_contracts(self, held: HeldContracts) -> tuple[DeployedContract, ...]:
        """What the node acknowledged under a higher number than it has, by contract."""
        deployed, version = maintenance_deployments.c, maintenance_contracts.c
        query = (
            _IN_FORCE.where(deployed.node_id == held.node_id)
            .with_only_columns(deployed.contract_id, deployed.version, deployed.number)
            .add_columns(version.file_hash, version.document_hash)
        )
        in_force = [DeployedContract.model_validate(row) for row in await many(self._engine, query)]
        return tuple(each for each in in_force if each.number > held.numbers.get(each.contract_id, 0))

    async def blocked_tests(self, node_id: str) -> tuple[str, ...]:
        """The contracts whose tests wait for equipment there."""
        query = (
            select(tests.c.smart_contract_id)
            .where(tests.c.node_id == node_id, tests.c.status == TestStatus.BLOCKED)
            .order_by(tests.c.opened_at)
        )
        return tuple(row["smart_contract_id"] for row in await many(self._engine, query))

    async def known(self, equipment_ids: Iterable[str]) -> dict[str, set[str]]:
        """Those that the register knows, each with the numbers of its certificates."""
        query = (
            select(equipment.c.equipment_id, calibrations.c.certificate_number)
            .select_from(equipment.outerjoin(calibrations, calibrations.c.equipment_id == equipment.c.equipment_id))
            .where(equipment.c.equipment_id.in_(list(equipment_ids)))
        )
        found: dict[str, set[str]] = {}
        for row in await many(self._engine, query):
            certificate = row["certificate_number"]
            found.setdefault(row["equipment_id"], set()).update([certificate] if certificate else [])
        return found

    # --- for people

    async def find(
        self, *, node: str | None = None, equipment_type: str | None = None, limit: int | None = None, offset: int = 0
    ) -> tuple[int, list[RegisteredItem]]:
        """Lines by ID, and how many there are in all."""
        wanted = {equipment.c.node_id: node, equipment.c.equipment_type: equipment_type}
        condition = and_(true(), *(column == value for column, value in wanted.items() if value is not None))
        async with self._engine.connect() as connection:
            total = await connection.scalar(select(func.count()).select_from(equipment).where(condition))
            found = await self._registered(
                connection, condition, order=equipment.c.equipment_id, limit=limit, offset=offset
            )
        return total or 0, found

    async def get(self, equipment_id: str) -> EquipmentRecord | None:
        """One instrument with its history; None where the register does not know it."""
        async with self._engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")  # else they are of different times
            found = await rows(connection, _LINES.where(equipment.c.equipment_id == equipment_id))
            if not found:
                return None
            [row] = found
            registered = _line(row)
            its_own = calibrations.c.equipment_id == equipment_id
            certificates = select(calibrations).where(its_own).order_by(*newest_first())
            events = (
                select(equipment_events)
                .where(equipment_events.c.equipment_id == equipment_id)
                .order_by(equipment_events.c.entry.desc())
            )
            return EquipmentRecord(
                registered=registered,
                row=row,
                calibrations=await rows(connection, certificates),
                events=await rows(connection, events),
                contracts=await _in_force(connection, registered.item.node_id, registered.item.equipment_type),
            )

    async def contracts_in_force(self, node: str | None = None) -> Mapping[str, Sequence[ContractInForce]]:
        """By node, the contracts that it has acknowledged: of all nodes, or of this one."""
        version, on_node = maintenance_contracts.c, maintenance_deployments.c
        query = (
            _IN_FORCE.where(true() if node is None else on_node.node_id == node)
            .with_only_columns(func.array_agg(on_node.node_id).label("nodes"), version.version, version.document)
            .group_by(version.contract_id, version.version)
        )
        found: dict[str, list[ContractInForce]] = {}
        for row in await many(self._engine, query):
            contract = _contract(row)
            for node_id in row["nodes"]:
                found.setdefault(node_id, []).append(contract)
        return found

    async def _registered(
        self,
        connection: AsyncConnection,
        condition: ColumnElement[bool],
        *,
        order: ColumnElement[Any] = equipment.c.revision,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[RegisteredItem]:
        query = _LINES.where(condition).order_by(order).limit(limit).offset(offset)
        return [_line(row) for row in await rows(connection, query)]


_NEWEST = lateral(newest_calibration(equipment.c.equipment_id))
_LINES = select(equipment, _NEWEST.c.calibration, _NEWEST.c.recorded_at).select_from(
    equipment.outerjoin(_NEWEST, true())
)

_IN_FORCE = (
    select(maintenance_deployments.c.node_id, maintenance_contracts.c.version, maintenance_contracts.c.document)
    .join_from(
        maintenance_deployments,
        maintenance_contracts,
        and_(
            maintenance_deployments.c.contract_id == maintenance_contracts.c.contract_id,
            maintenance_deployments.c.version == maintenance_contracts.c.version,
        ),
    )
    .where(maintenance_deployments.c.status == DeploymentStatus.ACKNOWLEDGED)
    .order_by(maintenance_contracts.c.contract_id)
)


def _line(row: Row) -> RegisteredItem:
    item = EquipmentItem.model_validate({field: row[field] for field in EquipmentItem.model_fields})
    last = row["calibration"]
    return RegisteredItem(
        revision=row["revision"],
        at_node_since=row["at_node_since"],
        item=item,
        last_calibration=CalibrationRecord.model_validate_json(last) if last else None,
        last_recorded_at=row["recorded_at"],
    )


def _contract(row: Row) -> ContractInForce:
    contract = MaintenanceContract.model_validate_json(row["document"])
    return ContractInForce(version=row["version"], contract=contract)


async def _in_force(connection: AsyncConnection, node_id: str, equipment_type: str) -> tuple[ContractInForce, ...]:
    there = await rows(connection, _IN_FORCE.where(maintenance_deployments.c.node_id == node_id))
    contracts = [_contract(row) for row in there]
    return tuple(each for each in contracts if equipment_type in each.contract.equipment_types)


def _under(equipment_id: str, certificate_number: str) -> Select[Any]:
    return select(calibrations).where(
        calibrations.c.equipment_id == equipment_id, calibrations.c.certificate_number == certificate_number
    )


async def _recorded(
    connection: AsyncConnection, equipment_id: str, certificate_number: str | None
) -> CalibrationRecord | None:
    if certificate_number is None:
        return None
    calibration = _under(equipment_id, certificate_number).with_only_columns(calibrations.c.calibration)
    found = await connection.scalar(calibration)
    return CalibrationRecord.model_validate_json(found) if found else None


async def _is_recorded(connection: AsyncConnection, idempotency_key: str | None) -> bool:
    if idempotency_key is None:
        return False
    entry = select(ledger_entries.c.seq).where(ledger_entries.c.idempotency_key == idempotency_key)
    return await connection.scalar(entry) is not None


def _measuring_with(equipment_id: str) -> Select[str]:
    with_it = cast(tests.c.begun, JSONB).contains({"instruments": [{"equipment_id": equipment_id}]})
    return (
        select(tests.c.smart_contract_id)
        .where(tests.c.status.in_(MEASURING), tests.c.begun.is_not(None), with_it)
        .order_by(tests.c.smart_contract_id)
    )
