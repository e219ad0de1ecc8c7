"""Recording: the ledger entry and the rows it changes, in one transaction."""

from typing import TYPE_CHECKING

from temporalio import activity

from schemas.ledger import Receipt
from schemas.record import Record

if TYPE_CHECKING:
    from infra.ledger import Ledger


class LedgerActivities:
    """Run as local activities while the database is up, as regular ones when it is not."""

    def __init__(self, ledger: "Ledger") -> None:
        self._ledger = ledger

    @activity.defn
    async def record(self, record: Record) -> Receipt:
        """Answers after the commit; the same entry again answers with the first receipt."""
        return await self._ledger.record(record)
