"""How each change of `schemas.changes` becomes SQL, inside the transaction of its ledger entry."""

from sqlalchemy import Executable

from infra.rows import (
    alert,
    approval,
    client_po,
    equipment,
    maintenance,
    maintenance_pattern,
    reverse_trace,
    test_execution,
    transfer,
)
from infra.rows.base import Reason
from schemas.changes.alert import ChangeOfAlert
from schemas.changes.approval import ChangeOfApproval
from schemas.changes.client_po import ChangeOfClientPO
from schemas.changes.equipment import ChangeOfEquipment
from schemas.changes.maintenance import ChangeOfContract
from schemas.changes.maintenance_pattern import ChangeOfPattern
from schemas.changes.test_execution import ChangeOfTest
from schemas.changes.transfer import ChangeOfTransfer
from schemas.record import Change


def statement(change: Change, reason: Reason) -> Executable:
    """The statement for one change."""
    if isinstance(change, ChangeOfAlert):
        return alert.statement(change, reason)
    if isinstance(change, ChangeOfClientPO):
        return client_po.statement(change, reason)
    if isinstance(change, ChangeOfApproval):
        return approval.statement(change, reason)
    if isinstance(change, ChangeOfTest):
        return test_execution.statement(change, reason)
    if isinstance(change, ChangeOfTransfer):
        return transfer.statement(change, reason)
    if isinstance(change, ChangeOfContract):
        return maintenance.statement(change, reason)
    if isinstance(change, ChangeOfEquipment):
        return equipment.statement(change, reason)
    if isinstance(change, ChangeOfPattern):
        return maintenance_pattern.statement(change, reason)
    return reverse_trace.statement(change, reason)
