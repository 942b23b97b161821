"""The course of a trial's objective, as points of a picture."""

from collections.abc import Sequence
from dataclasses import dataclass

from gradnoise_service.domain.study import Measurement

WIDTH, HEIGHT = 600, 160
MOST_POINTS = 300


@dataclass(frozen=True, kw_only=True)
class Line:
    """The objective on a split: its points for an SVG of WIDTH x HEIGHT, and its last value."""

    split: str
    points: str
    last: float


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The lines of a trial, the values at bottom and top, and the last epoch at the right."""

    lines: Sequence[Line]
    low: float
    high: float
    last_epoch: int
    width: int = WIDTH
    height: int = HEIGHT


def curve(measured: Sequence[Measurement], metric: str) -> Curve | None:
    """Return the course of a metric on validation and test data; None without a value.

    Values that were not finite are left out.

    Args:
        measured: The measurements of a trial by epoch.
        metric: The metric.
    """
    by_split = {
        split: [
            (row.epoch, value)
            for row in measured
            if (value := row.values.get(f"{split}_{metric}")) is not None
        ]
        for split in ("validation", "test")
    }
    values = [value for points in by_split.values() for _, value in points]
    if not values:
        return None
    low, high, last_epoch = min(values), max(values), measured[-1].epoch

    def place(epoch: int, value: float) -> str:
        x = WIDTH * ((epoch - 1) / (last_epoch - 1) if last_epoch > 1 else 1)
        y = HEIGHT * (1 - (value - low) / (high - low) if high > low else 0.5)
        return f"{x:.1f},{y:.1f}"

    lines = [
        Line(
            split=split,
            points=" ".join(place(*point) for point in _thinned(points)),
            last=points[-1][1],
        )
        for split, points in by_split.items()
        if points
    ]
    return Curve(lines=lines, low=low, high=high, last_epoch=last_epoch)


def _thinned(points: Sequence[tuple[int, float]]) -> Sequence[tuple[int, float]]:
    """Return at most about MOST_POINTS points, evenly spaced, with the last."""
    step = -(-len(points) // MOST_POINTS)
    return [*points[:-1:step], points[-1]]
