"""What is recorded in one transaction: the ledger entry and the rows that it changes."""

from typing import Annotated

from pydantic import Field

from schemas.base import Model
from schemas.changes.alert import ChangeOfAlert
from schemas.changes.approval import ChangeOfApproval
from schemas.changes.client_po import ChangeOfClientPO
from schemas.changes.equipment import ChangeOfEquipment
from schemas.changes.maintenance import ChangeOfContract
from schemas.changes.maintenance_pattern import ChangeOfPattern
from schemas.changes.reverse_trace import ChangeOfTrace
from schemas.changes.test_execution import ChangeOfTest
from schemas.changes.transfer import ChangeOfTransfer
from schemas.ledger import LedgerEntry

Change = Annotated[
    ChangeOfAlert
    | ChangeOfClientPO
    | ChangeOfApproval
    | ChangeOfTest
    | ChangeOfTransfer
    | ChangeOfContract
    | ChangeOfEquipment
    | ChangeOfPattern
    | ChangeOfTrace,
    Field(discriminator="kind"),
]


class Record(Model):
    """One ledger entry with the row changes that it justifies: all of it is committed, or nothing."""

    entry: LedgerEntry
    changes: tuple[Change, ...] = ()
