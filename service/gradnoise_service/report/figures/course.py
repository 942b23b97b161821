"""Figures over the epochs of the confirm runs: learning curves, and the scale of the noise."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.compare.facts.diagnostics import (
    NOISE_DOMINANT,
    NOISE_NEGLIGIBLE,
    Course,
)
from gradnoise_service.report.figures.drawing import (
    MARKERS,
    Picture,
    arm_legend,
    canvas,
    metric_label,
)
from gradnoise_service.report.palette import LIGHT, arm_colour
from gradnoise_service.report.words.numbers import number, signed

N_MARKS = 6


def course(comparison: Comparison) -> Picture | None:
    """Draw each arm's mean validation value over the epochs, with the last fifth shaded.

    The gain over the last fifth decides whether an arm was still learning.
    """
    drawn = _drawn(comparison, [course.values for course in comparison.diagnostics.courses])
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
    gains = ", ".join(
        f"{c.arm} {signed(c.late_gain)}" for _, c, _ in drawn if c.late_gain is not None
    )
    alt = (
        f"Mean validation {comparison.metric} of each arm's complete confirm runs over the epochs. "
        f"At the end: {ends}."
    )
    alt += f" Gain over the last epochs (shaded), above 0 better: {gains}." if gains else ""
    return Picture(
        name="course", title="Learning curves of the confirm runs", alt=alt, figure=figure
    )


def noise_course(comparison: Comparison) -> Picture | None:
    """Draw the ratio of noise norm to gradient norm over the epochs, extreme ratios shaded."""
    drawn = _drawn(
        comparison, [course.noise_to_gradient for course in comparison.diagnostics.courses]
    )
    if not drawn:
        return None
    figure, axes = _canvas(comparison, drawn)
    ratios = [ratio for _, _, points in drawn for _, ratio in points]
    low, high = min(*ratios, NOISE_NEGLIGIBLE) / 2, max(*ratios, NOISE_DOMINANT) * 2
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.axhspan(low, NOISE_NEGLIGIBLE, color=LIGHT["band"], linewidth=0, zorder=0)
    axes.axhspan(NOISE_DOMINANT, high, color=LIGHT["band"], linewidth=0, zorder=0)
    for y, text in (
        (low * (NOISE_NEGLIGIBLE / low) ** 0.5, "too small to have an effect"),
        (NOISE_DOMINANT * (high / NOISE_DOMINANT) ** 0.5, "mostly noise"),
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
    alt += f" Shaded: below {NOISE_NEGLIGIBLE:g} and above {NOISE_DOMINANT:g}."
    return Picture(
        name="noise_course",
        title="Scale of the noise relative to the gradient",
        alt=alt,
        figure=figure,
    )


Drawn = tuple[int, Course, list[tuple[int, float]]]


def _drawn(comparison: Comparison, columns: Sequence[Sequence[float | None]]) -> list[Drawn]:
    """Return the courses with at least two points, with their arm's index and the points."""
    index_of = {arm.name: i for i, arm in enumerate(comparison.arms)}
    found = []
    for course, column in zip(comparison.diagnostics.courses, columns, strict=True):
        points = [
            (epoch, value)
            for epoch, value in zip(course.epochs, column, strict=True)
            if value is not None
        ]
        if len(points) > 1:
            found.append((index_of[course.arm], course, points))
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
