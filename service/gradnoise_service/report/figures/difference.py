"""Figure of the differences: paired gains with their mean and interval."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from gradnoise_service.compare.facts.base import LOST
from gradnoise_service.compare.facts.comparison import Comparison, Difference
from gradnoise_service.report.figures.drawing import (
    MARKERS,
    Picture,
    canvas,
    columns,
    crosses,
    legend,
)
from gradnoise_service.report.palette import LIGHT, arm_colour
from gradnoise_service.report.words.numbers import confidence, number, signed, span


def difference(comparison: Comparison) -> Picture | None:
    """Draw each arm's paired gains, their mean and interval.

    A band shows the differences that are too small to matter.
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
        # equal gains are drawn side by side
        spots = [
            (min(max(gain, low), high), y + 0.05 + 0.09 * (k % 4))
            for k, (gain, _) in enumerate(gains)
        ]
        complete = [spot for spot, (_, is_lost) in zip(spots, gains, strict=True) if not is_lost]
        axes.scatter(
            *columns(complete),
            s=30,
            marker=MARKERS[i % len(MARKERS)],
            color=arm_colour(i),
            alpha=0.6,
            linewidths=0,
            zorder=3,
        )
        crosses(axes, (spot for spot, (_, is_lost) in zip(spots, gains, strict=True) if is_lost), i)
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
        f". Shaded: ±{number(delta)}. A cross is a pair with a lost run, drawn at the edge if it "
        "lies outside."
    )
    return Picture(
        name="difference",
        title="The difference and the smallest that matters",
        alt=alt,
        figure=figure,
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
    # covers the line at 0
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
    """Return the ends of what must be visible: band, means, intervals, pairs without lost runs.

    Pairs with a lost run extend them by a fifth at most.
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


def _gains(comparison: Comparison, d: Difference) -> list[tuple[float, bool]]:
    """Return each pair's gain, and whether one of its runs was lost."""
    pairs = ((row.runs[d.arm], row.runs[d.baseline]) for row in comparison.seeds)
    return [
        (comparison.sign * (a.value - b.value), a.outcome in LOST or b.outcome in LOST)
        for a, b in pairs
        if a.value is not None and b.value is not None
    ]


def _interval_label(d: Difference) -> str:
    return f"mean, {confidence(d.gain_interval.level)} interval" if d.gain_interval else "mean"
