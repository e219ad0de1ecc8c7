"""Metrics: OpenTelemetry instruments and the Temporal SDK's own, both read as Prometheus text.

Every process has an exporter of its SDK. Workers and the gateway have no other HTTP server, so what the gateway counts
is made by the SDK's meter and served there too; the API serves its own instruments and its SDK's together.
"""

import logging
from dataclasses import dataclass

import httpx
from opentelemetry import metrics
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from prometheus_client import REGISTRY, generate_latest
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig

from infra.embedded.ports import LOOPBACK, port

log = logging.getLogger(__name__)


def start_metrics(service: str) -> metrics.Meter:
    """Sets up this process's instruments; call once."""
    provider = MeterProvider(
        metric_readers=[PrometheusMetricReader()], resource=Resource.create({"service.name": f"smartfloor-{service}"})
    )
    return provider.get_meter("smartfloor")


@dataclass(frozen=True)
class SdkMetrics:
    """A Temporal runtime, and where it serves its metrics."""

    runtime: Runtime
    url: str


def sdk_metrics(host: str = LOOPBACK, at_port: int = 0) -> SdkMetrics:
    """On this port, or on a free one for 0; raises `OSError` when it is taken: elsewhere nobody would find them."""
    address = f"{host}:{at_port or port()}"
    config = TelemetryConfig(metrics=PrometheusConfig(bind_address=address, durations_as_seconds=True))
    try:
        runtime = Runtime(telemetry=config)
    except ValueError as error:
        raise OSError(
            f"metrics cannot be served on {address} ({error}): set SMARTFLOOR_METRICS_HOST and SMARTFLOOR_METRICS_PORT "
            "to an address of this machine and a port that is free"
        ) from error
    log.info("metrics are on http://%s/metrics", address)
    return SdkMetrics(runtime, f"http://{address}/metrics")


async def exposition(sdk: SdkMetrics) -> bytes:
    """Everything this process measures, as Prometheus text."""
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(sdk.url, timeout=2)
    return generate_latest(REGISTRY) + answer.content
