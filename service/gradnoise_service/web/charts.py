"""Charts of a few curves as SVG that pages draw without a plotting library."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gradnoise_service.report.words.numbers import number

WIDTH, HEIGHT = 430, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 8, 24
SPARK_WIDTH, SPARK_HEIGHT = 96, 22

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Series:
    """A curve before it has a place.

    Args:
        name: For the legend; without a name, the curve is in none.
        mark: The class of its line in the stylesheet.
        points: By x.
        is_step: Whether a value holds until the next.
    """

    name: str
    mark: str
    points: Sequence[Point]
    is_step: bool = False


@dataclass(frozen=True, kw_only=True)
class Line:
    """A curve: the points of its SVG polyline, and its last value."""

    name: str
    mark: str
    points: str
    last: float


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart of WIDTH x HEIGHT with its lines, the places of its ticks, and its text."""

    title: str
    x_label: str
    lines: Sequence[Line]
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    text: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


def chart(title: str, x_label: str, series: Sequence[Series]) -> Chart | None:
    """Return a chart of curves; None without a point."""
    points = [point for each in series for point in each.points]
    if not points:
        return None
    x_ends = _ends([x for x, _ in points])
    y_ends = _ends([y for _, y in points])
    margin = 0.04 * (y_ends[1] - y_ends[0])
    y_ends = (y_ends[0] - margin, y_ends[1] + margin)

    def x_at(x: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * _share(x, x_ends)

    def y_at(y: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - _share(y, y_ends))

    lines = [
        Line(
            name=each.name,
            mark=each.mark,
            points=" ".join(f"{x_at(x):.1f},{y_at(y):.1f}" for x, y in _corners(each)),
            last=each.points[-1][1],
        )
        for each in series
        if each.points
    ]
    ends = "; ".join(f"{line.name} {number(line.last)}" for line in lines if line.name)
    return Chart(
        title=title,
        x_label=x_label,
        lines=lines,
        x_ticks=[(x_at(x), number(x)) for x in ticks(*x_ends, 6) if x == round(x)],
        y_ticks=[(y_at(y), number(y)) for y in ticks(*y_ends, 6)],
        text=f"{title}, over {x_label}. At the end: {ends}.",
    )


def sparks(curves: Sequence[Sequence[Point]]) -> list[str]:
    """Return the points of small pictures of curves, all on the same scale."""
    points = [point for curve in curves for point in curve]
    if not points:
        return ["" for _ in curves]
    x_ends, y_ends = _ends([x for x, _ in points]), _ends([y for _, y in points])
    return [
        " ".join(
            f"{SPARK_WIDTH * _share(x, x_ends):.1f},{SPARK_HEIGHT * (1 - _share(y, y_ends)):.1f}"
            for x, y in curve
        )
        for curve in curves
    ]


def ticks(low: float, high: float, n: int) -> list[float]:
    """Return at most about n + 1 round numbers from low to high: multiples of 1, 2 or 5 x 10^k.

    >>> ticks(0.52, 0.79, 6), ticks(1, 60, 6), ticks(0, 1, 4)
    ([0.55, 0.6, 0.65, 0.7, 0.75], [10.0, 20.0, 30.0, 40.0, 50.0, 60.0], [0.0, 0.5, 1.0])
    """
    rough = (high - low) / n
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= 0.999 * rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def _corners(series: Series) -> Iterator[Point]:
    """Yield the points of a curve, for steps with the corners between them."""
    before: Point | None = None
    for x, y in series.points:
        if series.is_step and before is not None:
            yield x, before[1]
        yield x, y
        before = x, y


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """Return the smallest and the largest value, apart also where all are equal."""
    low, high = min(values), max(values)
    reach = 0.05 * abs(low) or 0.5
    return (low, high) if high > low else (low - reach, high + reach)


def _share(value: float, ends: tuple[float, float]) -> float:
    return (value - ends[0]) / (ends[1] - ends[0])
