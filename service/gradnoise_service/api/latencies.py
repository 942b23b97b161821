"""Latencies of the requests of a process, as histograms."""

import threading
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets, in seconds; a last bucket has none."""


@dataclass
class Histogram:
    """Numbers of values in each bucket, and the sum of the values."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    seconds: float = 0.0


class Latencies:
    """A histogram for each method, route and class of status, such as 2xx."""

    def __init__(self) -> None:
        self._histograms: dict[tuple[str, str, str], Histogram] = {}
        self._lock = threading.Lock()

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request; `route` is a template, so that the number of histograms is bounded."""
        key = (method, route, f"{status // 100}xx")
        with self._lock:
            histogram = self._histograms.setdefault(key, Histogram())
            histogram.counts[bisect_left(BOUNDS, seconds)] += 1
            histogram.seconds += seconds

    def items(self) -> Iterator[tuple[dict[str, str], list[int], float]]:
        """Yield labels, numbers of values in each bucket, and sum of the values."""
        with self._lock:
            found = [(key, list(h.counts), h.seconds) for key, h in self._histograms.items()]
        for (method, route, status), counts, seconds in sorted(found):
            yield {"method": method, "route": route, "status": status}, counts, seconds
