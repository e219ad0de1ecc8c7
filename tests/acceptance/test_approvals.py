"""Four eyes over HTTP, with real tokens and real workers."""

import asyncio

import jwt
import pytest
import pytest_asyncio
from typer.testing import CliRunner

from infra.approvals import ask_approval
from infra.embedded.addresses import environment
from infra.keys import load_or_create
from schemas import names
from schemas.approval import ApprovalRequest, ApprovalType, Difference
from schemas.permission import Role
from tests.acceptance.floor import PO, Floor, Json, bearer, new, until
from workers.cli import app


@pytest_asyncio.fixture
async def po(floor: Floor) -> PO:
    """Six of its ten parts are there."""
    number = new("PN")
    po = await floor.stage(part_number=number, quantity=10)
    await floor.broadcast(part_number=number, quantity=6)
    await po.until("awaiting_arrival", arrived=6)
    return po


async def asked(floor: Floor, po: PO) -> Json:
    """Maria, who stages and asks, wants to go on with six."""
    answer = await po.accept_quantity(reason="the client needs six now")
    assert answer.status_code == 202

    async def approval() -> Json:
        found = await floor.http.get(answer.json()["links"]["approval"])
        return dict(found.json()) if found.is_success else {}

    return await until(approval, bool)


def logged_in_long_ago(floor: Floor, headers: dict[str, str]) -> dict[str, str]:
    """The same person's token, who logged in an hour ago."""
    token = headers["Authorization"].removeprefix("Bearer ")
    claims = jwt.decode(token, options={"verify_signature": False})
    key = load_or_create(floor.settings.token_key_file)
    made = jwt.encode({**claims, "auth_time": claims["auth_time"] - 3600}, key, algorithm="EdDSA")
    return {"Authorization": f"Bearer {made}"}


class TestAnApproval:
    async def test_shows_what_would_change_why_and_who_may_answer(self, floor: Floor, po: PO) -> None:
        approval = await asked(floor, po)
        assert approval["changes"] == [{"field": "parts that confirm it", "before": 10, "after": 6}]
        assert (approval["requested_by"], approval["owner"]) == ("maria", "quality_manager")
        assert approval["reason"] == "the client needs six now"
        assert approval["approval_id"] in (await po.look())["moved_on_by"]

    async def test_given_by_another_person_moves_the_po_on(self, floor: Floor, po: PO) -> None:
        approval = await asked(floor, po)
        answer = await floor.answer(approval["approval_id"])
        assert (answer.status_code, answer.json()["status"]) == (200, "approved")
        await po.until("released")
        entries = await floor.get("/api/v1/ledger/entries", target=approval["approval_id"], action="respond_approval")
        assert entries[0]["user_id"] == "bob"
        assert entries[0]["metadata"]["decision"]["meaning"] == "approved"

    async def test_refused_leaves_the_po_waiting(self, floor: Floor, po: PO) -> None:
        approval = await asked(floor, po)
        assert (await floor.answer(approval["approval_id"], "refuse")).json()["status"] == "refused"
        await po.until("awaiting_arrival", pending_approval=None)

    async def test_cannot_be_given_by_whoever_asked(self, floor: Floor, po: PO) -> None:
        approval = await asked(floor, po)
        answer = await floor.answer(approval["approval_id"], by="maria", role=Role.ADMIN)
        assert answer.status_code == 409
        assert "another person must answer" in answer.json()["detail"]
        assert (await po.look())["status"] == "awaiting_arrival"

    async def test_cannot_be_given_for_what_is_no_longer_asked(self, floor: Floor, po: PO) -> None:
        approval = await asked(floor, po)
        answer = await floor.http.post(
            f"/api/v1/approvals/{approval['approval_id']}/respond",
            json={"decision": "approve", "content_hash": "0" * 64},
            headers=bearer(floor.settings, Role.QUALITY_MANAGER, "bob"),
        )
        assert answer.status_code == 409
        assert "other content" in answer.json()["detail"]

    async def test_cannot_be_given_with_an_old_login(self, floor: Floor, po: PO) -> None:
        approval = await asked(floor, po)
        answer = await floor.http.post(
            f"/api/v1/approvals/{approval['approval_id']}/respond",
            json={"decision": "approve", "content_hash": approval["content_hash"]},
            headers=logged_in_long_ago(floor, bearer(floor.settings, Role.QUALITY_MANAGER, "bob")),
        )
        assert (answer.status_code, answer.json()["type"]) == (401, "urn:smartfloor:problem:stale-login")
        assert "log in again, get a new token" in answer.json()["detail"]
        challenge = answer.headers["WWW-Authenticate"]
        assert challenge.startswith("Bearer ")
        assert 'error="insufficient_user_authentication"' in challenge
        assert 'max_age="900"' in challenge
        assert (await floor.answer(approval["approval_id"])).json()["status"] == "approved"

    @pytest.mark.parametrize("role", [Role.OPERATOR, Role.SUPERVISOR, Role.INSPECTOR, Role.MAINTENANCE_ENGINEER])
    async def test_cannot_be_given_by_a_role_that_may_not(self, floor: Floor, po: PO, role: Role) -> None:
        approval = await asked(floor, po)
        assert (await floor.answer(approval["approval_id"], by="bob", role=role)).status_code == 403

    async def test_can_be_taken_back_by_whoever_asked_and_nobody_else(self, floor: Floor, po: PO) -> None:
        approval = await asked(floor, po)
        path = f"/api/v1/approvals/{approval['approval_id']}/cancel"
        bob = bearer(floor.settings, Role.QUALITY_MANAGER, "bob")
        assert (await floor.http.post(path, json={"reason": "no"}, headers=bob)).status_code == 409
        assert (await floor.http.post(path, json={"reason": "four more came"})).json()["status"] == "cancelled"

    async def test_collects_notes(self, floor: Floor, po: PO) -> None:
        approval = await asked(floor, po)
        path = f"/api/v1/approvals/{approval['approval_id']}"
        for number in range(3):
            assert (await floor.http.post(f"{path}/notes", json={"note": f"note {number}"})).status_code == 201
        timeline = (await floor.get(path))["timeline"]
        assert [event["details"] for event in timeline if event["action"] == "note_approval"] == [
            "note 0",
            "note 1",
            "note 2",
        ]

    async def test_whose_workflow_was_terminated_is_cancelled_and_the_po_goes_on(self, floor: Floor, po: PO) -> None:
        approval = await asked(floor, po)
        await floor.temporal.get_workflow_handle(f"approval/{approval['approval_id']}").terminate()
        await floor.temporal.get_schedule_handle(names.RECONCILE_ID).trigger()
        await po.until("awaiting_arrival", pending_approval=None)
        assert (await floor.get(f"/api/v1/approvals/{approval['approval_id']}"))["status"] == "cancelled"
        assert (await po.accept_quantity()).status_code == 202

    async def test_can_be_asked_for_from_outside_a_workflow(self, floor: Floor) -> None:
        request = ApprovalRequest(
            approval_id=new("ASK"),
            request_type=ApprovalType.FEWER_PARTS,
            subject="somebody's own process",
            requested_by="maria",
            on_behalf_of="eve",
            changes=(Difference(field="parts", before=10, after=6),),
            reason="the client asks",
        )
        for _ in range(2):
            await ask_approval(floor.temporal, request)
        await floor.until_recorded(request.approval_id, "request_approval")
        assert (await floor.answer(request.approval_id, by="eve")).status_code == 409
        assert (await floor.answer(request.approval_id)).json()["status"] == "approved"


class TestTheList:
    async def test_has_what_is_open_by_type_and_mine(self, floor: Floor, po: PO) -> None:
        approval = await asked(floor, po)

        async def listed(headers: dict[str, str] | None = None, **query: str) -> bool:
            found = await floor.http.get(
                "/api/v1/approvals", params={"subject": po.name, **query}, headers=headers or {}
            )
            return [line["approval_id"] for line in found.json()["approvals"]] == [approval["approval_id"]]

        assert await listed(status="open", request_type="fewer_parts")
        assert not await listed(status="approved")
        assert await listed(mine="true")
        assert await listed(bearer(floor.settings, Role.QUALITY_MANAGER, "bob"), mine="true")
        assert not await listed(bearer(floor.settings, Role.OPERATOR, "otto"), mine="true")


class TestADecisionFromTheCommandLine:
    async def test_is_a_token_that_a_signal_carries(self, floor: Floor, po: PO) -> None:
        approval = await asked(floor, po)
        workflow_id = f"approval/{approval['approval_id']}"
        token = bearer(floor.settings, Role.QUALITY_MANAGER, "bob")["Authorization"].removeprefix("Bearer ")
        made = await asyncio.to_thread(
            CliRunner().invoke,
            app,
            ["decide", workflow_id, "approve", "--hash", approval["content_hash"]],
            env={**environment(floor.settings), "SMARTFLOOR_TOKEN": token},
        )
        assert made.exit_code == 0, made.output
        decision = made.output.splitlines()[-1]
        await floor.temporal.get_workflow_handle(workflow_id).signal("respond", {"token": decision})
        await po.until("released")

    async def test_needs_a_bearer_token(self, floor: Floor) -> None:
        made = await asyncio.to_thread(
            CliRunner().invoke,
            app,
            ["decide", "approval/x", "approve", "--hash", "0" * 64, "--token", "nonsense"],
            env=environment(floor.settings),
        )
        assert made.exit_code == 1
        assert "Who are you?" in made.output


def test_a_transport_error_names_the_address() -> None:
    made = CliRunner().invoke(
        app,
        ["decide", "approval/x", "approve", "--hash", "0" * 64, "--token", "x"],
        env={"SMARTFLOOR_API_PORT": "1"},
    )
    assert made.exit_code == 1
    assert "does not answer at http://127.0.0.1:1" in made.output
