"""What a node and the hub tell each other, from the node's real disk: in order, once, and nothing is lost."""

from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio import activity
from temporalio.client import WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from activities.maintenance import MaintenanceActivities
from infra.policy_repository import PolicyRepository
from schemas import names
from schemas.alert import Alert, Severity
from schemas.changes.alert import AlertRaised
from schemas.equipment_register import calibration_row
from schemas.ledger import LedgerEntry
from schemas.maintenance import ContractRetired
from schemas.maintenance_orders import DeployedContract
from schemas.maintenance_version import VersionRef
from schemas.node_report import NodeReports, ReportsConfirmed
from schemas.policy_repository import Publication
from schemas.record import Record
from schemas.reverse_trace import TraceStart
from tests.instruments import delivered, in_force
from tests.workflows.register import ELSEWHERE, Station, calibrated, point
from tests.workflows.shop import WITHOUT_TRACES, MemoryLedger, Shop, check_histories, main_worker, shows, until
from workflows import inbox

CONTINUED = WorkflowExecutionStatus.CONTINUED_AS_NEW


@pytest.fixture
def repository(tmp_path: Path) -> PolicyRepository:
    return PolicyRepository(tmp_path / "policies")


@pytest_asyncio.fixture
async def shop(environment: WorkflowEnvironment, tmp_path: Path, repository: PolicyRepository) -> AsyncIterator[Shop]:
    with closing(Shop(environment, MemoryLedger(), tmp_path)) as shop:
        contracts: Any = None  # nothing of a contract is asked for but its file
        policies = MaintenanceActivities(contracts, contracts, repository, contracts)
        async with main_worker(shop, WITHOUT_TRACES, more=[policies.read_policy]):
            yield shop
            await check_histories(shop)


@pytest_asyncio.fixture
async def station(shop: Shop, tmp_path: Path) -> AsyncIterator[Station]:
    """A node that is away, whose register has the thermometer of the test."""
    with closing(Station(shop.client, f"NODE-S-{shop.name}", tmp_path)) as station:
        shop.workflow_ids.add(station.handle.id)
        shop.ledger.register.register(thermometer(shop), station.node.node_id)
        await synced(shop, station)
        yield station


def thermometer(shop: Shop) -> str:
    return f"T-{shop.name}"


async def synced(shop: Shop, station: Station) -> None:
    """Both know the same, and the node is away again."""
    async with station.online():
        await shop.node_syncs.reported(station.node.node_id)
        await station.handle.result()


def reported(shop: Shop, station: Station) -> list[tuple[str, LedgerEntry]]:
    """What the ledger has of the node, by its key, in the order in which it was recorded."""
    prefix = f"{station.handle.id}:"
    return [(key.removeprefix(prefix), one) for key, one in shop.ledger.entries.items() if key.startswith(prefix)]


class TestWhatANodeDidByItself:
    async def test_is_recorded_in_order_once_with_the_time_it_happened(self, shop: Shop, station: Station) -> None:
        for number in range(1, 6):
            station.now += timedelta(hours=1)
            station.maintenance.record_calibration(calibrated(thermometer(shop), f"C-{number}"), "ines")
        told = station.waiting
        await synced(shop, station)
        found = reported(shop, station)
        assert [key for key, _ in found] == [str(number) for number in range(1, told + 1)]
        assert station.waiting == 0
        calibrations = [entry for _, entry in found if entry.action == "record_calibration"]
        assert [entry.metadata["certificate"] for entry in calibrations] == [f"C-{number}" for number in range(1, 6)]
        assert calibrations[-1].occurred_at == station.now
        assert {entry.smart_id for _, entry in found} == {station.node.node_id}
        assert (calibrations[0].user_id, calibrations[0].action_type) == ("ines", "maintenance")

    async def test_waits_while_the_node_is_away(self, shop: Shop, station: Station) -> None:
        station.maintenance.record_calibration(calibrated(thermometer(shop)), "ines")
        await shop.node_syncs.reported(station.node.node_id)
        await shows(station.handle, "the worker of that node")
        async with station.online():
            await station.handle.result()
        assert station.waiting == 0

    async def test_is_recorded_once_where_the_node_dies_before_it_is_confirmed(
        self, shop: Shop, station: Station
    ) -> None:
        """It reads its reports, is killed, comes back, and is asked again."""
        station.maintenance.record_calibration(calibrated(thermometer(shop)), "ines")
        died: list[int] = []

        @activity.defn(name="confirm_reports")
        def confirm(confirmed: ReportsConfirmed) -> None:
            if not died:
                died.append(confirmed.up_to)
                raise ConnectionError("killed")
            station.maintenance.confirm(confirmed.up_to)

        async with station.online(confirm_reports=confirm):
            await shop.node_syncs.reported(station.node.node_id)
            await station.handle.result()
        recorded = [entry for _, entry in reported(shop, station) if entry.action == "record_calibration"]
        assert (len(recorded), len(died), station.waiting) == (1, 1, 0)

    async def test_is_recorded_once_where_the_hub_ends_before_it_is_confirmed(
        self, shop: Shop, station: Station
    ) -> None:
        """A run is terminated with everything recorded and nothing confirmed; the next one finds it there."""
        station.maintenance.record_calibration(calibrated(thermometer(shop)), "ines")
        told = station.waiting

        @activity.defn(name="confirm_reports")
        def never(confirmed: ReportsConfirmed) -> None:
            raise ConnectionError("away")

        async with station.online(confirm_reports=never):
            await shop.node_syncs.reported(station.node.node_id)
            await until(lambda: len(reported(shop, station)) == told, lambda: str(shop))
            await shows(station.handle, "its confirmation")
            await station.handle.terminate()
        assert station.waiting == told
        await synced(shop, station)
        assert (len(reported(shop, station)), station.waiting) == (told, 0)

    async def test_is_recorded_after_the_ledger_was_away(self, shop: Shop, station: Station) -> None:
        station.maintenance.record_calibration(calibrated(thermometer(shop)), "ines")
        shop.ledger.away = True
        async with station.online():
            await shop.node_syncs.reported(station.node.node_id)
            await until(lambda: shop.ledger.attempts > 3, lambda: "it is tried")
            assert station.waiting > 0
            shop.ledger.away = False
            await station.handle.result()
        assert station.waiting == 0

    async def test_raises_its_alerts_and_ends_them(self, shop: Shop, station: Station) -> None:
        name = thermometer(shop)
        station.maintenance.record_calibration(calibrated(name, "C-1", result="failed"), "ines")
        await synced(shop, station)
        (alert,) = shop.open_alerts("calibration_failed")
        assert alert.issue is not None
        assert alert.issue.equipment_id == name
        station.now += timedelta(days=1)
        station.maintenance.record_calibration(calibrated(name, "C-2", on="2026-05-01"), "ines")
        await synced(shop, station)
        assert shop.open_alerts("calibration_failed") == []

    async def test_raises_none_about_a_calibration_after_which_the_hub_knows_a_better_one(
        self, shop: Shop, station: Station
    ) -> None:
        name = thermometer(shop)
        station.maintenance.record_calibration(calibrated(name, "C-1", result="failed"), "ines")
        shop.ledger.register.change(calibration_row(calibrated(name, "C-2", on="2026-05-01"), station.node.node_id))
        await synced(shop, station)
        assert (name, "C-1") in shop.ledger.register.calibrations
        assert shop.alerts("calibration_failed") == []

    async def test_raises_none_about_an_expiry_after_which_the_hub_knows_a_calibration(
        self, shop: Shop, station: Station
    ) -> None:
        name = thermometer(shop)
        station.maintenance.record_calibration(calibrated(name, "C-1", on="2026-01-01", due_on="2026-02-01"), "ines")
        station.maintenance.check_expiry(station.now)
        shop.ledger.register.change(calibration_row(calibrated(name, "C-2", on="2026-05-01"), station.node.node_id))
        await synced(shop, station)
        assert [entry.action for _, entry in reported(shop, station)].count("generate_alert") == 1
        assert shop.alerts("calibration_expired") == []

    async def test_ends_none_about_an_expiry_after_which_the_hub_knows_a_calibration(
        self, shop: Shop, station: Station
    ) -> None:
        name = thermometer(shop)
        station.maintenance.record_calibration(calibrated(name, "C-1", on="2026-01-01", due_on="2026-02-01"), "ines")
        station.maintenance.check_expiry(station.now)
        newer = calibration_row(calibrated(name, "C-2", on="2026-05-01"), station.node.node_id)
        of_the_newer = Alert(
            alert_id="A-1",
            alert_type="calibration_expired",
            severity=Severity.HIGH,
            source="another node",
            subject=name,
            text="where the thermometer is now",
            cause=f"calibration_expired:{name}",
        )
        shop.ledger.register.change(newer)
        raised = LedgerEntry(idempotency_key="A-1", action_type="maintenance", action="any", target=name, details="any")
        await shop.ledger.record(Record(entry=raised, changes=(AlertRaised(alert=of_the_newer),)))
        await synced(shop, station)
        assert [alert.alert_id for alert in shop.open_alerts("calibration_expired")] == ["A-1"]

    async def test_raises_one_about_an_expiry_that_the_hub_knows_too(self, shop: Shop, station: Station) -> None:
        name = thermometer(shop)
        station.maintenance.record_calibration(calibrated(name, "C-1", on="2026-01-01", due_on="2026-02-01"), "ines")
        station.maintenance.check_expiry(station.now)
        await synced(shop, station)
        assert len(shop.open_alerts("calibration_expired")) == 1

    async def test_ends_none_by_a_calibration_after_which_the_hub_knows_a_failed_one(
        self, shop: Shop, station: Station
    ) -> None:
        name = thermometer(shop)
        station.maintenance.record_calibration(calibrated(name, "C-1", on="2026-03-01", result="failed"), "ines")
        await synced(shop, station)
        station.maintenance.record_calibration(calibrated(name, "C-2", on="2026-04-01"), "ines")
        failed = calibrated(name, "C-3", on="2026-05-01", result="failed")
        shop.ledger.register.change(calibration_row(failed, station.node.node_id))
        await synced(shop, station)
        assert len(shop.open_alerts("calibration_failed")) == 1

    async def test_starts_the_trace_of_what_was_found_out_of_tolerance(self, shop: Shop, station: Station) -> None:
        bad = calibrated(thermometer(shop), result="failed", points=[point("103", "103")])
        station.maintenance.record_calibration(bad, "ines")
        before = await shop.now()
        await synced(shop, station)
        history = [event async for event in station.handle.fetch_history_events()]
        [started] = [
            event.start_child_workflow_execution_initiated_event_attributes
            for event in history
            if event.HasField("start_child_workflow_execution_initiated_event_attributes")
        ]
        assert started.workflow_type.name == "ReverseTraceWorkflow"
        start = TraceStart.model_validate_json(started.input.payloads[0].data)
        assert start.found_at >= before > station.now, "the node's clock is behind"


class TestAReportThatCannotStand:
    async def test_under_its_number_is_kept_aside_and_alerted_and_stops_nothing(
        self, shop: Shop, station: Station
    ) -> None:
        station.maintenance.record_calibration(calibrated(thermometer(shop), "C-1"), "ines")
        await synced(shop, station)
        before = len(reported(shop, station))
        station.loses_its_disk()
        await synced(shop, station)  # it has its register again
        station.maintenance.record_calibration(calibrated(thermometer(shop), "C-2", on="2026-05-01"), "ines")
        told = station.waiting
        await synced(shop, station)
        assert (len(reported(shop, station)) - before, station.waiting) == (told, 0)
        assert len(shop.alerts("report_conflict")) > 0
        assert (thermometer(shop), "C-2") in shop.ledger.register.calibrations
        assert shop.ledger.conflicts
        shop.ledger.conflicts.clear()  # these were foreseen

    async def test_at_all_is_alerted_and_stops_nothing(self, shop: Shop, station: Station) -> None:
        shop.ledger.refuses = {"record_calibration"}
        station.maintenance.record_calibration(calibrated(thermometer(shop)), "ines")
        await synced(shop, station)
        assert station.waiting == 0
        assert "by hand" in (await shop.recorded("refuse_report", target=station.node.node_id)).details
        assert [entry.action for _, entry in reported(shop, station)][-1] == "validate_calibration"

    async def test_beside_another_certificate_of_its_number_is_alerted_and_the_first_stands(
        self, shop: Shop, station: Station
    ) -> None:
        name, node_id = thermometer(shop), station.node.node_id
        station.maintenance.record_calibration(calibrated(name, on="2026-05-02"), "ines")
        at_the_hub = calibrated(name, on="2026-05-01")
        shop.ledger.register.change(calibration_row(at_the_hub, node_id))
        await synced(shop, station)
        (alert,) = [one for one in shop.ledger.alerts.values() if one.alert_type == "calibration_conflict"]
        assert "the first stands" in alert.text
        known = station.maintenance.known([name])[name]
        assert known.last == at_the_hub, "the node has what stands"


class TestANodeThatLostItsDisk:
    async def test_has_its_alerts_raised_under_names_of_their_own(self, shop: Shop, station: Station) -> None:
        """Its numbers begin anew, and an alert that was told once is told no more."""
        for number in (1, 2):
            name = f"T{number}-{shop.name}"
            shop.ledger.register.register(name, station.node.node_id)
            await synced(shop, station)
            station.maintenance.record_calibration(calibrated(name, f"C-{number}", result="failed"), "ines")
            await synced(shop, station)
            station.loses_its_disk()
            await synced(shop, station)
        assert [alert.subject for alert in shop.alerts("calibration_failed")] == [f"T{n}-{shop.name}" for n in (1, 2)]
        assert len(shop.alerts("report_conflict")) > 0
        shop.ledger.conflicts.clear()  # these were foreseen

    async def test_gets_its_contracts_again_before_its_register(
        self, shop: Shop, station: Station, repository: PolicyRepository
    ) -> None:
        shop.ledger.register.in_force = (await deployed(repository),)
        station.loses_its_disk()
        held: list[int] = []
        take = station.maintenance.take_register

        def counted(page: Any) -> int:
            held.append(len(station.maintenance.contracts()))
            return take(page)

        station.maintenance.take_register = counted  # type: ignore[method-assign]
        await synced(shop, station)
        assert [each.version for each in station.maintenance.contracts()] == ["1.2"]
        assert held[0] == 1
        assert len(shop.entries("restore_contract", station.node.node_id)) == 1

    async def test_does_not_get_a_contract_that_was_retired_there(
        self, shop: Shop, station: Station, repository: PolicyRepository
    ) -> None:
        """The hub has not recorded yet that it is retired."""
        contract = await deployed(repository)
        shop.ledger.register.in_force = (contract,)
        station.maintenance.take_contract(delivered(in_force("1.2"), contract.number))
        retired = ContractRetired(contract_id=contract.contract_id, number=contract.number)
        station.maintenance.retire_contract(retired)
        await synced(shop, station)
        assert station.maintenance.contracts() == ()
        assert shop.entries("restore_contract", station.node.node_id) == []

    async def test_has_not_lost_a_contract_that_comes_while_the_hub_looks(
        self, shop: Shop, station: Station, repository: PolicyRepository
    ) -> None:
        """It takes it after it was asked what it has, and is recorded as having it before the hub reads that."""
        contract = await deployed(repository)

        @activity.defn(name="read_reports")
        def read() -> NodeReports:
            found = station.maintenance.reports()
            station.maintenance.take_contract(delivered(in_force("1.2"), contract.number))
            shop.ledger.register.in_force = (contract,)
            return found

        async with station.online(read_reports=read):
            await shop.node_syncs.refresh(station.node.node_id)
            await station.handle.result()
        assert [each.version for each in station.maintenance.contracts()] == ["1.2"]
        assert shop.entries("restore_contract", station.node.node_id) == []

    async def test_whose_contract_was_changed_since_waits_for_a_person(
        self, shop: Shop, station: Station, repository: PolicyRepository, tmp_path: Path
    ) -> None:
        contract = await deployed(repository)
        shop.ledger.register.in_force = (contract,)
        file = tmp_path / "policies" / repository.path(contract)
        published = file.read_bytes()
        file.chmod(0o644)
        file.write_text("changed: true\n")
        station.loses_its_disk()
        async with station.online():
            await shop.node_syncs.reported(station.node.node_id)
            await until(lambda: shop.open_alerts("policy_fault") != [], lambda: str(shop))
            assert station.maintenance.here() == {}, "without its checks it gets no instruments"
            file.write_bytes(published)
            await shop.node_syncs.reported(station.node.node_id)
            await station.handle.result()
        assert shop.open_alerts("policy_fault") == []
        assert list(station.maintenance.here()) == [thermometer(shop)]


async def deployed(repository: PolicyRepository) -> DeployedContract:
    """A version that is in the repository, and in force at the node."""
    delivery = delivered(in_force("1.2"), 7)
    ref = VersionRef(contract_id=delivery.contract_id, version=delivery.version)
    published = await repository.publish(Publication(**ref.model_dump(), document=delivery.document))
    return DeployedContract(
        **ref.model_dump(),
        file_hash=published.file_hash or "",
        number=delivery.number,
        document_hash=delivery.document_hash,
    )


class TestTheRegister:
    async def test_goes_to_the_node_whole_in_pages(self, shop: Shop, station: Station) -> None:
        for number in range(1200):
            shop.ledger.register.register(f"E-{number}", ELSEWHERE if number % 2 else station.node.node_id)
        pages: list[int] = []
        take = station.maintenance.take_register

        def counted(page: Any) -> int:
            pages.append(len(page.items))
            return take(page)

        station.maintenance.take_register = counted  # type: ignore[method-assign]
        async with station.online():
            await shop.node_syncs.refresh(station.node.node_id)
            await station.handle.result()
        assert pages == [500, 500, 200]
        assert len(station.maintenance.here()) == 601

    async def test_goes_again_to_a_node_that_lost_its_disk(self, shop: Shop, station: Station) -> None:
        station.loses_its_disk()
        await synced(shop, station)
        assert list(station.maintenance.here()) == [thermometer(shop)]

    async def test_that_a_node_does_not_take_is_not_pressed_on_it(self, shop: Shop, station: Station) -> None:
        """A node that answers that it has nothing new: the hub does not ask it in a circle."""
        shop.ledger.register.register("E-1", station.node.node_id)

        @activity.defn(name="take_register")
        def refuse(page: Any) -> int:
            return 0

        async with station.online(take_register=refuse):
            await shop.node_syncs.refresh(station.node.node_id)
            await station.handle.result()


class TestWakingIt:
    async def test_more_often_than_one_run_may_be_goes_on_in_the_next(
        self, shop: Shop, station: Station, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While the node is away, and without losing what nobody could read."""
        monkeypatch.setattr(inbox, "CROWD", 5)
        station.maintenance.record_calibration(calibrated(thermometer(shop)), "ines")
        await shop.node_syncs.reported(station.node.node_id)
        first = (await station.handle.describe()).run_id
        await shows(station.handle, "its reports")
        await station.handle.signal("explode")
        for _ in range(12):
            await shop.node_syncs.reported(station.node.node_id)
        async with station.online():
            await station.handle.result()
        assert (await station.handle.describe()).run_id != first
        assert (await shop.client.get_workflow_handle(station.handle.id, run_id=first).describe()).status is CONTINUED
        assert len(shop.entries("refuse_request", station.node.node_id)) == 1
        assert station.waiting == 0

    async def test_many_times_is_answered_by_few_looks(self, shop: Shop, station: Station) -> None:
        looks: list[int] = []

        @activity.defn(name="read_reports")
        def read() -> NodeReports:
            looks.append(1)
            return station.maintenance.reports()

        for _ in range(50):
            await shop.node_syncs.reported(station.node.node_id)
        async with station.online(read_reports=read):
            await station.handle.result()
        assert len(looks) <= 3

    async def test_by_something_that_nobody_can_read_is_refused_and_wakes_it(
        self, shop: Shop, station: Station
    ) -> None:
        await shop.node_syncs.reported(station.node.node_id)
        await station.handle.signal(names.REFRESH, {"unknown": 1})
        await station.handle.signal("explode")
        async with station.online():
            await station.handle.result()
        refusals = [entry for _, entry in reported(shop, station) if entry.action == "refuse_request"]
        assert len(refusals) == 2

    @pytest.mark.parametrize("name", [names.REFRESH, names.REPORTED])
    async def test_by_anybody_records_nothing(self, shop: Shop, station: Station, name: str) -> None:
        before = dict(shop.ledger.entries)
        await shop.node_syncs.reported(station.node.node_id)
        await station.handle.signal(name, {"node_id": "NODE-FORGED"})
        async with station.online():
            await station.handle.result()
        assert shop.ledger.entries == before


async def test_a_node_that_fails_for_a_while_is_asked_again(shop: Shop, station: Station) -> None:
    failures: list[int] = []

    @activity.defn(name="read_reports")
    def read() -> NodeReports:
        if len(failures) < 2:
            failures.append(1)
            raise ApplicationError("its disk is busy")
        return station.maintenance.reports()

    async with station.online(read_reports=read):
        await shop.node_syncs.refresh(station.node.node_id)
        await station.handle.result()
    assert len(failures) == 2
