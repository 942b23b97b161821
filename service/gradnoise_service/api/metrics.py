"""The endpoint of the metrics, which Prometheus reads."""

from collections.abc import Iterator, Mapping
from typing import get_args

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

from gradnoise_service.api.auth import Monitor
from gradnoise_service.api.exposition import MEDIA_TYPE, histogram, metric
from gradnoise_service.api.latencies import Latencies
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
def metrics(_caller: Monitor, service: CurrentService, request: Request) -> PlainTextResponse:
    """Return the metrics in Prometheus's text format; the token needs the scope `metrics`."""
    lines = (*_of_service(measure(service)), *_of_process(request.app.state.latencies))
    return PlainTextResponse("\n".join(lines) + "\n", media_type=MEDIA_TYPE)


def _of_service(found: Measured) -> Iterator[str]:
    load = found.load
    queued = load.studies.get("queued", 0)
    studies = _by("state", {state: load.studies.get(state, 0) for state in get_args(StudyState)})
    trials = _by("state", {state: load.trials.get(state, 0) for state in get_args(TrialState)})
    yield from metric("gradnoise_studies", "gauge", "Studies.", studies)
    yield from metric("gradnoise_queue_length", "gauge", "Queued studies.", [({}, queued)])
    yield from metric(
        "gradnoise_queue_age_seconds",
        "gauge",
        "Seconds since the oldest queued study was submitted.",
        [({}, found.oldest_queued_seconds)],
    )
    yield from metric("gradnoise_trials", "gauge", "Trials of studies that have not ended.", trials)
    yield from metric(
        "gradnoise_attempts_lost_total",
        "counter",
        "Attempts that ended without a result or an error of their trial.",
        _by("outcome", found.attempts_lost),
    )
    yield from metric(
        "gradnoise_lease_losses_total",
        "counter",
        "Leases of studies that expired before their dispatcher extended them.",
        [({}, found.n_lease_losses)],
    )
    yield from metric(
        "gradnoise_dispatchers", "gauge", "Dispatchers alive.", [({}, load.n_dispatchers)]
    )
    yield from metric(
        "gradnoise_devices", "gauge", "Devices of the dispatchers.", _by("kind", load.devices)
    )
    yield from metric(
        "gradnoise_devices_busy", "gauge", "Devices that train a study.", _by("kind", load.busy)
    )
    yield from metric(
        "gradnoise_notices_waiting",
        "gauge",
        "Messages of webhooks that are not delivered.",
        [({}, found.n_notices)],
    )


def _of_process(latencies: Latencies) -> Iterator[str]:
    text = "Seconds until the end of the response, without event streams; of this process."
    yield from histogram("gradnoise_request_seconds", text, latencies.items())


def _by(label: str, values: Mapping[str, int]) -> list[tuple[dict[str, str], float]]:
    return [({label: key}, value) for key, value in sorted(values.items())]
