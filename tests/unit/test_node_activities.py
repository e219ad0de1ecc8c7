"""What a node answers over its task queue: what cannot be cured is not tried again."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError

from activities.node import NodeActivities
from infra.decisions import DecisionVerifier
from infra.equipment import MaintenanceGate
from infra.guardian import Guardian
from infra.node_maintenance import NodeMaintenance
from infra.node_store import NodeStore
from infra.settings import Settings
from schemas.gate import BeginTest
from schemas.guardian import AUTHORIZATION_REFUSED, AuthorizationRequest
from schemas.node import DELIVERY_REFUSED, Node
from schemas.test_results import Begun, KeptResults, TestResult, TestVerdict

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
BEGUN = Begun(performer="ivan", started_at=NOW, instruments=(), document_hash="00")


@pytest.fixture
def node(tmp_path: Path) -> NodeActivities:
    settings = Settings(state_dir=tmp_path)
    store = NodeStore("NODE-1", settings.node_store("NODE-1"))
    guardian = Guardian("NODE-1", store, settings.guardian_key_file("NODE-1"), DecisionVerifier(settings))
    maintenance = NodeMaintenance(
        Node(node_id="NODE-1", station_type="LP", name="Cell 1"), settings.node_store("NODE-1")
    )
    return NodeActivities(store, MaintenanceGate(maintenance), guardian)


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
        answer = node.begin_test(BeginTest(smart_contract_id="SC-1", performer="ivan", instruments=(), at=NOW))
        assert answer.missing == ("node NODE-1 does not hold the contract SC-1",)

    def test_refuses_other_results_under_a_revision_for_good(self, node: NodeActivities) -> None:
        node.keep_results(results("none"))
        assert refusal(lambda: node.keep_results(results("many"))) == (DELIVERY_REFUSED, True)

    def test_refuses_an_authorization_for_good(self, node: NodeActivities) -> None:
        request = AuthorizationRequest(
            smart_contract_id="SC-1", revision=1, replaces=None, begun=BEGUN, current={}, approvals=(), at=NOW
        )
        assert refusal(lambda: node.authorize(request)) == (AUTHORIZATION_REFUSED, True)
