"""Finding what was measured with an instrument that turned out to be bad."""

from typing import TYPE_CHECKING

from temporalio import activity

from schemas.reverse_trace import Horizon, Search, Searched, Selected, Selecting, TraceStart

if TYPE_CHECKING:
    from infra.reverse_trace import ReverseTraces
    from infra.temporal import NodeSyncs
    from infra.trace_search import Searcher


class ReverseTraceActivities:
    """The search is long, and goes on behind the last page of results that was recorded; the others are short."""

    def __init__(self, traces: "ReverseTraces", searcher: "Searcher", syncs: "NodeSyncs") -> None:
        self._traces = traces
        self._searcher = searcher
        self._syncs = syncs

    @activity.defn
    async def look(self, trace: TraceStart) -> Horizon:
        """How far a search goes: it must be the same however often it is tried."""
        node_id = await self._traces.node_of(trace.equipment_id)
        heard = node_id is None or not await self._syncs.has_news(node_id)
        return (await self._searcher.look(trace)).model_copy(update={"heard": heard})

    @activity.defn
    async def search(self, search: Search) -> Searched:
        """Records whatever is in doubt, and alerts its owners."""
        recorded = next(iter(activity.info().heartbeat_details), 0)
        return await self._searcher.search(search, recorded, activity.heartbeat)

    @activity.defn
    async def select(self, selecting: Selecting) -> Selected:
        """What a decision on this selection would decide on now."""
        return await self._traces.select(selecting.trace_id, selecting.selection)
