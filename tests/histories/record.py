"""Records the histories that a changed workflow must still replay: `python -m tests.histories.record [SCENE ...]`.

Each scene plays one path of the product's own workflows on a real server, and its histories are written to
`{scene}.{workflow type}.{name}.json` beside this file (`.1`, `.2` ... where a workflow has continued as new), in place
of the old ones. A new path is a new scene, recorded alone. Record all anew only when a workflow was changed in a way
that no running one can meet (before a first deployment, say); otherwise `workflow.patched()` keeps the old histories
replaying.
"""

import asyncio
import json
import logging
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from temporalio import activity
from temporalio.client import Client, WorkflowFailureError, WorkflowHistory
from temporalio.testing import WorkflowEnvironment

from infra.embedded.temporal import Temporal
from infra.settings import Settings
from infra.temporal import connect
from schemas import names
from schemas.approval import RULES, ApprovalType
from schemas.equipment_register import (
    EquipmentStart,
    RecordCalibration,
    RegisterEquipment,
    TakeOutOfService,
    calibration_row,
)
from schemas.maintenance_life import MONITORED
from schemas.maintenance_orders import DeployedContract
from schemas.node_report import NodeReports
from schemas.part_arrival import withdrawal_wanted
from schemas.permission import Role
from schemas.reverse_trace import TraceDisposition
from schemas.test_execution import TestStatus
from schemas.test_results import TestVerdict
from schemas.transfer import Destination, Disposition, Preparation
from tests.hubs import hub_server
from tests.instruments import delivered, in_force
from tests.workflows.contracts import ContractLedger, Contracts, ContractVersion
from tests.workflows.eager import EagerTemporal
from tests.workflows.nodes import occupy_node
from tests.workflows.patterns import WINDOW, Pattern
from tests.workflows.register import Station
from tests.workflows.register import calibrated as calibration
from tests.workflows.shop import PO, Approval, MemoryLedger, Shop, Tested, main_worker, result, until
from tests.workflows.skipping import time_skipping_server
from tests.workflows.traces import Trace
from tests.workflows.transfers import FINAL, Transfer
from tests.workflows.watches import Watched
from workflows import retry

HERE = Path(__file__).parent


async def released(shop: Shop) -> None:
    """A PO that waits for its part; a repeated broadcast; what nobody can read."""
    async with shop.node_online():
        po = await shop.stage(due_date="2026-12-01")
        await po.handle.signal("hold", {"unknown": 1})
        await po.handle.signal("explode")
        await po.recorded("refuse_request", 2)
        broadcast = await shop.scan()
        await po.handle.result()
        await shop.scan(id=broadcast)
        await shop.recorded("duplicate_broadcast")
    shop.workflow_ids.add(names.test_execution_id(po.name))


async def held(shop: Shop) -> None:
    """A hold before the arrival and one during the dispatch, by update and by signal; an amendment."""
    po = await shop.stage()
    await po.handle.execute_update("hold", {"reason": "because"})
    await shop.scan()
    await po.recorded("confirm_arrival")
    await po.ask("resume")
    await po.is_("ready_for_release")
    await po.handle.execute_update("amend", {"reason": "because", "priority": 1, "due_date": "2027-01-31"})
    await po.ask("hold")
    await po.is_("hold")
    async with shop.node_online():
        await po.ask("resume")
        await po.handle.result()


async def cancelled(shop: Shop) -> None:
    """A PO that is cancelled in Temporal after its arrival, so that the next in line has its part."""
    first = await shop.stage("A")
    await shop.scan()
    await first.is_("ready_for_release")
    second = await shop.stage("B")
    await first.handle.cancel()
    await second.is_("ready_for_release")
    await second.ask("cancel")
    await second.handle.result()


async def counted(shop: Shop) -> None:
    """Six of ten, then the rest. (The recorded history is of a time when one person alone could accept the six.)"""
    number = f"PN-{shop.name}"
    async with shop.node_online():
        po = await shop.stage(part_number=number, quantity=10)
        await shop.scan(part_number=number, quantity=6)
        await po.recorded("count_arrivals")
        await shop.scan(part_number=number, quantity=4)
        await po.handle.result()


async def approved(shop: Shop) -> None:
    """Six of ten: refused, asked again, approved; and an arrival that is withdrawn after the release."""
    number = f"PN-{shop.name}"
    async with shop.node_online():
        po = await shop.stage(part_number=number, quantity=10)
        broadcast = await shop.scan(part_number=number, quantity=6)
        await po.recorded("count_arrivals")
        await po.accept(6)
        first = await shop.approval(f"{po.name}.fewer-parts.1")
        await first.handle.signal("note", {"note": "ask the client"})
        await first.answer(by="ada")
        await first.recorded("refuse_decision")
        await first.answer("refuse")
        await po.recorded("keep_quantity")
        await po.accept(6)
        await (await shop.approval(f"{po.name}.fewer-parts.2")).answer()
        await po.handle.result()
    line = shop.client.get_workflow_handle(names.part_arrival_id(None, number))
    token = await shop.token(withdrawal_wanted(line.id, broadcast), names.WITHDRAW, by="ada")
    await line.signal("withdraw", {"broadcast_id": broadcast, "reason": "wrong label", "token": token})
    asked = await shop.recorded("ask_approval", 3)
    await (await shop.approval(asked.metadata["approval_id"])).answer()
    await shop.recorded("withdraw_arrival")


async def six_of_ten(shop: Shop) -> tuple[PO, Approval]:
    """A PO with six of ten parts, and the approval that these be enough."""
    number = f"PN-{shop.name}"
    po = await shop.stage(part_number=number, quantity=10)
    await shop.scan(part_number=number, quantity=6)
    await po.recorded("count_arrivals")
    await po.accept(6)
    await po.recorded("ask_approval")
    return po, await shop.approval(f"{po.name}.fewer-parts.1")


async def expired(shop: Shop) -> None:
    """An approval that nobody answers: reminded, escalated, expired."""
    po, approval = await six_of_ten(shop)
    await shop.pass_time(RULES[ApprovalType.FEWER_PARTS].expires_after + timedelta(minutes=1))
    await approval.handle.result()
    await po.recorded("keep_quantity")


async def called_off(shop: Shop) -> None:
    """An approval that is cancelled by whoever asked, then one that is cancelled with its PO."""
    po, first = await six_of_ten(shop)
    await first.handle.execute_update("cancel", {"reason": "too early", "user_id": "ada"})
    await po.recorded("keep_quantity")
    await po.accept(6)
    second = await shop.approval(f"{po.name}.fewer-parts.2")
    await po.recorded("ask_approval", 2)
    await po.ask("cancel")
    await po.handle.result()
    await second.handle.result()


async def noted(shop: Shop) -> None:
    """An approval with so many notes that it continues as new, and is answered after that; its PO is released."""
    po, approval = await six_of_ten(shop)
    for number in range(1, 13):
        await approval.handle.execute_update("note", {"note": f"note {number}", "user_id": "eve"})
    async with shop.node_online():
        await approval.answer()
        await po.handle.result()


async def withdrawn(shop: Shop) -> None:
    """An arrival that is withdrawn before the release, and one that moves away.

    (The recorded history is of a time when one person alone could withdraw an arrival after the release.)
    """
    po = await shop.stage(arrival_location="dock")
    broadcast = await shop.scan()
    await po.is_("ready_for_release")
    await shop.line.execute_update("withdraw", {"broadcast_id": broadcast, "reason": "wrong label"})
    await po.is_("awaiting_arrival")
    await shop.scan()
    await po.is_("ready_for_release")
    await shop.scan("shelf", age=timedelta(seconds=-1))
    await po.is_("awaiting_arrival")
    async with shop.node_online():
        await shop.scan("dock", age=timedelta(seconds=-2), condition="bent")
        await po.is_("hold")
        await po.ask("resume")
        await po.handle.result()


async def late(shop: Shop) -> None:
    """A node that is away until after the alert, then refuses, and takes the PO on a retry."""
    occupy_node(shop)
    po = await shop.stage()
    await shop.scan()
    await po.recorded("release_failed")
    async with shop.node_online():
        await po.recorded("release_failed", 2)
    shop.forget_at_node()
    async with shop.node_online():
        await po.ask("retry")
        await po.handle.result()


async def ledger_away(shop: Shop) -> None:
    """Recording that local activities give up and regular ones finish."""
    shop.ledger.away = True
    po = await shop.stage()
    await po.ask("hold")
    await until(lambda: shop.ledger.attempts > 5, lambda: "the record is tried again and again")
    shop.ledger.away = False
    await po.is_("hold")
    await po.ask("cancel")
    await po.handle.result()


async def continued(shop: Shop) -> None:
    """So many parts, scanned one by one, that the PO continues as new; it waits for its node when it does so again."""
    number = f"PN-{shop.name}"
    po = await shop.stage(part_number=number, quantity=24)
    for arrived in range(1, 24):
        await shop.scan(part_number=number)
        await until(lambda: po.row["arrived"] == arrived, lambda: str(shop))  # noqa: B023
    await shop.scan(part_number=number)
    await po.is_("ready_for_release")
    for _ in range(4):
        await po.ask("hold")
        await po.is_("hold")
        await po.ask("resume")
        await po.is_("ready_for_release")
    async with shop.node_online():
        await po.handle.result()


async def tested(shop: Shop) -> None:
    """Blocked, begun, rejected by a person; then not accepted, and measured anew as its disposition says."""
    shop.equip()
    tested = await shop.release(tests=[_with_a_lamp(shop, "inspector", "quality_manager")])
    async with shop.node_online():
        await tested.start("ivan", "LAMP-1")
        await tested.is_("blocked")
        shop.equip("LAMP-1")
        await tested.start("ivan", "LAMP-1")
        await tested.is_("running")
        await tested.submit()
        await tested.is_("awaiting_signoff")
        await tested.sign(decision="reject", meaning="rejected", reason="the lamp was not warm")
        await tested.is_("rework")
        await tested.submit(result(verdict=TestVerdict.REJECT))
        await _sign(tested, by="ines")
        await tested.is_("authorized")
        package_id = tested.row["package_id"]
        shop.ledger.dispositions[package_id] = Disposition.REWORK
        await tested.ask("disposed", package_id=package_id)
        await tested.is_("rework")
        await tested.start("ines", "LAMP-1")
        await tested.is_("running")
        await tested.submit(by="ines")
        await _sign(tested, by="ivan")
        await tested.handle.result()


def _with_a_lamp(shop: Shop, *signoffs: str) -> dict[str, Any]:
    """A test that these sign."""
    return {
        "test_id": "T-1",
        "test_type": "liquid_penetrant",
        "assigned_node": shop.node,
        "procedure": {"procedure_id": "E1417", "revision": "2021"},
        "required_signoffs": signoffs,
        "equipment": ["LAMP-1"],
    }


async def unblocked(shop: Shop) -> None:
    """Blocked by a lamp that is not calibrated: asked again for nothing, on hold, then begun by itself."""
    tested = await shop.release(tests=[_with_a_lamp(shop, "inspector")])
    async with shop.node_online():
        await tested.start("ivan", "LAMP-1")
        await tested.is_("blocked")
        for _ in range(3):
            await tested.ask("equipment_changed")
        await tested.ask("hold", reason="because")
        await tested.is_("hold")
        await tested.ask("resume", reason="go on")
        await tested.is_("blocked")
        shop.equip("LAMP-1")
        await tested.ask("equipment_changed")
        await tested.is_("running")
        shop.equip()
        await tested.submit()
        await tested.is_("awaiting_signoff")
        await tested.sign()
        await tested.handle.result()


async def overtaken(shop: Shop) -> None:
    """Asked of a node that is away, about a lamp that goes out of service meanwhile; aborted."""
    tested = await shop.release(tests=[_with_a_lamp(shop, "inspector")])
    shop.equip("LAMP-1")
    await tested.start("ivan", "LAMP-1")
    shop.ledger.register.goes_out_of_service("LAMP-1", shop.maintenance)
    async with shop.node_online():
        await tested.is_("blocked")
        await tested.ask("abort", reason="no lamp")
        await tested.handle.result()


async def calibrated(shop: Shop) -> None:
    """An instrument's life at the hub, and what its node did while it was away: reports, one that cannot stand."""
    name = f"T-{shop.name}"
    line = shop.client.get_workflow_handle(names.equipment_workflow_id(name))
    new = RegisterEquipment(equipment_id=name, equipment_type="lamp", description="A lamp", node_id=shop.node)
    for update, request in (
        (names.REGISTER, new),
        (names.RECORD_CALIBRATION, RecordCalibration(**calibration(name, "C-1", result="failed").model_dump())),
        (names.TAKE_OUT_OF_SERVICE, TakeOutOfService(reason="it failed")),
    ):
        await shop.desk.ask(name, update, request)
    await line.signal("explode")
    await line.signal(names.RETURN_TO_SERVICE, {"reason": "mended"})
    await until(lambda: shop.ledger.register.lines[name].out_of_service is None, lambda: str(shop))
    with closing(Station(shop.client, shop.node, shop.settings.state_dir)) as station:
        async with station.online():
            await station.handle.result()
        station.maintenance.record_calibration(calibration(name, "C-2", on="2026-02-01"), "ines")
        station.maintenance.record_calibration(calibration(name, "C-3", on="2026-03-01"), "ines")
        shop.ledger.register.change(calibration_row(calibration(name, "C-3", on="2026-03-02"), shop.node))
        shop.ledger.refuses = {"validate_calibration"}
        async with station.online():
            await shop.node_syncs.reported(shop.node)
            await station.handle.signal("explode")
            await station.handle.result()
    await line.result()
    shop.workflow_ids |= {line.id, station.handle.id}


async def looked_up(shop: Shop) -> None:
    """A test that begins by signal, what the register refuses, and a version that comes while the hub looks for it."""
    tested = await shop.release()
    async with shop.node_online():
        await tested.start()
        await tested.is_("running")
        await tested.ask("abort", reason="because")
        await tested.handle.result()
    station, name = Station(shop.client, f"NODE-S-{shop.name}", shop.settings.state_dir), f"T-{shop.name}"
    shop.ledger.register.register(name, station.node.node_id)
    line = shop.client.get_workflow_handle(names.equipment_workflow_id(name))
    await shop.client.start_workflow(
        "EquipmentWorkflow",
        EquipmentStart(equipment_id=name),
        id=line.id,
        task_queue=names.MAIN_QUEUE,
        start_signal=names.RETURN_TO_SERVICE,
        start_signal_args=[{"reason": "mended"}],
    )
    await line.result()
    lamp = delivered(in_force("1.2"), 7)
    own = lamp.model_dump(include={"contract_id", "version", "number", "document_hash"})

    @activity.defn(name="read_reports")
    def read() -> NodeReports:
        found = station.maintenance.reports()
        station.maintenance.take_contract(lamp)
        shop.ledger.register.in_force = (DeployedContract(**own, file_hash="0" * 64),)
        return found

    async with station.online(read_reports=read):
        await shop.node_syncs.reported(station.node.node_id)
        await station.handle.result()
    shop.workflow_ids |= {line.id, station.handle.id}


async def condemned(shop: Shop) -> None:
    """An instrument that fails its calibration at the hub, and the entry of its alert."""
    name = f"T-{shop.name}"
    shop.ledger.register.register(name, shop.node)
    line = shop.client.get_workflow_handle(names.equipment_workflow_id(name))
    failed = RecordCalibration(**calibration(name, "C-1", result="failed").model_dump())
    with closing(Station(shop.client, shop.node, shop.settings.state_dir)) as station:
        async with station.online():
            await shop.desk.ask(name, names.RECORD_CALIBRATION, failed)
            await line.result()
            await station.handle.result()
    shop.workflow_ids.add(line.id)


async def _sign(tested: Tested, *, by: str) -> None:
    await tested.is_("awaiting_signoff")
    await tested.sign(by=by)
    await tested.sign(by="quentin", role=Role.QUALITY_MANAGER)


async def transferred(transfer: Transfer) -> None:
    """The vault is down for longer than all retries, the next contract is missing; a person helps, twice."""
    transfer.hubs.answers[Destination.VAULT] = lambda _: (503, {"detail": "down"})
    transfer.packer.instead[Destination.NEXT_NODE] = Preparation(refusal="not in the store", missing=True)
    await transfer.start()
    await transfer.is_(vault_status="waiting", next_node_status="waiting")
    await transfer.handle.signal("explode")
    await transfer.handle.cancel()
    await transfer.recorded("refuse_request", 2)
    transfer.hubs.answers.clear()
    transfer.packer.instead.clear()
    await transfer.handle.execute_update(names.RETRY_TRANSFER, {"destination": "vault", "user_id": "sam"})
    await transfer.retry(Destination.NEXT_NODE)
    await transfer.handle.result()


async def disposed(transfer: Transfer) -> None:
    """The results of a final contract are not accepted; who signed them may not decide, somebody else does."""
    await transfer.start(TestVerdict.REJECT, FINAL)
    await transfer.is_(vault_status="complete")
    await transfer.dispose("use_as_is", by="ina")
    await transfer.recorded("refuse_decision")
    await transfer.dispose("use_as_is")
    await transfer.handle.result()


async def refused(transfer: Transfer) -> None:
    """The Gatekeeper lets nothing through."""
    transfer.doorkeeper.refusal = "its signature does not hold"
    await transfer.start()
    with suppress(WorkflowFailureError):
        await transfer.handle.result()


async def drafted(contracts: Contracts) -> None:
    """A draft with faults, revised; its deployment is refused once; a node is late; a newer version takes over."""
    version = await contracts.create(calibration_interval_days=None)
    await version.ask(names.VALIDATE)
    await version.recorded("validate_contract")
    await version.ask(names.REVISE, document=contracts.document(), reason="an interval")
    await version.ask(names.VALIDATE)
    await version.is_("validated")
    await version.ask(names.DEPLOY, reason="now")
    await version.recorded("refuse_decision")
    await version.answer(await version.ask_deployment(), "refuse")
    await version.recorded("keep_contract")
    await version.answer(await version.ask_deployment())
    await version.recorded("deployment_late", 2)
    async with contracts.online():
        await version.is_("monitoring")
        newer = await contracts.improve(version, calibration_interval_days=90)
        await newer.deploy()
        await newer.is_("monitoring")
        await version.handle.result()
        await newer.retire()
        await newer.handle.result()


async def published(contracts: Contracts) -> None:
    """A version that is asked for where it cannot go, and deployed where it can."""
    version = await contracts.create()
    await version.ask(names.VALIDATE)
    await version.is_("validated")
    await version.ask(names.DEPLOY, reason="now", nodes=["NODE-UNKNOWN"])
    await version.recorded("refuse_request")
    async with contracts.online():
        await version.answer(await version.ask_deployment())
        await version.is_("monitoring")
        await version.retire()
        await version.handle.result()


async def monitored(contracts: Contracts) -> ContractVersion:
    """A version whose file somebody else had, and its first thirty days."""
    version = await contracts.create()
    file = contracts.folder / "v1.0" / f"{version.ref.contract_id}.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("another: one\n")
    await version.ask(names.VALIDATE)
    await version.answer(await version.ask_deployment())
    await version.recorded("policy_fault")
    file.unlink()
    async with contracts.online():
        await contracts.shop.pass_time(timedelta(minutes=11))
        await version.is_("monitoring")
    await contracts.shop.pass_time(MONITORED)
    await version.is_("active")
    return version


async def reworked(contracts: Contracts) -> None:
    """A draft that is revised so often that it continues as new, and is retired while its approval is open."""
    version = await contracts.create()
    for days in range(100, 116):
        revision = {"document": contracts.document(calibration_interval_days=days), "reason": "try"}
        await version.handle.execute_update(names.REVISE, revision)
    await version.ask(names.VALIDATE)
    await version.is_("validated")
    await version.ask_deployment()
    await version.retire()
    await version.handle.result()


@patch.object(retry, "LONGEST_PAUSE", timedelta(seconds=1))
async def withheld(contracts: Contracts) -> None:
    """A version whose file somebody changes: its node is sent nothing for so long that the order continues as new, then
    it is retired. A newer one is retired before its nodes have it.
    """
    version = await contracts.create()
    file = contracts.folder / "v1.0" / f"{version.ref.contract_id}.yaml"

    def tamper() -> None:
        file.chmod(0o644)
        file.write_text("another: one\n")

    contracts.repository.on_published = tamper
    await version.deploy([contracts.stations[0].node.node_id])
    order = await version.order(contracts.stations[0])
    first = (await order.describe()).run_id
    while (await order.describe()).run_id == first:
        await order.signal("acknowledged")
        await asyncio.sleep(1)
    contracts.repository.on_published = None
    newer = await contracts.improve(version, calibration_interval_days=90)
    await newer.deploy()
    await newer.sent()
    for each in (newer, version):
        await each.retire()
        await each.recorded("end_order")
    async with contracts.online():
        for each in (newer, version):
            await each.handle.result()
    contracts.shop.workflow_ids |= {order.id, (await newer.order(contracts.stations[0])).id}


async def crossed(contracts: Contracts) -> None:
    """Two drafts of one parent that are approved at the same moment: the second is retired, unheard of."""
    old = await contracts.create()
    async with contracts.online():
        await old.deploy()
        await old.is_("monitoring")
        one = await contracts.improve(old, calibration_interval_days=90)
        two = await contracts.improve(old, warning_days=10)
        contracts.repository.meeting = asyncio.Barrier(2)
        for draft in (one, two):
            await draft.ask(names.VALIDATE)
        for draft, asked in [(draft, await draft.ask_deployment()) for draft in (one, two)]:
            await draft.answer(asked)
        await until(
            lambda: sorted(each.row["status"] for each in (one, two)) == ["archived", "monitoring"],
            lambda: str(contracts.shop),
        )
        await old.handle.result()


async def extended(contracts: Contracts) -> None:
    """A version of one node goes to a further one: refused first, then approved; its retirement ends it on both."""
    first, second = ([station.node.node_id] for station in contracts.stations)
    version = await contracts.create()
    async with contracts.online():
        await version.deploy(first)
        await version.is_("monitoring")
        await version.answer(await version.ask_deployment(second), "refuse")
        await version.recorded("keep_contract")
        await version.answer(await version.ask_deployment(second))
        await version.is_on_nodes("acknowledged", "acknowledged")
        await version.ask(names.DEPLOY, reason="again")
        await version.recorded("refuse_request")
        await version.retire()
        await version.handle.result()


@patch.object(retry, "LONGEST_PAUSE", timedelta(seconds=1))
async def unheard(contracts: Contracts) -> None:
    """Two versions are on their way; nodes take the newer one unheard, it is retired, and they take the older one."""
    old = await contracts.create()
    async with contracts.online():
        await old.deploy()
        await old.is_("monitoring")
    wanted = await contracts.improve(old, calibration_interval_days=90)
    await wanted.deploy()
    newer = await contracts.improve(wanted, calibration_interval_days=60)
    await newer.deploy()
    for each in (wanted, newer):
        await each.sent()
    newer.take_unheard()
    told = contracts.ordering.told = asyncio.Event()
    await newer.retire()
    await newer.recorded("retire_contract")
    async with contracts.online():
        await wanted.is_answered()
        told.set()
        for each in (newer, old):
            await each.handle.result()
        await wanted.is_("monitoring")


async def traced(trace: Trace) -> None:
    """A search that fails first, a test that is held, a forged disposition, all three dispositions, Temporal's Cancel,
    a search again before the end."""
    tested = await trace.shop.release("A")
    async with trace.shop.node_online():
        await tested.start()
        await tested.is_("running")
        trace.search.under_way = {tested.name: TestStatus.RUNNING}
        trace.search.failures = 1
        trace.put("SC-1", "SC-2", "SC-3")
        await trace.open()
        await tested.is_("hold")
        trace.search.under_way = {}
        await trace.handle.signal(names.DISPOSE, {"token": "forged", "reason": "why not"})
        await trace.recorded("refuse_decision")
        for contract, disposition in zip(("SC-1", "SC-2"), TraceDisposition, strict=False):
            await trace.dispose(disposition, smart_contract_id=contract)
        await trace.recorded("dispose_traced", 2)
        await trace.handle.cancel()
        await trace.recorded("refuse_request")
        told = {"reason": "too near the limit", "token": await trace.token(TraceDisposition.WITHDRAW)}
        await trace.handle.execute_update(names.DISPOSE, told)
        await trace.ended()
        await tested.ask("abort", reason="over")
        await tested.handle.result()


async def learned(pattern: Pattern) -> None:
    """Alerts that come twice, too late, about something else; a review that is accepted, one of equipment declined."""
    first = await pattern.alert("N1")
    await pattern.again(first)
    await pattern.alert("N2", ago=WINDOW + timedelta(hours=1))
    await pattern.handle.signal(names.ALERT_RECEIVED, first.model_copy(update={"contract_id": "LP-other"}))
    await pattern.recorded("refuse_request")
    await pattern.handle.cancel()
    await pattern.recorded("refuse_request", 2)
    await pattern.alerts("N2", "N1")
    accepted = await pattern.review()
    await pattern.alerts("N3", "N3", "N3")
    await accepted.answer("approve")
    declined = await pattern.review(2)
    await pattern.handle.signal(names.APPROVAL_ENDED, {"approval_id": declined.id})
    await pattern.recorded("refuse_request", 3)
    await declined.answer("refuse", "dropped")
    await pattern.shop.pass_time(2 * WINDOW + timedelta(hours=1))
    await pattern.handle.result()


async def remembered(pattern: Pattern) -> None:
    """So many alerts that it continues as new, with an open review and without."""
    await pattern.alerts("N1", "N2", "N1")
    review = await pattern.review()
    for number in range(4, 24):
        await pattern.alert("N1")
        await pattern.recorded("receive_alert", number)
    await review.answer("refuse", "known")
    await (await pattern.review(2)).answer("refuse", "known")


async def watched(node: Watched) -> None:
    """One watch that is answered at once, and one by a node that is late."""
    await node.contract()
    await node.instrument("SOON", 12)
    async with node.online():
        await (await node.start()).result()
    late = await node.start(late_after=1)
    await node.shop.recorded("watch_late")
    async with node.online():
        await late.result()


SCENES: tuple[Callable[[Shop], Awaitable[None]], ...] = (
    released,
    held,
    cancelled,
    counted,
    approved,
    expired,
    called_off,
    noted,
    withdrawn,
    late,
    ledger_away,
    continued,
    tested,
    unblocked,
    overtaken,
    calibrated,
    condemned,
    looked_up,
)

OF_A_TRANSFER: tuple[Callable[[Transfer], Awaitable[None]], ...] = (transferred, disposed, refused)

OF_CONTRACTS: tuple[Callable[[Contracts], Awaitable[Any]], ...] = (
    *(drafted, monitored, reworked, withheld),
    *(crossed, extended, unheard, published),
)

OF_A_TRACE: tuple[Callable[[Trace], Awaitable[None]], ...] = (traced,)

OF_A_PATTERN: tuple[Callable[[Pattern], Awaitable[None]], ...] = (learned, remembered)

OF_A_WATCH: tuple[Callable[[Watched], Awaitable[None]], ...] = (watched,)

ALL: tuple[Callable[[Any], Awaitable[Any]], ...] = (
    *SCENES,
    *OF_A_TRANSFER,
    *OF_CONTRACTS,
    *OF_A_TRACE,
    *OF_A_PATTERN,
    *OF_A_WATCH,
)


async def record(scene: Callable[[Any], Awaitable[Any]], environment: WorkflowEnvironment, state: Path) -> None:
    """Plays one scene and writes the histories of all workflows that took part."""
    if scene in OF_CONTRACTS:
        await _record_contracts(scene, environment, state)
        return
    if scene in (*OF_A_PATTERN, *OF_A_WATCH):
        await _record_lessons(scene, environment, state)
        return
    with closing(Shop(environment, MemoryLedger(), state)) as shop:
        async with hub_server() as hubs:
            transfer, trace = Transfer(shop, hubs), Trace(shop)
            async with transfer.activities() as more, main_worker(shop, more=(*more, *trace.activities)):
                await scene(transfer if scene in OF_A_TRANSFER else trace if scene in OF_A_TRACE else shop)
                await _write(scene.__name__, shop)


async def _record_contracts(
    scene: Callable[[Any], Awaitable[Any]], environment: WorkflowEnvironment, state: Path
) -> None:
    ledger = ContractLedger()
    shop = Shop(environment, ledger, state)
    with closing(Contracts(shop, ledger, state)) as contracts:
        async with main_worker(shop, more=contracts.activities()):
            await scene(contracts)
            shop.workflow_ids |= contracts.played()
            await _write(scene.__name__, shop)


async def _record_lessons(
    scene: Callable[[Any], Awaitable[Any]], environment: WorkflowEnvironment, state: Path
) -> None:
    shop = Shop(environment, MemoryLedger(), state)
    pattern = Pattern(shop)
    with closing(Watched(shop, state)) as watched:
        async with main_worker(shop, more=pattern.activities()):
            await scene(watched if scene in OF_A_WATCH else pattern)
            await _write(scene.__name__, shop)


async def _write(scene: str, shop: Shop) -> None:
    for workflow_id in sorted(shop.workflow_ids):
        handle = shop.client.get_workflow_handle(workflow_id)
        kind = (await handle.describe()).workflow_type
        _, _, key = workflow_id.partition("/")
        name = key.replace(shop.name, "").replace("/", ".").strip("-")
        runs = [run async for run in _runs(shop.client, workflow_id)]
        for number, history in enumerate(reversed(runs), start=1):
            run = f".{number}" if len(runs) > 1 else ""
            file = HERE / f"{scene}.{kind}.{name}{run}.json"
            file.write_text(json.dumps(_without_machine(json.loads(history.to_json())), indent=1) + "\n")


async def _runs(client: Client, workflow_id: str) -> AsyncIterator[WorkflowHistory]:
    """The newest first."""
    run_id: str | None = None
    while run_id != "":
        history = await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
        yield history
        run_id = history.events[0].workflow_execution_started_event_attributes.continued_execution_run_id


def _without_machine(value: Any) -> Any:
    """Replay needs neither who the worker was nor where its code lay."""
    match value:
        case dict():
            return {key: _without_machine(item) for key, item in value.items() if key not in {"identity", "stackTrace"}}
        case list():
            return [_without_machine(item) for item in value]
        case str():
            return re.sub(r"^\d+@.+", "sticky", value)
        case _:
            return value


@asynccontextmanager
async def server_for(scene: Callable[[Any], Awaitable[Any]], state: Path) -> AsyncIterator[WorkflowEnvironment]:
    """A real one, with short runs or whose days pass at once where the scene needs that."""
    if scene in (expired, monitored, learned, traced):
        async with time_skipping_server() as environment:
            yield environment
        return
    kind = EagerTemporal if scene in (continued, noted, reworked, remembered, withheld) else Temporal
    server = kind(state, report=lambda _: None, durable=False, headless=True)
    await server.start()
    try:
        yield WorkflowEnvironment.from_client(await connect(Settings(temporal_address=server.address)))
    finally:
        await server.stop()


async def main(wanted: Sequence[str]) -> None:
    """Plays these scenes, or all; failures that they provoke are not worth a log line."""
    logging.disable(logging.WARNING)
    for scene in ALL:
        if wanted and scene.__name__ not in wanted:
            continue
        for old in HERE.glob(f"{scene.__name__}.*.json"):
            old.unlink()
        with tempfile.TemporaryDirectory() as folder:
            async with server_for(scene, Path(folder)) as environment:
                await record(scene, environment, Path(folder))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
