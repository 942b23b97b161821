"""Phases: the current phase of a study, and the settings of the next phase."""

from collections.abc import Sequence

from gradnoise_service.compare.choosing import choose, finalists
from gradnoise_service.domain.design import Design, Settings
from gradnoise_service.domain.spec import Phase
from gradnoise_service.domain.study import Metric, Trial


def current_phase(design: Design, trials: Sequence[Trial]) -> Phase:
    """Return the last phase that has trials, or the first phase."""
    reached = {trial.phase for trial in trials}
    return next((p for p in reversed(design.phases) if p in reached), design.phases[0])


def following_phase(design: Design, phase: Phase) -> Phase:
    return design.phases[design.phases.index(phase) + 1]


def selected_settings(
    design: Design, metric: Metric, trials: Sequence[Trial], phase: Phase
) -> Settings:
    """Return the settings that a phase after the search runs, by arm.

    The reruns take each arm's finalists, the confirm phase its choice; an arm without a complete
    search trial has none.
    """
    if phase == "rerun":
        best = finalists(design, metric, trials)
        return {arm: [t.params or {} for t in of_arm] for arm, of_arm in best.items() if of_arm}
    chosen = choose(design, metric, trials)
    return {arm: [trial.params or {}] for arm, trial in chosen.items() if trial is not None}


def confirmed_settings(trials: Sequence[Trial]) -> Settings:
    """Return the settings that the arms' stored confirm runs have; a grid ignores them."""
    return {trial.arm: [trial.params or {}] for trial in trials if trial.phase == "confirm"}


def design_at_look(design: Design, trials: Sequence[Trial]) -> Design:
    """Return the design at the look whose confirm runs are declared."""
    numbers = [trial.number for trial in trials if trial.phase == "confirm"]
    return design.at_look(max(numbers, default=-1) + 1)
