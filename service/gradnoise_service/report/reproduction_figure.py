"""The picture of a table of the paper: each row's difference there and here, better to the right."""

import textwrap
from collections.abc import Sequence

from gradnoise_service.compare.comparison import Comparison
from gradnoise_service.compare.wording import signed
from gradnoise_service.presets.table import Row
from gradnoise_service.report.claims import Claim, Standing
from gradnoise_service.report.drawing import Picture, canvas, legend
from gradnoise_service.report.numbers import span, words
from gradnoise_service.report.palette import LIGHT

COLOURS: dict[Standing, str] = {
    "stood": LIGHT["good"],
    "did not stand": LIGHT["bad"],
    "undecided": LIGHT["unsure"],
    "not in the paper": LIGHT["arm1"],
}
LABELS: dict[Standing, str] = {"not in the paper": "no claim"}
"""Shorter words, where the legend has no room."""


def draw(name: str, rows: Sequence[tuple[Row, Comparison, Sequence[Claim]]]) -> Picture:
    """Draw the gain of each arm of each row: the paper's as a hollow diamond, ours with its
    interval in the colour of its standing.
    """
    lines = [(row, c, claim) for row, c, of_row in rows for claim in of_row]
    shown = [
        standing for standing in COLOURS if any(claim.standing == standing for _, _, claim in lines)
    ]
    has_paper = any(claim.paper_gain is not None for _, _, claim in lines)
    figure, axes = canvas(60 + 44 * len(lines), n_labels=len(shown) + has_paper)
    axes.axvline(0, color=LIGHT["muted"], linewidth=1, zorder=1)
    for y, (_, c, claim) in enumerate(lines):
        if claim.figures is None or claim.figures.threshold is None:
            axes.fill_betweenx(
                [y - 0.4, y + 0.4],
                -c.smallest_difference,
                c.smallest_difference,
                color=LIGHT["band"],
                linewidth=0,
                zorder=0,
            )
        if claim.paper_gain is not None:
            axes.plot(
                [claim.paper_gain],
                [y - 0.16],
                marker="D",
                markersize=7,
                color=LIGHT["card"],
                markeredgecolor=LIGHT["ink"],
                zorder=4,
            )
        colour = COLOURS[claim.standing]
        if claim.found.gain_interval is not None:
            interval = claim.found.gain_interval
            axes.plot(
                [interval.low, interval.high],
                [y + 0.16, y + 0.16],
                color=colour,
                linewidth=3,
                solid_capstyle="butt",
                zorder=3,
            )
        if claim.found.gain is not None:
            axes.plot(
                [claim.found.gain], [y + 0.16], marker="o", markersize=8, color=colour, zorder=5
            )
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_yticks(
        range(len(lines)),
        [textwrap.fill(f"{row.title}: {claim.arm}", 24) for row, _, claim in lines],
        fontsize=10,
    )
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_xlabel("Gain over the baseline (right is better)")
    paper = axes.plot(
        [],
        [],
        marker="D",
        markersize=7,
        linestyle="",
        color=LIGHT["card"],
        markeredgecolor=LIGHT["ink"],
        label="paper",
    )
    ours = [
        axes.plot(
            [],
            [],
            marker="o",
            markersize=8,
            linewidth=3,
            color=COLOURS[one],
            label=LABELS.get(one, one),
        )[0]
        for one in shown
    ]
    legend(figure, [*(paper if has_paper else ()), *ours])
    alt = ". ".join(
        f"{row.title}, {claim.arm}: the paper {signed(claim.paper_gain)}, "
        f"here {signed(claim.found.gain)} ({span(claim.found.gain_interval)}), "
        f"{words(claim.standing)}"
        for row, _, claim in lines
    )
    return Picture(
        name=name, title=f"{name}: differences in the paper and here", alt=alt, figure=figure
    )
