"""Figures of the confirm phase: every run, and the differences that the verdict rests on."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from gradnoise_service.compare.comparison import LOST, Comparison, Difference, Run
from gradnoise_service.compare.wording import confidence, signed
from gradnoise_service.report.drawing import (
    MARKERS,
    Picture,
    arm_legend,
    canvas,
    columns,
    crosses,
    dots,
    legend,
    metric_label,
    value_axis,
)
from gradnoise_service.report.numbers import number, span
from gradnoise_service.report.palette import LIGHT, arm_colour

MANY_SEEDS = 24
MOST_DRAWN = 250
"""Of more pairs of runs an even choice is drawn, or the picture would be metres long; the table
beside it has all.
"""


def confirm(comparison: Comparison) -> Picture | None:
    """Draw the confirm runs: a line a seed, which joins the arms' values."""
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

    def place(run: Run) -> float:
        return lost_at if run.outcome in LOST or run.value is None else run.value

    for y, row in enumerate(rows):
        ends = [place(run) for run in row.runs.values() if _shown(run)]
        axes.plot(
            [min(ends), max(ends)], [y, y], color=LIGHT["line"], linewidth=2 if few else 1, zorder=1
        )
    for i, arm in enumerate(comparison.arms):
        own = [(row.runs[arm.name], y) for y, row in enumerate(rows)]
        dots(
            axes,
            ((place(run), y) for run, y in own if run.outcome == "complete"),
            i,
            size=38 if few else 14,
        )
        crosses(axes, ((place(run), y) for run, y in own if run.outcome in LOST), i)
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
    thinned = "" if n == len(whole) else f", of which {n}, evenly apart, are drawn"
    alt = f"Test {comparison.metric} of every arm on {len(whole)} {kind}{thinned}. "
    alt += f"Means of all, a lost run as {number(comparison.worst)}: {means}."
    title = (
        "Every confirm run, seed by seed"
        if n == len(whole)
        else f"Confirm runs, {n} of {len(whole):,} pairs, evenly chosen"
    )
    return Picture(name="confirm", title=title, alt=alt, figure=figure)


def difference(comparison: Comparison) -> Picture | None:
    """Draw the paired gains of each arm, their mean and interval, over the band of differences that
    do not matter.
    """
    shown = [(i, d) for i, d in enumerate(comparison.differences, start=1) if d.n]
    if not shown:
        return None
    figure, axes = canvas(60 + 112 * len(shown), n_labels=2)
    delta = comparison.smallest_difference
    low, high = _extent(comparison, [d for _, d in shown])
    band = axes.axvspan(
        -delta,
        delta,
        color=LIGHT["band"],
        linewidth=0,
        zorder=0,
        label=f"too small to matter, within ±{number(delta)}",
    )
    axes.axvline(0, color=LIGHT["muted"], linewidth=1, zorder=1)
    for y, (i, d) in enumerate(shown):
        gains = sorted(_gains(comparison, d))
        # equal ones stay visible
        places = [
            (min(max(gain, low), high), y + 0.05 + 0.09 * (k % 4))
            for k, (gain, _) in enumerate(gains)
        ]
        kept = [place for place, (_, is_lost) in zip(places, gains, strict=True) if not is_lost]
        axes.scatter(
            *columns(kept),
            s=30,
            marker=MARKERS[i % len(MARKERS)],
            color=arm_colour(i),
            alpha=0.6,
            linewidths=0,
            zorder=3,
        )
        crosses(
            axes, (place for place, (_, is_lost) in zip(places, gains, strict=True) if is_lost), i
        )
        _mean(axes, d, y)
    axes.set_ylim(len(shown) - 0.5, -0.62)
    axes.set_yticks(range(len(shown)), [d.arm for _, d in shown])
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    side = "above" if comparison.direction == "maximize" else "below"
    axes.set_xlabel(
        f"{comparison.metric.capitalize()} {side} {comparison.baseline.name}'s on the same seed "
        "(right is better)"
    )
    mean = axes.plot(
        [],
        [],
        color=LIGHT["ink"],
        marker="o",
        markersize=8,
        linewidth=3,
        label=_interval_label(shown[0][1]),
    )[0]
    legend(figure, [mean, band])
    numbers = (
        f"mean gain {signed(d.gain)}, interval {span(d.gain_interval)}, {d.n} pairs"
        for _, d in shown
    )
    alt = ". ".join(
        f"{d.arm} against {d.baseline}: {text}" for (_, d), text in zip(shown, numbers, strict=True)
    )
    alt += (
        f". Shaded: ±{number(delta)}. A cross is a pair with a lost run, at the edge where it lies "
        "beyond."
    )
    return Picture(
        name="difference", title="The difference, held against what matters", alt=alt, figure=figure
    )


def _mean(axes: Axes, d: Difference, y: float) -> None:
    text = signed(d.gain)
    if d.gain_interval is not None:
        text = f"{text}  ({span(d.gain_interval)})"
        ends = [d.gain_interval.low, d.gain_interval.high]
        axes.plot(
            ends,
            [y - 0.2, y - 0.2],
            color=LIGHT["ink"],
            linewidth=3,
            solid_capstyle="butt",
            zorder=4,
        )
    if d.gain is not None:
        axes.plot(
            [d.gain],
            [y - 0.2],
            marker="o",
            color=LIGHT["ink"],
            markersize=9,
            markeredgecolor=LIGHT["card"],
            zorder=5,
        )
    across = axes.get_yaxis_transform()
    # or the line at 0 would run through it
    room = {"facecolor": LIGHT["card"], "edgecolor": "none", "pad": 1.5}
    axes.text(
        0.5,
        y - 0.34,
        text,
        transform=across,
        ha="center",
        va="bottom",
        fontsize=12.5,
        fontweight="bold",
        zorder=6,
        bbox=room,
    )


def _extent(comparison: Comparison, differences: Sequence[Difference]) -> tuple[float, float]:
    """Return the ends of all that must be seen: band, means, intervals, whole pairs; and, not far
    beyond, pairs with a lost run.
    """
    seen = [-comparison.smallest_difference, comparison.smallest_difference]
    lost: list[float] = []
    for d in differences:
        for gain, is_lost in _gains(comparison, d):
            (lost if is_lost else seen).append(gain)
        if d.gain is not None:
            seen.append(d.gain)
        if d.gain_interval is not None:
            seen += [d.gain_interval.low, d.gain_interval.high]
    low, high = min(seen), max(seen)
    room = 0.2 * (high - low)
    return max(low - room, min([low, *lost])), min(high + room, max([high, *lost]))


def _shown(run: Run) -> bool:
    return run.outcome == "complete" or run.outcome in LOST


def _gains(comparison: Comparison, d: Difference) -> list[tuple[float, bool]]:
    """Return each pair's gain and whether a run of it was lost."""
    pairs = ((row.runs[d.arm], row.runs[d.baseline]) for row in comparison.seeds)
    return [
        (comparison.sign * (a.value - b.value), a.outcome in LOST or b.outcome in LOST)
        for a, b in pairs
        if a.value is not None and b.value is not None
    ]


def _interval_label(d: Difference) -> str:
    return f"mean, {confidence(d.gain_interval.level)} interval" if d.gain_interval else "mean"
