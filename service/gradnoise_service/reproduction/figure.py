"""The picture of a paper table: each arm's gain in the paper and in our study."""

import textwrap
from collections.abc import Sequence
from typing import Any

from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.presets import FULL, TableRow
from gradnoise_service.report.figures.drawing import Picture, canvas, legend
from gradnoise_service.report.palette import LIGHT
from gradnoise_service.report.words.numbers import as_words, signed, span
from gradnoise_service.reproduction.claims import Claim, CompleteStudy, Standing

COLOURS: dict[Standing, str] = {
    "reproduced": LIGHT["good"],
    "not reproduced": LIGHT["bad"],
    "undecided": LIGHT["unsure"],
    "not in the paper": LIGHT["arm1"],
}
LABELS: dict[Standing, str] = {"not in the paper": "no claim"}
"""Shorter labels for the legend."""
SMALLER = ("below full scale", LIGHT["muted"])
"""Label and colour of claims below full scale, where the task is another."""

COLOUR_OF_LABEL = {
    **{LABELS.get(standing, standing): colour for standing, colour in COLOURS.items()},
    SMALLER[0]: SMALLER[1],
}
DIAMOND: dict[str, Any] = {
    "marker": "D",
    "markersize": 7,
    "color": LIGHT["card"],
    "markeredgecolor": LIGHT["ink"],
}
OFFSET = 0.16
"""Distance of the paper's and our marker from the middle of a line."""


def draw(name: str, rows: Sequence[tuple[TableRow, CompleteStudy, Sequence[Claim]]]) -> Picture:
    """Draw the gain of each arm of each row.

    The paper's gain is a hollow diamond; our gain has its interval, in the colour of the standing
    at full scale.
    """
    lines = [(row, study, claim) for row, study, claims_of_row in rows for claim in claims_of_row]
    present = {_label(study, claim) for _, study, claim in lines}
    shown = [label for label in COLOUR_OF_LABEL if label in present]
    has_paper = any(claim.paper_gain is not None for _, _, claim in lines)
    figure, axes = canvas(60 + 44 * len(lines), n_labels=len(shown) + has_paper)
    axes.axvline(0, color=LIGHT["muted"], linewidth=1, zorder=1)
    for y, (_, study, claim) in enumerate(lines):
        colour = COLOUR_OF_LABEL[_label(study, claim)]
        _draw_claim(axes, y, study.comparison, claim, colour)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    labels = [textwrap.fill(f"{row.title}: {claim.arm}", 24) for row, _, claim in lines]
    axes.set_yticks(range(len(lines)), labels, fontsize=10)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_xlabel("Gain over the baseline (right is better)")
    legend(figure, _legend_entries(axes, shown, has_paper=has_paper))
    alt = ". ".join(_description(row, claim) for row, _, claim in lines)
    title = f"{name}: differences in the paper and here"
    return Picture(name=name, title=title, alt=alt, figure=figure)


def _label(study: CompleteStudy, claim: Claim) -> str:
    if study.scale != FULL and claim.standing in ("reproduced", "not reproduced"):
        return SMALLER[0]
    return LABELS.get(claim.standing, claim.standing)


def _draw_claim(axes: Any, y: float, c: Comparison, claim: Claim, colour: str) -> None:
    result = claim.result
    if claim.figures is None or claim.figures.threshold is None:
        delta = c.smallest_difference
        ends = [y - 0.4, y + 0.4]
        axes.fill_betweenx(ends, -delta, delta, color=LIGHT["band"], linewidth=0, zorder=0)
    if claim.paper_gain is not None:
        axes.plot([claim.paper_gain], [y - OFFSET], zorder=4, **DIAMOND)
    if result.gain_interval is not None:
        axes.plot(
            [result.gain_interval.low, result.gain_interval.high],
            [y + OFFSET, y + OFFSET],
            color=colour,
            linewidth=3,
            solid_capstyle="butt",
            zorder=3,
        )
    if result.gain is not None:
        axes.plot([result.gain], [y + OFFSET], marker="o", markersize=8, color=colour, zorder=5)


def _legend_entries(axes: Any, labels: Sequence[str], *, has_paper: bool) -> list[Any]:
    paper = axes.plot([], [], linestyle="", label="paper", **DIAMOND) if has_paper else []
    studies = [
        axes.plot(
            [],
            [],
            marker="o",
            markersize=8,
            linewidth=3,
            color=COLOUR_OF_LABEL[label],
            label=label,
        )[0]
        for label in labels
    ]
    return [*paper, *studies]


def _description(row: TableRow, claim: Claim) -> str:
    result = claim.result
    return (
        f"{row.title}, {claim.arm}: the paper {signed(claim.paper_gain)}, "
        f"here {signed(result.gain)} ({span(result.gain_interval)}), {as_words(claim.standing)}"
    )
