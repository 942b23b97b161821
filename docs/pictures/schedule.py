"""Draws the picture of docs/gradient-noise.md, beside this file or into a folder: `python
docs/pictures/schedule.py [FOLDER]`.
"""

import sys
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from gradnoise import annealed
from gradnoise_service.report.drawing import STYLE
from gradnoise_service.report.palette import LIGHT, arm_colour

ETAS = (0.01, 0.3, 1.0)  # the paper's
GAMMA = 0.55
MARKED = (0, 100, 1_000, 10_000)
LAST = 100_000


def draw() -> Figure:
    """Return std over t for each eta, both axes logarithmic; a power of 1 + t is a straight line
    there.
    """
    figure = Figure(figsize=(7.4, 4.1), layout="constrained", facecolor=LIGHT["card"])
    axes = figure.add_subplot()
    for i, eta in enumerate(ETAS):
        std = annealed(eta, GAMMA).std
        colour = arm_colour(i + 1)
        axes.plot([1, 1 + LAST], [std(0), std(LAST)], color=colour, linewidth=2)
        axes.scatter(
            [1 + t for t in MARKED], [std(t) for t in MARKED], s=26, color=colour, zorder=3
        )
        for t in MARKED:
            axes.annotate(
                f"{std(t):.2g}",
                (1 + t, std(t)),
                (4, 5),
                textcoords="offset points",
                fontsize=10.5,
                color=LIGHT["ink"],
            )
        axes.annotate(
            f"eta = {eta:g}",
            (1 + LAST, std(LAST)),
            (7, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            annotation_clip=False,
        )
    axes.set(xscale="log", yscale="log", xlim=(0.8, 1 + LAST), ylim=(0.003, 1.7))
    axes.set_xticks(
        [1 + t for t in (0, 10, 100, 1_000, 10_000, LAST)],
        ["0", "10", "100", "1,000", "10,000", f"{LAST:,}"],
    )
    axes.set_yticks([0.01, 0.1, 1.0], ["0.01", "0.1", "1"])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(True)
    axes.set_xlabel("t, optimizer updates so far (log scale of 1 + t)")
    axes.set_ylabel("Standard deviation sigma, gradient units")
    axes.set_title(
        f"sigma = sqrt(eta / (1 + t)^gamma), gamma = {GAMMA}",
        loc="left",
        fontsize=12,
        color=LIGHT["ink"],
    )
    return figure


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    with matplotlib.rc_context(STYLE):
        draw().savefig(folder / "schedule.png", dpi=150)
