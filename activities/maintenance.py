"""What maintenance contracts need of the hub: drafts, the policy repository, where versions are in force."""

from typing import TYPE_CHECKING

from temporalio import activity
from temporalio.exceptions import ApplicationError

from schemas.maintenance_life import ContractRef, MovedVersions, Progress
from schemas.maintenance_orders import ChosenNodes, NodeOrder, NodeOrders, OrdersRefused, WantedNodes
from schemas.maintenance_version import NOT_CREATED, CannotApply, CreatedVersion, NewVersion, VersionRef
from schemas.policy_repository import PolicyFile, PolicyRef, Publication, Published

if TYPE_CHECKING:
    from infra.maintenance import MaintenanceContracts
    from infra.maintenance_drafts import Drafts
    from infra.maintenance_orders import NodeOrdering
    from infra.policy_repository import PolicyRepository


class MaintenanceActivities:
    """Activities of the hub; each is idempotent, because each may be tried again."""

    def __init__(
        self,
        drafts: "Drafts",
        contracts: "MaintenanceContracts",
        repository: "PolicyRepository",
        ordering: "NodeOrdering",
    ) -> None:
        self._drafts = drafts
        self._contracts = contracts
        self._repository = repository
        self._ordering = ordering

    @activity.defn
    async def create_version(self, new: NewVersion) -> CreatedVersion:
        """A draft that changes a version, and its workflow; the same key again is the same draft.

        Fails for good where there is no such parent, or a change does not fit it.
        """
        try:
            return await self._drafts.create_version(new)
        except (CannotApply, LookupError) as error:
            raise ApplicationError(str(error), type=NOT_CREATED, non_retryable=True) from error

    @activity.defn
    async def choose_nodes(self, wanted: WantedNodes) -> ChosenNodes:
        """The nodes of the registry that a version goes to.

        Says why not where one is not of its station type, or has a version that this one was not made from.
        """
        return await self._ordering.choose(wanted)

    @activity.defn
    async def publish_contract(self, publication: Publication) -> Published:
        """Writes a version into the policy repository, once; other content that lies there stays."""
        return await self._repository.publish(publication)

    @activity.defn
    async def read_policy(self, ref: PolicyRef) -> PolicyFile:
        """A published version, or why it is not what was published."""
        return await self._repository.read(ref)

    @activity.defn
    async def send_orders(self, orders: NodeOrders) -> OrdersRefused | None:
        """Starts the workflow of each node that a version is on its way to, or still in force on.

        Starts none where a deployment that was recorded before this one would be undone by it.
        """
        return await self._ordering.send(orders)

    @activity.defn
    async def read_progress(self, ref: VersionRef) -> Progress | None:
        """What is recorded of a version; None where there is none."""
        return await self._contracts.progress(ref)

    @activity.defn
    async def read_moved(self, ref: ContractRef) -> MovedVersions:
        """The versions of a contract that are to look at what their nodes said."""
        return MovedVersions(versions=tuple(await self._contracts.moved(ref.contract_id)))

    @activity.defn
    async def is_wanted(self, order: NodeOrder) -> bool:
        """Whether what a node is to be told still agrees with what is recorded of the version, there and as a whole."""
        return await self._contracts.is_wanted(order)
