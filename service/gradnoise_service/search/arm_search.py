"""One Optuna study: proposes settings, keeps what came of them, decides who is pruned.

Sampler and pruner work on a copy of the study in memory, so that neither reads the database again
for each trial; SQL gets each trial whole when it is asked for, each rung, and how it ended, one
transaction each. After a restart the copy is read back from SQL.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.trial import TrialState, create_trial

from gradnoise_service.domain.spec import Choices, Parameter, Pruner, Range, SamplerName, Value
from gradnoise_service.domain.study import Direction
from gradnoise_service.domain.study import TrialState as State

TOLD_AS: dict[State, TrialState] = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "cancelled": TrialState.FAIL,
}


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """Parameters to try, under the number that Optuna knows them by."""

    number: int
    params: Mapping[str, Value]


@dataclass(frozen=True)
class PlotlyFigure:
    """What the Optuna Dashboard needs of Plotly's figure: the JSON that it is. So Plotly need not
    be installed.
    """

    json: str

    def to_json(self) -> str:
        return self.json


class ArmSearch:
    """The search of one arm, or the record of a later phase; one writer at a time, which the
    study's lease sees to.

    Args:
        storage: From `open_storage`.
        name: Name of the Optuna study; it is created when missing.
        direction: Of the objective.
        space: What to search; plain values stay fixed and are kept as attributes of the Optuna
            study.
        sampler: Name of the sampler.
        pruner: When trials end early.
        seed: Seeds the sampler, together with the number of trials already there, so that a restart
            does not repeat suggestions.
    """

    def __init__(
        self,
        storage: RDBStorage,
        name: str,
        *,
        direction: Direction,
        space: Mapping[str, Parameter],
        sampler: SamplerName = "random",
        pruner: Pruner | None = None,
        seed: int,
    ) -> None:
        self._storage = storage
        self._name = name
        self._names = list(space)
        self._fixed = {
            name: value for name, value in space.items() if not isinstance(value, Range | Choices)
        }
        self._distributions = {
            name: _distribution(value)
            for name, value in space.items()
            if isinstance(value, Range | Choices)
        }
        self._grid = _grid(space) if sampler == "grid" else None
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
        # whose trial ids are the trials' numbers, since it holds this one study
        self._copy = InMemoryStorage()
        self._study = optuna.create_study(
            storage=self._copy,
            direction=direction,
            sampler=_sampler(sampler, (seed + len(trials)) % 2**32),
            pruner=_pruner(pruner or Pruner()),
        )
        self._study.add_trials(trials)

    def running(self) -> list[int]:
        """Return the numbers of the trials that were asked for and never told."""
        return [
            trial.number
            for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        ]

    def suggestion(self, number: int) -> Suggestion:
        """Return what was suggested under a number."""
        values = {**self._fixed, **self._copy.get_trial(number).params}
        return Suggestion(
            number=number, params={name: values[name] for name in self._names or values}
        )

    def ask(self, **attributes: object) -> Suggestion:
        """Propose the next setting; `attributes` stand on the Optuna trial for readers (its seed,
        its arm).
        """
        if self._grid is not None:
            return self.ask_for(self._grid[len(self._ids) % len(self._grid)], **attributes)
        trial = self._study.ask(fixed_distributions=self._distributions)
        for name, value in attributes.items():
            trial.set_user_attr(name, value)
        return self._store()

    def ask_for(self, params: Mapping[str, Value], **attributes: object) -> Suggestion:
        """Record a setting that was chosen elsewhere as the next trial; words that the space does
        not hold become attributes.
        """
        free = {name: value for name, value in params.items() if name not in self._fixed}
        distributions = self._distributions or {
            name: FloatDistribution(float(value), float(value))
            for name, value in free.items()
            if not isinstance(value, str)
        }
        words = {name: value for name, value in free.items() if name not in distributions}
        values = {name: value for name, value in free.items() if name in distributions}
        trial = create_trial(
            state=TrialState.RUNNING,
            params=values,
            distributions=distributions,
            user_attrs={**words, **attributes},
        )
        self._study.add_trial(trial)
        return self._store()

    def should_prune(self, number: int, epoch: int, value: float) -> bool:
        """Record the objective at a rung and return whether the trial should end here."""
        self._copy.set_trial_intermediate_value(number, epoch, value)
        self._storage.set_trial_intermediate_value(self._ids[number], epoch, value)
        decision = self._study.pruner.prune(self._study, self._copy.get_trial(number))
        for key, noted in self._copy.get_trial(number).system_attrs.items():
            # what successive halving must find again after a restart
            if key.startswith("completed_rung"):
                self._storage.set_trial_system_attr(self._ids[number], key, noted)
        return decision

    def tell(self, number: int, state: State, value: float | None) -> None:
        """Record how a trial ended; telling it again changes nothing. A pruned trial keeps the
        value of its last rung, as Optuna has it.
        """
        self._study.tell(
            number,
            value if state == "complete" else None,
            state=TOLD_AS[state],
            skip_if_finished=True,
        )
        if not self._storage.get_trial(self._ids[number]).state.is_finished():
            told = self._copy.get_trial(number)
            self._storage.set_trial_state_values(self._ids[number], told.state, told.values)

    def note(self, text: str) -> None:
        """Show a text, in Markdown, on the study's page in the Optuna Dashboard, in place of the
        last one.
        """
        # imported here: it is slow, and few need it
        from optuna_dashboard import save_note  # type: ignore[import-untyped]

        save_note(optuna.load_study(study_name=self._name, storage=self._storage), text)

    def draw(self, plots: Mapping[str, str]) -> None:
        """Show plots, by name as the JSON of a Plotly figure, on the study's page in the Optuna
        Dashboard, in place of earlier ones.
        """
        from optuna_dashboard import save_plotly_graph_object

        study = optuna.load_study(study_name=self._name, storage=self._storage)
        for name, plot in plots.items():
            save_plotly_graph_object(study, PlotlyFigure(plot), graph_object_id=name)

    def _store(self) -> Suggestion:
        number = len(self._ids)
        self._ids.append(
            self._storage.create_new_trial(self._study_id, self._copy.get_trial(number))
        )
        return self.suggestion(number)


def _distribution(parameter: Range | Choices) -> BaseDistribution:
    if isinstance(parameter, Choices):
        return CategoricalDistribution(parameter.choices)
    if parameter.integer:
        return IntDistribution(
            int(parameter.low),
            int(parameter.high),
            log=parameter.log,
            step=int(parameter.step or 1),
        )
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def _grid(space: Mapping[str, Parameter]) -> list[dict[str, Value]]:
    points: list[dict[str, Value]] = [{}]
    for name, parameter in space.items():
        values = list(parameter.points()) if isinstance(parameter, Range | Choices) else [parameter]
        points = [{**point, name: value} for point in points for value in values]
    return points


def _sampler(name: SamplerName, seed: int) -> optuna.samplers.BaseSampler:
    match name:
        case "tpe":
            return optuna.samplers.TPESampler(seed=seed)
        case "qmc":
            with warnings.catch_warnings():
                # known, and pinned by the lock
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return optuna.samplers.QMCSampler(
                    seed=seed, scramble=True, warn_independent_sampling=False
                )
        case "gp":
            return optuna.samplers.GPSampler(seed=seed)
        case "cmaes":
            return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
        case "random" | "grid":  # a grid's points come from _grid
            return optuna.samplers.RandomSampler(seed=seed)


def _pruner(pruner: Pruner) -> optuna.pruners.BasePruner:
    match pruner.name:
        case "median":
            return optuna.pruners.MedianPruner(
                n_startup_trials=pruner.startup_trials, n_warmup_steps=pruner.warmup_epochs - 1
            )
        case "asha":
            return optuna.pruners.SuccessiveHalvingPruner(
                min_resource=pruner.warmup_epochs, reduction_factor=pruner.reduction_factor
            )
        case "none":
            return optuna.pruners.NopPruner()
