"""Checks a study's code with a short trial of each arm, in this process."""

import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gradnoise.training import device
from gradnoise.training.calibration import Measurer
from gradnoise.training.faults import Fault, FunctionError
from gradnoise.training.function_run import FunctionRun
from gradnoise.training.member import DivergedError
from gradnoise.training.rehearsal import rehearse
from gradnoise.training.setup import prepare
from gradnoise.training.single import open_lone
from gradnoise.training.trial import TrialSpec
from gradnoise_service.domain.source import Source
from gradnoise_service.domain.spec import StudySpec
from gradnoise_workers.calibration import trial_of
from gradnoise_workers.recipe_parameters import parameters_of
from gradnoise_workers.source.faults import line_of

N_EPOCHS = 2
"""Epochs of a trial of the check: enough to find a wrong second report."""


def checked(spec: StudySpec, source: Source) -> Iterator[dict[str, Any]]:
    """Train a trial of each arm for two epochs, at the middle of its space, and report on it.

    An arm that adds noise is also rehearsed with the lowest values of its techniques, as the
    workers do before a study.

    Yields:
        For each arm its name, and `values` of the last epoch, `seconds` an epoch, whether it has
        `diverged`, the hyperparameters that its function left `unread`, and as `noise` the ratio of
        noise to gradient `at` the lowest and the middle values, with the `setting`; or the `error`
        with its traceback. Then whether the baseline, trained again with the same seed, `repeats`
        its values. Then the reason why trials do not stack, `refusal`, empty if they do, and the
        devices of this machine. After the first arm that fails nothing more is trained.
    """
    parameters = parameters_of(spec, source)
    for arm in spec.arms:
        trial = replace(trial_of(spec, arm, arm.name), budget_epochs=N_EPOCHS, with_test=True)
        result = _trained(trial, source)
        if "error" not in result:
            names = [name for each in arm.techniques for name in parameters[each]]
            result["noise"] = _noise(trial, trial_of(spec, arm, arm.name, names), names, result)
        yield {"arm": arm.name, **result}
        if "error" in result:
            return
        if arm is spec.arms[0]:
            again = _trained(trial, source)
            yield {"repeats": again.get("values") == result["values"]}
    probe = trial_of(spec, spec.arms[-1], "probe")
    n_devices = torch.cuda.device_count() if device().type == "cuda" else os.cpu_count()
    yield {
        "refusal": Measurer(probe).measure(2, seconds=0.0).refusal,
        "on_gpu": device().type == "cuda",
        "n_devices": n_devices,
    }


def _trained(trial: TrialSpec, source: Source) -> dict[str, Any]:
    """Return what a trial measured in its last epoch and what its function did, or its error."""
    started, run, values = time.monotonic(), None, {}
    try:
        run = open_lone(prepare(trial), device())
        for _ in range(N_EPOCHS):
            values = dict(run.train_epoch())
        is_finite = all(map(math.isfinite, values.values()))
    except DivergedError:
        is_finite = False
    except FunctionError as error:
        return _error(error.fault, source)
    except Exception as error:
        return _error(Fault.of(error), source)
    finally:
        if isinstance(run, FunctionRun):
            run.close()
    return {
        "values": {name: value for name, value in values.items() if math.isfinite(value)},
        "seconds": (time.monotonic() - started) / N_EPOCHS,
        "diverged": not is_finite,
        "unread": run.conduct["unread"] if isinstance(run, FunctionRun) else [],
    }


def _noise(
    middle: TrialSpec, lowest: TrialSpec, names: Sequence[str], result: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return how strong the noise of an arm is beside the gradient, at the lowest values first."""
    at_middle = result["values"].get("noise_to_gradient")
    if at_middle is None:
        return []
    found = [("middle", middle, at_middle)]
    if lowest.params != middle.params:
        at_lowest = rehearse(lowest).noise_to_gradient
        found = [("lowest", lowest, at_lowest)] * (at_lowest is not None) + found
    return [
        {
            "at": at,
            "setting": {name: trial.params[name] for name in names if name in trial.params},
            "ratio": ratio,
        }
        for at, trial, ratio in found
    ]


def _error(fault: Fault, source: Source) -> dict[str, Any]:
    where = line_of(fault.error, Path(source.folder))
    return {"error": f"{where}{fault.summary}", "trace": fault.error}
