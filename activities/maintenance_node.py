"""What a node does for maintenance, on its own task queue, over its own disk."""

from typing import TYPE_CHECKING

from temporalio import activity
from temporalio.exceptions import ApplicationError

from schemas.expiry import ExpiryReport
from schemas.maintenance import ContractDelivery, ContractReceipt, ContractRetired
from schemas.node import DELIVERY_REFUSED, DeliveryConflict
from schemas.node_report import NodeReports, RegisterPage, ReportsConfirmed

if TYPE_CHECKING:
    from infra.node_maintenance import NodeMaintenance


class MaintenanceNodeActivities:
    """Activities of one node; each is idempotent, because each may be tried again."""

    def __init__(self, maintenance: "NodeMaintenance") -> None:
        self._maintenance = maintenance

    @activity.defn
    def take_contract(self, delivery: ContractDelivery) -> ContractReceipt:
        """Executes this version from now on, in place of whatever version was there; answers when it is on the disk.

        A delivery that comes late, after one with a higher number or its own retirement, changes nothing: the receipt
        says what is there.
        Fails for good for what is no contract.
        """
        try:
            return self._maintenance.take_contract(delivery)
        except DeliveryConflict as conflict:
            raise ApplicationError(str(conflict), type=DELIVERY_REFUSED, non_retryable=True) from conflict

    @activity.defn
    def retire_contract(self, retired: ContractRetired) -> ContractReceipt:
        """Executes this version no more, and never will; any other one stays as it is."""
        return self._maintenance.retire_contract(retired)

    @activity.defn
    def take_register(self, page: RegisterPage) -> int:
        """Keeps these lines; answers with the revision of the register that the node has now."""
        return self._maintenance.take_register(page)

    @activity.defn
    def read_reports(self) -> NodeReports:
        """What the node did by itself, the oldest first, as much as goes into one message."""
        return self._maintenance.reports()

    @activity.defn
    def confirm_reports(self, confirmed: ReportsConfirmed) -> None:
        """The hub has recorded them: they need not be told again."""
        self._maintenance.confirm(confirmed.up_to)

    @activity.defn
    def check_expiry(self) -> ExpiryReport:
        """Which calibrations run out; the node reminds of them in its reports, once for each of its days."""
        return self._maintenance.check_expiry(activity.info().started_time)
