"""Proposals: the setting of a search trial as a function of the trials that it may see.

A sampler is made anew for every trial, from a seed that follows from the search's seed and the
trial's number. It sees a study that holds the visible trials and nothing else: what it proposes
depends neither on when trials ended nor on what ran beside them.
"""

import copy
import hashlib
import math
from collections.abc import Container, Mapping, Sequence

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from gradnoise_service.domain.search import SamplerName
from gradnoise_service.domain.study import Direction
from gradnoise_service.search.samplers import open_sampler

N_GOOD, N_OTHERS = 25, 225
"""The trials that TPE sees of a longer search. It compares the density of the best tenth, at most
25, with that of the others: of these a sample is enough, and its cost grows with their number."""

LOST = "lost"
"""Attribute of a trial that diverged: the metric's declared worst value; it has none of its own."""


def propose(
    sampler: SamplerName,
    distributions: Mapping[str, BaseDistribution],
    direction: Direction,
    *,
    seed: int,
    number: int,
    visible: Sequence[FrozenTrial],
) -> FrozenTrial:
    """Return trial `number` of a search, running, with the parameters that the sampler proposes.

    Equal arguments give equal parameters.

    Args:
        sampler: Name of the sampler.
        distributions: What is searched, by parameter.
        direction: Of the objective.
        seed: Of the search, at least 0.
        number: Of the trial in its search, from 0.
        visible: The ended trials that the sampler sees, by number, all below `number`; TPE sees
            those that `thinned` leaves.
    """
    if sampler == "tpe":
        visible = thinned(visible, direction)
    storage = _Visible(visible, number)
    study = optuna.create_study(
        storage=storage,
        direction=direction,
        sampler=open_sampler(sampler, distributions, seed, trial_seed(seed, number), number),
    )
    study.ask(fixed_distributions=dict(distributions))
    return storage.proposed(study._study_id)


def thinned(trials: Sequence[FrozenTrial], direction: Direction) -> Sequence[FrozenTrial]:
    """Return the N_GOOD best complete trials and N_OTHERS of the rest, evenly spaced, by number.

    At most N_GOOD + N_OTHERS trials are returned as they are. The rest keeps its last trial.
    """
    if len(trials) <= N_GOOD + N_OTHERS:
        return trials
    complete = np.array([i for i, t in enumerate(trials) if t.state is TrialState.COMPLETE], int)
    values = np.array([trials[i].value or 0.0 for i in complete])
    order = np.argsort(-values if direction == "maximize" else values, kind="stable")
    best = complete[order[:N_GOOD]]
    rest = np.delete(np.arange(len(trials)), best)
    others = rest[np.arange(1, N_OTHERS + 1) * len(rest) // N_OTHERS - 1]
    return [trials[i] for i in np.union1d(best, others)]


def as_seen(trial: FrozenTrial) -> FrozenTrial:
    """Return a stored trial as later trials see it: one that diverged is complete."""
    if LOST in trial.user_attrs and trial.state.is_finished():
        trial.state, trial.value = TrialState.COMPLETE, trial.user_attrs[LOST]
    return trial


def with_lost_last(trials: Sequence[FrozenTrial], direction: Direction) -> list[FrozenTrial]:
    """Return trials in which every lost one has a value worse than that of every other one.

    A lost trial has the attribute `LOST` and the metric's declared worst value, which a measured
    value may exceed: a sampler would then search where training diverges.
    """
    values = [t.value for t in trials if LOST not in t.user_attrs and t.value is not None]
    if not values or not any(LOST in trial.user_attrs for trial in trials):
        return list(trials)
    worse, end = (max, math.inf) if direction == "minimize" else (min, -math.inf)
    beyond = math.nextafter(worse(values), end)
    return [
        _with_value(trial, worse([trial.value, beyond]))
        if LOST in trial.user_attrs and trial.value is not None
        else trial
        for trial in trials
    ]


def trial_seed(seed: int, number: int) -> int:
    """Return the seed of the sampler of a trial, below 2^32."""
    digest = hashlib.blake2b(f"{seed}/{number}".encode(), digest_size=4)
    return int.from_bytes(digest.digest(), "big")


def _with_value(trial: FrozenTrial, value: float) -> FrozenTrial:
    changed = copy.copy(trial)
    changed.value = value
    return changed


class _Visible(InMemoryStorage):
    """A storage of one study that shows given trials before the one that is proposed.

    They are not copied: a copy of every visible trial would cost more than the sampler.
    """

    def __init__(self, visible: Sequence[FrozenTrial], number: int) -> None:
        super().__init__()
        self._visible = visible
        self._number = number

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        trial_id = super().create_new_trial(study_id, template_trial)
        [trial] = super().get_all_trials(study_id, deepcopy=False)
        trial.number = self._number  # samplers compare it with the numbers of the visible trials
        return trial_id

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        shown = [t for t in self._visible if states is None or t.state in states]
        return [*shown, *super().get_all_trials(study_id, deepcopy=deepcopy, states=states)]

    def proposed(self, study_id: int) -> FrozenTrial:
        [trial] = super().get_all_trials(study_id)
        return trial
