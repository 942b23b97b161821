"""One Optuna study: proposes settings, records results, decides on pruning.

Trials are kept in memory; `save` writes those that were proposed or have ended since to SQL, and
each rung value is written at once. After a restart they are read back.
"""

import contextlib
from collections.abc import Collection, Mapping
from datetime import UTC, datetime

import optuna
from optuna.distributions import FloatDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from gradnoise_service.domain.planned_trial import Setting
from gradnoise_service.domain.search import Pruner, SamplerName
from gradnoise_service.domain.space import Choices, Range, Space, fixed_values, is_number, label
from gradnoise_service.domain.study import Direction
from gradnoise_service.domain.study import TrialState as State
from gradnoise_service.search.proposals import LOST, as_seen, propose, with_lost_last
from gradnoise_service.search.pruners import prunes
from gradnoise_service.search.samplers import distribution, grid
from gradnoise_service.search.storage import COPY
from gradnoise_service.search.trial_rows import write

OPTUNA_STATES: Mapping[State, TrialState] = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "cancelled": TrialState.FAIL,
}


class ArmSearch:
    """The search of one arm, or the record of a later phase.

    Trial i sees the trials below i - lag, whatever else has ended: its setting and its pruning are
    functions of the seed and of the results of those trials. The study's lease guarantees a single
    writer.

    Args:
        storage: From `open_storage`.
        name: Name of the Optuna study; created if missing.
        direction: Of the objective.
        space: What to search; fixed values are stored as attributes of the Optuna study.
        sampler: Name of the sampler.
        pruner: When trials end early.
        lag: Trial i sees the trials below i - lag; None where it sees none.
        seed: Seeds the sampler, together with the number of the trial; at least 0.
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
        lag: int | None = None,
        seed: int,
    ) -> None:
        self._storage = storage
        self._direction: Direction = direction
        self._names = list(space)
        self._fixed = fixed_values(space)
        self._distributions = {
            name: distribution(entry)
            for name, entry in space.items()
            if isinstance(entry, Range | Choices)
        }
        self._ranges = {name: entry for name, entry in space.items() if isinstance(entry, Range)}
        self._of_label = {
            name: {label(choice): choice for choice in entry.choices}
            for name, entry in space.items()
            if isinstance(entry, Choices)
        }
        self._sampler: SamplerName = sampler
        self._grid = grid(space) if sampler == "grid" else None
        self._pruner = pruner or Pruner()
        self._lag = lag
        self._seed = seed
        self._ids: list[int] = []
        self._open(name)

    @property
    def n_trials(self) -> int:
        """The number of trials that were proposed."""
        return len(self._trials)

    def save(self) -> None:
        """Write the trials that were proposed, and the final states, since the last call."""
        if self._ended or len(self._ids) < len(self._trials):
            self._ids = write(self._storage, self._study_id, self._trials, self._ids, self._ended)
            self._ended.clear()

    def running(self) -> list[int]:
        """Return the numbers of the trials that were proposed and have no final state."""
        return [n for n, trial in enumerate(self._trials) if not trial.state.is_finished()]

    def reopen(self, numbers: Collection[int], n_trials: int) -> None:
        """Let trials that have ended run again, and drop those from number `n_trials` on.

        Optuna neither changes a trial that has ended nor deletes one: the record is made anew, with
        the others as before. After a crash the next `ArmSearch` finds the old record or the copy
        whole.
        """
        if not numbers and n_trials == self.n_trials:
            return
        self.save()
        storage = self._storage
        stored = storage.get_all_trials(self._study_id)[:n_trials]
        for number in numbers:
            trial = stored[number]
            trial.state, trial.value, trial.datetime_complete = TrialState.RUNNING, None, None
            trial.user_attrs.pop(LOST, None)
        name = storage.get_study_name_from_id(self._study_id)
        write(storage, self._create(name + COPY), stored)
        storage.delete_study(self._study_id)
        self._open(name)

    def is_due(self, number: int) -> bool:
        """Return whether every trial that a trial sees has ended."""
        while self._n_ended < len(self._trials) and self._has_ended(self._n_ended):
            self._n_ended += 1
        return self._n_visible(number) <= self._n_ended

    def ask(self, number: int, **attributes: object) -> Setting:
        """Return the setting of a trial; the first call proposes it.

        Args:
            number: Of the trial: at most the number of trials. `is_due` is true for it.
            attributes: Stored with the Optuna trial.
        """
        if number == len(self._trials):
            self._add(self._proposal(number), attributes)
        values = {**self._fixed, **self._trials[number].params}
        for name, of_label in self._of_label.items():
            values[name] = of_label[values[name]]
        return {name: values[name] for name in self._names}

    def ask_for(self, number: int, params: Setting, **attributes: object) -> None:
        """Add a trial with a given setting, unless there is one of that number.

        Values outside the space are stored as attributes: a later phase has no space.
        """
        if number == len(self._trials):
            self._add(self._given(params), attributes)

    def should_prune(self, number: int, epoch: int, value: float) -> bool:
        """Record the objective at a rung and return whether the trial should be pruned."""
        self.save()
        trial = self._trials[number]
        trial.intermediate_values[epoch] = value
        self._storage.set_trial_intermediate_value(self._ids[number], epoch, value)
        return prunes(self._pruner, self._direction, trial, epoch, self._visible(number))

    def tell(
        self, number: int, state: State, value: float | None, *, is_lost: bool = False
    ) -> None:
        """Record a trial's final state; repeating the call has no effect.

        Args:
            number: Of the trial.
            state: Its final state.
            value: Of a complete trial; for a pruned one that of its last rung, as Optuna defines
                it. Ignored for others.
            is_lost: Whether the trial diverged: later trials see it as worse than every measured
                one.
        """
        if self._has_ended(number):
            return
        trial = self._trials[number]
        trial.state, trial.datetime_complete = OPTUNA_STATES[state], datetime.now(UTC)
        trial.value = value if state in ("complete", "pruned") else None
        if is_lost:
            trial.user_attrs[LOST] = value
        self._ended.append(number)

    def _open(self, name: str) -> None:
        """Open the Optuna study, which is created if missing.

        A copy that a crash has left replaces it where it has more trials.
        """
        storage = self._storage
        self._study_id = self._create(name)
        trials = storage.get_all_trials(self._study_id)
        with contextlib.suppress(KeyError):
            copy = storage.get_study_id_from_name(name + COPY)
            copied = storage.get_all_trials(copy)
            if len(copied) > len(trials):
                storage.delete_study(self._study_id)
                self._study_id = self._create(name)
                write(storage, self._study_id, copied)
                trials = storage.get_all_trials(self._study_id)
            storage.delete_study(copy)
        self._trials = [as_seen(trial) for trial in trials]
        self._ids = [
            storage.get_trial_id_from_study_id_trial_number(self._study_id, trial.number)
            for trial in trials
        ]
        self._ended: list[int] = []
        self._n_ended = 0

    def _create(self, name: str) -> int:
        """Return the id of an Optuna study; it is created if missing."""
        storage = self._storage
        optuna.create_study(
            study_name=name, storage=storage, direction=self._direction, load_if_exists=True
        )
        study_id: int = storage.get_study_id_from_name(name)
        if self._fixed and not storage.get_study_user_attrs(study_id):
            storage.set_study_user_attr(study_id, "fixed", self._fixed)
        return study_id

    def _has_ended(self, number: int) -> bool:
        return self._trials[number].state.is_finished()

    def _n_visible(self, number: int) -> int:
        return 0 if self._lag is None else max(0, number - self._lag)

    def _visible(self, number: int) -> list[FrozenTrial]:
        return with_lost_last(self._trials[: self._n_visible(number)], self._direction)

    def _proposal(self, number: int) -> FrozenTrial:
        if self._grid is not None:
            return self._given(self._grid[number % len(self._grid)])
        trial = propose(
            self._sampler,
            self._distributions,
            self._direction,
            seed=self._seed,
            number=number,
            visible=self._visible(number),
        )
        # Optuna's sum of steps differs from the decimal number in its last bits
        exact = {name: entry.nearest(trial.params[name]) for name, entry in self._ranges.items()}
        trial.params = {**trial.params, **exact}
        return trial

    def _given(self, params: Setting) -> FrozenTrial:
        searched = {name: value for name, value in params.items() if name not in self._fixed}
        distributions = self._distributions or {
            name: FloatDistribution(float(value), float(value))
            for name, value in searched.items()
            if is_number(value)
        }
        return create_trial(
            state=TrialState.RUNNING,
            params={name: label(v) for name, v in searched.items() if name in distributions},
            distributions=distributions,
            user_attrs={name: v for name, v in searched.items() if name not in distributions},
        )

    def _add(self, trial: FrozenTrial, attributes: Mapping[str, object]) -> None:
        trial.number = len(self._trials)
        trial.user_attrs |= attributes
        self._trials.append(trial)
