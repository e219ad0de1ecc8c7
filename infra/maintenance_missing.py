"""Nodes that have not what all of their station type have: they joined after a version of a contract was deployed.

Their gates ask for nothing of it. Nothing is sent there by itself: which nodes a version goes to, two persons say.
"""

from collections.abc import AsyncIterator

from infra.alerts import Alerts, StandingAlerts
from infra.ledger import Ledger
from infra.maintenance import MaintenanceContracts
from infra.maintenance_orders import NodeOrdering
from infra.repairs import Repairs
from schemas import names
from schemas.alert import Severity
from schemas.maintenance_orders import gap_cause
from schemas.maintenance_version import VersionRef
from schemas.reconcile import Repaired

ALERT_TYPE = "deployment_missing"


class MissingDeployments:
    """Raises and resolves `deployment_missing`; what it does is idempotent."""

    def __init__(self, contracts: MaintenanceContracts, ordering: NodeOrdering, alerts: Alerts, ledger: Ledger) -> None:
        self._contracts = contracts
        self._ordering = ordering
        self._alerts = alerts
        self._standing = StandingAlerts(alerts, ledger)

    async def repair(self, repairs: Repairs) -> AsyncIterator[tuple[str, Repaired | None]]:
        """All of them at once: what is missing nowhere any more is known only then."""
        yield ALERT_TYPE, await repairs.attempt(ALERT_TYPE, self._look())

    async def _look(self) -> None:
        missing = {
            gap_cause(ref, node_id): (ref, node_id)
            for ref in await self._contracts.of_whole_types()
            for node_id in await self._ordering.missing(ref)
        }
        open_ = {alert["cause"] for alert in await self._alerts.open_of_type(ALERT_TYPE)}
        for cause in open_ - missing.keys():
            await self._standing.resolve(cause, "nothing is missing there any more")
        for cause in missing.keys() - open_:
            await self._raise(cause, *missing[cause])

    async def _raise(self, cause: str, ref: VersionRef, node_id: str) -> None:
        text = (
            f"{node_id} never got {ref}, which went to all nodes of its station type: its gate asks for nothing of it. "
            f"Deploy it there too (`deploy` with nodes {node_id}, then a second person approves)."
        )
        await self._standing.raise_once(
            ALERT_TYPE,
            ref.contract_id,
            text,
            severity=Severity.HIGH,
            source=names.RECONCILE_ID,
            cause=cause,
            metadata={"version": ref.version, "node_id": node_id},
        )
