"""What the people of the shop see of an alert: whose it is, who has seen it, and that it is over."""

import httpx

from schemas.permission import Role
from tests.acceptance import invariants
from tests.acceptance.floor import FI, PO, Floor, Json, bearer, new, until

ENDS = ("smart/infobroadcast/alert_acknowledged", "smart/infobroadcast/alert_resolved")


async def alerts(floor: Floor, **filters: object) -> list[Json]:
    return list((await floor.get("/api/v1/alerts", **filters))["alerts"])


async def the_alert(floor: Floor, po: PO, alert_type: str) -> Json:
    """The only one of its type about this PO, as soon as there is one."""
    [alert] = await until(lambda: alerts(floor, subject=po.name, type=alert_type), bool)
    return alert


async def acknowledge(floor: Floor, alert: Json, user: str, note: str | None = None) -> httpx.Response:
    path = f"{alert['links']['self']}/acknowledge"
    return await floor.ask("POST", path, json={"note": note}, headers=bearer(floor.settings, Role.SUPERVISOR, user))


class TestAReleaseThatFails:
    async def test_is_alerted_once_acknowledged_and_over_by_itself_when_the_po_goes_out(self, floor: Floor) -> None:
        async with floor.listening() as heard, floor.listening(*ENDS) as ends:
            async with floor.without(f"node-{FI}", killed=True):
                po = await floor.stage(node=FI)
                await floor.broadcast(part_id=po.part)
                alert = await the_alert(floor, po, "release_failed")
                assert (alert["state"], alert["owner"], alert["severity"]) == ("raised", "supervisor", "high")
                assert "start it" in alert["text"]

                answer = await acknowledge(floor, alert, "maria", "on my way")
                assert answer.status_code == 200
                seen = answer.json()
                assert seen["state"] == "acknowledged"
                assert (seen["acknowledged"]["by"], seen["acknowledged"]["note"]) == ("maria", "on my way")
                assert (await acknowledge(floor, alert, "maria")).status_code == 200
                assert (await acknowledge(floor, alert, "ada")).status_code == 409
            await po.until("released")

            ended = (await alerts(floor, subject=po.name))[0]
            assert (ended["state"], ended["resolved"]["note"]) == ("resolved", f"SmartClientPO released to {FI}")
            by_number = [
                (await floor.get(f"/api/v1/ledger/entries/{number}"))["action"]
                for number in (
                    ended["raised_entry"],
                    ended["acknowledged"]["ledger_entry"],
                    ended["resolved"]["ledger_entry"],
                )
            ]
            assert by_number == ["release_failed", "acknowledge_alert", "release_client_po"]

            async def published() -> list[tuple[str, str]]:
                return [(told["on"], told["event"]) for told in [*heard, *ends] if told.get("subject") == po.name]

            assert await until(published, lambda found: len(found) >= 3) == [
                ("smart/alertbroadcast/high", "raised"),
                (ENDS[0], "acknowledged"),
                (ENDS[1], "resolved"),
            ]
        await invariants.check(floor)

    async def test_that_is_over_cannot_be_acknowledged(self, floor: Floor) -> None:
        async with floor.without(f"node-{FI}", killed=True):
            po = await floor.stage(node=FI)
            await floor.broadcast(part_id=po.part)
            alert = await the_alert(floor, po, "release_failed")
            assert (await po.cancel()).status_code == 200
        answer = await acknowledge(floor, alert, "maria")
        assert answer.status_code == 409
        assert answer.headers["content-type"] == "application/problem+json"
        assert "Cancelled" in answer.json()["detail"]


class TestARequestThatWasRefused:
    async def test_is_over_when_somebody_has_seen_it(self, floor: Floor) -> None:
        po = await floor.stage()
        await po.workflow.signal("hold", {"reason": ""})
        await po.workflow.signal("hold", {"reason": ""})
        await po.until_told("refuse_request", 2)
        alert = await the_alert(floor, po, "request_refused")
        assert alert["count"] == 2
        assert (await acknowledge(floor, alert, "maria")).json()["state"] == "resolved"
        await po.workflow.signal("hold", {"reason": ""})
        again = await until(lambda: alerts(floor, subject=po.name, open=True), bool)
        assert [found["state"] for found in again] == ["raised"]
        assert again[0]["id"] > alert["id"]


class TestAnAlertThatNothingResolves:
    async def test_is_resolved_by_somebody_who_says_how_they_know(self, floor: Floor) -> None:
        po = await floor.stage()
        await po.workflow.signal("hold", {"unknown": 1})
        alert = await the_alert(floor, po, "request_refused")
        for _ in range(2):
            answer = await floor.ask("POST", f"{alert['links']['self']}/resolve", json={"note": "asked them"})
            assert (answer.status_code, answer.json()["state"]) == (200, "resolved")
        assert answer.json()["resolved"]["by"] == "maria"
        assert "asked them" in answer.json()["resolved"]["note"]


class TestTheList:
    async def test_is_filtered_and_paged(self, floor: Floor) -> None:
        po = await floor.stage()
        for signal in ("hold", "cancel", "amend"):
            await po.workflow.signal(signal, {"unknown": 1})
        await until(lambda: alerts(floor, subject=po.name), lambda found: len(found) == 3)
        about = {"subject": po.name, "owner": "supervisor", "severity": "high", "type": "request_refused"}
        page = await floor.get("/api/v1/alerts", **about, state="raised", open=True, limit=1, offset=1)
        assert (page["matching"], len(page["alerts"])) == (3, 1)
        for other in ({"owner": "admin"}, {"severity": "low"}, {"type": "release_failed"}, {"open": False}):
            assert await alerts(floor, **(about | other)) == []
        assert await alerts(floor, **about, state="raised", open=False) == []

    async def test_leads_to_the_alert_and_whom_it_reached(self, floor: Floor) -> None:
        po = await floor.stage()
        await po.workflow.signal("hold", {"unknown": 1})
        alert = await the_alert(floor, po, "request_refused")
        assert await floor.get(alert["links"]["self"]) == alert | {"deliveries": []}

    async def test_knows_what_it_does_not_have(self, floor: Floor) -> None:
        assert (await floor.ask("GET", "/api/v1/alerts/999999999")).status_code == 404
        missing = {"links": {"self": "/api/v1/alerts/999999999"}}
        assert (await acknowledge(floor, missing, "maria")).status_code == 404
        for wrong in ("0", new("SC"), str(2**63)):
            assert (await floor.ask("GET", f"/api/v1/alerts/{wrong}")).status_code == 422
        assert (await floor.ask("GET", "/api/v1/alerts?owner=janitor")).status_code == 422
