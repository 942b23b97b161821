"""Samplers and pruners: from their names in a spec to Optuna's objects."""

import itertools
import warnings
from collections.abc import Mapping

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from gradnoise_service.domain.space import Choices, Range, SpaceEntry, Value, points
from gradnoise_service.domain.spec import Pruner, SamplerName


def open_sampler(name: SamplerName, seed: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of that name; a random one for "grid", whose points `grid` lists."""
    match name:
        case "tpe":
            return optuna.samplers.TPESampler(seed=seed)
        case "qmc":
            with warnings.catch_warnings():
                # experimental in Optuna; the lock pins the version
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return optuna.samplers.QMCSampler(
                    seed=seed, scramble=True, warn_independent_sampling=False
                )
        case "gp":
            return optuna.samplers.GPSampler(seed=seed)
        case "cmaes":
            return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
        case "random" | "grid":
            return optuna.samplers.RandomSampler(seed=seed)


def open_pruner(pruner: Pruner) -> optuna.pruners.BasePruner:
    """Return Optuna's pruner for a spec's."""
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


def distribution(entry: Range | Choices) -> BaseDistribution:
    """Return Optuna's distribution for a searched entry of a space."""
    if isinstance(entry, Choices):
        return CategoricalDistribution(entry.choices)
    if entry.integer:
        step = int(entry.step or 1)
        return IntDistribution(int(entry.low), int(entry.high), log=entry.log, step=step)
    return FloatDistribution(entry.low, entry.high, log=entry.log, step=entry.step)


def grid(space: Mapping[str, SpaceEntry]) -> list[dict[str, Value]]:
    """Return every combination of a space's values, the last parameter varying fastest."""
    combinations = itertools.product(*map(points, space.values()))
    return [dict(zip(space, values, strict=True)) for values in combinations]
