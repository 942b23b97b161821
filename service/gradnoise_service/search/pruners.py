"""Pruners: whether a trial ends at a rung, as a function of the trials that it may see."""

import statistics
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from gradnoise_service.domain.search import Pruner
from gradnoise_service.domain.study import Direction


def prunes(
    pruner: Pruner,
    direction: Direction,
    trial: FrozenTrial,
    epoch: int,
    visible: Sequence[FrozenTrial],
) -> bool:
    """Return whether a pruner ends a trial at a rung.

    median: ends it if its best value at a rung so far is worse than the median of the visible
    complete trials' values at this rung (Golovin et al. 2017, Google Vizier, section 3.3). asha:
    ends it unless it is in the best 1/factor of the values at this rung, its own among them; with
    fewer than `factor` values the best continues (Li et al. 2020, arXiv:1810.05934, algorithm 2).

    Args:
        pruner: Its name and settings.
        direction: Of the objective.
        trial: The running trial, with its values at the rungs.
        epoch: The rung: an epoch at which the trial has a value.
        visible: The ended trials that count.
    """
    sign = 1.0 if direction == "maximize" else -1.0
    own = [sign * value for e, value in trial.intermediate_values.items() if e <= epoch]
    match pruner.name:
        case "none":
            return False
        case "median":
            complete = [t for t in visible if t.state == TrialState.COMPLETE]
            values = _at(epoch, complete, sign)
            is_early = len(complete) < pruner.startup_trials or not values
            return not is_early and max(own) < statistics.median(values)
        case "asha":
            value = sign * trial.intermediate_values[epoch]
            competing = sorted([*_at(epoch, visible, sign), value], reverse=True)
            n_promoted = max(1, len(competing) // pruner.reduction_factor)
            return value < competing[n_promoted - 1]


def _at(epoch: int, trials: Sequence[FrozenTrial], sign: float) -> list[float]:
    """Return the trials' values at a rung, larger is better; a trial that ended before has none."""
    values = (trial.intermediate_values.get(epoch) for trial in trials)
    return [sign * value for value in values if value is not None]
