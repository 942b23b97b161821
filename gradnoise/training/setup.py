"""From an order to what trains: the workload opened, every name and number checked."""

from dataclasses import dataclass

from gradnoise import parameters, techniques
from gradnoise.techniques import Effect
from gradnoise.training.lr_schedules import Factor, lr_factor
from gradnoise.training.optimizers import Optimizer, optimizer
from gradnoise.training.trial import ParamValue, TrialSpec
from gradnoise.workloads.base import Workload
from gradnoise.workloads.function import FunctionWorkload
from gradnoise.workloads.options import parse
from gradnoise.workloads.registry import find


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A trial whose names and numbers are legal.

    `workload` is a declared one, opened with its options; or a training function, whose options are
    then in `options`. `lr_factor` gives the factor of the learning rate in each epoch, counted from
    0.
    """

    spec: TrialSpec
    workload: Workload | FunctionWorkload
    options: object
    optimizer: Optimizer
    effect: Effect
    lr_factor: Factor

    @property
    def clip_value(self) -> float | None:
        return self._number("clip_value")

    @property
    def clip_norm(self) -> float | None:
        return self._number("clip_norm")

    def _number(self, name: str) -> float | None:
        value = self.spec.params.get(name)
        return None if value is None else float(value)


def prepare(spec: TrialSpec) -> Setup:
    """Check a trial against its workload, technique and optimizer.

    Raises:
        ValueError: If one of them is unknown, or an option or a hyperparameter is unknown, missing
            or illegal.
    """
    declared = find(spec.workload)
    technique = techniques.technique(spec.technique)
    if declared.techniques is not None and spec.technique not in declared.techniques:
        raise ValueError(
            f"technique must be one of {', '.join(declared.techniques)} on {spec.workload}, but "
            f"got {spec.technique!r}."
        )
    rule = optimizer(spec.optimizer)
    known = (*rule.parameters, *technique.parameters, *declared.parameters)
    parameters.check(spec.params, known, (*rule.required, *technique.required))
    rule.hyperparameters(spec.params)  # raises where they exclude each other
    if isinstance(declared, FunctionWorkload):
        workload: Workload | FunctionWorkload = declared
        options: object = parse(declared.Options, spec.options)
    else:
        workload = declared(spec.options, _own(spec, declared.parameters))
        options = workload.options
    return Setup(
        spec=spec,
        workload=workload,
        options=options,
        optimizer=rule,
        effect=techniques.effect(spec.technique, spec.params),
        lr_factor=lr_factor(spec.params, spec.budget_epochs),
    )


def _own(spec: TrialSpec, own: tuple[parameters.Parameter, ...]) -> dict[str, ParamValue]:
    return {one.name: spec.params[one.name] for one in own if one.name in spec.params}
