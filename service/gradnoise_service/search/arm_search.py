"""One Optuna study: proposes settings, records results, decides on pruning.

Sampler and pruner work on an in-memory copy of the study, so neither reads the database again for
each trial. SQL receives each trial when it is proposed, each rung value, and the final state, one
transaction each. After a restart the copy is read back from SQL.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import optuna
from optuna.distributions import FloatDistribution
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.trial import TrialState, create_trial

from gradnoise_service.domain.design import Setting
from gradnoise_service.domain.space import Choices, Range, Space, fixed_values
from gradnoise_service.domain.spec import Pruner, SamplerName
from gradnoise_service.domain.study import Direction
from gradnoise_service.domain.study import TrialState as State
from gradnoise_service.search.samplers import distribution, grid, open_pruner, open_sampler

OPTUNA_STATES: Mapping[State, TrialState] = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "cancelled": TrialState.FAIL,
}


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A setting to try, and the number of its Optuna trial."""

    number: int
    params: Setting


class ArmSearch:
    """The search of one arm, or the record of a later phase.

    The study's lease guarantees a single writer.

    Args:
        storage: From `open_storage`.
        name: Name of the Optuna study; created if missing.
        direction: Of the objective.
        space: What to search; fixed values are stored as attributes of the Optuna study.
        sampler: Name of the sampler.
        pruner: When trials end early.
        seed: Seeds the sampler, together with the number of stored trials, so that a restart does
            not repeat suggestions.
    """

    def __init__(
        self,
        storage: RDBStorage,
        name: str,
        *,
        direction: Direction,
        space: Space,
        sampler: SamplerName = "random",
        pruner: Pruner | None = None,
        seed: int,
    ) -> None:
        self._storage = storage
        self._names = list(space)
        self._fixed = fixed_values(space)
        self._distributions = {
            name: distribution(entry)
            for name, entry in space.items()
            if isinstance(entry, Range | Choices)
        }
        self._grid = grid(space) if sampler == "grid" else None
        optuna.create_study(
            study_name=name, storage=storage, direction=direction, load_if_exists=True
        )
        self._study_id = storage.get_study_id_from_name(name)
        if self._fixed and not storage.get_study_user_attrs(self._study_id):
            storage.set_study_user_attr(self._study_id, "fixed", self._fixed)
        trials = storage.get_all_trials(self._study_id)
        self._ids = [
            storage.get_trial_id_from_study_id_trial_number(self._study_id, trial.number)
            for trial in trials
        ]
        self._copy = InMemoryStorage()  # contains one study, so its trial ids are the trial numbers
        self._study = optuna.create_study(
            storage=self._copy,
            direction=direction,
            sampler=open_sampler(sampler, (seed + len(trials)) % 2**32),
            pruner=open_pruner(pruner or Pruner()),
        )
        self._study.add_trials(trials)

    def running(self) -> list[int]:
        """Return the numbers of the trials that were proposed and have no final state."""
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [trial.number for trial in running]

    def suggestion(self, number: int) -> Suggestion:
        """Return the setting of a trial."""
        values = {**self._fixed, **self._copy.get_trial(number).params}
        params = {name: values[name] for name in self._names or values}
        return Suggestion(number=number, params=params)

    def ask(self, **attributes: object) -> Suggestion:
        """Propose the next setting; `attributes` are stored with the Optuna trial."""
        if self._grid is not None:
            return self.ask_for(self._grid[len(self._ids) % len(self._grid)], **attributes)
        trial = self._study.ask(fixed_distributions=self._distributions)
        for name, value in attributes.items():
            trial.set_user_attr(name, value)
        return self._store()

    def ask_for(self, params: Setting, **attributes: object) -> Suggestion:
        """Record a given setting as the next trial.

        Text values outside the space are stored as attributes: a later phase has no space.
        """
        searched = {name: value for name, value in params.items() if name not in self._fixed}
        distributions = self._distributions or {
            name: FloatDistribution(float(value), float(value))
            for name, value in searched.items()
            if not isinstance(value, str)
        }
        texts = {name: value for name, value in searched.items() if name not in distributions}
        values = {name: value for name, value in searched.items() if name in distributions}
        trial = create_trial(
            state=TrialState.RUNNING,
            params=values,
            distributions=distributions,
            user_attrs={**texts, **attributes},
        )
        self._study.add_trial(trial)
        return self._store()

    def should_prune(self, number: int, epoch: int, value: float) -> bool:
        """Record the objective at a rung and return whether the trial should be pruned."""
        self._copy.set_trial_intermediate_value(number, epoch, value)
        self._storage.set_trial_intermediate_value(self._ids[number], epoch, value)
        decision = self._study.pruner.prune(self._study, self._copy.get_trial(number))
        for key, rung in self._copy.get_trial(number).system_attrs.items():
            if key.startswith("completed_rung"):  # successive halving reads it after a restart
                self._storage.set_trial_system_attr(self._ids[number], key, rung)
        return decision

    def tell(self, number: int, state: State, value: float | None) -> None:
        """Record a trial's final state; repeating the call has no effect.

        A pruned trial keeps the value of its last rung, as Optuna defines it.
        """
        self._study.tell(
            number,
            value if state == "complete" else None,
            state=OPTUNA_STATES[state],
            skip_if_finished=True,
        )
        if not self._storage.get_trial(self._ids[number]).state.is_finished():
            final = self._copy.get_trial(number)
            self._storage.set_trial_state_values(self._ids[number], final.state, final.values)

    def _store(self) -> Suggestion:
        number = len(self._ids)
        trial = self._copy.get_trial(number)
        self._ids.append(self._storage.create_new_trial(self._study_id, trial))
        return self.suggestion(number)
