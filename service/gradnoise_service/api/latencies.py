"""Latencies of the requests of a process, as a histogram of Prometheus."""

import prometheus_client
from prometheus_client import Histogram

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets, in seconds; a last bucket has none."""

# else each histogram has a time of its creation too
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


def request_seconds() -> Histogram:
    """Return a histogram for each method, route and class of status, such as 2xx.

    A route is a template, so that the number of histograms is bounded.
    """
    return Histogram(
        "gradnoise_request_seconds",
        "Seconds until the end of the response, without event streams; of this process.",
        ("method", "route", "status"),
        buckets=BOUNDS,
        registry=None,
    )
