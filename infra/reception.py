"""What every hub does with what it is sent: taken once, refused aloud, and answered with the same receipt each time."""

from dataclasses import dataclass

from infra.database import Row
from infra.ledger import Ledger, LedgerConflict
from infra.transfer import Transfers
from schemas.alert import Alert, Severity, cause_of
from schemas.base import excerpt
from schemas.canonical import document_hash
from schemas.changes.alert import AlertRaised
from schemas.ledger import LedgerEntry
from schemas.record import Change, Record
from schemas.transfer import Destination, PackageStatus
from schemas.transfer_package import HubReceipt


class NotTaken(Exception):
    """A hub refuses what it was sent; the text says why. It is recorded and alerted."""


class OtherContent(NotTaken):
    """Something else has its place: what was taken under its ID, or what is staged."""


@dataclass(frozen=True)
class Parcel:
    """What came to which hub, from whom; `content_hash` is that of the body as it was received."""

    hub: Destination
    package_id: str
    content_hash: str
    sender: str

    @property
    def key(self) -> str:
        return f"{self.hub}:{self.package_id}"

    @property
    def action_type(self) -> str:
        return "vault" if self.hub is Destination.VAULT else "handoff"


class Reception:
    """The ledger decides what was taken, and its entry is the receipt."""

    def __init__(self, ledger: Ledger, transfers: Transfers) -> None:
        self._ledger = ledger
        self._transfers = transfers

    async def receipt(self, parcel: Parcel) -> HubReceipt | None:
        """That of the first time, None where nothing came under this ID; raises `OtherContent`."""
        entry = await self._ledger.under(parcel.key)
        if entry is None:
            return None
        if entry.metadata["content_hash"] != parcel.content_hash:
            taken = entry.metadata["content_hash"]
            raise await self.conflict(parcel, f"{parcel.package_id} was taken with other content, {taken}")
        return HubReceipt(package_id=parcel.package_id, content_hash=parcel.content_hash, received_at=entry.recorded_at)

    async def take(
        self, parcel: Parcel, action: str, target: str, details: str, metadata: dict[str, str], *changes: Change
    ) -> HubReceipt:
        """Records it with its rows; raises `OtherContent` where something else was a moment faster."""
        entry = LedgerEntry(
            idempotency_key=parcel.key,
            action_type=parcel.action_type,
            action=action,
            target=target,
            details=details,
            user_id=parcel.sender,
            metadata={"package_id": parcel.package_id, "content_hash": parcel.content_hash, **metadata},
        )
        try:
            recorded = await self._ledger.record(Record(entry=entry, changes=changes))
        except LedgerConflict:
            if (receipt := await self.receipt(parcel)) is None:
                raise
            return receipt
        return HubReceipt(
            package_id=parcel.package_id, content_hash=parcel.content_hash, received_at=recorded.recorded_at
        )

    async def refuse(self, parcel: Parcel, reason: str) -> NotTaken:
        """Records and alerts why, and gives what to raise."""
        await self._record_refusal(parcel, reason)
        return NotTaken(reason)

    async def conflict(self, parcel: Parcel, reason: str) -> OtherContent:
        """As `refuse`, where something else has its place."""
        await self._record_refusal(parcel, reason)
        return OtherContent(reason)

    async def _record_refusal(self, parcel: Parcel, reason: str) -> None:
        """Once for one content, reason and sender, however often it comes."""
        package = excerpt(parcel.package_id, 200)  # unverified: anybody may have sent it
        reason = excerpt(reason)
        text = f"Package {package} was refused by the {parcel.hub} hub: {reason}"
        event = f"{parcel.hub}:refuse_package:{document_hash([parcel.content_hash, reason, parcel.sender])}"
        alert = Alert(
            alert_id=event,
            alert_type="authorization_refused",
            severity=Severity.HIGH,
            source=f"{parcel.hub} hub",
            subject=package,
            text=f"{text}. Nothing was moved. {parcel.sender} sent it: find out what they meant to send.",
            cause=cause_of("authorization_refused", parcel.hub, package),
        )
        entry = LedgerEntry(
            idempotency_key=event,
            action_type=parcel.action_type,
            action="refuse_package",
            target=package,
            details=text,
            user_id=parcel.sender,
            metadata={"content_hash": parcel.content_hash, "reason": reason},
        )
        await self._ledger.record(Record(entry=entry, changes=(AlertRaised(alert=alert),)))

    async def authorized(self, package_id: str) -> Row | None:
        """The row of a transfer that was not refused."""
        row = await self._transfers.get(package_id)
        return None if row is None or row["status"] == PackageStatus.REFUSED else row
