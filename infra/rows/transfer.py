"""The rows of packages that are transferred, and of those who receive them."""

from datetime import datetime

from sqlalchemy import Executable, update

from infra.rows.base import Reason, inserted, updated
from infra.tables.transfer import completed_orders, nonconformances, transfers, vault_packages
from schemas.changes.transfer import (
    ChangeOfTransfer,
    NonconformanceDisposed,
    NonconformanceOpened,
    OrderCompleted,
    TransferChanged,
    TransferOpened,
    TransferRefused,
    VaultStored,
)
from schemas.transfer import LegStatus, PackageStatus


def statement(change: ChangeOfTransfer, reason: Reason) -> Executable:
    match change:
        case TransferOpened():
            return _opened(change, reason.at)
        case TransferChanged():
            return updated(transfers, change, reason.at, updated_at=reason.at)
        case TransferRefused():
            return _refused(change, reason.at)
        case NonconformanceOpened():
            return inserted(nonconformances, change, opened_at=reason.at)
        case NonconformanceDisposed():
            return _disposed(change, reason)
        case VaultStored():
            return inserted(vault_packages, change, entry=reason.seq, received_at=reason.at)
        case OrderCompleted():
            return inserted(completed_orders, change, received_at=reason.at)


def _opened(change: TransferOpened, at: datetime) -> Executable:
    """Whoever comes second, its own test or who hands it in, finds it there; the Gatekeeper compares the content."""
    waits = {f"{leg}_status": LegStatus.PENDING for leg in ("vault", "next_node", "business_hub")}
    new = inserted(transfers, change, **waits, status=PackageStatus.AUTHORIZED, opened_at=at, updated_at=at)
    return new.on_conflict_do_nothing()


def _refused(change: TransferRefused, at: datetime) -> Executable:
    """One that was received is past being refused: a second workflow of it would change nothing of what moved."""
    return (
        update(transfers)
        .where(
            transfers.c.package_id == change.package_id,
            transfers.c.content_hash == change.content_hash,
            transfers.c.received_at.is_(None),
        )
        .values(status=PackageStatus.REFUSED, updated_at=at)
    )


def _disposed(change: NonconformanceDisposed, reason: Reason) -> Executable:
    values = change.model_dump(exclude={"kind", "package_id"})
    return (
        update(nonconformances)
        .where(nonconformances.c.package_id == change.package_id)
        .values(**values, decided_by=reason.entry.user_id, decided_at=reason.at)
    )
