"""What a careful reader should know before believing a verdict, and what was the same for every
arm.
"""

import math
from collections.abc import Iterator, Sequence

from gradnoise_service.compare.comparison import ArmSummary, Fact, GridPoint, Plan, Run, SeedRow
from gradnoise_service.compare.wording import BOUNDARIES, at_best
from gradnoise_service.domain.spec import Choices, Parameter, Range, StudySpec, Value
from gradnoise_service.domain.study import Metric

EDGE = 0.05
"""A chosen value within this share of its range from an end lies at the edge."""


def held_equal(spec: StudySpec, metric: Metric, plan: Plan | None = None) -> tuple[Fact, ...]:
    """Return what every arm had alike, in words; `plan` holds the declared looks, if there are any."""
    options = ", ".join(f"{name} {value}" for name, value in spec.options.items())
    judged = (
        "after the last epoch"
        if spec.judge == "last_epoch"
        else "at the epoch with the best validation value"
    )
    splits = (
        "on validation while searching and selecting, on held-out test data when confirming"
        if spec.search
        else "on held-out test data"
    )
    n_seeds = f"{'up to ' if plan else ''}{spec.confirm.n_seeds} fresh seeds"
    declared = spec.confirm.power
    power = (
        f" (for a power of {declared.power:g} at a standard deviation of {declared.sd:g})"
        if declared
        else ""
    )
    return (
        Fact(
            name="Workload",
            value=f"{spec.workload}{f' ({options})' if options else ''}, optimizer {spec.optimizer}",
        ),
        Fact(
            name="Data",
            value="split by the workload, for each seed alike in every arm; unless it splits by the seed, it has one fixed split, and "
            "the verdict is about that one",
        ),
        Fact(
            name="Shared space",
            value="; ".join(
                f"{name} {described(parameter)}" for name, parameter in spec.space.items()
            ),
        ),
        *_tuning(spec),
        Fact(
            name="Confirmation",
            value=f"{n_seeds}{power}{'' if spec.search else ' for each setting'}, the same for every arm (initialisation, data order), "
            f"{_counted(spec.confirm_epochs, 'epoch')}",
        ),
        *_looks(plan),
        Fact(
            name="Judged by",
            value=f"{metric.name} {judged}: {splits}",
        ),
    )


def _tuning(spec: StudySpec) -> Iterator[Fact]:
    if spec.search is None:
        settings = "the one setting" if spec.n_points == 1 else f"the same {spec.n_points} settings"
        yield Fact(
            name="Tuning",
            value=(
                f"nothing was tuned: each arm ran {settings}, every combination of the shared "
                "space's values"
            ),
        )
        return
    pruner = (
        "no pruner" if spec.search.pruner.name == "none" else f"pruner {spec.search.pruner.name}"
    )
    yield Fact(
        name="Search budget",
        value=f"{_budgets(spec)} of {_counted(spec.search.epochs, 'epoch')}, sampler {spec.search.sampler}, {pruner}; "
        "trial i of every arm has the same seed",
    )
    rerun = spec.rerun
    top = min(rerun.top, max(spec.n_searched(arm.name) for arm in spec.arms))
    selection = (
        f"each arm's best {_counted(top, 'setting')} on validation ran again on "
        f"{_counted(rerun.n_seeds, 'other seed')}, the same for "
        "every arm; the best mean was chosen"
        if rerun.is_on
        else (
            "each arm's best single value on validation, without reruns: it was lucky as well as "
            "good"
        )
    )
    yield Fact(name="Selection", value=selection)


def _looks(plan: Plan | None) -> Iterator[Fact]:
    if plan is not None:
        levels = ", ".join(f"{100 * level:.2g} %" for level in plan.levels)
        yield Fact(
            name="Declared looks",
            value=f"at {', '.join(map(str, plan.looks))} seeds, until every arm is decided; interval and test of each comparison are held "
            f"to {levels} ({BOUNDARIES[plan.boundary]}), so that over all looks equal arms are "
            "called better or worse in at most 5 % of "
            "studies",
        )


def _counted(n: int, name: str) -> str:
    return f"{n} {name}" if n == 1 else f"{n} {name}s"


def described(parameter: Parameter) -> str:
    """Return a parameter's space in words.

    >>> described(Range(low=0.003, high=0.3, log=True))
    '0.003 to 0.3, logarithmic'
    """
    if isinstance(parameter, Range):
        step = f", in steps of {parameter.step:g}" if parameter.step else ""
        scale = ", logarithmic" if parameter.log else ""
        return (
            f"{parameter.low:g} to "
            f"{parameter.high:g}{scale}{step}{', whole' if parameter.integer else ''}"
        )
    if isinstance(parameter, Choices):
        return "one of " + ", ".join(map(str, parameter.choices))
    return f"fixed at {parameter}"


def warnings(
    spec: StudySpec,
    metric: Metric,
    arms: Sequence[ArmSummary],
    rows: Sequence[SeedRow],
    points: Sequence[GridPoint] = (),
    plan: Plan | None = None,
) -> tuple[str, ...]:
    """Return the warnings, the gravest first; `points` are the settings of a study without a
    search, `plan` holds the declared looks of one that has come to its verdict at one of them, and
    was not extended since.
    """
    return (
        *_unequal(spec),
        *_losses(arms),
        *_early(plan),
        *_ties(arms, rows),
        *_edges(spec, arms),
        *_untuned(metric, arms, points),
    )


def _early(plan: Plan | None) -> Iterator[str]:
    if plan is not None and plan.n_seeds < plan.looks[-1]:
        yield (
            f"The study ended early, at {plan.n_seeds} of {plan.looks[-1]} seeds, because of what "
            "it saw there: means after such a stop are"
            " biased, away from 0 where it was for a difference. The interval keeps its level, the "
            "verdict its chance to err."
        )


def _unequal(spec: StudySpec) -> Iterator[str]:
    if len({spec.n_searched(arm.name) for arm in spec.arms}) > 1:
        yield (
            f"The arms were not tuned alike: {_budgets(spec)}. More trials find a better setting "
            "whatever the technique does."
        )


def _budgets(spec: StudySpec) -> str:
    counts = [spec.n_searched(arm.name) for arm in spec.arms]
    if len(set(counts)) == 1:
        return _counted(counts[0], "trial")
    return "unequal, " + ", ".join(
        f"{arm.name} {_counted(n, 'trial')}" for arm, n in zip(spec.arms, counts, strict=True)
    )


def _losses(arms: Sequence[ArmSummary]) -> Iterator[str]:
    for arm in arms:
        for phase, tally in (
            ("search", arm.search),
            ("rerun", arm.rerun),
            ("confirm", arm.confirm),
        ):
            loss = "" if phase == "search" else ": a lost run counts as the metric's worst value"
            counts = f"of {arm.name}'s {tally.n_declared} {phase} trials"
            if tally.n_failed:
                yield f"{tally.n_failed} {counts} failed with an error{loss}."
            if tally.n_diverged:
                yield f"{tally.n_diverged} {counts} diverged{loss}."
    for arm in arms:
        if arm.chosen_number is not None and arm.search_value is None:
            yield (
                f"Every search trial of {arm.name} that ended had diverged: its setting is the "
                "first one tried, not a tuned one."
            )


def _ties(arms: Sequence[ArmSummary], rows: Sequence[SeedRow]) -> Iterator[str]:
    for arm in arms[1:]:
        pairs = [(row.runs[arm.name], row.runs[arms[0].name]) for row in rows]
        values = [(a.value, b.value) for a, b in pairs if _counts(a) and _counts(b)]
        was_measured = any(run.outcome == "complete" for pair in pairs for run in pair)
        if was_measured and len(values) > 1 and all(a == b for a, b in values):
            yield (
                f"{arm.name} and {arms[0].name} tied on every seed: is the metric too coarse, or "
                "did neither learn anything?"
            )


def _counts(run: Run) -> bool:
    return run.value is not None


def _edges(spec: StudySpec, arms: Sequence[ArmSummary]) -> Iterator[str]:
    for arm in arms:
        space = spec.arm_space(arm.name)
        for name, value in (arm.setting or {}).items():
            end = edge(space[name], value) if name in space else None
            if end:
                yield (
                    f"{arm.name}'s chosen {name} = {value:.4g} lies at the {end} end of its space "
                    f"({described(space[name])}): "
                    "a better value may lie beyond."
                )


def _untuned(
    metric: Metric, arms: Sequence[ArmSummary], points: Sequence[GridPoint]
) -> Iterator[str]:
    if len(points) > 1 and all(any(point.runs[arm.name].n for point in points) for arm in arms):
        best = ", ".join(f"{arm.name} {at_best(points, arm.name, metric.sign)}" for arm in arms)
        yield (
            f"Nothing was tuned: the verdict is of the mean over {len(points)} settings, good and "
            "bad. At the setting with its best mean,"
            f" on the same test data, each arm has: {best}."
        )


def edge(parameter: Parameter, value: Value) -> str | None:
    """Return the end of its space at which a chosen value lies, `lower` or `upper`, or None. Of two
    choices each is an end: no warning.

    >>> edge(Range(low=0.003, high=0.3, log=True), 0.29), edge(Choices(choices=[0.01, 0.3, 1.0]), 0.3)
    ('upper', None)
    """
    if isinstance(value, str | bool):
        return None
    if isinstance(parameter, Choices):
        numbers = sorted(
            choice for choice in parameter.choices if not isinstance(choice, str | bool)
        )
        if len(numbers) < 3:
            return None
        return "lower" if value == numbers[0] else "upper" if value == numbers[-1] else None
    if not isinstance(parameter, Range):
        return None
    low, high, at = (
        math.log(x) if parameter.log else x
        for x in (parameter.low, parameter.high, max(value, parameter.low))
    )
    share = (at - low) / (high - low)
    margin = EDGE if parameter.n_points is None else 1e-9
    return "lower" if share <= margin else "upper" if share >= 1 - margin else None
