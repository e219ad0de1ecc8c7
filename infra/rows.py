"""How each change of `schemas.record` becomes SQL, inside the transaction of its ledger entry."""

from typing import TYPE_CHECKING, Any

from sqlalchemy import Executable, update
from sqlalchemy.dialects.postgresql import insert

from infra.tables import alerts, client_pos
from schemas.record import AlertRaised, Change, ClientPOChanged, ClientPOStaged

if TYPE_CHECKING:
    from datetime import datetime


def statement(change: Change, recorded_at: "datetime") -> Executable:
    """The statement for one change; `recorded_at` is the time of the entry that it belongs to."""
    match change:
        case ClientPOStaged():
            values = change.model_dump(exclude={"kind"})
            return insert(client_pos).values(**values, staged_timestamp=recorded_at, updated_at=recorded_at)
        case ClientPOChanged():
            return _client_po_changed(change, recorded_at)
        case AlertRaised():
            return (
                insert(alerts)
                .values(**change.alert.model_dump(), raised_at=recorded_at)
                .on_conflict_do_nothing(index_elements=["alert_id"])
            )


_STAMPS = {"arrived_now", "unconfirmed", "released_now"}


def _client_po_changed(change: ClientPOChanged, recorded_at: "datetime") -> Executable:
    values: dict[str, Any] = change.model_dump(exclude={"kind", "smart_contract_id", *_STAMPS})
    if change.arrived_now:
        values["arrival_timestamp"] = recorded_at
    if change.unconfirmed:
        values["arrival_timestamp"] = None
    if change.released_now:
        values["release_timestamp"] = recorded_at
    return (
        update(client_pos)
        .where(client_pos.c.smart_contract_id == change.smart_contract_id)
        .values(**values, updated_at=recorded_at)
    )
