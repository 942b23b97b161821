"""Samplers: from their names in a spec to Optuna's objects."""

import itertools
import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from gradnoise_service.domain.search import RANDOM_TRIALS, SamplerName
from gradnoise_service.domain.space import Choices, Range, SpaceEntry, Value, label, points


def open_sampler(
    name: SamplerName,
    distributions: Mapping[str, BaseDistribution],
    seed: int,
    trial_seed: int,
    number: int,
) -> optuna.samplers.BaseSampler:
    """Return the sampler of one trial.

    Args:
        name: A sampler; "grid" has none, its points are those of `grid`.
        distributions: What is searched, by parameter.
        seed: Of the search: it scrambles the sequence of "qmc".
        trial_seed: Of the trial.
        number: Of the trial: its index in the sequence of "qmc".
    """
    match name:
        case "tpe":
            return optuna.samplers.TPESampler(seed=trial_seed, n_startup_trials=RANDOM_TRIALS[name])
        case "qmc":
            with warnings.catch_warnings():
                # experimental in Optuna; the lock pins the version
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return _PointOfSequence(distributions, seed, number)
        case "gp":
            return optuna.samplers.GPSampler(seed=trial_seed, n_startup_trials=RANDOM_TRIALS[name])
        case "cmaes":
            return optuna.samplers.CmaEsSampler(
                seed=trial_seed,
                n_startup_trials=RANDOM_TRIALS[name],
                warn_independent_sampling=False,
            )
        case "random":
            return optuna.samplers.RandomSampler(seed=trial_seed)
        case "grid":
            raise ValueError("a grid is not sampled: `grid` lists its points")


def distribution(entry: Range | Choices) -> BaseDistribution:
    """Return Optuna's distribution for a searched entry of a space; choices by their labels."""
    if isinstance(entry, Choices):
        return CategoricalDistribution([label(choice) for choice in entry.choices])
    if entry.integer:
        step = int(entry.step or 1)
        return IntDistribution(int(entry.low), int(entry.high), log=entry.log, step=step)
    return FloatDistribution(entry.low, entry.high, log=entry.log, step=entry.step)


def grid(space: Mapping[str, SpaceEntry]) -> list[dict[str, Value]]:
    """Return every combination of a space's values, the last parameter varying fastest."""
    combinations = itertools.product(*map(points, space.values()))
    return [dict(zip(space, values, strict=True)) for values in combinations]


class _PointOfSequence(optuna.samplers.QMCSampler):
    """Optuna's Sobol sampler at the index of a trial, whatever the storage has counted."""

    def __init__(
        self, distributions: Mapping[str, BaseDistribution], seed: int, index: int
    ) -> None:
        super().__init__(seed=seed % 2**32, scramble=True)
        self._distributions = distributions
        self._index = index

    def infer_relative_search_space(self, *_: Any) -> dict[str, BaseDistribution]:
        return dict(self._distributions)

    def _find_sample_id(self, *_: Any) -> int:
        return self._index
