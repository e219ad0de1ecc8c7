"""Recording: the ledger entry and the rows it changes, in one transaction."""

from typing import TYPE_CHECKING

from temporalio import activity
from temporalio.exceptions import ApplicationError

from schemas.canonical import NotCanonical
from schemas.ledger import Receipt, RecordRefused
from schemas.record import Record

if TYPE_CHECKING:
    from infra.ledger import Ledger


class LedgerActivities:
    """Run as local activities while the database is up, as regular ones when it is not."""

    def __init__(self, ledger: "Ledger") -> None:
        self._ledger = ledger

    @activity.defn
    async def record(self, record: Record) -> Receipt:
        """Answers after the commit; the same entry again answers with the first receipt.

        Fails for good where repeating cannot help: other content under the key, or content that cannot be kept.
        """
        try:
            return await self._ledger.record(record)
        except (RecordRefused, NotCanonical) as refusal:
            raise ApplicationError(str(refusal), type=RecordRefused.__name__, non_retryable=True) from refusal
