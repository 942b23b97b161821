"""Forest plot of a suite: the effect of each study, their mean and the prediction interval."""

import itertools
import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from gradnoise_service.compare.facts.suite import Answer, Pooled, VariesOver
from gradnoise_service.report.figures.drawing import Picture, canvas, legend
from gradnoise_service.report.palette import LIGHT
from gradnoise_service.report.words.numbers import as_words, confidence, signed, span
from gradnoise_service.report.words.suite import why_left_out

COLOURS = {"helps": "good", "hurts": "bad", "no_difference": "even", "undecided": "unsure"}


def forest(answer: Answer, varies_over: VariesOver = "workload") -> Picture:
    """Draw the effect of each study with its interval, in the colour of its verdict.

    A diamond is as wide as the interval of the mean; the bar below it is the prediction interval.

    Args:
        answer: The answer of a suite on an arm.
        varies_over: What the prediction interval is about.
    """
    effects = answer.effects
    n_rows = len(effects) + (answer.pooled is not None)
    figure, axes = canvas(60 + 30 * n_rows, n_labels=3)
    axes.axvspan(-1, 1, color=LIGHT["band"], linewidth=0, zorder=0)
    axes.axvline(0, color=LIGHT["muted"], linewidth=1, zorder=1)
    for y, effect in enumerate(effects):
        colour = LIGHT[COLOURS[effect.verdict or "undecided"]]
        if effect.effect is None:
            _note(axes, y, why_left_out(effect))
            continue
        if effect.interval is not None:
            ends = [effect.interval.low, effect.interval.high]
            axes.plot(ends, [y, y], color=colour, linewidth=3, solid_capstyle="butt", zorder=3)
        axes.plot([effect.effect], [y], marker="o", markersize=8, color=colour, zorder=4)
    labels = _labels([effect.study for effect in effects])
    if answer.pooled is not None:
        _pooled(axes, answer.pooled, len(effects))
        labels.append("mean")
    axes.set_ylim(n_rows - 0.4, -0.6)
    axes.set_yticks(range(n_rows), labels, fontsize=10)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("Gain / smallest that matters (right is better)")
    legend(figure, _handles(axes, answer, varies_over))
    where = "on each workload" if varies_over == "workload" else "in each study"
    return Picture(
        name=f"forest-{answer.arm}".replace(".", "-"),
        title=f"{answer.arm} against {answer.baseline} {where}",
        alt=_description(answer),
        figure=figure,
    )


def _labels(names: Sequence[str]) -> list[str]:
    """Return the names of studies without the words that all begin with, such as the suite's."""
    words = [name.split() for name in names]
    columns = zip(*words, strict=False) if len(names) > 1 else ()
    n_shared = sum(1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, columns))
    labels = [" ".join(of_name[n_shared:]) or " ".join(of_name) for of_name in words]
    return [textwrap.shorten(label, 24, placeholder="…") for label in labels]


def _pooled(axes: Axes, pooled: Pooled, y: int) -> None:
    low, high = pooled.interval.low, pooled.interval.high
    corners = [low, pooled.mean, high, pooled.mean], [y, y - 0.25, y, y + 0.25]
    axes.fill(*corners, color=LIGHT["ink"], linewidth=1, zorder=4)
    if pooled.prediction is not None:
        ends = [pooled.prediction.low, pooled.prediction.high]
        axes.plot(ends, [y, y], color=LIGHT["muted"], linewidth=2, zorder=3)


def _note(axes: Axes, y: int, text: str) -> None:
    """Write why a study has no effect, in its row."""
    axes.text(
        0.5,
        y,
        text,
        transform=axes.get_yaxis_transform(),
        ha="center",
        va="center",
        fontsize=10,
        color=LIGHT["muted"],
    )


def _handles(axes: Axes, answer: Answer, varies_over: VariesOver) -> list[object]:
    band = axes.fill([], [], color=LIGHT["band"], label="too small to matter")[0]
    if answer.pooled is None:
        return [band]
    level = confidence(answer.pooled.interval.level)
    mean = axes.plot([], [], color=LIGHT["ink"], marker="D", linestyle="", label=f"mean ({level})")[
        0
    ]
    if answer.pooled.prediction is None:
        return [mean, band]
    label = f"further {varies_over}"
    return [mean, axes.plot([], [], color=LIGHT["muted"], linewidth=2, label=label)[0], band]


def _description(answer: Answer) -> str:
    lines = [
        f"{effect.study}: {signed(effect.effect)} ({span(effect.interval)}), "
        f"{as_words(effect.verdict or '')}"
        if effect.effect is not None
        else f"{effect.study}: {why_left_out(effect)}"
        for effect in answer.effects
    ]
    if answer.pooled is not None:
        lines.append(f"mean {signed(answer.pooled.mean)} ({span(answer.pooled.interval)})")
    return ". ".join(lines)
