"""Metrics in the text format of Prometheus, version 0.0.4."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from gradnoise_service.api.latencies import BOUNDS

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]


def metric(
    name: str,
    kind: Literal["gauge", "counter"],
    text: str,
    samples: Iterable[tuple[Labels, float]],
) -> Iterator[str]:
    """Yield the lines of a metric.

    >>> print(*metric("queue_length", "gauge", "Studies.", [({"kind": 'a"b'}, 2)]), sep="\\n")
    # HELP queue_length Studies.
    # TYPE queue_length gauge
    queue_length{kind="a\\"b"} 2
    """
    yield from _head(name, kind, text)
    for labels, value in samples:
        yield f"{name}{_braced(labels)} {_number(value)}"


def histogram(
    name: str, text: str, items: Iterable[tuple[Labels, list[int], float]]
) -> Iterator[str]:
    """Yield the lines of a histogram with the buckets of `BOUNDS`, which count cumulatively."""
    yield from _head(name, "histogram", text)
    for labels, counts, total in items:
        bounds = (*map(_number, BOUNDS), "+Inf")
        for bound, n in zip(bounds, itertools.accumulate(counts), strict=True):
            yield f"{name}_bucket{_braced({**labels, 'le': bound})} {n}"
        yield f"{name}_sum{_braced(labels)} {_number(total)}"
        yield f"{name}_count{_braced(labels)} {sum(counts)}"


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def _braced(labels: Labels) -> str:
    pairs = [f'{name}="{_escaped(value)}"' for name, value in labels.items()]
    return "{" + ",".join(pairs) + "}" if pairs else ""


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return f"{value:.10g}"
