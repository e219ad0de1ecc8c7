"""The Temporal client: connecting, search attributes, and the doors to workflows that are started if need be.

Workflows are started by name, so that gateways and the API need no workflow code.
"""

import asyncio
import logging
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client, WithStartWorkflowOperation, WorkflowExecutionStatus, WorkflowHandle
from temporalio.common import (
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode

from infra.settings import Settings
from schemas import names
from schemas.base import Model
from schemas.client_po import ClientPOStatus, SmartClientPO
from schemas.client_po_life import ClientPOStart
from schemas.equipment_register import EquipmentStart, LineAnswer
from schemas.node import PartReady
from schemas.node_report import NodeRef, NodeSyncStart
from schemas.part_arrival import Held, LineStatus, ReportedArrival
from schemas.part_line import JoinLine, LineRef, PartArrivalStart

log = logging.getLogger(__name__)

RPC_TIMEOUT = timedelta(seconds=5)

STATUS = SearchAttributeKey.for_keyword(names.SMART_STATUS)
PART = SearchAttributeKey.for_keyword(names.SMART_PART)
NODE = SearchAttributeKey.for_keyword(names.SMART_NODE)
ORDER = SearchAttributeKey.for_keyword(names.SMART_ORDER)
DUE = SearchAttributeKey.for_datetime(names.SMART_DUE)

SEARCH_ATTRIBUTES = {
    key.name: IndexedValueType.ValueType(key.indexed_value_type) for key in (STATUS, PART, NODE, ORDER, DUE)
}
"""What a server must know before a workflow starts on it."""


class NotStarted(Exception):
    """It is recorded, but Temporal is away: the same request again, or the next reconcile, starts its workflow."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is recorded; its workflow starts when this request is sent again, or with the next reconcile"
        )


async def connect(settings: Settings, runtime: Runtime | None = None) -> Client:
    """A client that has registered the search attributes on the server it met; raises `RuntimeError` without one."""
    api_key = settings.temporal_api_key
    client = await Client.connect(
        settings.temporal_address,
        namespace=settings.temporal_namespace,
        tls=settings.temporal_tls,
        api_key=api_key.get_secret_value() if api_key else None,
        data_converter=pydantic_data_converter,
        runtime=runtime,
    )
    await register_search_attributes(client)
    return client


def workflow_url(settings: Settings, workflow_id: str) -> str:
    """Where people see a workflow in the Temporal Web UI."""
    ui, namespace = settings.temporal_ui, settings.temporal_namespace
    return f"{ui}/namespaces/{namespace}/workflows/{quote(workflow_id, safe='')}"


async def register_search_attributes(client: Client) -> None:
    """Adds those that are missing; a server that does not let us (Temporal Cloud) must have them already."""
    try:
        await _register_search_attributes(client)
    except RPCError as error:
        if error.status is not RPCStatusCode.PERMISSION_DENIED:
            raise
        log.warning("search attributes cannot be looked at here: add the Smart... ones of schemas/names.py by hand")


async def _register_search_attributes(client: Client) -> None:
    listed = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    missing = {name: kind for name, kind in SEARCH_ATTRIBUTES.items() if name not in listed.custom_attributes}
    if not missing:
        return
    try:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=client.namespace, search_attributes=missing)
        )
    except RPCError as error:
        if error.status is not RPCStatusCode.ALREADY_EXISTS:
            raise
    await _until_known(client)


async def _until_known(client: Client) -> None:
    """A workflow that uses an attribute before the server knows it is stuck, so nobody starts before."""
    async with asyncio.timeout(10):
        while True:
            listed = await client.operator_service.list_search_attributes(
                ListSearchAttributesRequest(namespace=client.namespace)
            )
            if SEARCH_ATTRIBUTES.keys() <= listed.custom_attributes.keys():
                return
            await asyncio.sleep(0.1)


async def workflow_status(client: Client, workflow_id: str) -> WorkflowExecutionStatus | None:
    """Of the last run of that ID; None where Temporal knows none (any more)."""
    try:
        return (await client.get_workflow_handle(workflow_id).describe(rpc_timeout=RPC_TIMEOUT)).status
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return None


def search_attributes(
    status: str, *, part: str, node: str | None = None, order: str | None = None, due: datetime | None = None
) -> TypedSearchAttributes:
    """Of a workflow that is started from outside."""
    values: tuple[tuple[SearchAttributeKey[Any], Any], ...]
    values = ((STATUS, status), (PART, part), (NODE, node), (ORDER, order), (DUE, due))
    return TypedSearchAttributes([SearchAttributePair(key, value) for key, value in values if value is not None])


class PartArrivals:
    """Reaches the `PartArrivalWorkflow` of an identifier, started if need be: nothing can come too early."""

    def __init__(self, client: Client, unclaimed_after: timedelta) -> None:
        self._client = client
        self._unclaimed_after = unclaimed_after

    async def report(self, reported: ReportedArrival) -> str:
        """Hands an arrival over; returns the workflow ID once Temporal has accepted it."""
        arrival = reported.arrival
        start = PartArrivalStart(
            part_id=arrival.part_id,
            part_number=None if arrival.part_id else arrival.part_number,
            unclaimed_after=int(self._unclaimed_after.total_seconds()),
        )
        return await self._signal(start, LineStatus.UNCLAIMED, names.ARRIVE, reported)

    async def join(self, join: JoinLine) -> str:
        """Puts a PO into the line."""
        return await self._signal(join.part, LineStatus.AWAITING_ARRIVAL, names.JOIN, join.po)

    async def held(self, asked: LineRef) -> Held | None:
        """What a line has given to a PO; None also where there is no such line."""
        line: WorkflowHandle[Any, Any] = self._client.get_workflow_handle(asked.line_id)
        try:
            held: Held | None = await line.query(
                names.HELD,
                asked.po,
                result_type=Held | None,  # type: ignore[arg-type]
                rpc_timeout=RPC_TIMEOUT,
            )
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return None
        return held

    async def _signal(self, start: PartArrivalStart, status: LineStatus, signal: str, message: Model) -> str:
        """`status` is what a line that this message starts will be in."""
        handle: WorkflowHandle[None, None] = await self._client.start_workflow(
            "PartArrivalWorkflow",
            start,
            id=names.part_arrival_id(start.part_id, start.part_number),
            task_queue=names.MAIN_QUEUE,
            start_signal=signal,
            start_signal_args=[message],
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            search_attributes=search_attributes(status, part=start.part_id or start.part_number or ""),
            static_summary=f"Arrivals of {start.part_id or start.part_number}",
            rpc_timeout=RPC_TIMEOUT,
        )
        return handle.id


class NodeSyncs:
    """Wakes the `NodeSyncWorkflow` of a node, started if need be."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def refresh(self, node_id: str) -> None:
        """Something changed at the hub that the node must know."""
        await self._wake(node_id, names.REFRESH)

    async def reported(self, node_id: str) -> None:
        """Something happened at the node that the hub must know; or the node is back."""
        await self._wake(node_id, names.REPORTED)

    async def has_news(self, node_id: str) -> bool:
        """Whether the hub or the node still has something to tell the other."""
        return await workflow_status(self._client, names.node_sync_id(node_id)) is WorkflowExecutionStatus.RUNNING

    async def _wake(self, node_id: str, signal: str) -> None:
        await self._client.start_workflow(
            "NodeSyncWorkflow",
            NodeSyncStart(node_id=node_id),
            id=names.node_sync_id(node_id),
            task_queue=names.MAIN_QUEUE,
            start_signal=signal,
            start_signal_args=[NodeRef(node_id=node_id)],
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            search_attributes=TypedSearchAttributes([SearchAttributePair(NODE, node_id)]),
            static_summary=f"What {node_id} and the hub tell each other",
            rpc_timeout=RPC_TIMEOUT,
        )


class EquipmentDesk:
    """Reaches the `EquipmentWorkflow` of an instrument, started if need be."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def ask(self, equipment_id: str, update: str, message: Model, *, update_id: str | None = None) -> LineAnswer:
        """What it answers; raises `WorkflowUpdateFailedError` where it refuses, and `RPCError`."""
        start = WithStartWorkflowOperation[Any, None](
            "EquipmentWorkflow",
            EquipmentStart(equipment_id=equipment_id),
            id=names.equipment_workflow_id(equipment_id),
            task_queue=names.MAIN_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary=f"Requests about {equipment_id}",
        )
        answer: LineAnswer = await self._client.execute_update_with_start_workflow(
            update,
            message,
            start_workflow_operation=start,
            id=update_id,
            result_type=LineAnswer,
            rpc_timeout=2 * RPC_TIMEOUT,
        )
        return answer


class ClientPOStarter:
    """Starts the workflow of a PO whose row is committed."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client = client
        self._release_alert_after = int(settings.release_alert_after.total_seconds())
        self._unclaimed_after = int(settings.unclaimed_after.total_seconds())

    async def start(
        self, document: dict[str, Any], hash_: str, staged_at: datetime, ready: PartReady | None = None
    ) -> bool:
        """False when it was started before, even if it has ended since.

        Where the part is `ready`, the workflow is told in the same step, also one that was started before and is open:
        then it is True.
        """
        po = SmartClientPO.model_validate(document)
        start = ClientPOStart(
            document=document,
            document_hash=hash_,
            staged_at=staged_at,
            release_alert_after=self._release_alert_after,
            unclaimed_after=self._unclaimed_after,
        )
        attributes = search_attributes(
            ClientPOStatus.AWAITING_ARRIVAL,
            part=po.part,
            node=po.target_node,
            order=po.clientpo_id,
            due=po.due_date,
        )
        try:
            await self._client.start_workflow(
                "ClientPOWorkflow",
                start,
                id=names.client_po_id(po.smart_contract_id),
                task_queue=names.MAIN_QUEUE,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                search_attributes=attributes,
                start_signal=names.PART_READY if ready else None,
                start_signal_args=[ready] if ready else [],
                static_summary=f"{po.smart_contract_id} · {po.client} · part {po.part} → {po.target_node}",
                rpc_timeout=RPC_TIMEOUT,
            )
        except WorkflowAlreadyStartedError:
            return False
        return True
