"""Phases: the current phase of a study, and the settings of the next phase."""

from collections.abc import Sequence

from gradnoise_service.compare.choosing import choices, finalists, reruns
from gradnoise_service.compare.dropping import dropped
from gradnoise_service.compare.facts.comparison import Untrained
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.planned_trial import PlannedTrial, Setting, Settings
from gradnoise_service.domain.spec import Phase
from gradnoise_service.domain.study import Metric, Trial


def current_phase(design: Design, trials: Sequence[Trial]) -> Phase:
    """Return the last phase that has trials, or the first phase."""
    reached = {trial.phase for trial in trials}
    return next((p for p in reversed(design.phases) if p in reached), design.phases[0])


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

    The trials of the first phase decide, once all have ended. The reason has the first error of the
    arm.
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


def following_phase(design: Design, phase: Phase) -> Phase:
    return design.phases[design.phases.index(phase) + 1]


def selected_settings(
    design: Design, metric: Metric, trials: Sequence[Trial], phase: Phase
) -> Settings:
    """Return the settings that a phase after the search runs, by arm.

    The reruns take the finalists of each search, the confirm phase its choice. Where a search has
    fewer, None takes their place; an arm without a complete search trial has no settings.
    """
    of_arms: dict[str, list[Setting | None]] = {arm.name: [] for arm in design.spec.arms}
    for repeat in range(design.n_repeats):
        if phase == "rerun":
            for arm, best in finalists(design, metric, trials, repeat).items():
                n_slots = min(design.n_finalists, design.n_searched(arm))
                found = [trial.params or {} for trial in best]
                of_arms[arm] += [*found, *[None] * (n_slots - len(found))]
        else:
            for arm, choice in choices(design, metric, trials, repeat).items():
                of_arms[arm].append(choice.trial.params or {} if choice else None)
    return {arm: found for arm, found in of_arms.items() if any(s is not None for s in found)}


def rerun_trials(design: Design, metric: Metric, trials: Sequence[Trial]) -> list[PlannedTrial]:
    """Return the reruns up to the seed that the finalists of each search have reached."""
    standing = {
        (arm, repeat): reruns(design, metric, trials, best)
        for repeat in range(design.n_repeats)
        for arm, best in finalists(design, metric, trials, repeat).items()
    }

    def is_due(trial: PlannedTrial) -> bool:
        repeat, position = design.place("rerun", trial.arm, trial.number)
        rank, seed = divmod(position, design.n_rerun_seeds)
        found = standing[trial.arm, repeat]
        return rank in found.ranks and seed < found.n_seeds

    planned = design.trials("rerun", selected_settings(design, metric, trials, "rerun"))
    return list(filter(is_due, planned))


def confirm_trials(
    design: Design, metric: Metric, trials: Sequence[Trial], untrained: Untrained | None
) -> list[PlannedTrial]:
    """Return the confirm runs at a look, of the arms that were not dropped before it.

    Their settings are those of the stored confirm runs; without any, those that the searches chose.
    """
    without = dropped(design, metric, trials, untrained)
    settings = _confirmed_settings(design, trials)
    if not settings:
        settings = selected_settings(design, metric, trials, "confirm")
    planned = design.trials("confirm", settings)
    return [trial for trial in planned if trial.arm not in without]


def design_at_look(design: Design, trials: Sequence[Trial]) -> Design:
    """Return the design at the look whose confirm runs are declared."""
    numbers = [trial.number for trial in trials if trial.phase == "confirm"]
    return design.at_look(max(numbers, default=-1) + 1)


def _confirmed_settings(design: Design, trials: Sequence[Trial]) -> Settings:
    """Return the settings of each search that the stored confirm runs have; a grid ignores them."""
    found: dict[str, list[Setting | None]] = {}
    for trial in trials:
        if trial.phase == "confirm":
            of_arm = found.setdefault(trial.arm, [None] * design.n_repeats)
            of_arm[design.place("confirm", trial.arm, trial.number)[0]] = trial.params
    return found
