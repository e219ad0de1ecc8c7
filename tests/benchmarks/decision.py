"""Decisions of people: from the decision to the woken workflow, and looking at what waits.

The floor is a bare signal to the same workflow, by whoever sends one: no token, no approval, no record.
"""

import asyncio
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.table import Table
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from infra.approvals import Approvals, ask_approval
from infra.decisions import DecisionSigner
from infra.embedded.shop import ProductProcess
from infra.ledger import Ledger
from infra.recorder import open_ledger
from infra.settings import Settings
from infra.tables.approval import approvals
from infra.temporal import connect
from schemas import names
from schemas.approval import ApprovalEnded, ApprovalRequest, ApprovalType, Difference, Respond
from schemas.changes.approval import ApprovalOpened
from schemas.identity import Identity
from schemas.ledger import LedgerEntry
from schemas.permission import Role
from schemas.record import Record
from tests.benchmarks.floor import FloorWaitingWorkflow
from tests.benchmarks.floor_process import QUEUE
from tests.benchmarks.release import FloorProcess

DECISIONS = 60
OPEN = 1000
PAGE = 500
LISTINGS = 30


async def run(settings: Settings, console: Console) -> None:
    """Measures on fresh servers and prints."""
    client = await connect(settings)
    processes: Sequence[ProductProcess] = (
        ProductProcess("worker", "worker", settings=settings, report=lambda _: None),
        FloorProcess("floor-worker", "worker", settings=settings, report=lambda _: None),
    )
    async with open_ledger(settings, "benchmark") as (engine, ledger):
        try:
            await asyncio.gather(*(process.start() for process in processes))
            table = Table("", "p50 ms", "p95 ms", title=f"From a decision to the woken workflow, {DECISIONS} each")
            woken, signalled = await _decisions(client, DecisionSigner(settings), Approvals(engine))
            for title, times in (("decided, verified, recorded", woken), ("bare signal", signalled)):
                p95 = statistics.quantiles(times, n=20)[-1]
                table.add_row(title, f"{statistics.median(times) * 1000:.1f}", f"{p95 * 1000:.1f}")
            table.add_row("ratio", f"{statistics.median(woken) / statistics.median(signalled):.2f}", "")
            console.print(table)
        finally:
            await asyncio.gather(*(process.stop() for process in processes))
        await _open_many(ledger)
        listed, bare = await _list(engine)
        table = Table("", "ms", title=f"{OPEN} open approvals, in pages of {PAGE}, beside one bare SELECT (median)")
        table.add_row("listed", f"{listed * 1000:.1f}")
        table.add_row("bare", f"{bare * 1000:.1f}")
        table.add_row("ratio", f"{listed / bare:.2f}")
        console.print(table)


async def _decisions(client: Client, signer: DecisionSigner, known: Approvals) -> tuple[list[float], list[float]]:
    """Seconds; the two take turns."""
    woken: list[float] = []
    signalled: list[float] = []
    for number in range(DECISIONS):
        request = _request(number, wakes=f"floor-waiting/decided-{number}")
        waiting = await client.start_workflow(FloorWaitingWorkflow.run, id=request.wakes or "", task_queue=QUEUE)
        await ask_approval(client, request)
        while await known.get(request.approval_id) is None:
            await asyncio.sleep(0.02)
        identity = Identity(user_id="bob", role=Role.QUALITY_MANAGER, auth_time=datetime.now(UTC))
        approval = client.get_workflow_handle(names.approval_workflow_id(request.approval_id))
        began = time.perf_counter()
        token = signer.sign(
            identity,
            workflow_id=approval.id,
            content_hash=request.content_hash,
            decision="approve",
            meaning="approved",
        )
        await approval.signal(names.RESPOND, Respond(token=token))
        await waiting.result()
        woken.append(time.perf_counter() - began)

        waiting = await client.start_workflow(
            FloorWaitingWorkflow.run, id=f"floor-waiting/bare-{number}", task_queue=QUEUE
        )
        await asyncio.sleep(0.1)  # as long as the other one has been waiting
        began = time.perf_counter()
        await waiting.signal(FloorWaitingWorkflow.approval_ended, ApprovalEnded(approval_id=request.approval_id))
        await waiting.result()
        signalled.append(time.perf_counter() - began)
    return woken, signalled


async def _open_many(ledger: Ledger) -> None:
    await asyncio.gather(*(ledger.record(_opened(_request(number + DECISIONS))) for number in range(OPEN)))


async def _list(engine: AsyncEngine) -> tuple[float, float]:
    """Seconds, the medians; the two take turns."""
    known = Approvals(engine)
    listed: list[float] = []
    bare: list[float] = []
    for _ in range(LISTINGS):
        began = time.perf_counter()
        for offset in range(0, OPEN, PAGE):
            matching, rows = await known.find(status="open", limit=PAGE, offset=offset)
            if (matching, len(rows)) != (OPEN, PAGE):
                raise RuntimeError(f"{len(rows)} of {matching} open approvals were listed, not {PAGE} of {OPEN}")
        listed.append(time.perf_counter() - began)
        began = time.perf_counter()
        async with engine.connect() as connection:
            (await connection.execute(select(approvals).where(approvals.c.status == "open"))).mappings().all()
        bare.append(time.perf_counter() - began)
    return statistics.median(listed), statistics.median(bare)


def _request(number: int, wakes: str | None = None) -> ApprovalRequest:
    return ApprovalRequest(
        approval_id=f"BENCH-{number}.fewer-parts.1",
        request_type=ApprovalType.FEWER_PARTS,
        subject=f"BENCH-{number}",
        requested_by="ada",
        changes=(Difference(field="parts that confirm it", before=10, after=6),),
        reason="benchmark",
        wakes=wakes,
    )


def _opened(request: ApprovalRequest) -> Record:
    row = ApprovalOpened(
        approval_id=request.approval_id,
        request_type=request.request_type,
        subject=request.subject,
        requested_by=request.requested_by,
        on_behalf_of=None,
        summary=str(request),
        changes="[]",
        reason=request.reason,
        content_hash=request.content_hash,
        permission=request.rule.permission,
        owner=request.rule.owners[0],
        wakes=None,
        status="open",
        expires_at=datetime.now(UTC) + timedelta(days=1),
    )
    entry = LedgerEntry(
        idempotency_key=f"{request.approval_id}:open",
        action_type="approval",
        action="request_approval",
        target=request.approval_id,
        details=request.reason,
    )
    return Record(entry=entry, changes=(row,))
