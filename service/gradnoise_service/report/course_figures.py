"""Figures over the epochs of the confirm runs: how each arm learned, and how large its noise was
beside the gradient.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from gradnoise_service.compare.comparison import Comparison, Course
from gradnoise_service.compare.diagnostics import DROWNED, DROWNING
from gradnoise_service.report.drawing import MARKERS, Picture, arm_legend, canvas, metric_label
from gradnoise_service.report.numbers import number
from gradnoise_service.report.palette import LIGHT, arm_colour

N_MARKS = 6


def course(comparison: Comparison) -> Picture | None:
    """Draw each arm's mean validation value over the epochs; the last fifth, by which climbing is
    judged, is shaded.
    """
    drawn = _drawn(comparison, [one.values for one in comparison.diagnostics.courses])
    if not drawn:
        return None
    figure, axes = _canvas(comparison, drawn)
    late = [c.late_from for _, c, _ in drawn if c.late_from is not None]
    if late:
        axes.axvspan(
            min(late),
            max(c.epochs[-1] for _, c, _ in drawn),
            color=LIGHT["band"],
            linewidth=0,
            zorder=0,
        )
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_ylabel(metric_label(comparison, "mean validation"))
    axes.margins(y=0.1)
    ends = ", ".join(
        f"{c.arm} {number(points[-1][1])} after epoch {points[-1][0]}" for _, c, points in drawn
    )
    gains = ", ".join(f"{c.arm} {c.late_gain:+.2g}" for _, c, _ in drawn if c.late_gain is not None)
    alt = (
        f"Mean validation {comparison.metric} of each arm's complete confirm runs over the epochs. "
        f"At the end: {ends}."
    )
    alt += (
        f" Gained over the last epochs, which are shaded, above 0 better: {gains}." if gains else ""
    )
    return Picture(name="course", title="How the confirm runs learned", alt=alt, figure=figure)


def noise_course(comparison: Comparison) -> Picture | None:
    """Draw how many times the gradient's norm the noise's was, over the epochs; where it is too
    small or too large is shaded.
    """
    drawn = _drawn(comparison, [one.noise_to_gradient for one in comparison.diagnostics.courses])
    if not drawn:
        return None
    figure, axes = _canvas(comparison, drawn)
    ratios = [ratio for _, _, points in drawn for _, ratio in points]
    low, high = min(*ratios, DROWNED) / 2, max(*ratios, DROWNING) * 2
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.axhspan(low, DROWNED, color=LIGHT["band"], linewidth=0, zorder=0)
    axes.axhspan(DROWNING, high, color=LIGHT["band"], linewidth=0, zorder=0)
    for y, text in (
        (low * (DROWNED / low) ** 0.5, "too small to matter"),
        (DROWNING * (high / DROWNING) ** 0.5, "drowns the gradient"),
    ):
        axes.text(
            0.99,
            y,
            text,
            transform=axes.get_yaxis_transform(),
            ha="right",
            va="center",
            fontsize=10.5,
            color=LIGHT["muted"],
        )
    axes.set_ylabel("Norm of noise / norm of gradient")
    reach = ", ".join(
        f"{c.arm} from {number(points[0][1])} to {number(points[-1][1])}" for _, c, points in drawn
    )
    alt = f"Norm of the noise over that of the gradient at the last update of each epoch: {reach}."
    alt += f" Shaded: below {DROWNED:g} and above {DROWNING:g}."
    return Picture(
        name="noise_course",
        title="How large the noise was beside the gradient",
        alt=alt,
        figure=figure,
    )


Drawn = tuple[int, Course, list[tuple[int, float]]]


def _drawn(comparison: Comparison, columns: Sequence[Sequence[float | None]]) -> list[Drawn]:
    """Return the courses that have at least two points, with their arm's place and the points."""
    place = {arm.name: i for i, arm in enumerate(comparison.arms)}
    found = []
    for one, column in zip(comparison.diagnostics.courses, columns, strict=True):
        points = [
            (epoch, value)
            for epoch, value in zip(one.epochs, column, strict=True)
            if value is not None
        ]
        if len(points) > 1:
            found.append((place[one.arm], one, points))
    return found


def _canvas(comparison: Comparison, drawn: Sequence[Drawn]) -> tuple[Figure, Axes]:
    figure, axes = canvas(250, n_labels=len(comparison.arms))
    for i, _, points in drawn:
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            color=arm_colour(i),
            linewidth=2,
            linestyle="--" if i == 0 else "-",
            marker=MARKERS[i % len(MARKERS)],
            markersize=6,
            markerfacecolor=LIGHT["card"] if i == 0 else arm_colour(i),
            markevery=max(1, len(points) // N_MARKS),
            zorder=2 + i,
        )
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel("Epoch")
    axes.grid(axis="y")
    arm_legend(figure, comparison)
    return figure, axes
