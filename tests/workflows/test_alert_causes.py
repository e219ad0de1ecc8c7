"""What an alert is about: one cause is one alert, and two are two."""

from schemas import names
from tests.workflows.shop import Shop


class TestAPOWithTheNameOfItsPart:
    async def test_and_its_line_are_alerted_each_for_itself(self, shop: Shop) -> None:
        part = f"A-{shop.name}"
        po = await shop.stage("A", part_id=part)
        assert po.name == part
        await po.ask("resume")
        await po.recorded("refuse_request")
        await shop.client.get_workflow_handle(names.part_arrival_id(part, None)).signal("resume")
        await po.recorded("refuse_request", 2)
        assert len({alert.cause for alert in shop.open_alerts("request_refused")}) == 2
