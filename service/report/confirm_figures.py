"""Figures of the confirm phase: every run, and the differences that the verdict rests on."""

from matplotlib.ticker import MaxNLocator

from service.compare.comparison import LOST, Comparison, Difference, Run
from service.report.drawing import MARKERS, Picture, arm_legend, canvas, crosses, dots, legend, metric_label, value_axis
from service.report.numbers import number, percent, signed, span
from service.report.palette import LIGHT, arm_colour

MANY_SEEDS = 24


def confirm(comparison: Comparison) -> Picture | None:
    """Draw the confirm runs: a line a seed, which joins the arms' values."""
    rows = [row for row in comparison.seeds if any(_shown(run) for run in row.runs.values())]
    if not rows:
        return None
    few = len(rows) <= MANY_SEEDS
    figure, axes = canvas(60 + (22 if few else max(3, 528 / len(rows))) * len(rows), n_labels=len(comparison.arms))
    runs = [run for row in rows for run in row.runs.values()]
    finite = [run.value for run in runs if run.outcome == "complete" and run.value is not None]
    lost_at = value_axis(axes, "x", comparison, finite, has_lost=any(run.outcome in LOST for run in runs))

    def place(run: Run) -> float:
        return lost_at if run.outcome in LOST or run.value is None else run.value

    for y, row in enumerate(rows):
        ends = [place(run) for run in row.runs.values() if _shown(run)]
        axes.plot([min(ends), max(ends)], [y, y], color=LIGHT["line"], linewidth=2 if few else 1, zorder=1)
    for i, arm in enumerate(comparison.arms):
        own = [(row.runs[arm.name], y) for y, row in enumerate(rows)]
        dots(axes, ((place(run), y) for run, y in own if run.outcome == "complete"), i, size=46 if few else 16)
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
    alt = f"Test {comparison.metric} of every arm on {len(rows)} confirm seeds. Means, a lost run as {number(comparison.worst)}: {means}."
    return Picture(name="confirm", title="Every confirm run, seed by seed", alt=alt, figure=figure)


def difference(comparison: Comparison) -> Picture | None:
    """Draw the paired gains of each arm, their mean and interval, over the band of differences that do not matter."""
    shown = [(i, d) for i, d in enumerate(comparison.differences, start=1) if d.n]
    if not shown:
        return None
    figure, axes = canvas(60 + 112 * len(shown), n_labels=2)
    delta = comparison.smallest_difference
    band = axes.axvspan(-delta, delta, color=LIGHT["band"], linewidth=0, zorder=0, label=f"too small to matter, within ±{number(delta)}")
    axes.axvline(0, color=LIGHT["muted"], linewidth=1, zorder=1)
    mean = axes.plot([], [], color=LIGHT["ink"], marker="o", markersize=8, linewidth=3, label=_interval_label(shown[0][1]))[0]
    for y, (i, d) in enumerate(shown):
        gains = sorted(_gains(comparison, d))
        heights = [y + 0.05 + 0.09 * (k % 4) for k in range(len(gains))]  # four rows, so that equal points stay visible
        axes.scatter(gains, heights, s=30, marker=MARKERS[i % len(MARKERS)], color=arm_colour(i), alpha=0.6, linewidths=0, zorder=3)
        if d.gain is not None and d.gain_interval is not None:
            low, high = d.gain_interval.low, d.gain_interval.high
            axes.plot([low, high], [y - 0.2, y - 0.2], color=LIGHT["ink"], linewidth=3, solid_capstyle="butt", zorder=4)
            axes.plot([d.gain], [y - 0.2], marker="o", color=LIGHT["ink"], markersize=9, markeredgecolor=LIGHT["card"], zorder=5)
        text = f"{signed(d.gain)}  ({span(d.gain_interval)})" if d.gain_interval else signed(d.gain)
        across = axes.get_yaxis_transform()
        axes.text(0.5, y - 0.34, text, transform=across, ha="center", va="bottom", fontsize=11.5, fontweight="bold", zorder=6)
    axes.set_ylim(len(shown) - 0.5, -0.62)
    axes.set_yticks(range(len(shown)), [d.arm for _, d in shown])
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.margins(x=0.06)
    side = "above" if comparison.direction == "maximize" else "below"
    axes.set_xlabel(f"{comparison.metric.capitalize()} {side} {comparison.baseline.name}'s on the same seed (right is better)")
    legend(figure, [mean, band])
    alt = ". ".join(
        f"{d.arm} against {d.baseline}: mean gain {signed(d.gain)}, interval {span(d.gain_interval)}, {d.n} pairs" for _, d in shown
    )
    return Picture(
        name="difference", title="The difference, held against what matters", alt=f"{alt}. Band: ±{number(delta)}.", figure=figure
    )


def _shown(run: Run) -> bool:
    return run.outcome == "complete" or run.outcome in LOST


def _gains(comparison: Comparison, d: Difference) -> list[float]:
    sign = 1 if comparison.direction == "maximize" else -1
    pairs = ((row.runs[d.arm].value, row.runs[d.baseline].value) for row in comparison.seeds)
    return [sign * (a - b) for a, b in pairs if a is not None and b is not None]


def _interval_label(d: Difference) -> str:
    return f"mean, {percent(d.gain_interval.level)} interval" if d.gain_interval else "mean"
