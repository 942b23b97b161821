"""Rehearsal: a trial's first updates, made and discarded: whether it works, where it starts."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gradnoise.training.epochs import epoch_order
from gradnoise.training.faults import Fault, FunctionError, UnfinishedError, as_exception
from gradnoise.training.function_run import FunctionRun
from gradnoise.training.precision import exact_float32
from gradnoise.training.setup import prepare
from gradnoise.training.single import SingleRun
from gradnoise.training.trial import TrialSpec
from gradnoise.workloads.base import Workload

FUNCTION_SECONDS = 60.0
MOST_KILLED = 3
"""A function whose process is killed so often is not known; its trials show whether it works."""


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """What a trial did.

    Args:
        error: What it raised; of a training function with the traceback. Empty: nothing.
        noise_to_gradient: The norm of the noise over that of the gradient, of the first update;
            None where it is not defined or was not measured.
        optimizers: The class and the settings of each optimizer that a function attached.
        unread: The hyperparameters that a function has not read.
    """

    error: str = ""
    noise_to_gradient: float | None = None
    optimizers: tuple[Mapping[str, Any], ...] = ()
    unread: tuple[str, ...] = ()


@exact_float32()
def rehearse(spec: TrialSpec, function_seconds: float = FUNCTION_SECONDS) -> Rehearsal:
    """Make the first update of a trial, or run a training function with a budget of one report.

    Args:
        spec: The trial.
        function_seconds: A function that has not ended by then is stopped; only what it raised
            until then is known.
    """
    from gradnoise.training import device

    try:
        setup = prepare(spec)
        if not isinstance(setup.workload, Workload):
            return _of_function(spec, function_seconds)
        run = SingleRun(setup, setup.workload, device())
        run.step(epoch_order(setup.workload, spec, 0)[0], is_last=True)
    except (Exception, SystemExit) as error:
        raised = as_exception(error)
        return Rehearsal(error=f"{type(raised).__name__}: {raised}")
    return Rehearsal(noise_to_gradient=run.noise_to_gradient.get("noise_to_gradient"))


def _of_function(spec: TrialSpec, seconds: float) -> Rehearsal:
    short = dataclasses.replace(spec, budget_epochs=1, rungs=(), with_test=True, checkpoint="")
    setup = prepare(short)
    assert not isinstance(setup.workload, Workload)
    values: Mapping[str, float] = {}
    for _ in range(MOST_KILLED):
        run = FunctionRun(setup, setup.workload)
        try:
            values = run.train_epoch(seconds)
        except UnfinishedError:
            break
        except FunctionError as error:
            if error.was_killed:
                continue
            return Rehearsal(error=_with_traceback(error.fault))
        finally:
            run.close(0.0)
        break
    return Rehearsal(
        noise_to_gradient=values.get("noise_to_gradient"),
        optimizers=tuple(run.conduct.get("optimizers", ())),
        unread=tuple(run.conduct.get("unread", ())) if values else (),
    )


def _with_traceback(fault: Fault) -> str:
    return f"{fault.summary}\n\n{fault.error.rstrip()}\n"


@exact_float32()
def untrained(spec: TrialSpec) -> dict[str, float]:
    """Return the metrics of a trial before its first update, by `<split>_<metric>`.

    Empty for a training function, whose model is not accessible.
    """
    from gradnoise.training import device

    setup = prepare(spec)
    if not isinstance(setup.workload, Workload):
        return {}
    return SingleRun(setup, setup.workload, device()).evaluate()
