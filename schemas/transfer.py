"""The dual transfer of an authorized package (specification 2): two legs that never wait for each other.

Each leg has a status of its own; the package's nine states follow from the two by one table. A third leg, the
notification of the Business Hub, exists where a client order is complete with this contract; it is no part of the
specification's states.
"""

from datetime import timedelta
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, Field

from schemas import names
from schemas.alert import Alert, Severity
from schemas.base import Model, Text, excerpt
from schemas.canonical import document_hash
from schemas.changes.alert import AlertRaised
from schemas.changes.transfer import TransferOpened, TransferRefused
from schemas.decision import Wanted
from schemas.guardian import AuthorizationPackage
from schemas.ledger import LedgerEntry
from schemas.outlook import Outlook
from schemas.permission import Permission
from schemas.record import Record
from schemas.request import Reasoned, Request, Retrial
from schemas.routing import Routing, read_routing_trigger
from schemas.test_results import TestVerdict
from schemas.transfer_package import HubReceipt


class Destination(StrEnum):
    """Where a leg goes."""

    VAULT = "vault"
    NEXT_NODE = "next_node"
    BUSINESS_HUB = "business_hub"


class LegStatus(StrEnum):
    """`failed` tries again by itself, `waiting` needs a person; `awaiting_disposition` too, before it may begin."""

    PENDING = "pending"
    AWAITING_DISPOSITION = "awaiting_disposition"
    PREPARING = "preparing"
    TRANSFERRING = "transferring"
    FAILED = "failed"
    WAITING = "waiting"
    COMPLETE = "complete"
    NOT_APPLICABLE = "not_applicable"


DONE = frozenset({LegStatus.COMPLETE, LegStatus.NOT_APPLICABLE})

RETRIABLE = frozenset({LegStatus.FAILED, LegStatus.WAITING})

UNDER_WAY = frozenset({LegStatus.PREPARING, LegStatus.TRANSFERRING})


class PackageStatus(StrEnum):
    """The specification's nine transfer package states, and `refused` for what was never authorized."""

    AUTHORIZED = "authorized"
    PREPARING_VAULT = "preparing_vault"
    PREPARING_NEXT_NODE = "preparing_next_node"
    TRANSFERRING_VAULT = "transferring_vault"
    TRANSFERRING_NEXT_NODE = "transferring_next_node"
    VAULT_COMPLETE = "vault_complete"
    NEXT_NODE_COMPLETE = "next_node_complete"
    FULLY_COMPLETE = "fully_complete"
    RETRY_PENDING = "retry_pending"
    REFUSED = "refused"


TERMINAL = frozenset({PackageStatus.FULLY_COMPLETE, PackageStatus.REFUSED})

MOMENTS = frozenset(
    {
        PackageStatus.PREPARING_VAULT,
        PackageStatus.PREPARING_NEXT_NODE,
        PackageStatus.TRANSFERRING_VAULT,
        PackageStatus.TRANSFERRING_NEXT_NODE,
    }
)
"""States in which nobody has to do anything, and that are over in a moment."""

_L, _P = LegStatus, PackageStatus

_BY_VAULT: dict[LegStatus, PackageStatus] = {
    _L.PREPARING: _P.PREPARING_VAULT,
    _L.TRANSFERRING: _P.TRANSFERRING_VAULT,
}
_BY_NEXT_NODE: dict[LegStatus, PackageStatus] = {
    _L.PREPARING: _P.PREPARING_NEXT_NODE,
    _L.TRANSFERRING: _P.TRANSFERRING_NEXT_NODE,
}


def _derived(vault: LegStatus, next_node: LegStatus) -> PackageStatus:
    """Trouble first, then what is under way (the vault before the next node), then what is done."""
    if {vault, next_node} & {_L.FAILED, _L.WAITING}:
        return _P.RETRY_PENDING
    if vault in DONE and next_node in DONE:
        return _P.FULLY_COMPLETE
    if next_node is _L.COMPLETE:
        return _P.NEXT_NODE_COMPLETE
    if vault in _BY_VAULT:
        return _BY_VAULT[vault]
    if next_node in _BY_NEXT_NODE:
        return _BY_NEXT_NODE[next_node]
    return _P.VAULT_COMPLETE if vault is _L.COMPLETE else _P.AUTHORIZED


PACKAGE_STATUS: dict[tuple[LegStatus, LegStatus], PackageStatus] = {
    (vault, next_node): _derived(vault, next_node) for vault in LegStatus for next_node in LegStatus
}
"""The one table: the package's state by those of the vault leg and the next-node leg."""


# --- attempts --------------------------------------------------------------------------------------------------------


class LegPolicy(Model):
    """One attempt and `retries` more; seconds, the pause doubles each time. `patience` is that of one attempt."""

    retries: int = Field(default=3, ge=0)
    first_pause: float = 1.0
    patience: float = 30.0

    def pause(self, retry: int) -> timedelta:
        """Before the `retry`th retry, counted from 1."""
        return timedelta(seconds=self.first_pause * 2 ** (retry - 1))


class Sending(Model):
    """One attempt: what goes where, under a key that is the same for every attempt."""

    destination: Destination
    package_id: str
    body: dict[str, Any]

    @property
    def idempotency_key(self) -> str:
        return f"{self.package_id}:{self.destination}"

    @property
    def content_hash(self) -> str:
        return document_hash(self.body)

    def answered(self, receipt: HubReceipt) -> "Delivery":
        """A receipt counts for exactly what was sent; one for anything else is not cured by sending it again."""
        if receipt.package_id != self.package_id:
            error = f"the receipt is for {excerpt(receipt.package_id, 200)}"
        elif receipt.content_hash != self.content_hash:
            error = f"the receipt is for other content ({excerpt(receipt.content_hash, 64)})"
        else:
            return Delivery(receipt=receipt)
        return Delivery(receipt=receipt, error=error, curable=False)


class Delivery(Model):
    """How an attempt ended: a receipt, or an error; `curable` says whether repeating may help.

    Both where the receipt is not for what was sent.
    """

    receipt: HubReceipt | None = None
    error: str | None = None
    curable: bool = True


class Prepare(Model):
    """Asks for what a leg sends."""

    destination: Destination
    package: AuthorizationPackage


class Preparation(Model):
    """What a leg sends, or why there is nothing to send (`missing`: the next contract is not in the store)."""

    body: dict[str, Any] | None = None
    refusal: str | None = None
    missing: bool = False


class Admission(Model):
    """Why a package is refused; None where its signature, key and hashes hold and the contract is the staged one.

    `policies` are how each leg tries here, as settings say.
    """

    refusal: str | None = None
    policies: dict[Destination, LegPolicy] = Field(default_factory=dict)


# --- what a transfer is told -----------------------------------------------------------------------------------------


class RetryRequest(Retrial, Request):
    """Tries a leg again that waits for a person."""

    destination: Destination


class Disposition(StrEnum):
    """What becomes of a part whose results are not accepted."""

    USE_AS_IS = "use_as_is"
    REWORK = "rework"
    SCRAP = "scrap"
    RETURN_TO_CLIENT = "return_to_client"


class DisposeRequest(Model):
    """A person's disposition; the token says which."""

    token: str | None = None
    reason: Text


REQUESTS: dict[str, type[BaseModel]] = {names.RETRY_TRANSFER: RetryRequest, names.DISPOSE: DisposeRequest}


class LegRetrial(Retrial):
    """What a person asks over HTTP."""

    destination: Destination


class Dispose(Reasoned):
    """What a person decides over HTTP on what they see."""

    disposition: Disposition
    content_hash: str


def disposition_wanted(package_id: str, content_hash: str) -> Wanted:
    """The disposition of exactly these results; `content_hash` is the package's."""
    return Wanted(
        workflow_id=names.transfer_id(package_id),
        content_hash=content_hash,
        decisions=tuple(disposition.value for disposition in Disposition),
        permission=Permission.DISPOSITION_DECIDE,
    )


# --- the life of a transfer ------------------------------------------------------------------------------------------


class LegLife(BaseModel):
    """Where one leg stands. `attempts` counts all, `retries` those since a person was asked last.

    `uncertain` says that the receiver may have stored `body`, whatever was heard of it.
    """

    status: LegStatus = LegStatus.PENDING
    attempts: int = 0
    retries: int = 0
    escalations: int = 0
    error: str | None = None
    receipt: HubReceipt | None = None
    body: dict[str, Any] | None = None
    uncertain: bool = False


class TransferLife(BaseModel):
    """What is known of a transfer: mutable, and the only state of its workflow."""

    policies: dict[Destination, LegPolicy] = Field(default_factory=dict)
    legs: dict[Destination, LegLife] = Field(default_factory=dict)
    disposition: Disposition | None = None
    tokens: list[str] = Field(default_factory=list)
    last_refusal: str | None = None
    refusal: str | None = None

    @property
    def status(self) -> PackageStatus:
        """Derived from the two legs."""
        if self.refusal is not None:
            return PackageStatus.REFUSED
        vault, next_node = (
            self.legs[leg].status if leg in self.legs else LegStatus.PENDING
            for leg in (Destination.VAULT, Destination.NEXT_NODE)
        )
        return PACKAGE_STATUS[vault, next_node]

    @property
    def ended(self) -> bool:
        return self.refusal is not None or (bool(self.legs) and all(leg.status in DONE for leg in self.legs.values()))

    @property
    def rests(self) -> bool:
        """Whether nothing is under way at a receiver."""
        return not any(leg.status in UNDER_WAY for leg in self.legs.values())

    def begin(self, package: AuthorizationPackage) -> None:
        """Opens the legs. Results always go to the vault; the part goes nowhere while a person has to decide."""
        routing = read_routing_trigger(package.test_data.routing_trigger)
        onward = LegStatus.NOT_APPLICABLE if routing.workflow_complete else LegStatus.PREPARING
        accepted = package.test_data.verdict is TestVerdict.ACCEPT
        self.legs = {
            Destination.VAULT: LegLife(status=LegStatus.PREPARING),
            Destination.NEXT_NODE: LegLife(status=onward if accepted else LegStatus.AWAITING_DISPOSITION),
            Destination.BUSINESS_HUB: LegLife(
                status=LegStatus.PENDING if routing.is_final_contract else LegStatus.NOT_APPLICABLE
            ),
        }

    def dispose(self, disposition: Disposition, routing: Routing) -> None:
        """Use as is goes on; after anything else the part goes nowhere, and after rework the order is not complete."""
        goes_on = disposition is Disposition.USE_AS_IS and not routing.workflow_complete
        self.disposition = disposition
        self.legs[Destination.NEXT_NODE].status = LegStatus.PREPARING if goes_on else LegStatus.NOT_APPLICABLE
        if disposition is Disposition.REWORK:
            self.legs[Destination.BUSINESS_HUB].status = LegStatus.NOT_APPLICABLE

    def advance(self) -> None:
        """The Business Hub is told of a complete order once the vault has it and the part's way is clear."""
        hub = self.legs[Destination.BUSINESS_HUB]
        vault, next_node = self.legs[Destination.VAULT], self.legs[Destination.NEXT_NODE]
        if hub.status is LegStatus.PENDING and vault.status is LegStatus.COMPLETE and next_node.status in DONE:
            hub.status = LegStatus.PREPARING

    def settle(self, destination: Destination, delivery: Delivery) -> None:
        """Counts an attempt: the leg is complete, tries again after a pause, or waits for a person."""
        leg = self.legs[destination]
        leg.attempts += 1
        if delivery.error is None:
            leg.status, leg.receipt, leg.error, leg.body = LegStatus.COMPLETE, delivery.receipt, None, None
            return
        leg.error = excerpt(delivery.error)
        leg.uncertain = leg.body is not None and (leg.uncertain or delivery.curable or delivery.receipt is not None)
        again = delivery.curable and leg.retries < self.policies[destination].retries
        leg.status = LegStatus.FAILED if again else LegStatus.WAITING

    def retry(self, destination: Destination, *, asked: bool) -> None:
        """Tries a leg again; a person's wish begins anew, with as many retries as at first.

        What was refused without a doubt is then prepared anew, because its cause may be mended. Else the receiver may
        have stored it, and takes only the same again.
        """
        leg = self.legs[destination]
        leg.retries = 0 if asked else leg.retries + 1
        if asked and not leg.uncertain:
            leg.body = None
        leg.status = LegStatus.PREPARING if leg.body is None else LegStatus.TRANSFERRING

    def retry_refusal(self, destination: Destination) -> str | None:
        """Why a leg cannot be tried again now; None where it can."""
        leg = self.legs.get(destination)
        if leg is not None and leg.status in RETRIABLE:
            return None
        return (
            f"the {LEG_NAMES[destination]} leg is {leg.status if leg else LegStatus.PENDING}: nothing is to be retried"
        )

    def disposition_refusal(self) -> str | None:
        """Why nothing can be disposed now; None where a disposition is waited for."""
        if self.disposition is not None:
            return f"the disposition is {self.disposition} already"
        leg = self.legs.get(Destination.NEXT_NODE)
        if leg is None or leg.status is not LegStatus.AWAITING_DISPOSITION:
            return "no disposition is waited for"
        return None


class TransferStart(Model):
    """Input of a `TransferWorkflow`; `life` and `signals` travel through continue-as-new.

    A `life` without policies is that of a transfer whose workflow was closed from outside: it is admitted again.
    """

    package: AuthorizationPackage
    life: TransferLife | None = None
    signals: int = 0


class TransferEnd(Model):
    """How a transfer ended."""

    package_id: str
    status: PackageStatus
    disposition: Disposition | None = None


# --- what people see -------------------------------------------------------------------------------------------------

LEG_NAMES: dict[Destination, str] = {
    Destination.VAULT: "vault",
    Destination.NEXT_NODE: "next-node",
    Destination.BUSINESS_HUB: "Business Hub",
}


def leg_outlook(destination: Destination, status: LegStatus, error: str | None) -> Outlook:
    """What a leg waits for and who can move it on: the same sentence for the API and the Temporal Web UI."""
    match status:
        case LegStatus.PENDING if destination is Destination.BUSINESS_HUB:
            return Outlook(waits_for="the other legs", moved_on_by="whoever moves those on")
        case LegStatus.PENDING:
            return Outlook(waits_for="the Gatekeeper", moved_on_by="its workflow")
        case LegStatus.AWAITING_DISPOSITION:
            return Outlook(
                waits_for="a disposition: the results are not accepted",
                moved_on_by=f"whoever has `{Permission.DISPOSITION_DECIDE}` and neither performed nor signed",
            )
        case LegStatus.PREPARING:
            return Outlook(waits_for="what it sends to be prepared", moved_on_by="the worker")
        case LegStatus.TRANSFERRING:
            return Outlook(waits_for="the receiver's answer", moved_on_by="the receiver")
        case LegStatus.FAILED:
            return Outlook(
                waits_for=f"its next attempt: {error}",
                moved_on_by=f"time, or at once whoever has `{Permission.TRANSFER_RETRY}`",
            )
        case LegStatus.WAITING:
            return Outlook(
                waits_for=f"a person: {error}",
                moved_on_by=f"whoever mends the cause and, with `{Permission.TRANSFER_RETRY}`, retries",
            )
        case LegStatus.COMPLETE:
            return Outlook(waits_for="nothing: the receiver has it", moved_on_by="nobody")
        case LegStatus.NOT_APPLICABLE:
            return Outlook(waits_for="nothing: it does not apply", moved_on_by="nobody")


def opened(package: AuthorizationPackage) -> TransferOpened:
    """The row of its transfer."""
    data = package.test_data
    return TransferOpened(
        package_id=package.package_id,
        smart_contract_id=data.smart_contract_id,
        clientpo_id=package.clientpo_id,
        node_id=data.node_id,
        revision=data.revision,
        verdict=data.verdict,
        package=package.model_dump_json(),
        content_hash=package.content_hash,
        signed_at=data.completion_timestamp,
        authorized_at=package.authorized_at,
    )


def authorization_refusal(
    package_id: str, content_hash: str, reason: str, *, source: str, node_id: str | None = None, user_id: str = "system"
) -> Record:
    """What is recorded of a package that authorizes nothing. The same by the same sender again is one event."""
    named = excerpt(package_id, 200)
    event = document_hash({"content_hash": content_hash, "reason": reason, "source": source, "user_id": user_id})
    key = f"{named}:refuse_authorization:{event[:32]}"
    text = f"The authorization {named} was refused: {excerpt(reason)}"
    alert = Alert(
        alert_id=key,
        alert_type="authorization_refused",
        severity=Severity.CRITICAL,
        source=source,
        subject=named,
        text=f"{text}. Nothing was moved. Find out who sent it; a Guardian that is trusted must authorize anew.",
    )
    entry = LedgerEntry(
        idempotency_key=key,
        action_type="handoff",
        action="refuse_authorization",
        target=named,
        details=text,
        user_id=user_id,
        smart_id=node_id,
        metadata={"content_hash": content_hash, "reason": excerpt(reason)},
    )
    refused = TransferRefused(package_id=named, content_hash=content_hash)
    return Record(entry=entry, changes=(refused, AlertRaised(alert=alert)))
