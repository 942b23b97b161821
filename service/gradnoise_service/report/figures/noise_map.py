"""Figure of an arm's search values over eta and gamma."""

from collections.abc import Sequence

from gradnoise_service.compare.facts.base import LOST
from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.compare.facts.tables import ArmSummary, SearchPoint
from gradnoise_service.report.figures.drawing import (
    Picture,
    Point,
    canvas,
    columns,
    crosses,
    legend,
    rate_axis,
    ring,
)
from gradnoise_service.report.palette import LIGHT, N_SHADES, arm_colour
from gradnoise_service.report.words.numbers import number
from gradnoise_service.report.words.settings import chosen_values

N_NAMED = 6


def noise_map(comparison: Comparison) -> Picture | None:
    """Draw the values over eta and gamma of the first arm that has both.

    Shade and size grow with the value; the best values are labelled.
    """
    for i, arm in enumerate(comparison.arms):
        tried = [
            (point, (eta, gamma))
            for point in comparison.search
            if point.arm == arm.name
            and (eta := point.numeric("eta")) is not None
            and (gamma := point.numeric("gamma")) is not None
        ]
        if tried:
            return _noise_map(comparison, i, arm, tried)
    return None


def _noise_map(
    comparison: Comparison, index: int, arm: ArmSummary, tried: Sequence[tuple[SearchPoint, Point]]
) -> Picture:
    complete = [
        (p.value, at, p.number)
        for p, at in tried
        if p.outcome == "complete" and p.value is not None
    ]
    complete.sort(key=lambda item: comparison.sign * item[0])
    worst, best = (complete[0][0], complete[-1][0]) if complete else (0.0, 0.0)
    figure, axes = canvas(290, n_labels=1)
    rate_axis(axes, [eta for _, (eta, _) in tried])

    def shade(value: float) -> int:
        return (
            min(N_SHADES - 1, int(N_SHADES * (value - worst) / (best - worst)))
            if best != worst
            else N_SHADES - 1
        )

    for k in range(N_SHADES):
        x, y = columns(point for value, point, _ in complete if shade(value) == k)
        axes.scatter(
            x,
            y,
            s=_area(k),
            color=LIGHT[f"scale{k}"],
            edgecolors=LIGHT["card"],
            linewidths=1,
            zorder=2 + k,
        )
    for _, point, n in complete:
        if any(n == chosen.number for chosen in arm.chosen):
            ring(axes, point, size=420)
    lost = [at for p, at in tried if p.outcome in LOST]
    crosses(axes, lost, index)
    for value, at in _apart([(value, at) for value, at, _ in reversed(complete)]):
        axes.annotate(
            f"{value:.3g}",
            at,
            xytext=(14, 0),
            textcoords="offset points",
            va="center",
            fontsize=10.5,
            zorder=21,
        )
    axes.margins(x=0.16, y=0.1)
    axes.set_xlabel("eta, the noise's variance at step 0")
    axes.set_ylabel("gamma, how fast it decays")
    axes.grid()
    ends = [(0, worst), (N_SHADES - 1, best)] if complete else []
    handles = [
        axes.scatter([], [], s=_area(s), color=LIGHT[f"scale{s}"], linewidths=0, label=f"{v:.3g}")
        for s, v in ends
    ]
    if lost:
        handles.append(
            axes.scatter(
                [], [], s=44, marker="x", color=arm_colour(index), linewidths=2, label="lost"
            )
        )
    legend(figure, handles)
    reach = f"from {number(worst)} to {number(best)}"
    alt = (
        f"Validation {comparison.metric} of {len(complete)} trials of {arm.name} over eta and "
        f"gamma, {reach}."
    )
    if lost:
        alt += f" {len(lost)} lost trials are crosses."
    if arm.values("eta"):
        eta, gamma = chosen_values(arm, "eta"), chosen_values(arm, "gamma")
        alt += f" Chosen, ringed: eta {eta}, gamma {gamma}."
    return Picture(
        name="noise_map", title=f"Where {arm.name} did well: eta and gamma", alt=alt, figure=figure
    )


def _area(shade: int) -> float:
    return 36 + 44 * shade


def _apart(best_first: Sequence[tuple[float, Point]]) -> list[tuple[float, Point]]:
    """Return the best points whose labels do not overlap."""
    gammas = [gamma for _, (_, gamma) in best_first]
    apart = 0.07 * (max(gammas) - min(gammas)) if gammas else 0.0
    named: list[tuple[float, Point]] = []
    for value, (eta, gamma) in best_first:
        if len(named) == N_NAMED:
            break
        if all(eta != other or abs(gamma - level) > apart for _, (other, level) in named):
            named.append((value, (eta, gamma)))
    return named
