"""What justifies a change, and how most changes become SQL."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Table, Update, update
from sqlalchemy.dialects.postgresql import Insert, insert

from schemas.base import Model
from schemas.ledger import LedgerEntry


@dataclass(frozen=True)
class Reason:
    """The entry that justifies a change, with its number and time."""

    entry: LedgerEntry
    seq: int
    at: datetime

    @property
    def revision(self) -> int:
        """Of a line of the register: counted from 1, so that whoever has 0 has nothing. Entries are counted from 0."""
        return self.seq + 1


def inserted(table: Table, change: Model, **more: object) -> Insert:
    """A new row, of the change's own fields and what else is known."""
    return insert(table).values(**change.model_dump(exclude={"kind"}), **more)


def updated(table: Table, change: Model, at: datetime, **more: object) -> Update:
    """The row of the primary key, in the columns that the change sets; a `signed_now` becomes the time `signed_at`."""
    key = table.primary_key.columns
    stamps = {name for name in type(change).model_fields if name.endswith("_now")}
    values = change.model_dump(exclude={"kind", *key.keys(), *stamps})
    stamped = {f"{name.removesuffix('_now')}_at": at for name in stamps if getattr(change, name)}
    its_own = (column == getattr(change, name) for name, column in key.items())
    return update(table).where(*its_own).values(**values, **stamped, **more)
