"""Figure of the confirm runs: the value of every arm on every seed."""

from gradnoise_service.compare.facts.base import LOST
from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.compare.facts.tables import Run
from gradnoise_service.report.figures.drawing import (
    Picture,
    arm_legend,
    canvas,
    crosses,
    dots,
    metric_label,
    value_axis,
)
from gradnoise_service.report.palette import LIGHT
from gradnoise_service.report.words.numbers import number

MANY_SEEDS = 24
MOST_DRAWN = 250
"""Of more pairs of runs an even choice is drawn, to limit the figure's height."""


def confirm(comparison: Comparison) -> Picture | None:
    """Draw the confirm runs, with a line for each seed that joins the arms' values."""
    whole = [row for row in comparison.seeds if any(_shown(run) for run in row.runs.values())]
    if not whole:
        return None
    n = min(len(whole), MOST_DRAWN)
    rows = [whole[i * len(whole) // n] for i in range(n)]
    few = len(rows) <= MANY_SEEDS
    figure, axes = canvas(
        60 + (22 if few else max(3, 528 / len(rows))) * len(rows), n_labels=len(comparison.arms)
    )
    runs = [run for row in rows for run in row.runs.values()]
    finite = [run.value for run in runs if run.outcome == "complete" and run.value is not None]
    lost_at = value_axis(
        axes, "x", comparison, finite, has_lost=any(run.outcome in LOST for run in runs)
    )

    def position(run: Run) -> float:
        return lost_at if run.outcome in LOST or run.value is None else run.value

    for y, row in enumerate(rows):
        ends = [position(run) for run in row.runs.values() if _shown(run)]
        axes.plot(
            [min(ends), max(ends)], [y, y], color=LIGHT["line"], linewidth=2 if few else 1, zorder=1
        )
    for i, arm in enumerate(comparison.arms):
        runs_at = [(row.runs[arm.name], y) for y, row in enumerate(rows)]
        dots(
            axes,
            ((position(run), y) for run, y in runs_at if run.outcome == "complete"),
            i,
            size=38 if few else 14,
        )
        crosses(axes, ((position(run), y) for run, y in runs_at if run.outcome in LOST), i)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    labelled = range(len(rows)) if few else range(0, len(rows), len(rows) // 10)
    axes.set_yticks(labelled, [str(rows[y].number + 1) for y in labelled])
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_ylabel("Confirm seed")
    axes.set_xlabel(metric_label(comparison, "test"))
    arm_legend(figure, comparison)
    means = ", ".join(f"{arm.name} {number(arm.mean)}" for arm in comparison.arms)
    kind = "pairs of setting and seed" if comparison.points else "confirm seeds"
    thinned = "" if n == len(whole) else f", of which {n}, evenly spaced, are drawn"
    title = (
        "Every confirm run, seed by seed"
        if n == len(whole)
        else f"Confirm runs, {n} of {len(whole):,} pairs, evenly chosen"
    )
    alt = (
        f"Test {comparison.metric} of every arm on {len(whole):,} {kind}{thinned}. Means of all, a "
        f"lost run as {number(comparison.worst)}: {means}."
    )
    return Picture(name="confirm", title=title, alt=alt, figure=figure)


def _shown(run: Run) -> bool:
    return run.outcome == "complete" or run.outcome in LOST
