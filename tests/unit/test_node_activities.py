"""What a node answers over its task queue: what cannot be cured is not tried again."""

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.node import NodeActivities
from infra.decisions import DecisionVerifier
from infra.equipment import MaintenanceGate
from infra.guardian import Guardian
from infra.node_maintenance import NodeMaintenance
from infra.node_store import NodeStore
from infra.settings import Settings
from schemas.gate import BeginTest, GateAnswer
from schemas.guardian import AUTHORIZATION_REFUSED, AuthorizationRequest
from schemas.node import DELIVERY_REFUSED
from schemas.test_results import Begun, KeptResults, TestResult, TestVerdict
from tests.instruments import NODE, Register, calibrated, delivery, item

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
BEGUN = Begun(performer="ivan", started_at=NOW, instruments=(), document_hash="00")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path)


@pytest.fixture
def store(settings: Settings) -> NodeStore:
    return NodeStore("NODE-1", settings.node_store("NODE-1"))


@pytest.fixture
def maintenance(settings: Settings) -> NodeMaintenance:
    """Its clock stands at `NOW`."""
    return NodeMaintenance(NODE, settings.node_store("NODE-1"), lambda: NOW)


@pytest.fixture
def node(settings: Settings, store: NodeStore, maintenance: NodeMaintenance) -> NodeActivities:
    guardian = Guardian("NODE-1", store, settings.guardian_key_file("NODE-1"), DecisionVerifier(settings))
    return NodeActivities(store, MaintenanceGate(maintenance), guardian)


def begin(node: NodeActivities, *instruments: str, answers: datetime = NOW) -> GateAnswer:
    """What it answers at that time by the server's clock; it was asked at `NOW`."""
    attempt = ActivityEnvironment()
    attempt.info = dataclasses.replace(attempt.info, started_time=answers)
    asked = BeginTest(smart_contract_id="SC-1", performer="ivan", instruments=instruments, at=NOW)
    answer: GateAnswer = attempt.run(node.begin_test, asked)
    return answer


def results(observations: str) -> KeptResults:
    result = TestResult(test_id="T-1", verdict=TestVerdict.ACCEPT, observations=observations, procedure_followed=True)
    return KeptResults(
        smart_contract_id="SC-1", revision=1, begun=BEGUN, results=(result,), submitted_by="ivan", submitted_at=NOW
    )


def refusal(ask: Callable[[], object]) -> tuple[str | None, bool]:
    """Error type, and whether it is for good."""
    with pytest.raises(ApplicationError) as refused:
        ask()
    return refused.value.type, refused.value.non_retryable


class TestANode:
    def test_says_at_its_gate_that_it_does_not_hold_a_contract(self, node: NodeActivities) -> None:
        assert begin(node).missing == ("node NODE-1 does not hold the contract SC-1",)

    def test_that_was_away_and_boots_with_an_old_clock_begins_nothing_with_what_expired_meanwhile(
        self, node: NodeActivities, store: NodeStore, maintenance: NodeMaintenance
    ) -> None:
        store.take(delivery())
        Register(maintenance).write((item(), calibrated(due_on=NOW.date())))
        assert begin(node, "LAMP-1").begun is not None
        answer = begin(node, "LAMP-1", answers=NOW + timedelta(days=2))
        assert answer.missing == ("LAMP-1 was due for calibration on 2026-11-21",)

    def test_refuses_other_results_under_a_revision_for_good(self, node: NodeActivities) -> None:
        node.keep_results(results("none"))
        assert refusal(lambda: node.keep_results(results("many"))) == (DELIVERY_REFUSED, True)

    def test_refuses_an_authorization_for_good(self, node: NodeActivities) -> None:
        request = AuthorizationRequest(
            smart_contract_id="SC-1", revision=1, replaces=None, begun=BEGUN, current={}, approvals=(), at=NOW
        )
        assert refusal(lambda: node.authorize(request)) == (AUTHORIZATION_REFUSED, True)
