"""No test on an uncalibrated tool, told by what one sees of it: instruments, their contracts, and what is in doubt.

Every test has instruments and contracts of its own, and after every one of them the invariants hold.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest_asyncio

from infra.registry import load_registry
from schemas import names
from schemas.equipment import CalibrationRecord
from tests.acceptance import invariants
from tests.acceptance.chain import INES, PETRA, QUENTIN, done
from tests.acceptance.floor import CP, LP, LP_2, Floor, Json, until
from tests.acceptance.maintenance import (
    INTERVAL,
    MIKE,
    Instrument,
    Maintained,
    ask,
    at_node,
    at_the_gate_with,
    maintained,
    registered,
    today,
)

IN_FORCE = ("active", "monitoring")


@pytest_asyncio.fixture(autouse=True)
async def the_invariants_hold(floor: Floor) -> AsyncIterator[None]:
    yield
    await invariants.check(floor)


class TestATestOnAnExpiredInstrument:
    async def test_is_blocked_and_goes_on_by_itself_once_the_calibration_is_recorded(self, floor: Floor) -> None:
        thermometer = await registered(floor)
        await thermometer.calibrate(today() - timedelta(days=INTERVAL + 10))
        assert (await thermometer.look())["state"] == "expired"
        await thermometer.at_its_node()
        tested = await at_the_gate_with(thermometer)

        done(await tested.start())
        await tested.until_test("blocked")
        [alert] = [alert for alert in await _open_alerts(floor) if alert["subject"] == tested.name]
        assert alert["alert_type"] == "equipment_not_ready"
        assert thermometer.equipment_id in alert["text"]

        await thermometer.calibrate(today())
        await tested.until_test("running")
        assert [alert for alert in await _open_alerts(floor) if alert["subject"] == tested.name] == []
        linked = _in_order(await tested.entries(tested.document["clientpo_id"], "link_contracts"))
        assert [entry["metadata"]["all_equipment_ready"] for entry in linked] == [False, True]
        *_, recorded = _in_order(await tested.entries(thermometer.equipment_id, "record_calibration"))
        assert recorded["metadata"]["new_calibration"] == today().isoformat()

    async def test_goes_on_when_the_calibration_comes_by_signal(self, floor: Floor) -> None:
        thermometer = await registered(floor)
        await thermometer.at_its_node()
        tested = await at_the_gate_with(thermometer)
        done(await tested.start())
        await tested.until_test("blocked")
        await floor.temporal.start_workflow(
            "EquipmentWorkflow",
            {"equipment_id": thermometer.equipment_id},
            id=names.equipment_workflow_id(thermometer.equipment_id),
            task_queue=names.MAIN_QUEUE,
            start_signal=names.RECORD_CALIBRATION,
            start_signal_args=[thermometer.certificate(today())],
        )
        await tested.until_test("running")

    async def test_is_not_helped_by_a_certificate_of_another_instrument_or_of_tomorrow(self, floor: Floor) -> None:
        thermometer = await registered(floor)
        path = f"/equipment/{thermometer.equipment_id}/calibrations"
        for wrong in (
            {"certificate_for": "THERMOMETER-OF-OTHERS"},
            {"calibrated_on": (today() + timedelta(days=2)).isoformat()},
            {"certificate_number": " "},
        ):
            answer = await ask(floor, MIKE, "POST", path, {**thermometer.certificate(today()), **wrong})
            assert answer.status_code in (409, 422), wrong
        assert (await thermometer.look())["state"] == "pending_calibration"


class TestANodeThatIsCutOffForADay:
    async def test_gets_and_gives_everything_once_and_in_order_when_it_is_back(self, floor: Floor) -> None:
        lamp = await registered(floor, node_id=CP, equipment_type="lamp")
        await lamp.at_its_node()
        node = floor.shop.process(f"node-{CP}")
        await node.stop()
        try:
            contract = await maintained(floor, "CP")
            await contract.deploy()
            deployed = await contract.until("deployed")
            assert [one["status"] for one in deployed["deployments"]] == ["pending"]
            other = await registered(floor, node_id=CP)

            # Meanwhile at the node, which nobody can reach and which reaches nobody.
            yesterday = timedelta(days=1)
            certificates = [lamp.certificate(today() - timedelta(days=days)) for days in (9, 5, 2)]
            with at_node(floor, CP, ago=yesterday) as away:
                for certificate in certificates:
                    away.record_calibration(CalibrationRecord.model_validate(certificate), "mike")
            assert (await lamp.look())["certificates"] == []
        finally:
            await node.start()

        await contract.until(*IN_FORCE)
        await other.at_its_node()
        recorded = _in_order(await floor.until_recorded(lamp.equipment_id, "record_calibration", 3))
        assert [entry["metadata"]["certificate"] for entry in recorded] == [
            certificate["certificate_number"] for certificate in certificates
        ]
        assert {entry["smart_id"] for entry in recorded} == {CP}
        for entry in recorded:
            late = _moment(entry["recorded_at"]) - _moment(entry["occurred_at"])
            assert timedelta(hours=23) < late < timedelta(hours=25)
        assert len((await lamp.look())["certificates"]) == 3
        with at_node(floor, CP) as back:

            async def waiting() -> int:
                return back.waiting()[0]

            await until(waiting, lambda found: found == 0)

    async def test_alerts_afterwards_and_once_what_failed_meanwhile_with_its_time(self, floor: Floor) -> None:
        contract = await maintained(floor, "CP")
        await contract.deploy()
        await contract.until(*IN_FORCE)
        lamp = await registered(floor, node_id=CP, equipment_type=contract.equipment_type)
        await lamp.at_its_node()

        async def alerts() -> list[Json]:
            return [alert for alert in await _open_alerts(floor) if alert["subject"] == lamp.equipment_id]

        node = floor.shop.process(f"node-{CP}")
        await node.stop()
        try:
            for ago in (timedelta(days=1), timedelta(hours=20)):
                assert not contract.weak(lamp, ago=ago).success
            assert await alerts() == []
        finally:
            await node.start()

        entries = _in_order(await floor.until_recorded(lamp.equipment_id, "generate_alert", 2))
        late = [_moment(entry["recorded_at"]) - _moment(entry["occurred_at"]) for entry in entries]
        assert [round(each / timedelta(hours=1)) for each in late] == [24, 20]
        [alert] = await alerts()
        assert (alert["alert_type"], alert["count"]) == ("reading_out_of_limits", 2)
        assert contract.contract_id in alert["cause"]


class TestANewVersion:
    async def test_takes_over_while_tests_are_running(self, floor: Floor) -> None:
        contract = await maintained(floor, "LP")
        await contract.deploy()
        await contract.until(*IN_FORCE)
        lamp = await registered(floor, equipment_type=contract.equipment_type)
        await lamp.calibrate(today())
        await lamp.at_its_node()
        assert contract.weak(lamp, "1100").success
        running, waiting = await asyncio.gather(at_the_gate_with(lamp), at_the_gate_with(lamp))
        done(await running.start())
        await running.until_test("running")

        path = f"/maintenance/contracts/{contract.contract_id}/versions"
        change = {"field": "/validation_rules/uv-a/minimum", "before": "1000", "after": "1200", "reason": "ISO 3059"}
        asked = {"parent_version": "1.0", "reason": "brighter", "changes": [change]}
        done(await ask(floor, MIKE, "POST", path, asked))
        await contract.deploy("1.1")
        await contract.until("archived")
        assert [version["parent_version"] for version in await contract.versions()] == [None, "1.0"]

        done(await running.submit())  # what has begun goes on with what was frozen
        await running.until_test("awaiting_signoff")
        done(await waiting.start())  # what begins now needs the check of the version in force
        await waiting.until_test("blocked")
        assert not contract.weak(lamp, "1100").success
        assert contract.weak(lamp, "1250").success
        await waiting.until_test("running")

    async def test_is_made_from_three_alerts_on_two_nodes(self, floor: Floor) -> None:
        contract = await maintained(floor, "LP")
        await contract.deploy()
        await contract.until(*IN_FORCE)
        lamps = [
            await registered(floor, node_id=node, equipment_type=contract.equipment_type) for node in (LP, LP, LP_2)
        ]
        for lamp in lamps:
            await lamp.at_its_node()
            contract.weak(lamp)
        review = await contract.review()
        assert review["review_type"] == "contract_review"
        assert (await contract.look())["status"] in IN_FORCE  # nothing is changed where it is executed
        await contract.approve(review["review_id"])
        versions = await until(contract.versions, lambda versions: len(versions) == 2)
        [draft] = [version for version in versions if version["version"] == "1.1"]
        assert (draft["status"], draft["parent_version"]) == ("draft", "1.0")
        assert len(draft["changes"][0]["data"]["alerts"]) == 3


class TestAnInstrumentThatMoves:
    async def test_is_refused_where_it_was_and_measures_where_it_is(self, floor: Floor) -> None:
        here = await registered(floor)
        await here.calibrate(today())
        await here.at_its_node()
        left = await at_the_gate_with(here)
        there = replace(here, node_id=LP_2)
        await moved(there, LP)
        done(await left.start())
        await left.until_test("blocked")

        tested = await at_the_gate_with(there)
        done(await tested.start())
        await tested.until_test("running")
        back = f"/equipment/{here.equipment_id}/check-out"
        assert (await ask(floor, MIKE, "POST", back, {"to_node": LP, "reason": "urgent"})).status_code == 409
        done(await tested.submit())
        await tested.until_test("awaiting_signoff")
        await moved(here, LP_2)
        await left.until_test("running")
        reasons = [(event["event"], event["reason"]) for event in (await here.look())["events"]]
        assert reasons == [("moved", "needed there"), ("moved", "needed there"), ("registered", None)]


async def moved(to: Instrument, before: str) -> None:
    """Checked out to its node; it and the one before have heard of it."""
    path = f"/equipment/{to.equipment_id}/check-out"
    done(await ask(to.floor, MIKE, "POST", path, {"to_node": to.node_id, "reason": "needed there"}))

    await to.at_its_node()
    with at_node(to.floor, before) as there, at_node(to.floor, to.node_id) as here:

        async def heard() -> bool:
            known = [node.known([to.equipment_id]) for node in (there, here)]
            return all(each[to.equipment_id].item.node_id == to.node_id for each in known if to.equipment_id in each)

        await until(heard, bool)


class TestTheDailyWatch:
    async def test_of_each_node_is_scheduled_and_looks_at_its_calibrations(self, floor: Floor) -> None:
        nodes = load_registry(floor.settings.nodes_file).nodes
        for node in nodes:
            described = await floor.temporal.get_schedule_handle(names.node_watch_id(node.node_id)).describe()
            assert described.info.next_action_times
        await floor.temporal.get_schedule_handle(names.node_watch_id(LP)).trigger()
        [entry, *_] = await floor.until_recorded(LP, "check_expiry")
        assert entry["smart_id"] == LP


class TestWhatAlertsTeach:
    """From a reading at the node, by its report and the broker, to what an engineer is asked."""

    async def test_three_on_one_node_open_a_review_of_the_instrument_that_changes_no_contract(
        self, floor: Floor
    ) -> None:
        contract, review = await taught(floor, LP, LP, LP)
        assert (review["review_type"], review["status"]) == ("equipment_review", "open")
        assert len(set(review["alert_ids"])) == 3
        await contract.approve(review["review_id"])
        accepted = await ended(contract)
        assert (accepted["status"], accepted["draft_version"]) == ("accepted", None)
        assert len(await contract.versions()) == 1

    async def test_a_review_of_an_instrument_is_declined_with_a_reason(self, floor: Floor) -> None:
        contract, review = await taught(floor, LP, LP, LP)
        await declined(floor, contract, review)

    async def test_a_review_of_a_contract_is_declined_with_a_reason(self, floor: Floor) -> None:
        contract, review = await taught(floor, LP, LP_2, LP)
        assert review["review_type"] == "contract_review"
        await declined(floor, contract, review)


async def lamps_of(floor: Floor, *nodes: str) -> tuple[Maintained, dict[str, Instrument]]:
    """A contract in force for lamps at these nodes, one at each."""
    contract = await maintained(floor, "LP")
    await contract.deploy()
    await contract.until(*IN_FORCE)
    lamps = {node: await registered(floor, node_id=node, equipment_type=contract.equipment_type) for node in nodes}
    for lamp in lamps.values():
        await lamp.at_its_node()
    return contract, lamps


async def taught(floor: Floor, *nodes: str) -> tuple[Maintained, Json]:
    """The review of a contract for lamps that were found too weak, one after the other, at these nodes."""
    contract, lamps = await lamps_of(floor, *dict.fromkeys(nodes))
    for ago, node in enumerate(reversed(nodes)):
        contract.weak(lamps[node], ago=timedelta(minutes=ago))
    review = await contract.review()
    await floor.until_recorded(review["review_id"], "request_approval")
    return contract, review


async def ended(contract: Maintained) -> Json:
    return await until(contract.review, lambda seen: seen["status"] != "open")


async def declined(floor: Floor, contract: Maintained, review: Json) -> None:
    path = f"/approvals/{review['review_id']}"
    answer = {"decision": "refuse", "content_hash": (await floor.get(f"/api/v1{path}"))["content_hash"]}
    assert (await ask(floor, QUENTIN, "POST", f"{path}/respond", answer)).status_code == 422
    done(await ask(floor, QUENTIN, "POST", f"{path}/respond", {**answer, "note": "the reference meter was wrong"}))
    seen = await ended(contract)
    assert (seen["status"], seen["note"], seen["draft_version"]) == ("declined", "the reference meter was wrong", None)
    assert len(await contract.versions()) == 1
    assert (await contract.look())["status"] in IN_FORCE


class TestTheLedger:
    """Actions of specifications 3 and 4 ("Example Code Structure"), with the fields that they name."""

    async def test_has_what_the_hub_and_its_nodes_did_for_a_contract(self, floor: Floor) -> None:
        contract = await maintained(floor, "LP")
        await contract.deploy()
        await contract.until(*IN_FORCE)
        lamps = [
            await registered(floor, node_id=node, equipment_type=contract.equipment_type) for node in (LP, LP, LP_2)
        ]
        for lamp in lamps:
            await lamp.calibrate(today())
            await lamp.at_its_node()
            contract.weak(lamp)
        await contract.approve((await contract.review())["review_id"])
        await until(contract.versions, lambda versions: len(versions) == 2)
        done(await contract.ask("retire", reason="lamps are scrapped"))
        await contract.until("archived")

        of_contract, of_lamp = contract.contract_id, lamps[0].equipment_id
        expected = {
            ("create_contract", of_contract): {"equipment_type", "steps_count"},
            ("validate_contract", of_contract): {"structure_valid", "logic_valid", "conditions_valid"},
            ("deploy_contract", of_contract): {"version", "nodes"},
            ("receive_alert", of_contract): {"alert_id", "node_id", "equipment_type", "issue_type", "pattern_count"},
            ("analyze_alerts", "alert_patterns"): {
                *("total_alerts", "unique_patterns", "critical_patterns", "recommended_updates"),
            },
            ("create_version", of_contract): {"parent_contract", "changes"},
            ("retire_contract", of_contract): {"retirement_reason", "active_duration_days"},
            ("load_contracts", LP): {"contract_ids", "station_type"},
            ("execute_check", of_lamp): {"equipment_id", "check_type", "timestamp", "checks_performed", "success"},
            ("generate_alert", of_lamp): {
                *("alert_type", "severity", "node_id", "station_type", "timestamp", "requires_action"),
            },
            ("record_calibration", of_lamp): {
                *("success", "equipment_id", "previous_calibration", "new_calibration", "certificate", "next_due"),
            },
        }
        missing = {}
        for (action, target), fields in expected.items():
            entries = await floor.until_recorded(target, action)
            assert {entry["action_type"] for entry in entries} == {"maintenance"}, action
            missing[action] = fields - _in_order(entries)[-1]["metadata"].keys()
        assert {action: fields for action, fields in missing.items() if fields} == {}


class TestAnInstrumentThatTurnsOutToBeBad:
    async def test_puts_in_doubt_what_was_measured_with_it_until_people_have_decided(self, floor: Floor) -> None:
        thermometer = await registered(floor)
        await thermometer.calibrate(today() - timedelta(days=30))
        await thermometer.at_its_node()
        tested = await at_the_gate_with(thermometer)
        done(await tested.start())
        done(await tested.submit())
        await tested.until_test("awaiting_signoff")
        done(await tested.sign(INES, "performed"))
        done(await tested.sign(QUENTIN, "approved"))
        await tested.until_leg("vault", "complete")

        point = {
            "name": "40 °C",
            "unit": "°C",
            "reference": "40.0",
            "tolerance": "0.5",
            "as_found": "42.1",
            "as_left": "42.1",
        }
        await thermometer.calibrate(today(), result="failed", points=[point])
        assert (await thermometer.look())["state"] == "calibration_failed"

        async def traces() -> list[Json]:
            return list(
                (await floor.get("/api/v1/traces", equipment_id=thermometer.equipment_id, open="true"))["traces"]
            )

        [trace] = await until(traces, lambda found: bool(found) and found[0]["searched_at"] is not None)
        path = f"/traces/{trace['trace_id']}"
        shown = await floor.get(f"/api/v1{path}")
        [result] = shown["results"]
        assert (result["smart_contract_id"], result["disposition"]) == (tested.name, None)
        in_doubt = [alert for alert in await _open_alerts(floor) if alert["alert_type"] == "results_in_doubt"]
        assert tested.document["clientpo_id"] in {alert["subject"] for alert in in_doubt}

        decided = {"disposition": "withdraw", "reason": "2.1 K too high", "content_hash": shown["content_hash"]}
        assert (await ask(floor, INES, "POST", f"{path}/dispositions", decided)).status_code == 403
        done(await ask(floor, PETRA, "POST", f"{path}/dispositions", decided))
        await until(traces, lambda found: found[0]["waiting"] == 0)
        [revision] = await tested.vault()
        assert [amendment["amendment"] for amendment in revision["amendments"]] == ["withdraw"]


async def _open_alerts(floor: Floor) -> list[Json]:
    return list((await floor.get("/api/v1/alerts", open="true", limit=500))["alerts"])


def _in_order(entries: list[Json]) -> list[Json]:
    return sorted(entries, key=lambda entry: int(entry["seq"]))


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
