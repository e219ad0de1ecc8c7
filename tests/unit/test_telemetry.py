"""Where a process serves its metrics."""

import logging
import socket

import httpx
import pytest

from infra.embedded.ports import LOOPBACK, port
from infra.telemetry import sdk_metrics


def test_metrics_are_served_on_the_port_that_was_set() -> None:
    chosen = port()
    sdk = sdk_metrics(LOOPBACK, chosen)
    sdk.runtime.metric_meter.create_counter("smartfloor_test_total", "counted here").add(3)
    assert sdk.url == f"http://127.0.0.1:{chosen}/metrics"
    assert 'smartfloor_test_total{service_name="temporal-core-sdk"} 3' in httpx.get(sdk.url, trust_env=False).text


def test_metrics_on_a_free_port_are_found_by_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        sdk = sdk_metrics()
    assert caplog.messages == [f"metrics are on {sdk.url}"]


def test_metrics_do_not_go_elsewhere_when_their_port_is_taken() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        taken = server.getsockname()[1]
        with pytest.raises(OSError, match=f"127.0.0.1:{taken}.*SMARTFLOOR_METRICS_PORT"):
            sdk_metrics(LOOPBACK, taken)
