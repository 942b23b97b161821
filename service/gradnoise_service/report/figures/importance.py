"""Figure of the hyperparameters' importance."""

from matplotlib.ticker import PercentFormatter

from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.report.figures.drawing import Picture, arm_legend, canvas, dots
from gradnoise_service.report.palette import LIGHT

MOST_SHARES = 12


def importance(comparison: Comparison) -> Picture | None:
    """Draw the share that each hyperparameter explains alone, and each pair beyond that.

    A bar shows the share that noise alone reaches.
    """
    singles, pairs = comparison.diagnostics.importances, comparison.diagnostics.interactions
    shares = [(found.arm, found.name, found.share, found.chance) for found in singles]
    shares += [
        (found.arm, " with ".join(found.names), found.share, found.chance) for found in pairs
    ]
    if not shares:
        return None
    names = list(dict.fromkeys(name for _, name, _, _ in shares))[:MOST_SHARES]
    index_of = {arm.name: i for i, arm in enumerate(comparison.arms)}
    figure, axes = canvas(70 + 30 * len(names), n_labels=len(comparison.arms))
    apart = min(0.24, 0.7 / len(comparison.arms))
    for arm, name, share, chance in shares:
        if name in names:
            i = index_of[arm]
            y = names.index(name) + apart * (i - (len(index_of) - 1) / 2)
            axes.plot(
                [0, chance],
                [y, y],
                color=LIGHT["band"],
                linewidth=6,
                solid_capstyle="butt",
                zorder=1,
            )
            dots(axes, [(share, y)], i, size=34)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(-0.03, 1.03)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    axes.set_xlabel("Share of the variance of ranks")
    axes.grid(axis="x")
    arm_legend(
        figure,
        comparison,
        axes.barh([0], [0], color=LIGHT["band"], label="share that noise alone reaches"),
    )
    percents = ", ".join(f"{arm} {name} {100 * share:.0f} %" for arm, name, share, _ in shares)
    n_trials = {found.arm: found.n for found in singles}
    trials = ", ".join(f"{n} of {arm}" for arm, n in n_trials.items())
    alt = (
        "Share of the variance of ranks that each hyperparameter explains alone, and each pair "
        f"beyond that: {percents}; trials: {trials}."
    )
    return Picture(
        name="importance", title="Importance of the hyperparameters", alt=alt, figure=figure
    )
