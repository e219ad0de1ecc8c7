"""The rows of SmartClientPOs."""

from datetime import datetime
from typing import Any

from sqlalchemy import Executable, update

from infra.rows.base import Reason, inserted
from infra.tables.client_po import client_pos
from schemas.changes.client_po import ChangeOfClientPO, ClientPOChanged, ClientPOStaged

_STAMPS = {"arrived_now", "unconfirmed", "released_now"}


def statement(change: ChangeOfClientPO, reason: Reason) -> Executable:
    match change:
        case ClientPOStaged():
            return inserted(client_pos, change, staged_timestamp=reason.at, updated_at=reason.at)
        case ClientPOChanged():
            return _changed(change, reason.at)


def _changed(change: ClientPOChanged, at: datetime) -> Executable:
    values: dict[str, Any] = change.model_dump(exclude={"kind", "smart_contract_id", *_STAMPS})
    if change.arrived_now:
        values["arrival_timestamp"] = at
    if change.unconfirmed:
        values["arrival_timestamp"] = None
    if change.released_now:
        values["release_timestamp"] = at
    its_own = client_pos.c.smart_contract_id == change.smart_contract_id
    return update(client_pos).where(its_own).values(**values, updated_at=at)
