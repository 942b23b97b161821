"""From a trial's spec to what trains: declarations looked up, every name and number checked."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gradnoise import parameters
from gradnoise.techniques.base import Technique
from gradnoise.techniques.contribution import Contribution, combine
from gradnoise.techniques.registry import TECHNIQUES
from gradnoise.training.trial import TrialSpec
from gradnoise.workloads.base import Workload
from gradnoise.workloads.function import FunctionWorkload
from gradnoise.workloads.lr_schedules import Factor, lr_factor, warmup_factor, warmup_factors
from gradnoise.workloads.optimizer import SHARED_PARAMETERS, SHARED_RULES, Optimizer
from gradnoise.workloads.options import parse
from gradnoise.workloads.registry import OPTIMIZERS, WORKLOADS, Declared, techniques_for


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A trial whose names and numbers are legal.

    Args:
        spec: The trial.
        workload: A declared workload, opened with its options, or a training function.
        options: An instance of the workload's options class.
        optimizer: The optimizer.
        contribution: What the techniques contribute together.
        lr_factor: From the epoch, counted from 0, to the factor of the learning rate.
    """

    spec: TrialSpec
    workload: Workload | FunctionWorkload
    options: object
    optimizer: Optimizer
    contribution: Contribution
    lr_factor: Factor

    @property
    def clip_value(self) -> float | None:
        return self._number("clip_value")

    @property
    def clip_norm(self) -> float | None:
        return self._number("clip_norm")

    @property
    def has_warmup(self) -> bool:
        return bool(self.spec.params.get("lr_warmup_steps"))

    def rate_factor(self, epoch: int, step: int) -> float:
        """Return the factor of the learning rate of an update; both are counted from 0."""
        return self.lr_factor(epoch) * warmup_factor(self.spec.params, step)

    def rate_factors(self, epoch: int, steps: range) -> npt.NDArray[np.float64]:
        """Return `rate_factor` of each of these updates of an epoch."""
        return self.lr_factor(epoch) * warmup_factors(self.spec.params, steps)

    def _number(self, name: str) -> float | None:
        value = self.spec.params.get(name)
        return float(value) if isinstance(value, int | float) else None


def prepare(spec: TrialSpec) -> Setup:
    """Check a trial against its workload, techniques and optimizer.

    Raises:
        ValueError: If one of them is not installed, they cannot be used together, or an option or a
            hyperparameter is unknown, missing or illegal.
    """
    declared = WORKLOADS.find(spec.workload)
    techniques = [TECHNIQUES.find(name) for name in spec.techniques]
    optimizer = OPTIMIZERS.find(spec.optimizer)
    _check_techniques(spec, declared)
    _check_params(spec, declared, techniques, optimizer)
    if isinstance(declared, FunctionWorkload):
        workload: Workload | FunctionWorkload = declared
        options: object = parse(declared.Options, spec.options)
    else:
        workload = declared(spec.options, parameters.pick(spec.params, declared.parameters))
        options = workload.options
    contribution = combine(technique.contribution(spec.params) for technique in techniques)
    _check_evaluation(workload, optimizer, contribution)
    return Setup(
        spec=spec,
        workload=workload,
        options=options,
        optimizer=optimizer,
        contribution=contribution,
        lr_factor=lr_factor(spec.params, spec.budget_epochs),
    )


def _check_techniques(spec: TrialSpec, declared: Declared) -> None:
    legal = techniques_for(declared)
    for name in spec.techniques:
        if legal is not None and name not in legal:
            raise ValueError(
                f"techniques must be among {', '.join(legal)} on {spec.workload}, but got {name!r}."
            )


def _check_evaluation(
    workload: Workload | FunctionWorkload, optimizer: Optimizer, contribution: Contribution
) -> None:
    if optimizer.evaluated is None:
        return
    problem = f"the optimizer {optimizer.name!r} measures metrics at an average of its own: "
    if contribution.average is not None:
        name = contribution.average.function.__name__
        raise ValueError(f"{problem}a trial cannot use it with {name}.")
    if isinstance(workload, FunctionWorkload):
        raise ValueError(
            f"{problem}{workload.name} is a training function, which measures its metrics itself. "
            "Make such an optimizer in the function and call trial.attach(optimizer)."
        )


def _check_params(
    spec: TrialSpec, declared: Declared, techniques: list[Technique], optimizer: Optimizer
) -> None:
    known = parameters.union(
        [
            (f"the optimizer {optimizer.name!r}", optimizer.parameters),
            ("every optimizer", SHARED_PARAMETERS),
            *((f"the technique {each.name!r}", each.parameters) for each in techniques),
            (f"the workload {declared.name!r}", declared.parameters),
        ]
    )
    required, rules = list(optimizer.required), [*optimizer.rules, *SHARED_RULES, *declared.rules]
    for technique in techniques:
        required += technique.required
        rules += technique.rules
    parameters.check(spec.params, known, required, rules)
