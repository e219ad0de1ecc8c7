"""What becomes of the rows of packages that are transferred, and of those who receive them."""

from typing import Literal

from schemas.base import Model, Partial, UtcDateTime


class TransferOpened(Model):
    """Inserts the row of an authorized package: it decides that the same package twice is one."""

    kind: Literal["transfer_opened"] = "transfer_opened"
    package_id: str
    smart_contract_id: str
    clientpo_id: str
    node_id: str
    revision: int
    verdict: str
    package: str
    content_hash: str
    signed_at: UtcDateTime
    authorized_at: UtcDateTime


class TransferChanged(Partial):
    """Changes columns of one transfer's row; the stamps give it the time of the ledger entry."""

    kind: Literal["transfer_changed"] = "transfer_changed"
    package_id: str
    status: str | None = None
    vault_status: str | None = None
    vault_attempts: int | None = None
    vault_error: str | None = None
    next_node_status: str | None = None
    next_node_attempts: int | None = None
    next_node_error: str | None = None
    business_hub_status: str | None = None
    business_hub_attempts: int | None = None
    business_hub_error: str | None = None
    next_station: str | None = None
    next_contract: str | None = None
    disposition: str | None = None
    received_now: bool = False
    vault_now: bool = False
    next_node_now: bool = False
    ended_now: bool = False


class TransferRefused(Model):
    """A package with exactly this content authorizes nothing: so says its row, where there is one."""

    kind: Literal["transfer_refused"] = "transfer_refused"
    package_id: str
    content_hash: str


class NonconformanceOpened(Model):
    """Inserts a nonconformance record, which gets its number there."""

    kind: Literal["nonconformance_opened"] = "nonconformance_opened"
    package_id: str
    smart_contract_id: str
    clientpo_id: str
    verdict: str
    tests: str
    content_hash: str


class NonconformanceDisposed(Model):
    """The entry's user has decided what becomes of the part."""

    kind: Literal["nonconformance_disposed"] = "nonconformance_disposed"
    package_id: str
    disposition: str
    decided_role: str
    reason: str


class VaultStored(Model):
    """Inserts a package into the vault; `body` is the canonical JSON of exactly what was received."""

    kind: Literal["vault_stored"] = "vault_stored"
    package_id: str
    smart_contract_id: str
    clientpo_id: str
    revision: int
    replaces: str | None
    verdict: str
    body: str
    content_hash: str


class OrderCompleted(Model):
    """Inserts what the Business Hub was told: the chain of a client order has ended."""

    kind: Literal["order_completed"] = "order_completed"
    package_id: str
    clientpo_id: str
    smart_contract_id: str
    verdict: str
    content_hash: str


ChangeOfTransfer = (
    TransferOpened
    | TransferChanged
    | TransferRefused
    | NonconformanceOpened
    | NonconformanceDisposed
    | VaultStored
    | OrderCompleted
)
