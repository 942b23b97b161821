"""Elements of the report's figures: canvas, marks, axes, legend.

Shape, place or text repeats every distinction by colour. A lost run (diverged or failed) is a cross
at the bad end of the axis; at the metric's worst value, which is often far away, it would compress
the others.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import (
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
    StrMethodFormatter,
)

from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.report.palette import LIGHT, arm_colour
from gradnoise_service.report.words.numbers import number

WIDTH = 430
LEGEND_COLUMNS = 4
MARKERS = "oDs^vPp*hX"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "gradnoise",
    "font.family": ["DejaVu Sans"],
    "font.size": 12,
    "text.parse_math": False,
    "text.color": LIGHT["ink"],
    "axes.edgecolor": LIGHT["line"],
    "axes.labelcolor": LIGHT["muted"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": LIGHT["line"],
    "grid.linewidth": 0.6,
    "xtick.color": LIGHT["muted"],
    "ytick.color": LIGHT["muted"],
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "legend.frameon": False,
    "legend.fontsize": 11.5,
    "legend.borderaxespad": 0.2,
    "legend.columnspacing": 1.6,
    "legend.handletextpad": 0.4,
}

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A drawing with its title and its text alternative."""

    name: str
    title: str
    alt: str
    figure: Figure


Draw = Callable[[Comparison], Picture | None]
"""Draws a comparison; returns None without data."""


def canvas(height: float, *, n_labels: int) -> tuple[Figure, Axes]:
    """Return an empty drawing of a height in points, with additional room for the legend above it.

    Its width suits a phone and half a page.
    """
    legend_height = 20 * math.ceil(n_labels / LEGEND_COLUMNS) + 6
    whole = height + legend_height
    layout = ConstrainedLayoutEngine(rect=(0, 0, 1, height / whole), w_pad=0.02, h_pad=0.02)
    figure = Figure(figsize=(WIDTH / 72, whole / 72), layout=layout, facecolor="none")
    return figure, figure.add_subplot()


def dots(axes: Axes, points: Iterable[Point], arm: int, *, size: float) -> None:
    """Mark points of an arm in its colour and shape.

    The baseline's are hollow and large enough to be visible around another mark.
    """
    colour = arm_colour(arm)
    x, y = columns(points)
    face = LIGHT["card"] if arm == 0 else colour
    area = 2 * size if arm == 0 else size
    axes.scatter(
        x,
        y,
        s=area,
        marker=MARKERS[arm % len(MARKERS)],
        facecolors=face,
        edgecolors=colour,
        linewidths=1.5,
        zorder=3 + arm,
    )


def crosses(axes: Axes, points: Iterable[Point], arm: int) -> None:
    """Mark lost runs of an arm."""
    x, y = columns(points)
    axes.scatter(x, y, s=44, marker="x", color=arm_colour(arm), linewidths=2, zorder=3 + arm)


def ring(axes: Axes, point: Point, *, size: float) -> None:
    """Draw a circle around the chosen setting."""
    axes.scatter(
        *columns([point]),
        s=size,
        facecolors="none",
        edgecolors=LIGHT["ink"],
        linewidths=1.3,
        zorder=20,
    )


def value_axis(
    axes: Axes,
    which: Literal["x", "y"],
    comparison: Comparison,
    finite: Sequence[float],
    *,
    has_lost: bool,
) -> float:
    """Fit an axis to the finite values and return the place of lost runs at its bad end."""
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    if low == high:
        low, high = low - 0.05 * (abs(low) or 1.0), low + 0.05 * (abs(low) or 1.0)
    reach = high - low
    bad, out = (low, -reach) if comparison.direction == "maximize" else (high, reach)
    lost_at = bad + 0.18 * out
    ends = sorted((bad + (0.25 if has_lost else 0.07) * out, (low + high - bad) - 0.07 * out))
    horizontal = which == "x"
    (axes.set_xlim if horizontal else axes.set_ylim)(*ends)
    last = bad + (0.05 if has_lost else 0.07) * out
    ticks = [
        tick
        for tick in MaxNLocator(5).tick_values(low, high)
        if ends[0] <= tick <= ends[1] and (tick - last) * out <= 0
    ]
    (axes.set_xticks if horizontal else axes.set_yticks)(ticks)
    if has_lost:
        (axes.axvline if horizontal else axes.axhline)(
            bad + 0.09 * out, color=LIGHT["muted"], linewidth=1, linestyle=(0, (1, 3))
        )
        transform = axes.get_xaxis_transform() if horizontal else axes.get_yaxis_transform()
        # at the left: lost runs mostly have high learning rates
        at = (lost_at, 1.0) if horizontal else (0.005, lost_at)
        align = "center" if horizontal else "left"
        axes.text(
            *at,
            "lost",
            transform=transform,
            ha=align,
            va="bottom" if horizontal else "center",
            fontsize=11,
            color=LIGHT["muted"],
        )
    return lost_at


def rate_axis(axes: Axes, values: Sequence[float]) -> None:
    """Make the x axis logarithmic if the values span a factor above 5.

    If there are few values, each has a tick.
    """
    if min(values) > 0 and max(values) > 5 * min(values):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    distinct = sorted(set(values))
    if len(distinct) <= 5:
        axes.set_xticks(distinct, [number(value) for value in distinct])
        axes.xaxis.set_minor_locator(NullLocator())


def arm_legend(figure: Figure, comparison: Comparison, *others: object) -> None:
    """Draw a legend of the arms' marks above the drawing, followed by other handles."""
    axes = figure.axes[0]
    handles: list[object] = []
    for i, arm in enumerate(comparison.arms):
        colour = arm_colour(i)
        face = LIGHT["card"] if i == 0 else colour
        marker = MARKERS[i % len(MARKERS)]
        handles.append(
            axes.scatter(
                [],
                [],
                s=44,
                marker=marker,
                facecolors=face,
                edgecolors=colour,
                linewidths=1.6,
                label=arm.name,
            )
        )
    legend(figure, [*handles, *others])


def legend(figure: Figure, handles: Sequence[object]) -> None:
    figure.legend(
        handles=handles, loc="upper left", ncols=LEGEND_COLUMNS, bbox_to_anchor=(0.0, 1.0)
    )


def metric_label(comparison: Comparison, split: str) -> str:
    """Return the label of an axis of the metric."""
    return f"{split.capitalize()} {comparison.metric}" + (
        "" if comparison.direction == "maximize" else " (smaller is better)"
    )


def columns(points: Iterable[Point]) -> tuple[list[float], list[float]]:
    """Return all x and all y of points, as matplotlib expects them."""
    listed = list(points)
    return [x for x, _ in listed], [y for _, y in listed]
