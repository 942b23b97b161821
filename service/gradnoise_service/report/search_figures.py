"""Figures of the search phase: how each arm was tuned, and what its settings did."""

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import (
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
    PercentFormatter,
    StrMethodFormatter,
)

from gradnoise_service.compare.comparison import LOST, ArmSummary, Comparison, SearchPoint
from gradnoise_service.compare.diagnostics import numeric
from gradnoise_service.report.drawing import (
    Picture,
    Point,
    arm_legend,
    canvas,
    columns,
    crosses,
    dots,
    legend,
    metric_label,
    ring,
    value_axis,
)
from gradnoise_service.report.numbers import number
from gradnoise_service.report.palette import LIGHT, N_SHADES, arm_colour

N_NAMED = 6
MOST_SHARES = 12


def best_so_far(comparison: Comparison) -> Picture | None:
    """Draw each arm's best validation value against the number of its trials; a mark wherever it
    improved.
    """
    curves = [(i, arm.name, _best_points(comparison, arm)) for i, arm in enumerate(comparison.arms)]
    curves = [curve for curve in curves if curve[2]]
    if not curves:
        return None
    figure, axes = canvas(250, n_labels=len(comparison.arms))
    for i, _, points in curves:
        x, y = [x for x, _ in points], [y for _, y in points]
        axes.step(
            x,
            y,
            where="post",
            color=arm_colour(i),
            linewidth=2,
            linestyle="--" if i == 0 else "-",
            zorder=2 + i,
        )
        improved = [
            point for k, point in enumerate(points) if k == 0 or point[1] != points[k - 1][1]
        ]
        dots(axes, improved, i, size=26)
    axes.set_xlim(0.4, max(point.number for point in comparison.search) + 1.6)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("Trials of the arm")
    axes.set_ylabel(f"Best {comparison.metric} on validation")
    axes.margins(y=0.1)
    axes.grid(axis="y")
    arm_legend(figure, comparison)
    ends = ", ".join(
        f"{name} {number(points[-1][1])} after {points[-1][0]:g} trials"
        for _, name, points in curves
    )
    alt = f"Best validation {comparison.metric} against the number of trials. At the end: {ends}."
    return Picture(name="best_so_far", title="Best so far", alt=alt, figure=figure)


def learning_rate(comparison: Comparison) -> Picture | None:
    """Draw each search trial's value against its learning rate; without a search, that of each
    confirm run.
    """
    runs = comparison.search or tuple(_confirm_runs(comparison))
    tried = [(point, rate) for point in runs if (rate := numeric(point.params, "lr")) is not None]
    if len({rate for _, rate in tried}) < 2:
        return None
    figure, axes = canvas(270, n_labels=len(comparison.arms))
    _scale(axes, [rate for _, rate in tried])
    finite = [p.value for p, _ in tried if p.outcome == "complete" and p.value is not None]
    lost_at = value_axis(
        axes, "y", comparison, finite, has_lost=any(p.outcome in LOST for p, _ in tried)
    )
    for i, arm in enumerate(comparison.arms):
        own = [(p, rate) for p, rate in tried if p.arm == arm.name]
        complete = [
            (rate, p.value, p.number)
            for p, rate in own
            if p.outcome == "complete" and p.value is not None
        ]
        dots(axes, ((rate, value) for rate, value, _ in complete), i, size=30)
        crosses(axes, ((rate, lost_at) for p, rate in own if p.outcome in LOST), i)
        for rate, value, n in complete:
            if n == arm.chosen_number:
                ring(axes, (rate, value), size=150)
    axes.set_xlabel("Learning rate")
    split = "validation" if comparison.search else "test"
    axes.set_ylabel(metric_label(comparison, split))
    axes.grid()
    arm_legend(figure, comparison)
    alt = (
        f"{split.capitalize()} {comparison.metric} against learning rate, a mark for each of "
        f"{len(tried)} "
    )
    if comparison.search:
        chosen = ", ".join(
            f"{arm.name} {number((arm.setting or {}).get('lr'))}" for arm in comparison.arms
        )
        alt += f"search trials. Chosen, ringed: {chosen}."
    else:
        alt += "confirm runs."
    return Picture(name="learning_rate", title="Learning-rate response", alt=alt, figure=figure)


def noise_map(comparison: Comparison) -> Picture | None:
    """Draw the values over eta and gamma of the first arm that has both: shade and size grow with
    the value, the best are named.
    """
    for i, arm in enumerate(comparison.arms):
        tried = [
            (point, (eta, gamma))
            for point in comparison.search
            if point.arm == arm.name
            and (eta := numeric(point.params, "eta")) is not None
            and (gamma := numeric(point.params, "gamma")) is not None
        ]
        if tried:
            return _noise_map(comparison, i, arm, tried)
    return None


def importance(comparison: Comparison) -> Picture | None:
    """Draw the share that each hyperparameter explains alone, and each pair beyond that, with a bar
    up to where noise alone reaches.
    """
    alone, pairs = comparison.diagnostics.importances, comparison.diagnostics.interactions
    shares = [(one.arm, one.name, one.share, one.chance) for one in alone]
    shares += [(one.arm, " with ".join(one.names), one.share, one.chance) for one in pairs]
    if not shares:
        return None
    names = list(dict.fromkeys(name for _, name, _, _ in shares))[:MOST_SHARES]
    place = {arm.name: i for i, arm in enumerate(comparison.arms)}
    figure, axes = canvas(70 + 30 * len(names), n_labels=len(comparison.arms))
    apart = min(0.24, 0.7 / len(comparison.arms))
    for arm, name, share, chance in shares:
        if name in names:
            i = place[arm]
            y = names.index(name) + apart * (i - (len(place) - 1) / 2)
            axes.plot(
                [0, chance or 0],
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
        axes.barh([0], [0], color=LIGHT["band"], label="what noise alone reaches"),
    )
    told = ", ".join(f"{arm} {name} {100 * share:.0f} %" for arm, name, share, _ in shares)
    n = ", ".join(f"{one.n} of {one.arm}" for one in {one.arm: one for one in alone}.values())
    alt = (
        "Share of the variance of ranks that each hyperparameter explains alone, and each pair "
        f"beyond that: {told}; trials: {n}."
    )
    return Picture(name="importance", title="What explains the values", alt=alt, figure=figure)


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
    _scale(axes, [eta for _, (eta, _) in tried])

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
        if n == arm.chosen_number:
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
    if arm.setting:
        alt += (
            f" Chosen, ringed: eta {number(arm.setting.get('eta'))}, gamma "
            f"{number(arm.setting.get('gamma'))}."
        )
    return Picture(
        name="noise_map", title=f"Where {arm.name} did well: eta and gamma", alt=alt, figure=figure
    )


def _confirm_runs(comparison: Comparison) -> Iterator[SearchPoint]:
    """Yield the confirm runs of a study without a search as its search trials would be."""
    for row in comparison.seeds:
        for name, run in row.runs.items():
            if row.point is not None and run.value is not None:
                yield SearchPoint(
                    arm=name,
                    number=row.number,
                    seed=row.seed,
                    outcome=run.outcome,
                    value=run.value if run.outcome == "complete" else None,
                    best=None,
                    params=comparison.points[row.point].params,
                    device_seconds=0.0,
                )


def _best_points(comparison: Comparison, arm: ArmSummary) -> list[Point]:
    return [
        (point.number + 1, point.best)
        for point in comparison.search
        if point.arm == arm.name and point.best is not None
    ]


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """Make the x axis logarithmic where the values ask for it, and tick each value where they are
    few.
    """
    if min(values) > 0 and max(values) > 5 * min(values):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    distinct = sorted(set(values))
    if len(distinct) <= 5:
        axes.set_xticks(distinct, [number(value) for value in distinct])
        axes.xaxis.set_minor_locator(NullLocator())


def _area(shade: int) -> float:
    return 36 + 44 * shade


def _apart(best_first: Sequence[tuple[float, Point]]) -> list[tuple[float, Point]]:
    """Return the best few points whose labels do not run into each other."""
    gammas = [gamma for _, (_, gamma) in best_first]
    apart = 0.07 * (max(gammas) - min(gammas)) if gammas else 0.0
    named: list[tuple[float, Point]] = []
    for value, (eta, gamma) in best_first:
        if len(named) == N_NAMED:
            break
        if all(eta != other or abs(gamma - level) > apart for _, (other, level) in named):
            named.append((value, (eta, gamma)))
    return named
