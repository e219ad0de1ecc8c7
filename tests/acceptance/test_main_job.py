"""The main job, told by what one sees of it: a SmartClientPO is held until its part is there.

Read from the top, this is how the shop works. `floor` is the running shop; every test has a PO and a part of its own.
"""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus

from infra.documents import read_document
from schemas import names
from schemas.canonical import document_hash
from tests.acceptance.floor import CP, DOCK, FI, LP, PO, Floor, Json, arrival, contract, new, until

SAMPLE = (Path(__file__).parents[2] / "infra" / "samples" / "lp-fan-blade.yaml").read_text()


class TestAPOIsHeldUntilItsPartIsThere:
    async def test_without_its_part_it_waits(self, floor: Floor) -> None:
        po = await floor.stage()
        seen = await po.look()
        assert seen["status"] == "awaiting_arrival"
        assert po.part in seen["waits_for"]
        assert "arrival broadcast" in seen["moved_on_by"]
        assert po.name not in floor.inbox(LP)

    async def test_with_its_part_it_is_released_to_the_node_that_it_names(self, floor: Floor) -> None:
        po = await floor.stage(node=LP)
        await floor.broadcast(part_id=po.part)
        seen = await po.until("released")
        assert seen["target_node"] == LP
        assert seen["staged_timestamp"] < seen["arrival_timestamp"] < seen["release_timestamp"]
        told = await po.until_told("await_test")
        assert told == ["stage_client_po", "confirm_arrival", "release_client_po", "await_test"]

    async def test_a_part_that_came_before_its_po_waits_for_it(self, floor: Floor) -> None:
        part = new("PART")
        await floor.broadcast(part_id=part)
        po = await floor.stage(part_id=part)
        await po.until("released")

    async def test_a_hand_scanner_counts_like_a_broadcast(self, floor: Floor) -> None:
        po = await floor.stage()
        await floor.scan(part_id=po.part)
        await po.until("released")

    async def test_the_node_gets_the_document_untouched_and_its_receipt_is_in_the_ledger(self, floor: Floor) -> None:
        po = await floor.stage(
            node=FI, inspector_notes={"surface": "Öl", "points": [1, None, True]}, due_date="2027-01-31"
        )
        await floor.broadcast(part_id=po.part)
        seen = await po.until("released")
        delivery = floor.inbox(FI)[po.name]
        assert delivery.document == po.document
        assert delivery.content_hash() == seen["receipt_hash"]
        [released] = await floor.get("/api/v1/ledger/entries", target=po.name, action="release_client_po")
        assert released["metadata"]["receipt_hash"] == seen["receipt_hash"]
        assert released["metadata"]["document_hash"] == document_hash(po.document)

    async def test_its_test_is_the_next_workflow(self, floor: Floor) -> None:
        po = await floor.stage()
        await floor.broadcast(part_id=po.part)
        assert (await po.workflow.result())["status"] == "released"
        test = await floor.temporal.get_workflow_handle(names.test_execution_id(po.name)).describe()
        assert test.status is WorkflowExecutionStatus.RUNNING


class TestStaging:
    async def test_the_answer_names_the_staged_po_and_where_to_look_at_it(self, floor: Floor) -> None:
        document = contract()
        answer = await floor.submit(document)
        name = document["smart_contract_id"]
        assert answer.status_code == 201
        assert answer.headers["location"] == f"/api/v1/client-pos/{name}"
        staged = answer.json()
        assert staged["smart_contract_id"] == name
        assert staged["workflow_id"] == f"client-po/{name}"
        assert staged["staging_id"] == f"STAGE-{name}"
        assert staged["status"] == "awaiting_arrival"
        assert staged["links"]["self"] == answer.headers["location"]
        ui = f"{floor.settings.temporal_ui}/namespaces/{floor.settings.temporal_namespace}/workflows"
        assert staged["links"]["temporal_ui"] == f"{ui}/client-po%2F{name}"

    async def test_the_answer_does_not_wait_for_a_worker(self, floor: Floor) -> None:
        async with floor.without("worker"):
            document = contract()
            answer = await floor.http.post("/api/v1/client-pos", json=document, timeout=5)
            assert answer.status_code == 201
        await floor.broadcast(part_id=document["part_id"])
        await PO(floor, document).until("released")

    async def test_the_same_document_again_is_the_same_po(self, floor: Floor) -> None:
        po = await floor.stage()
        again = await floor.submit(po.document)
        assert again.status_code == 200
        assert await po.timeline() == ["stage_client_po"]

    async def test_the_same_document_after_the_release_is_still_the_same_po(self, floor: Floor) -> None:
        po = await floor.stage()
        await floor.broadcast(part_id=po.part)
        await po.until("released")
        again = await floor.submit(po.document)
        assert again.status_code == 200
        assert again.json()["status"] == "released"
        assert (await po.look())["status"] == "released"

    async def test_another_document_under_the_same_id_is_a_conflict(self, floor: Floor) -> None:
        po = await floor.stage()
        answer = await floor.submit({**po.document, "client": "Somebody else"})
        assert answer.status_code == 409
        assert answer.headers["content-type"] == "application/problem+json"
        assert (await po.look())["client"] == po.document["client"]

    async def test_yaml_and_json_of_one_document_are_one_document(self, floor: Floor) -> None:
        as_yaml = re.sub(r"(?m)^smart_contract_id: .*", f"smart_contract_id: {new('SC')}", SAMPLE)
        assert "due_date: 20" in as_yaml  # which YAML by itself would take for more than text
        first = await floor.http.post(
            "/api/v1/client-pos", content=as_yaml, headers={"content-type": "application/yaml"}
        )
        second = await floor.http.post("/api/v1/client-pos", json=read_document(as_yaml.encode(), is_yaml=True))
        assert (first.status_code, second.status_code) == (201, 200)

    async def test_an_invalid_document_is_refused_with_every_field_at_fault(self, floor: Floor) -> None:
        document: Json = contract(priority=9, due_date="soon", sequence_number=0, quantity=3)
        document["tests"][0] |= {"assigned_node": "NOD-Unknown", "required_signoffs": []}
        document["routing_trigger"] = {"type": "next_node", "vault_transfer": False}
        answer = await floor.submit(document)
        assert answer.status_code == 422
        assert {error["field"] for error in answer.json()["errors"]} == {
            "priority",
            "due_date",
            "sequence_number",
            "quantity",
            "tests.0.assigned_node",
            "tests.0.required_signoffs",
            "routing_trigger.next_station",
            "routing_trigger.next_contract",
            "routing_trigger.vault_transfer",
        }
        assert (await floor.ask("GET", f"/api/v1/client-pos/{document['smart_contract_id']}")).status_code == 404

    @pytest.mark.parametrize(
        "trigger",
        [
            None,
            {},
            {"type": "teleport"},
            {"type": "workflow_complete", "next_station": CP},
            {"type": "next_node", "next_station": CP},
            {"type": "next_node", "next_station": CP, "next_contract": "X.yaml", "is_final_contract": True},
            {"type": "workflow_complete", "vault_transfer": False},
        ],
        ids=json.dumps,
    )
    async def test_a_routing_trigger_that_leads_nowhere_is_refused(self, floor: Floor, trigger: Any) -> None:
        answer = await floor.submit(contract(routing_trigger=trigger))
        assert answer.status_code == 422
        assert "routing_trigger" in answer.json()["detail"]

    async def test_text_that_no_database_can_keep_is_refused(self, floor: Floor) -> None:
        answer = await floor.submit(contract(client="Aero\0turbine"))
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json()["errors"]] == ["client"]
        for path in ("/api/v1/client-pos/SC%00", "/api/v1/staging-queue?part=%00", "/api/v1/ledger/entries?user=%00"):
            assert (await floor.ask("GET", path)).status_code == 422
        withdrawal = {"part_id": "PART-1", "reason": "mistake"}
        assert (await floor.ask("POST", "/api/v1/arrivals/%00/withdraw", json=withdrawal)).status_code == 422


class TestArrivals:
    async def test_a_duplicate_broadcast_changes_nothing(self, floor: Floor) -> None:
        number = new("PN")
        po = await floor.stage(part_number=number, quantity=2)
        body = await floor.broadcast(part_number=number)
        await floor.send(body, body)
        await po.until("awaiting_arrival", arrived=1)
        await floor.until_recorded(number, "duplicate_broadcast", 2)
        assert (await po.look())["arrived"] == 1
        await floor.broadcast(part_number=number)
        await po.until("released", arrived=2)

    async def test_an_arrival_at_the_wrong_place_does_not_count(self, floor: Floor) -> None:
        po = await floor.stage(arrival_location="dock-7")
        await floor.broadcast(part_id=po.part, location=DOCK)
        await floor.until_recorded(po.part, "receive_arrival")
        assert (await po.look())["status"] == "awaiting_arrival"
        await floor.broadcast(part_id=po.part, location="dock-7")
        await po.until("released")

    async def test_a_scan_at_a_node_does_not_confirm_a_first_contract(self, floor: Floor) -> None:
        po = await floor.stage()
        await floor.broadcast(part_id=po.part, location=LP)
        await floor.until_recorded(po.part, "receive_arrival")
        assert (await po.look())["status"] == "awaiting_arrival"
        await floor.broadcast(part_id=po.part)
        await po.until("released")

    async def test_a_chained_contract_waits_for_its_part_at_its_own_node(self, floor: Floor) -> None:
        first = await floor.stage(node=LP)
        await floor.broadcast(part_id=first.part)
        await first.until("released")
        chained = await floor.stage(node=CP, part_id=first.part, sequence_number=2)
        await floor.broadcast(part_id=first.part, location="dock-2")
        await floor.until_recorded(first.part, "receive_arrival", 2)
        assert (await chained.look())["status"] == "awaiting_arrival"
        await floor.broadcast(part_id=first.part, location=CP)
        await chained.until("released")

    async def test_six_of_ten_are_shown_and_ten_release(self, floor: Floor) -> None:
        number = new("PN")
        po = await floor.stage(part_number=number, quantity=10)
        await floor.broadcast(part_number=number, quantity=6)
        seen = await po.until("awaiting_arrival", arrived=6)
        assert "6 of 10" in seen["waits_for"]
        await floor.broadcast(part_number=number, quantity=4)
        await po.until("released", arrived=10)

    async def test_two_persons_may_accept_fewer(self, floor: Floor) -> None:
        number = new("PN")
        po = await floor.stage(part_number=number, quantity=10)
        assert (await po.accept_quantity()).status_code == 409
        await floor.broadcast(part_number=number, quantity=6)
        await po.until("awaiting_arrival", arrived=6)
        asked = await po.accept_quantity(reason="client takes six")
        assert asked.status_code == 202
        await floor.approved(asked)
        seen = await po.until("released")
        assert (seen["quantity"], seen["accepted_quantity"]) == (10, 6)
        assert floor.inbox(LP)[po.name].quantity == 6

    async def test_nobody_overtakes_the_head_of_the_line(self, floor: Floor) -> None:
        number = new("PN")
        head = await floor.stage(part_number=number, quantity=3, priority=1)
        await floor.in_line(head)
        small = await floor.stage(part_number=number, quantity=1, priority=2)
        await floor.broadcast(part_number=number, quantity=2)
        await head.until("awaiting_arrival", arrived=2)
        assert (await small.look())["status"] == "awaiting_arrival"
        await floor.broadcast(part_number=number, quantity=2)
        await head.until("released")
        await small.until("released")

    async def test_a_damaged_part_puts_the_po_on_hold(self, floor: Floor) -> None:
        po = await floor.stage()
        await floor.broadcast(part_id=po.part, condition="dented")
        seen = await po.until("hold")
        assert "dented" in seen["hold_reason"]
        await po.until_told("confirm_arrival")
        assert (await po.resume("dent is in the waste area")).status_code == 200
        await po.until("released")

    async def test_a_withdrawn_arrival_sends_its_po_back_to_waiting(self, floor: Floor) -> None:
        po = await floor.stage()
        await po.hold()
        mistaken = await floor.broadcast(part_id=po.part)
        await po.until("hold", arrived=1)
        assert (await floor.withdraw(mistaken)).status_code == 200
        await po.until("hold", arrived=0, arrival_timestamp=None)
        await po.resume()
        assert (await po.look())["status"] == "awaiting_arrival"
        await floor.broadcast(part_id=po.part)
        await po.until("released")

    async def test_an_arrival_withdrawn_after_the_release_is_alerted(self, floor: Floor) -> None:
        async with floor.listening() as heard:
            po = await floor.stage()
            mistaken = await floor.broadcast(part_id=po.part)
            await po.until("released")
            answer = await floor.withdraw(mistaken)
            assert answer.status_code in (200, 202)
            if answer.status_code == 202:  # the line knows of the release, as it does after a moment
                await floor.approved(answer)
            alert = await until_heard(heard, on="smart/alertbroadcast/high", alert_type="withdrawn_after_release")
            assert po.name in alert["text"]

    async def test_an_arrival_that_nobody_knows_cannot_be_withdrawn(self, floor: Floor) -> None:
        assert (await floor.withdraw(arrival(part_id=new("PART")))).status_code == 404
        po = await floor.stage()
        await floor.broadcast(part_id=po.part)
        await po.until("released")
        assert (await floor.withdraw(arrival(part_id=po.part))).status_code == 409

    async def test_a_broadcast_from_last_month_goes_to_a_person(self, floor: Floor) -> None:
        async with floor.listening() as heard:
            po = await floor.stage()
            old = datetime.now(UTC) - timedelta(days=30)
            await floor.broadcast(part_id=po.part, timestamp=old.isoformat())
            await until_heard(heard, alert_type="arrival_refused", subject=po.part)
            assert (await po.look())["status"] == "awaiting_arrival"

    @pytest.mark.parametrize(
        ("payload", "fault"),
        [
            (b"\xff\xfe not JSON", "not readable"),
            (b"[]", "object"),
            (json.dumps({"id": "x", "event_type": "part_arrival"}).encode(), "location"),
            (json.dumps(arrival(part_id="PART-1", quantity=2)).encode(), "quantity"),
            (json.dumps(arrival(part_id="PART-1", location="dock\0")).encode(), "location"),
            (json.dumps({**arrival(part_id="PART-1"), "id": "B\0"}).encode(), "id"),
        ],
        ids=["bytes", "list", "incomplete", "contradictory", "null character", "null character in its ID"],
    )
    async def test_a_malformed_broadcast_goes_to_the_dead_letters_and_the_gateway_goes_on(
        self, floor: Floor, payload: bytes, fault: str
    ) -> None:
        po = await floor.stage()
        async with floor.listening() as heard:
            digest = await floor.send_malformed(payload)
            await floor.broadcast(part_id=po.part)
            await po.until("released")
            letter = await until_heard(heard, on="smart/deadletter/smart/infobroadcast/part_arrival")
            assert fault in letter["reason"]
            await until_heard(heard, on="smart/alertbroadcast/medium", alert_type="malformed_broadcast")
        entries = await floor.get("/api/v1/ledger/entries", action="dead_letter")
        assert [e["metadata"]["reason"] for e in entries if e["metadata"]["sha256"] == digest] == [letter["reason"]]

    async def test_a_hand_scanner_is_told_what_is_wrong(self, floor: Floor) -> None:
        answer = await floor.ask("POST", "/api/v1/arrivals", json=arrival(quantity=0, location=""))
        assert answer.status_code == 422
        assert {error["field"] for error in answer.json()["errors"]} == {"quantity", "location", "part_number"}

    async def test_of_a_scanner_without_acknowledgements_count_as_well(self, floor: Floor) -> None:
        number = new("PN")
        po = await floor.stage(part_id=None, part_number=number, quantity=5)
        bodies = [json.dumps(arrival(part_number=number)).encode() for _ in range(5)]
        await floor.publish(names.PART_ARRIVAL_TOPIC, *bodies, qos=0)
        await po.until("released")

    async def test_is_withdrawn_whatever_the_scanner_called_it(self, floor: Floor) -> None:
        body = await floor.scan(part_id=new("PART"), id=f"dock 1/4711?{new('BC')}")
        await floor.until_recorded(body["part_id"], "receive_arrival")
        assert (await floor.withdraw(body)).is_success


class TestWhatPeopleAskOfAPO:
    async def test_a_part_that_arrives_during_a_hold_is_confirmed_but_not_released(self, floor: Floor) -> None:
        po = await floor.stage()
        assert (await po.hold("drawing is being checked")).json()["hold_reason"] == "drawing is being checked"
        await floor.broadcast(part_id=po.part)
        await po.until_told("confirm_arrival")
        seen = await po.look()
        assert (seen["status"], seen["arrived"]) == ("hold", 1)
        assert po.name not in floor.inbox(LP)
        assert (await po.resume()).status_code == 200
        await po.until("released")
        assert await po.until_told("await_test") == [
            "stage_client_po",
            "hold_client_po",
            "confirm_arrival",
            "resume_client_po",
            "release_client_po",
            "await_test",
        ]

    async def test_a_request_says_who_and_why(self, floor: Floor) -> None:
        po = await floor.stage()
        answer = await floor.ask("POST", f"/api/v1/client-pos/{po.name}/hold", json={})
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json()["errors"]] == ["reason"]
        await po.hold("wrong drawing")
        event = (await po.look())["timeline"][-1]
        assert (event["user_id"], event["details"]) == ("maria", "On hold: wrong drawing")

    async def test_what_the_state_forbids_is_refused_with_a_reason(self, floor: Floor) -> None:
        po = await floor.stage()
        refused = await po.resume()
        assert refused.status_code == 409
        assert "not on hold" in refused.json()["detail"]
        assert (await po.retry()).status_code == 409
        await po.hold("first")
        assert "already on hold: first" in (await po.hold("second")).json()["detail"]
        assert await po.timeline() == ["stage_client_po", "hold_client_po"]

    async def test_a_request_that_is_sent_again_under_its_key_is_done_once(self, floor: Floor) -> None:
        po = await floor.stage()
        for reason in ("first", "first", "second"):
            answer = await floor.ask(
                "POST",
                f"/api/v1/client-pos/{po.name}/hold",
                json={"reason": reason},
                headers={"Idempotency-Key": f"key-of-{reason}"},
            )
            assert answer.status_code == (200 if reason == "first" else 409), answer.text
        assert await po.timeline() == ["stage_client_po", "hold_client_po"]

    async def test_nothing_can_be_asked_of_a_released_po(self, floor: Floor) -> None:
        po = await floor.stage()
        await floor.broadcast(part_id=po.part)
        await po.until("released")
        for answer in (await po.hold(), await po.resume(), await po.cancel(), await po.amend(priority=1)):
            assert answer.status_code == 409
            assert "released" in answer.json()["detail"]
        told = await po.until_told("await_test")
        assert told == ["stage_client_po", "confirm_arrival", "release_client_po", "await_test"]

    async def test_nothing_can_be_asked_of_an_unknown_po(self, floor: Floor) -> None:
        assert (await PO(floor, contract()).hold()).status_code == 404

    async def test_a_higher_priority_takes_a_po_to_the_head_of_the_line(self, floor: Floor) -> None:
        number = new("PN")
        first = await floor.stage(part_number=number, priority=2)
        second = await floor.stage(part_number=number, priority=3)
        assert (await second.amend(priority=1, reason="aircraft on ground")).json()["priority"] == 1
        await floor.broadcast(part_number=number)
        await second.until("released")
        assert (await first.look())["status"] == "awaiting_arrival"
        assert floor.inbox(LP)[second.name].priority == 1

    async def test_dates_are_amended_and_taken_away(self, floor: Floor) -> None:
        po = await floor.stage(due_date="2027-01-31", expected_arrival="2027-01-02")
        amended = await po.amend(due_date="2027-02-28", expected_arrival=None)
        assert amended.json()["due_date"] == "2027-02-28T23:59:59Z"
        assert amended.json()["expected_arrival"] is None
        [entry] = await floor.get("/api/v1/ledger/entries", target=po.name, action="amend_client_po")
        assert set(entry["metadata"]["changes"]) == {"due_date", "expected_arrival"}

    async def test_the_parts_of_a_cancelled_po_go_to_the_next_in_line(self, floor: Floor) -> None:
        first = await floor.stage()
        await first.hold()
        second = await floor.stage(part_id=first.part)
        await floor.broadcast(part_id=first.part)
        await first.until_told("confirm_arrival")
        assert (await second.look())["status"] == "awaiting_arrival"
        assert (await first.cancel()).json()["status"] == "cancelled"
        await second.until("released")
        assert (await floor.submit(first.document)).json()["status"] == "cancelled"

    async def test_a_hold_while_its_node_is_offline_takes_the_po_back_from_the_way(self, floor: Floor) -> None:
        async with floor.without(f"node-{FI}"):
            po = await floor.stage(node=FI)
            await floor.broadcast(part_id=po.part)
            await po.until("ready_for_release")
            assert (await po.hold()).json()["status"] == "hold"
        assert po.name not in floor.inbox(FI)
        await po.resume()
        await po.until("released")


class TestTheOperatorInTheTemporalWebUI:
    async def test_the_details_say_what_a_po_waits_for(self, floor: Floor) -> None:
        po = await floor.stage()
        description = await po.workflow.describe()
        summary = await description.static_summary()
        assert summary is not None
        assert all(word in summary for word in (po.name, po.part, LP))

        async def details() -> str:
            metadata = await po.workflow.query("__temporal_workflow_metadata")
            return str(metadata.current_details if hasattr(metadata, "current_details") else metadata)

        assert f"part {po.part}: 0 of 1 there" in await details()
        await po.hold("wrong drawing")
        assert "on hold: wrong drawing" in await details()

    async def test_the_working_list_of_holds_is_a_query(self, floor: Floor) -> None:
        po = await floor.stage(clientpo_id=new("CPO"), due_date="2027-01-31")
        await po.hold()
        query = (
            f'SmartStatus="hold" AND SmartPart="{po.part}" AND SmartNode="{LP}"'
            f' AND SmartOrder="{po.document["clientpo_id"]}" AND SmartDue > "2027-01-01T00:00:00Z"'
        )
        [found] = await until(lambda: floor.list_workflows(query), bool)
        assert found.id == f"client-po/{po.name}"
        await po.resume()
        await until(lambda: floor.list_workflows(query), lambda found: not found)

    async def test_a_signal_puts_a_po_on_hold_and_another_resumes_it(self, floor: Floor) -> None:
        po = await floor.stage()
        await po.workflow.signal("hold", {"reason": "crack in the crate", "user_id": "maria"})
        assert (await po.until("hold"))["hold_reason"] == "crack in the crate"
        await po.workflow.signal("resume", {"reason": "crate only", "user_id": "maria"})
        await po.until("awaiting_arrival", hold_reason=None)

    @pytest.mark.parametrize(
        ("signal", "arguments", "fault"),
        [
            ("hold", [], "reason"),
            ("hold", ["just do it"], "hold"),
            ("hold", [{"reason": "x", "until": "tomorrow"}], "until"),
            ("resume", [{"reason": "x"}], "not on hold"),
            ("release", [{"reason": "now"}], "no signal"),
        ],
    )
    async def test_a_signal_that_means_nothing_is_refused_recorded_and_alerted(
        self, floor: Floor, signal: str, arguments: list[Any], fault: str
    ) -> None:
        po = await floor.stage()
        async with floor.listening() as heard:
            await po.workflow.signal(signal, args=arguments)
            alert = await until_heard(heard, alert_type="request_refused", subject=po.name)
            assert fault in alert["text"]
        assert await po.timeline() == ["stage_client_po", "refuse_request"]
        await floor.broadcast(part_id=po.part)
        await po.until("released")

    async def test_temporals_own_cancel_cancels_the_po(self, floor: Floor) -> None:
        po = await floor.stage()
        next_one = await floor.stage(part_id=po.part)
        await po.workflow.cancel()
        await po.until("cancelled")
        await floor.broadcast(part_id=po.part)
        await next_one.until("released")
        assert await po.timeline() == ["stage_client_po", "cancel_client_po"]

    async def test_an_arrival_is_withdrawn_by_a_signal_too(self, floor: Floor) -> None:
        po = await floor.stage()
        await po.hold()
        mistaken = await floor.broadcast(part_id=po.part)
        await po.until("hold", arrived=1)
        part = floor.temporal.get_workflow_handle(f"part/{po.part}")
        await part.signal("withdraw", {"broadcast_id": mistaken["id"], "reason": "other part", "user_id": "maria"})
        await po.until("hold", arrived=0)


class TestWhatPeopleSee:
    async def test_the_staging_queue_counts_filters_and_pages(self, floor: Floor) -> None:
        order, part = new("CPO"), new("PN")
        before = await floor.get("/api/v1/staging-queue", limit=1)
        low, rush, held = [
            await floor.stage(clientpo_id=order, part_number=part, priority=priority, node=CP) for priority in (4, 1, 3)
        ]
        await held.hold()
        after = await floor.get("/api/v1/staging-queue", clientpo_id=order)
        assert after["total_staged"] == before["total_staged"] + 3
        assert after["awaiting_arrival"] == before["awaiting_arrival"] + 2
        assert after["on_hold"] == before["on_hold"] + 1
        assert [po["smart_contract_id"] for po in after["queue"]] == [rush.name, held.name, low.name]
        assert after["matching"] == 3

        async def listed(**filters: Any) -> list[str]:
            page = await floor.get("/api/v1/staging-queue", clientpo_id=order, **filters)
            return [po["smart_contract_id"] for po in page["queue"]]

        assert await listed(limit=1, offset=1) == [held.name]
        assert await listed(status="hold") == [held.name]
        assert await listed(node=CP, part=part) == [rush.name, held.name, low.name]
        assert await listed(node=LP) == []

    async def test_the_analytics_are_counted_from_the_ledger(self, floor: Floor) -> None:
        before = await floor.get("/api/v1/analytics/staging")
        po, waiting = await floor.stage(node=CP), await floor.stage(node=CP)
        body = await floor.broadcast(part_id=po.part)
        await po.until("released")
        await floor.send(body)
        await floor.broadcast(part_id=new("PART"))

        async def analytics() -> Json:
            return dict(await floor.get("/api/v1/analytics/staging"))

        after = await until(analytics, lambda seen: seen["broadcasts"]["unmatched"] > before["broadcasts"]["unmatched"])
        after = await until(
            analytics, lambda seen: seen["broadcasts"]["duplicates"] > before["broadcasts"]["duplicates"]
        )
        total = after["total"]
        assert total["staged"] == before["total"]["staged"] + 2
        assert total["released"] == before["total"]["released"] + 1
        assert total["queue_length"] == before["total"]["queue_length"] + 1
        assert 0 < total["part_wait_p50"] <= total["part_wait_p95"]
        assert 0 < total["release_p50"] <= total["release_p95"]
        assert 0 < total["confirmation_rate"] <= 1
        assert any(line["node"] == CP for line in after["by_node_and_day"])
        await waiting.cancel()

    async def test_every_ledger_entry_can_be_proved_from_a_checkpoint(self, floor: Floor) -> None:
        po = await floor.stage()
        [entry] = await floor.get("/api/v1/ledger/entries", target=po.name)

        async def proof() -> Json:
            answer = await floor.ask("GET", f"/api/v1/ledger/entries/{entry['seq']}/proof")
            return dict(answer.json()) if answer.is_success else {}

        found = await until(proof, bool)
        assert found["leaf"] == entry["leaf"]
        assert found["size"] > entry["seq"]

    async def test_health_says_which_part_is_away(self, floor: Floor) -> None:
        assert (await floor.http.get("/health")).json() == {"status": "ok", "database": "ok", "temporal": "ok"}
        async with floor.without("postgres"):
            sick = await floor.http.get("/api/v1/health/ready")
            assert sick.status_code == 503
            assert (sick.json()["database"], sick.json()["temporal"]) == ("away", "ok")
            assert (await floor.http.get("/api/v1/health/live")).status_code == 200
            answer = await floor.http.post("/api/v1/client-pos", json=contract())
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) > 0
        assert (await floor.ask("GET", "/health")).status_code == 200

    async def test_the_metrics_are_the_apis_and_the_temporal_sdks(self, floor: Floor) -> None:
        await floor.stage()
        text = (await floor.http.get("/metrics")).text
        assert "http_server_request_duration_seconds_bucket" in text
        assert "temporal_request" in text


async def until_heard(heard: list[Json], **fields: str) -> Json:
    """Waits until a message with these fields was published."""

    async def matching() -> list[Json]:
        return [message for message in heard if fields.items() <= message.items()]

    return (await until(matching, bool))[0]
