"""The picture of a paper table by training length: each arm's mean in each row."""

import math
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from gradnoise_service.report.figures.drawing import LEGEND_COLUMNS, MARKERS, Picture
from gradnoise_service.report.palette import LIGHT, arm_colour
from gradnoise_service.report.words.numbers import number
from gradnoise_service.reproduction.training_length import AtLength

N_COLUMNS = 2
PANEL_INCHES = (4.0, 1.9)


def draw_lengths(
    name: str,
    rows: Sequence[tuple[str, Sequence[AtLength]]],
    updates_per_epoch: int,
    full_epochs: int,
    metric: str,
) -> Picture:
    """Draw a panel for each row, with the length of the full scale as a vertical line.

    Args:
        name: The table.
        rows: The title of each row, and its results by length.
        updates_per_epoch: For the axis.
        full_epochs: The epochs of the full scale.
        metric: What the means are of.
    """
    n_lines = math.ceil(len(rows) / N_COLUMNS)
    size = (PANEL_INCHES[0] * min(N_COLUMNS, len(rows)), PANEL_INCHES[1] * n_lines + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(n_lines, min(N_COLUMNS, len(rows)), squeeze=False, sharex=True)
    handles: dict[str, object] = {}
    for axes, (title, lengths) in zip(panels.flat, rows, strict=False):
        axes.axvline(full_epochs * updates_per_epoch, color=LIGHT["muted"], linewidth=1)
        updates = [result.epochs * updates_per_epoch for result in lengths]
        for i, arm in enumerate(lengths[0].means):
            means = [math.nan if (m := result.means[arm]) is None else m for result in lengths]
            style = {"linestyle": "--" if i == 0 else "-", "marker": MARKERS[i % len(MARKERS)]}
            (line,) = axes.plot(
                updates, means, color=arm_colour(i), markevery=3, markersize=5, label=arm, **style
            )
            handles.setdefault(arm, line)
        axes.set_title(title, fontsize=11, loc="left")
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.yaxis.set_major_locator(MaxNLocator(4))
    for axes in panels.flat[len(rows) :]:
        axes.set_visible(False)
    figure.supxlabel("Updates (line: the length of the full scale)", fontsize=11)
    figure.supylabel(f"Mean {metric}", fontsize=11)
    # above the panels, which make room for it
    figure.legend(handles=list(handles.values()), loc="outside upper left", ncols=LEGEND_COLUMNS)
    alt = ". ".join(_description(title, lengths, updates_per_epoch) for title, lengths in rows)
    title = f"{name}: means by training length"
    return Picture(name=f"{name}-lengths", title=title, alt=alt, figure=figure)


def _description(title: str, lengths: Sequence[AtLength], updates_per_epoch: int) -> str:
    shown = (lengths[len(lengths) // 3 - 1], lengths[-1])
    return f"{title}: " + "; ".join(
        f"after {result.epochs * updates_per_epoch:,} updates "
        + ", ".join(f"{arm} {number(mean)}" for arm, mean in result.means.items())
        for result in shown
    )
