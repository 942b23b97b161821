"""Phases: which trials may run, given those that have ended."""

from collections.abc import Sequence

from gradnoise_service.compare.choosing import choices, finalists, reruns
from gradnoise_service.compare.dropping import dropped
from gradnoise_service.compare.facts.comparison import Untrained
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.planned_trial import PlannedTrial, Setting, Stage
from gradnoise_service.domain.study import Metric, Trial


def stage_of(design: Design, trial: Trial | PlannedTrial) -> Stage:
    return trial.phase, trial.arm, design.place(trial.phase, trial.arm, trial.number)[0]


def due_trials(
    design: Design, metric: Metric, trials: Sequence[Trial], untrained: Untrained | None
) -> list[PlannedTrial]:
    """Return the trials of all phases that may run, given those that have ended, at a look.

    Each search leads to its reruns, and these to its confirm runs, without waiting for the other
    searches; but first every search trial must have started, because a stop cuts all searches
    alike.
    """
    if design.ending_stop is not None:
        return []
    searches = design.trials("search") if "search" in design.phases else []
    searched = {(t.arm, t.number): t for t in trials if t.phase == "search"}
    stored = [searched.get((trial.arm, trial.number)) for trial in searches]
    if not all(t is not None and t.n_attempts for t in stored):
        return searches
    open_stages = {stage_of(design, t) for t in stored if t is not None and not t.has_ended}
    ended = [t for t in trials if ("search", *stage_of(design, t)[1:]) not in open_stages]
    here = design_at_look(design, trials)
    reruns = rerun_trials(design, metric, ended) if "rerun" in design.phases else []
    return [*searches, *reruns, *confirm_trials(here, metric, ended, untrained)]


def runs_but_the_best(metric: Metric, trials: Sequence[Trial]) -> list[Trial]:
    """Return the confirm runs, but for the best run of each arm; the first of equal ones."""
    runs = [trial for trial in trials if trial.phase == "confirm"]
    best: dict[str, Trial] = {}
    for run in runs:
        if run.state != "complete" or run.diverged or run.value is None:
            continue
        first = best.get(run.arm)
        if first is None or metric.sign * (run.value - (first.value or 0.0)) > 0:
            best[run.arm] = run
    return [run for run in runs if best.get(run.arm) is not run]


def failure(design: Design, trials: Sequence[Trial]) -> str | None:
    """Return why no comparison is possible: every trial of an arm raised; None if one is.

    The trials of the first phase decide, all of which have ended. The reason has the first error of
    the arm.
    """
    first = [trial for trial in trials if trial.phase == design.phases[0]]
    has_failed = {
        arm.name: all(trial.state == "failed" for trial in first if trial.arm == arm.name)
        for arm in design.spec.arms
    }
    arms = [arm for arm, failed in has_failed.items() if failed]
    if not arms:
        return None
    reason = (
        "Every trial failed."
        if len(arms) == len(has_failed)
        else "".join(f"Every trial of {arm} in the {first[0].phase} phase failed. " for arm in arms)
    )
    of_arms = sorted((t for t in first if t.arm in arms), key=lambda trial: trial.id)
    error = next((trial.error for trial in of_arms if trial.error), "")
    return f"{reason.strip()} The first error:\n{error}"


def rerun_trials(design: Design, metric: Metric, trials: Sequence[Trial]) -> list[PlannedTrial]:
    """Return the reruns of the finalists of each search, up to the seed that these have reached."""
    settings: dict[str, list[Setting | None]] = {arm.name: [] for arm in design.spec.arms}
    standing = {}
    for repeat in range(design.n_repeats):
        for arm, best in finalists(design, metric, trials, repeat).items():
            standing[arm, repeat] = reruns(design, metric, trials, best)
            n_lacking = min(design.n_finalists, design.n_searched(arm)) - len(best)
            settings[arm] += [*(trial.params or {} for trial in best), *[None] * n_lacking]

    def is_due(trial: PlannedTrial) -> bool:
        repeat, position = design.place("rerun", trial.arm, trial.number)
        rank, seed = divmod(position, design.n_rerun_seeds)
        found = standing[trial.arm, repeat]
        return rank in found.ranks and seed < found.n_seeds

    return list(filter(is_due, design.trials("rerun", settings)))


def confirm_trials(
    design: Design, metric: Metric, trials: Sequence[Trial], untrained: Untrained | None
) -> list[PlannedTrial]:
    """Return the confirm runs at a look, of the arms that were not dropped before it.

    Each search whose reruns have ended runs the chosen setting; if it has confirm runs already,
    theirs.
    """
    without = dropped(design, metric, trials, untrained)
    settings: dict[str, list[Setting | None]] = {
        arm.name: [None] * design.n_repeats for arm in design.spec.arms
    }
    for repeat in range(design.n_repeats):
        for arm, choice in choices(design, metric, trials, repeat).items():
            if choice and (choice.rerun_mean is not None or not design.n_rerun_seeds):
                settings[arm][repeat] = choice.trial.params or {}
    for trial in trials:
        if trial.phase == "confirm":
            repeat = design.place("confirm", trial.arm, trial.number)[0]
            settings[trial.arm][repeat] = trial.params
    planned = design.trials("confirm", settings)
    return [trial for trial in planned if trial.arm not in without]


def design_at_look(design: Design, trials: Sequence[Trial]) -> Design:
    """Return the design at the look whose confirm runs are declared."""
    numbers = [trial.number for trial in trials if trial.phase == "confirm"]
    return design.at_look(max(numbers, default=-1) + 1)
