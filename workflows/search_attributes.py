"""What operators find workflows by: typed search attributes, from which nothing is ever decided."""

from temporalio import workflow
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from schemas import names

STATUS = SearchAttributeKey.for_keyword(names.SMART_STATUS)
PART = SearchAttributeKey.for_keyword(names.SMART_PART)
NODE = SearchAttributeKey.for_keyword(names.SMART_NODE)
ORDER = SearchAttributeKey.for_keyword(names.SMART_ORDER)
DUE = SearchAttributeKey.for_datetime(names.SMART_DUE)


def search_attributes(
    status: str, *, part: str | None = None, node: str | None = None, order: str | None = None
) -> TypedSearchAttributes:
    """Of a workflow that another one starts."""
    values = ((STATUS, status), (PART, part), (NODE, node), (ORDER, order))
    return TypedSearchAttributes([SearchAttributePair(key, value) for key, value in values if value is not None])


def show_status(status: str) -> None:
    """Of this workflow; costs an event only where it is another than before."""
    if workflow.info().typed_search_attributes.get(STATUS) != status:
        workflow.upsert_search_attributes([STATUS.value_set(str(status))])
