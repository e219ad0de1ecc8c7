"""What nodes are told of maintenance contracts: which version comes into force, or ends, under which number."""

from typing import Annotated

from pydantic import Field

from schemas import names
from schemas.alert import cause_of
from schemas.base import Identifier, Model
from schemas.maintenance_version import VersionRef
from schemas.policy_repository import PolicyRef

Nodes = Annotated[tuple[Identifier, ...], Field(min_length=1, max_length=2000)]


class NodeOrders(VersionRef):
    """A version comes into force on the nodes of this deployment, or with `retire` ends wherever it may be.

    `number` is that of the deployment, `late_after` seconds until a node that does not answer is alerted.
    """

    number: int
    document_hash: str
    file_hash: str
    late_after: int
    retire: bool = False


class OrdersRefused(Model):
    """Why nothing was sent to any node."""

    reason: str


class NodeOrder(NodeOrders):
    """Input of a `ContractOnNodeWorkflow`: one node's part of it.

    `restores` as in `ContractRetired`. The others travel through continue-as-new: how many `signals` came, and what
    was alerted.
    """

    node_id: Identifier
    restores: bool = False
    signals: int = 0
    late: bool = False
    refused: bool = False
    faulty: bool = False

    @property
    def workflow_id(self) -> str:
        return names.contract_on_node_id(self.contract_id, self.version, self.node_id, retire=self.retire)

    @property
    def late_cause(self) -> str:
        return cause_of("deployment_late", self.contract_id, self.version, self.node_id)

    @property
    def causes(self) -> tuple[str, str]:
        """Of what may be wrong with it; they end with it."""
        return self.late_cause, cause_of("policy_fault", self.workflow_id)


def gap_cause(ref: VersionRef, node_id: str) -> str:
    """Of a node without a version that went to all nodes of its type."""
    return cause_of("deployment_missing", ref.contract_id, ref.version, node_id)


class WantedNodes(VersionRef):
    """Asks which nodes a version goes to: of the named ones, or of all of the station type, those that never had it."""

    nodes: Nodes | None


class ChosenNodes(Model):
    """In order; `refusal` says why there are none. With them it has come to the `whole_type` that there is now."""

    nodes: tuple[Identifier, ...] = ()
    whole_type: bool = False
    refusal: str | None = None


class HeldContracts(Model):
    """What a node has: for each contract the number of its last delivery that was not taken back."""

    node_id: Identifier
    numbers: dict[Identifier, int]


class DeployedContract(PolicyRef):
    """A version that is in force on a node, as it was delivered there."""

    number: int
    document_hash: str

    @property
    def ref(self) -> PolicyRef:
        return PolicyRef(contract_id=self.contract_id, version=self.version, file_hash=self.file_hash)


class LostContracts(Model):
    """What a node acknowledged and does not have any more."""

    contracts: tuple[DeployedContract, ...]
