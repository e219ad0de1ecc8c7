"""Metrics: OpenTelemetry instruments and the Temporal SDK's own, both read as Prometheus text."""

from dataclasses import dataclass

import httpx
from opentelemetry import metrics
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from prometheus_client import REGISTRY, generate_latest
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig

from infra.embedded.ports import port
from infra.settings import Settings


def start_metrics(service: str) -> metrics.Meter:
    """Sets up this process's instruments; call once."""
    provider = MeterProvider(
        metric_readers=[PrometheusMetricReader()], resource=Resource.create({"service.name": f"smartfloor-{service}"})
    )
    return provider.get_meter("smartfloor")


@dataclass(frozen=True)
class SdkMetrics:
    """A Temporal runtime and the loopback port on which it serves its metrics."""

    runtime: Runtime
    port: int


def sdk_metrics(settings: Settings) -> SdkMetrics:
    """On the settings' port where it is given and free, else on a free one."""
    chosen = port(settings.metrics_port or None)
    config = TelemetryConfig(metrics=PrometheusConfig(bind_address=f"127.0.0.1:{chosen}", durations_as_seconds=True))
    return SdkMetrics(Runtime(telemetry=config), chosen)


async def exposition(sdk: SdkMetrics) -> bytes:
    """Everything this process measures, as Prometheus text."""
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"http://127.0.0.1:{sdk.port}/metrics", timeout=2)
    return generate_latest(REGISTRY) + answer.content
