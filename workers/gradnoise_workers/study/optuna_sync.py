"""OptunaSync: keeps Optuna's studies in step with the stored trials, which are the truth.

Optuna is written, by `save`, before our transaction that starts trials and after the one that ends
them. After a crash at any point the next holder of the study brings it up to date with `settle`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from gradnoise_service.compare.choosing import outcome
from gradnoise_service.domain.planned_trial import Setting
from gradnoise_service.domain.search_key import SearchKey
from gradnoise_service.domain.study import Study, Trial
from gradnoise_service.search import ArmSearch, Storage, publish
from gradnoise_service.store.attempts import WaitingTrial
from gradnoise_workers.study.decisions import Attempt, Ending


class OptunaSync:
    """The Optuna studies of a study: one for the search of each arm, one for each later phase.

    Args:
        study: The study.
        storage: Optuna's storage.
    """

    def __init__(self, study: Study, storage: Storage) -> None:
        self._storage = storage
        self._worst = study.metric.worst
        self._design = study.design
        self._names = {key: study.search_name(key) for key in self._design.search_keys}
        self._searches = {
            key: _open(study, storage, key, name) for key, name in self._names.items()
        }
        self._n_proposed: Counter[SearchKey] = Counter()

    def settle(self, trials: Sequence[Trial], numbers: Mapping[int, int]) -> None:
        """Record the final states that Optuna lacks.

        A proposal that no stored trial has was made just before a crash. The next trial of its
        search takes it: its setting would be the same.

        Args:
            trials: The stored trials.
            numbers: Their numbers in Optuna, by trial id.
        """
        by_number = {(self.key(t), numbers[t.id]): t for t in trials if t.id in numbers}
        self._n_proposed = Counter(key for key, _ in by_number)
        for key, search in self._searches.items():
            for number in search.running():
                trial = by_number.get((key, number))
                if trial is not None and trial.has_ended:
                    is_lost = outcome(trial, self._design.spec.judge) == "diverged"
                    search.tell(
                        number, trial.state, self._told(trial.value, is_lost), is_lost=is_lost
                    )
        self.save()

    def reopen(
        self, trials: Sequence[Trial], numbers: Mapping[int, int], *, is_stopped: bool
    ) -> None:
        """Let the trials run again that ended in Optuna and wait here, as after a retry.

        Proposals that no stored trial has are dropped if they have ended in Optuna, or if the study
        was stopped: then no trial may follow to take them. The records of confirm runs from before
        an extension by epochs stay as they are.

        Args:
            trials: As of `settle`, before which this is called.
            numbers: As of `settle`.
            is_stopped: Whether the study was stopped.
        """
        known = {(self.key(t), numbers[t.id]): t.has_ended for t in trials if t.id in numbers}
        shorter = [key for key in self._searches if key.phase == "confirm"][:-1]
        for key, search in self._searches.items():
            if key in shorter:
                continue
            ended = set(range(search.n_trials)).difference(search.running())
            n_known = 1 + max((n for of, n in known if of == key), default=-1)
            drops = is_stopped or any(number >= n_known for number in ended)
            search.reopen(
                [number for number in sorted(ended) if known.get((key, number)) is False],
                n_known if drops else search.n_trials,
            )

    def save(self) -> None:
        """Write what was proposed and told since the last call."""
        for search in self._searches.values():
            search.save()

    def is_due(self, waiting: WaitingTrial) -> bool:
        """Return whether a trial may start: every trial that it sees has ended."""
        if waiting.optuna_number is not None:
            return True
        key = self.key(waiting.trial)
        return self._searches[key].is_due(self._n_proposed[key])

    def propose(self, waiting: WaitingTrial) -> tuple[int, Setting]:
        """Return the Optuna number and the setting of a trial that starts.

        The trials of a search start by number, each for the first time when it is due.
        """
        trial = waiting.trial
        if waiting.optuna_number is not None and trial.params is not None:
            return waiting.optuna_number, trial.params
        key = self.key(trial)
        search, number = self._searches[key], self._n_proposed[key]
        self._n_proposed[key] += 1
        if trial.params is None:
            return number, search.ask(number, seed=trial.seed)
        search.ask_for(number, trial.params, seed=trial.seed, arm=trial.arm)
        return number, trial.params

    def should_prune(self, attempt: Attempt, value: float) -> bool:
        """Record the objective at a rung and return the pruner's decision."""
        search = self._searches[self.key(attempt.trial)]
        return search.should_prune(attempt.optuna_number, attempt.epoch, value)

    def tell(self, end: Ending) -> None:
        """Record the final state of a trial, if the attempt's end is final."""
        if end.state is not None:
            search = self._searches[self.key(end.attempt.trial)]
            value = self._told(end.value, end.is_lost)
            search.tell(end.attempt.optuna_number, end.state, value, is_lost=end.is_lost)

    def cancel_running(self) -> None:
        """End every Optuna trial that has no final state: the study has ended."""
        for search in self._searches.values():
            for number in search.running():
                search.tell(number, "cancelled", None)
        self.save()

    def publish(self, note: str, plots: Mapping[str, str]) -> None:
        """Show the report in the Optuna Dashboard; plots with the confirm phase only."""
        for key, name in self._names.items():
            publish(self._storage, name, note=note, plots=plots if key.phase == "confirm" else {})

    def _told(self, value: float | None, is_lost: bool) -> float | None:
        """Return the value that the searches see: of a lost trial the metric's worst."""
        return self._worst if is_lost else value

    def key(self, trial: Trial) -> SearchKey:
        """Return the Optuna study that records a trial."""
        return self._design.search_key(trial.phase, trial.arm, trial.number)


def _open(study: Study, storage: Storage, key: SearchKey, name: str) -> ArmSearch:
    spec, design = study.spec, study.design
    if spec.search is None or key.arm is None:
        return ArmSearch(storage, name, direction=study.metric.direction, space={}, seed=spec.seed)
    return ArmSearch(
        storage,
        name,
        direction=study.metric.direction,
        space=design.space(key.arm),
        sampler=spec.search.sampler,
        pruner=spec.search.pruner,
        lag=design.lag(key.arm),
        seed=design.sampler_seed(key.arm, key.repeat),
    )
