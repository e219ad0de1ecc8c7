"""The equipment register over HTTP: what there is, where it stands, and what happens to it.

The hub knows calibrations, moves and contracts. Whether the checks of shift and day were done is known where they are
done: `ready` is null where that alone is open, and `checks` says what its node asks for.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Query, Response
from fastapi.openapi.models import Example
from pydantic import BaseModel
from temporalio.client import WorkflowUpdateFailedError

from api.house import House, TheHouse
from api.problems import invalid, not_found
from api.security import GuardedRoute, requires
from api.updates import Once, refused_by
from infra.equipment_register import EquipmentRecord
from schemas import names
from schemas.base import Model
from schemas.calibration import CalibrationState
from schemas.equipment import (
    CalibrationRecord,
    CheckDue,
    ContractInForce,
    EquipmentItem,
    EquipmentState,
    Standing,
    standing,
)
from schemas.equipment_register import REQUESTS, LineAmendment, Move, NewEquipment, Schedule
from schemas.faults import Fault
from schemas.identity import Identity
from schemas.node_report import RegisteredItem
from schemas.permission import Permission
from schemas.request import Reasoned

router = APIRouter(prefix="/api/v1", tags=["Equipment"], route_class=GuardedRoute)

MayCalibrate = Annotated[Identity, requires(Permission.EQUIPMENT_CALIBRATE)]


class CheckAsked(BaseModel):
    """A check that a contract in force asks for; whether it was done says `smartfloor node status` at the node."""

    contract_id: str
    version: str
    check_type: str
    title: str


class EquipmentResource(EquipmentItem):
    """A line of the register, and where its instrument stands now, by the day of its node.

    `missing` is why it may not be used, as far as the hub knows. `ready` is null where only its node can say. Days:
    `days_left` until `due_on`, the last day that counts.
    """

    state: EquipmentState
    calibration: CalibrationState
    ready: bool | None
    missing: tuple[str, ...]
    checks: list[CheckAsked]
    certificate_number: str | None
    calibrated_on: date | None
    due_on: date | None
    days_left: int | None
    links: dict[str, str]


class CertificateResource(BaseModel):
    """A calibration as it was recorded, by whom and where."""

    calibration: CalibrationRecord
    found_out_of_tolerance: bool
    node_id: str
    recorded_by: str
    recorded_at: datetime
    ledger_entry: int


class EventResource(BaseModel):
    """What happened to an instrument beside its calibrations; `work_center` is closed and opened with it."""

    event: str
    node_id: str
    work_center: str | None
    reason: str | None
    user_id: str
    occurred_at: datetime
    ledger_entry: int


class ContractInForceResource(BaseModel):
    """A version of a maintenance contract that the instrument's node executes for its type."""

    contract_id: str
    version: str
    title: str


class EquipmentDetails(EquipmentResource):
    """An instrument with its certificates and its history, the newest first."""

    registered_at: datetime
    certificates: list[CertificateResource]
    events: list[EventResource]
    contracts: list[ContractInForceResource]


class EquipmentList(BaseModel):
    """One page, by ID."""

    matching: int
    limit: int
    offset: int
    equipment: list[EquipmentResource]


@router.get("/equipment", dependencies=[requires(Permission.JOB_VIEW)])
async def all_equipment(
    house: TheHouse,
    node: str | None = None,
    equipment_type: Annotated[str | None, Query(alias="type")] = None,
    state: EquipmentState | None = None,
    calibration: CalibrationState | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> EquipmentList:
    """Instruments by node, type, state and calibration, as they are at this moment.

    `calibration=expiring_soon` finds also those whose state is `ready`: they may be used, and have to be calibrated.
    """
    at, contracts = datetime.now(UTC), await house.equipment.contracts_in_force(node)
    asked = {field: value for field, value in (("state", state), ("calibration", calibration)) if value is not None}
    page = {} if asked else {"limit": limit, "offset": offset}
    matching, lines = await house.equipment.find(node=node, equipment_type=equipment_type, **page)
    found = [_resource(house, line, contracts.get(line.item.node_id, ()), at) for line in lines]
    if asked:
        found = [line for line in found if all(getattr(line, field) is value for field, value in asked.items())]
        matching, found = len(found), found[offset : offset + limit]
    return EquipmentList(matching=matching, limit=limit, offset=offset, equipment=found)


@router.get("/equipment/{equipment_id}", dependencies=[requires(Permission.JOB_VIEW)])
async def show(equipment_id: str, house: TheHouse) -> EquipmentDetails:
    """Where it stands, with its certificates, its history and the contracts that are in force for it."""
    return _details(house, await _record(house, equipment_id))


class Asking:
    """Asks what keeps the line in the path, and answers with what its answer is committed in."""

    def __init__(
        self, equipment_id: str, house: TheHouse, response: Response, once: Annotated[Once, Depends()]
    ) -> None:
        self.name = equipment_id
        self._house = house
        self._response = response
        self._once = once

    async def __call__(self, update: str, asked: Model, who: Identity, *, creates: bool = False) -> EquipmentDetails:
        """201 where it `creates` something that was not there; raises `Problem`."""
        await self._record()
        return await self.tell(update, asked, who, creates=creates)

    async def tell(self, update: str, asked: Model, who: Identity, *, creates: bool = False) -> EquipmentDetails:
        """The same, also of what no line says anything of yet."""
        request = REQUESTS[update].model_validate({**asked.model_dump(), "user_id": who.user_id})
        update_id = await self._once.update_id(update, who)
        try:
            answer = await self._house.equipment_desk.ask(self.name, update, request, update_id=update_id)
        except WorkflowUpdateFailedError as error:
            raise refused_by(error) from error
        if creates and answer.changed:
            self._response.status_code = 201
        return _details(self._house, await self._record())

    async def _record(self) -> EquipmentRecord:
        return await _record(self._house, self.name)


Ask = Annotated[Asking, Depends()]


@router.post("/equipment", responses={201: {"model": EquipmentDetails}})
async def register(
    new: NewEquipment, house: TheHouse, response: Response, once: Annotated[Once, Depends()], who: MayCalibrate
) -> EquipmentDetails:
    """Take an instrument into the register; the same again changes nothing."""
    return await Asking(new.equipment_id, house, response, once).tell(names.REGISTER, new, who, creates=True)


@router.patch("/equipment/{equipment_id}")
async def amend(amendment: LineAmendment, ask: Ask, who: MayCalibrate) -> EquipmentDetails:
    """Correct what was registered wrongly, with a reason; what is left out stays."""
    return await ask(names.AMEND, amendment, who)


# Of an instrument that no new shop has: who tries one out puts no result in doubt.
CERTIFICATE = {
    "equipment_id": "UV-LAMP-09",
    "certificate_number": "DKD-2026-09001",
    "calibrated_on": "2026-11-20",
    "due_on": "2028-11-19",
    "result": "passed",
    "provider": "Calibration laboratory",
    "technician": "k.lang",
}
FOUND_BAD = {
    "name": "UV-A irradiance",
    "unit": "uW/cm2",
    "reference": "1200",
    "tolerance": "60",
    "as_found": "1020",
    "as_left": "1195",
}
CALIBRATIONS: dict[str, Example] = {
    "passed": {"value": CERTIFICATE},
    "found out of tolerance": {
        "value": {**CERTIFICATE, "certificate_number": "DKD-2026-09002", "result": "failed", "points": [FOUND_BAD]}
    },
}
Certificate = Annotated[CalibrationRecord, Body(openapi_examples=CALIBRATIONS)]


@router.post("/equipment/{equipment_id}/calibrations", responses={201: {"model": EquipmentDetails}})
async def calibrate(record: Certificate, ask: Ask, who: MayCalibrate) -> EquipmentDetails:
    """Record a calibration, passed or failed; tests that wait for it begin by themselves.

    The same certificate again changes nothing, and with other content it is refused: what was written down wrongly is
    recorded again under a number of its own, and `corrects` names the wrong one.
    """
    if record.equipment_id != ask.name:
        raise invalid([Fault(field="equipment_id", message=f"the path names {ask.name}: name the same instrument")])
    return await ask(names.RECORD_CALIBRATION, record, who, creates=True)


@router.post("/equipment/{equipment_id}/schedule")
async def schedule(request: Schedule, ask: Ask, who: MayCalibrate) -> EquipmentDetails:
    """Write down that a calibration is arranged."""
    return await ask(names.SCHEDULE_CALIBRATION, request, who)


@router.post("/equipment/{equipment_id}/out-of-service")
async def take_out_of_service(request: Reasoned, ask: Ask, who: MayCalibrate) -> EquipmentDetails:
    """Keep it from being used; planning closes its work center meanwhile."""
    return await ask(names.TAKE_OUT_OF_SERVICE, request, who)


@router.post("/equipment/{equipment_id}/return")
async def return_to_service(request: Reasoned, ask: Ask, who: MayCalibrate) -> EquipmentDetails:
    """Let it be used again, as far as its calibration and its checks allow."""
    return await ask(names.RETURN_TO_SERVICE, request, who)


@router.post("/equipment/{equipment_id}/check-out")
async def check_out(request: Move, ask: Ask, who: MayCalibrate) -> EquipmentDetails:
    """Move it to another node; not while a test measures with it."""
    return await ask(names.CHECK_OUT, request, who)


async def _record(house: House, equipment_id: str) -> EquipmentRecord:
    record = await house.equipment.get(equipment_id)
    if record is None:
        raise not_found(f"the instrument {equipment_id}")
    return record


def standing_of(house: House, line: RegisteredItem, contracts: Sequence[ContractInForce], at: datetime) -> Standing:
    """Without what the hub does not know: the checks."""
    node = house.registry.or_unknown(line.item.node_id)
    return standing(line.item, line.last_calibration, contracts, {}, node, at)


def _resource(
    house: House, line: RegisteredItem, contracts: Sequence[ContractInForce], at: datetime
) -> EquipmentResource:
    found = standing_of(house, line, contracts, at)
    of_checks = {check.sentence for check in found.due}
    missing = tuple(sentence for sentence in found.missing if sentence not in of_checks)
    known = ("state", "calibration", "certificate_number", "calibrated_on", "due_on", "days_left")
    return EquipmentResource(
        **line.item.model_dump(),
        **{field: getattr(found, field) for field in known},
        missing=missing,
        ready=False if missing else None if found.due else True,
        checks=[_check(check) for check in found.due],
        links={
            "self": f"/api/v1/equipment/{line.item.equipment_id}",
            "temporal_ui": house.workflow_url(names.equipment_workflow_id(line.item.equipment_id)),
        },
    )


def _check(check: CheckDue) -> CheckAsked:
    return CheckAsked(**check.model_dump(include=set(CheckAsked.model_fields)))


def _details(house: House, record: EquipmentRecord) -> EquipmentDetails:
    line = _resource(house, record.registered, record.contracts, datetime.now(UTC))
    return EquipmentDetails(
        **line.model_dump(),
        registered_at=record.row["registered_at"],
        certificates=[
            CertificateResource(
                calibration=CalibrationRecord.model_validate_json(row["calibration"]),
                ledger_entry=row["entry"],
                **{name: row[name] for name in ("found_out_of_tolerance", "node_id", "recorded_by", "recorded_at")},
            )
            for row in record.calibrations
        ],
        events=[
            EventResource(
                ledger_entry=row["entry"],
                **{name: row[name] for name in ("event", "node_id", "work_center", "reason", "user_id", "occurred_at")},
            )
            for row in record.events
        ],
        contracts=[
            ContractInForceResource(
                contract_id=each.contract.smart_contract_id, version=each.version, title=each.contract.title
            )
            for each in record.contracts
        ],
    )
