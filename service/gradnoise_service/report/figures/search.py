"""Figures of the search phase: the best value so far, and the response to the learning rate."""

from collections.abc import Iterator

from matplotlib.ticker import MaxNLocator

from gradnoise_service.compare.facts.base import LOST
from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.compare.facts.tables import ArmSummary, SearchPoint
from gradnoise_service.report.figures.drawing import (
    Picture,
    Point,
    arm_legend,
    canvas,
    crosses,
    dots,
    metric_label,
    rate_axis,
    ring,
    value_axis,
)
from gradnoise_service.report.palette import arm_colour
from gradnoise_service.report.words.numbers import number
from gradnoise_service.report.words.settings import chosen_values


def best_so_far(comparison: Comparison) -> Picture | None:
    """Draw each arm's best validation value so far, with its improvements marked."""
    curves = [
        (i, arm.name, points)
        for i, arm in enumerate(comparison.arms)
        for repeat in range(len(arm.chosen))
        if (points := _best_points(comparison, arm, repeat))
    ]
    if not curves:
        return None
    figure, axes = canvas(250, n_labels=len(comparison.arms))
    for i, _, points in curves:
        x, y = [x for x, _ in points], [y for _, y in points]
        axes.step(
            x,
            y,
            where="post",
            color=arm_colour(i),
            linewidth=2,
            linestyle="--" if i == 0 else "-",
            zorder=2 + i,
        )
        improved = [
            point for k, point in enumerate(points) if k == 0 or point[1] != points[k - 1][1]
        ]
        dots(axes, improved, i, size=26)
    axes.set_xlim(0.4, max(points[-1][0] for _, _, points in curves) + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("Trials of a search")
    axes.set_ylabel(f"Best {comparison.metric} on validation")
    axes.margins(y=0.1)
    axes.grid(axis="y")
    arm_legend(figure, comparison)
    ends = ", ".join(
        f"{name} {number(points[-1][1])} after {points[-1][0]:g} trials"
        for _, name, points in curves
    )
    alt = f"Best validation {comparison.metric} against the number of trials. At the end: {ends}."
    return Picture(name="best_so_far", title="Best so far", alt=alt, figure=figure)


def learning_rate(comparison: Comparison) -> Picture | None:
    """Draw each search trial's value against its learning rate.

    Without a search the confirm runs are drawn.
    """
    runs = comparison.search or tuple(_confirm_runs(comparison))
    tried = [(point, rate) for point in runs if (rate := point.numeric("lr")) is not None]
    if len({rate for _, rate in tried}) < 2:
        return None
    figure, axes = canvas(270, n_labels=len(comparison.arms))
    rate_axis(axes, [rate for _, rate in tried])
    finite = [p.value for p, _ in tried if p.outcome == "complete" and p.value is not None]
    lost_at = value_axis(
        axes, "y", comparison, finite, has_lost=any(p.outcome in LOST for p, _ in tried)
    )
    for i, arm in enumerate(comparison.arms):
        arm_points = [(p, rate) for p, rate in tried if p.arm == arm.name]
        complete = [
            (rate, p.value, p.number)
            for p, rate in arm_points
            if p.outcome == "complete" and p.value is not None
        ]
        dots(axes, ((rate, value) for rate, value, _ in complete), i, size=30)
        crosses(axes, ((rate, lost_at) for p, rate in arm_points if p.outcome in LOST), i)
        for rate, value, n in complete:
            if any(n == chosen.number for chosen in arm.chosen):
                ring(axes, (rate, value), size=150)
    axes.set_xlabel("Learning rate")
    split = "validation" if comparison.search else "test"
    axes.set_ylabel(metric_label(comparison, split))
    axes.grid()
    arm_legend(figure, comparison)
    alt = (
        f"{split.capitalize()} {comparison.metric} against learning rate, a mark for each of "
        f"{len(tried)} "
    )
    if comparison.search:
        chosen = ", ".join(f"{arm.name} {chosen_values(arm, 'lr')}" for arm in comparison.arms)
        alt += f"search trials. Chosen, ringed: {chosen}."
    else:
        alt += "confirm runs."
    return Picture(name="learning_rate", title="Learning-rate response", alt=alt, figure=figure)


def _confirm_runs(comparison: Comparison) -> Iterator[SearchPoint]:
    """Yield the confirm runs of a study without a search as points of a search."""
    for row in comparison.seeds:
        for name, run in row.runs.items():
            if row.point is not None and run.value is not None:
                yield SearchPoint(
                    arm=name,
                    number=row.number,
                    seed=row.seed,
                    outcome=run.outcome,
                    value=run.value if run.outcome == "complete" else None,
                    best=None,
                    params=comparison.points[row.point].params,
                    device_seconds=0.0,
                )


def _best_points(comparison: Comparison, arm: ArmSummary, repeat: int) -> list[Point]:
    of_search = [p for p in comparison.search if p.arm == arm.name and p.repeat == repeat]
    first = min((point.number for point in of_search), default=0)
    return [(point.number - first + 1, point.best) for point in of_search if point.best is not None]
