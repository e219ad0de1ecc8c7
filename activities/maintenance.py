"""What maintenance contracts need of the hub: drafts, the policy repository, where versions are in force."""

from typing import TYPE_CHECKING

from temporalio import activity
from temporalio.exceptions import ApplicationError

from schemas.maintenance_version import NOT_CREATED, CannotApply, CreatedVersion, NewVersion

if TYPE_CHECKING:
    from infra.maintenance_drafts import Drafts


class MaintenanceActivities:
    """Activities of the hub."""

    def __init__(self, drafts: "Drafts") -> None:
        self._drafts = drafts

    @activity.defn
    async def create_version(self, new: NewVersion) -> CreatedVersion:
        """A draft that changes a version, and its workflow; the same key again is the same draft.

        Fails for good where there is no such parent, or a change does not fit it.
        """
        try:
            return await self._drafts.create_version(new)
        except (CannotApply, LookupError) as error:
            raise ApplicationError(str(error), type=NOT_CREATED, non_retryable=True) from error
