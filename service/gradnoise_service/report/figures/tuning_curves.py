"""Figure of the tuning curves: the median of the best of k trials, with simultaneous bands."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator, StrMethodFormatter

from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.compare.facts.diagnostics import TuningCurve
from gradnoise_service.report.figures.drawing import (
    Picture,
    arm_legend,
    canvas,
    metric_label,
)
from gradnoise_service.report.palette import arm_colour
from gradnoise_service.report.words.numbers import confidence, count, number

TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500)


def tuning_curves(comparison: Comparison) -> Picture | None:
    """Draw each arm's tuning curve and its band.

    Where a side of the band has no bound, it extends to the edge of the drawing.
    """
    found = comparison.diagnostics.tuning
    if found is None or not any(len(curve.points) > 1 for curve in found.curves):
        return None
    figure, axes = canvas(250, n_labels=len(comparison.arms))
    edges = _edges(comparison, found.curves)
    for i, curve in enumerate(found.curves):
        _draw(axes, curve, i, edges)
    most = max(curve.n for curve in found.curves)
    axes.set_xscale("log")
    axes.set_xticks([k for k in TICKS if k <= most])
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(0.9, most * 1.1)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_ylim(*sorted(edges))
    axes.set_xlabel("Trials (k)")
    axes.set_ylabel(metric_label(comparison, "validation"))
    axes.grid(axis="y")
    arm_legend(figure, comparison)
    level = confidence(found.confidence)
    estimates = ", ".join(
        f"{curve.arm} {number(curve.points[0].median)} with 1 trial and "
        f"{number(curve.points[-1].median)} with {curve.n}"
        for curve in found.curves
    )
    reach = ", ".join(f"{curve.arm} {count(curve.reach, 'trial')}" for curve in found.curves)
    alt = (
        f"Median of the best validation {comparison.metric} of k random trials, with {level} bands "
        f"for all k and arms together. Estimates: {estimates}. Largest number of trials with a "
        f"band that is bounded on the better side: {reach}."
    )
    title = f"Median of the best of k trials, with {level} bands"
    return Picture(name="tuning_curves", title=title, alt=alt, figure=figure)


def _draw(axes: Axes, curve: TuningCurve, index: int, edges: tuple[float, float]) -> None:
    x, colour = [point.n_trials for point in curve.points], arm_colour(index)
    ends = [p.worse for p in curve.points], [p.better for p in curve.points]
    worse, better = (
        [edge if value is None else value for value in end]
        for end, edge in zip(ends, edges, strict=True)
    )
    axes.fill_between(x, worse, better, step="mid", color=colour, alpha=0.16, linewidth=0, zorder=1)
    for end in ends:
        bounds = [math.nan if value is None else value for value in end]
        axes.step(x, bounds, where="mid", color=colour, linewidth=0.8, alpha=0.7, zorder=2)
    axes.step(
        x,
        [point.median for point in curve.points],
        where="mid",
        color=colour,
        linewidth=2,
        linestyle="--" if index == 0 else "-",
        zorder=3 + index,
    )


def _edges(comparison: Comparison, curves: Sequence[TuningCurve]) -> tuple[float, float]:
    """Return the bad and the good edge of the drawing; the metric's worst value may lie outside."""
    complete = [
        point.value
        for point in comparison.search
        if point.outcome == "complete" and point.value is not None
    ]
    ends = [
        end
        for curve in curves
        for point in curve.points
        for end in (point.median, point.worse, point.better)
        if end is not None and min(complete, default=end) <= end <= max(complete, default=end)
    ]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    room = 0.08 * (high - low) or 0.05 * (abs(low) or 1.0)
    edges = low - room, high + room
    return edges if comparison.direction == "maximize" else edges[::-1]
