"""The endpoint of the metrics, which Prometheus reads."""

from collections.abc import Iterator, Mapping
from typing import get_args

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gradnoise_service.api.auth import Monitor
from gradnoise_service.api.problem import documented
from gradnoise_service.api.state import CurrentService
from gradnoise_service.domain.study import StudyState, TrialState
from gradnoise_service.usecases.metrics import Measured, measure

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    summary="Read the metrics",
    response_class=PlainTextResponse,
    responses={
        200: {"description": "Prometheus's text format.", "content": {"text/plain": {}}},
        **documented(),
    },
)
def metrics(_caller: Monitor, service: CurrentService, request: Request) -> Response:
    """Return the metrics in Prometheus's text format; the token needs the scope `metrics`."""
    service_metrics, process_metrics = _OfService(measure(service)), request.app.state.latencies
    text = generate_latest(service_metrics) + generate_latest(process_metrics)
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)


class _OfService(Collector):
    """What is measured of the whole service, in Prometheus's types."""

    def __init__(self, found: Measured) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        found, load = self._found, self._found.load
        studies = {state: load.studies.get(state, 0) for state in get_args(StudyState)}
        trials = {state: load.trials.get(state, 0) for state in get_args(TrialState)}
        of_studies = GaugeMetricFamily("gradnoise_studies", "Studies.", labels=["state"])
        yield _filled(of_studies, studies)
        yield GaugeMetricFamily("gradnoise_queue_length", "Queued studies.", studies["queued"])
        yield GaugeMetricFamily(
            "gradnoise_queue_age_seconds",
            "Seconds since the oldest queued study was submitted.",
            found.oldest_queued_seconds,
        )
        of_trials = GaugeMetricFamily(
            "gradnoise_trials", "Trials of studies that have not ended.", labels=["state"]
        )
        yield _filled(of_trials, trials)
        lost = CounterMetricFamily(
            "gradnoise_attempts_lost",
            "Attempts that ended without a result or an error of their trial.",
            labels=["outcome"],
        )
        yield _filled(lost, found.attempts_lost)
        yield CounterMetricFamily(
            "gradnoise_lease_losses",
            "Leases of studies that expired before their dispatcher extended them.",
            found.n_lease_losses,
        )
        yield GaugeMetricFamily("gradnoise_dispatchers", "Dispatchers alive.", load.n_dispatchers)
        devices = GaugeMetricFamily(
            "gradnoise_devices", "Devices of the dispatchers.", labels=["kind"]
        )
        yield _filled(devices, load.devices)
        busy = GaugeMetricFamily(
            "gradnoise_devices_busy", "Devices that train a study.", labels=["kind"]
        )
        yield _filled(busy, load.busy)
        yield GaugeMetricFamily(
            "gradnoise_notices_waiting",
            "Messages of webhooks that are not delivered.",
            found.n_notices,
        )


def _filled(metric: GaugeMetricFamily | CounterMetricFamily, values: Mapping[str, int]) -> Metric:
    """Return the metric with a sample for each value of its label."""
    for key, value in sorted(values.items()):
        metric.add_metric((key,), value)
    return metric
