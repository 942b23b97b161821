"""Conformance of workloads, declared ones and training functions."""

import functools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from gradnoise.parameters import pick
from gradnoise.testing import trials
from gradnoise.testing.declarations import assert_declared, assert_described
from gradnoise.training.single import SingleTrainer
from gradnoise.training.stack import StackTrainer
from gradnoise.training.trial import ParamValue, TrialSpec
from gradnoise.workloads import FunctionWorkload, Splits, Workload
from gradnoise.workloads.options import parse, schema
from gradnoise.workloads.registry import WORKLOADS, Declared

TECHNIQUES: Mapping[str, tuple[str, Mapping[str, ParamValue]]] = {
    "gradient": ("annealed", {"eta": 1e-6, "gamma": 0.55}),
    "weights": ("weight_noise", {"eta": 1e-6, "gamma": 0.55}),
    "activations": ("dropout", {"rate": 0.1}),
    "loss": ("label_smoothing", {"smoothing": 0.001}),
}
"""For each place, a technique that acts there, too little to make training diverge."""


@dataclass(frozen=True, kw_only=True)
class WorkloadCase:
    """A workload to check.

    Args:
        workload: The declaration: a subclass of Workload, or a declared function.
        params: The optimizer's and the workload's hyperparameters, with which it trains.
        options: The options; choose a small data set and model.
        optimizer: Name of an installed optimizer.
        budget_epochs: Epochs of each trial; at least 2.
        in_float64: Whether a declared workload is trained in float64, where a mistake is larger
            than any rounding; its data and its model are converted. False if its code needs
            float32.
        rtol: Relative tolerance where results agree up to rounding.
        neighbour_rtol: Relative tolerance by which neighbours in a stack may change results; 0: by
            no bit. Where vmap makes torch sum in another order, as in BatchNorm, they change the
            last bits.
    """

    workload: Declared
    params: Mapping[str, ParamValue] = field(default_factory=lambda: {"lr": 0.01})
    options: Mapping[str, object] = field(default_factory=dict)
    optimizer: str = "sgd"
    budget_epochs: int = 2
    in_float64: bool = True
    rtol: float = 1e-8
    neighbour_rtol: float = 0.0

    def open(self) -> Workload:
        """Return the declared workload, opened with its options."""
        assert not isinstance(self.workload, FunctionWorkload)
        return self._trained(self.options, pick(self.params, self.workload.parameters))

    def trial(self, *places: str) -> TrialSpec:
        """Return a trial with a technique for each of the places."""
        chosen = [TECHNIQUES[place] for place in places]
        params = dict(self.params)
        for _, values in chosen:
            params |= values
        return TrialSpec(
            key="trial",
            workload=self.workload.name,
            options=self.options,
            techniques=tuple(name for name, _ in chosen),
            optimizer=self.optimizer,
            params=params,
            seed=1,
            budget_epochs=self.budget_epochs,
            with_test=True,
        )

    @contextmanager
    def registered(self) -> Iterator[None]:
        """Register the workload for the time of a context."""
        declared = self.workload
        with WORKLOADS.including(
            declared if isinstance(declared, FunctionWorkload) else self._trained
        ):
            yield

    @property
    def _trained(self) -> type[Workload]:
        assert not isinstance(self.workload, FunctionWorkload)
        return _in_float64(self.workload) if self.in_float64 else self.workload


def check_declaration(case: WorkloadCase) -> None:
    """Name, metrics, hyperparameters and rules can be announced."""
    workload = case.workload
    assert_described(workload.name, workload.description)
    assert_declared(f"the workload {workload.name!r}", workload.parameters, workload.rules)
    with WORKLOADS.including(workload):  # raises if the registry would refuse it
        names = [metric.name for metric in workload.metrics]
    assert len(set(names)) == len(names), f"two metrics share a name: {names}."
    for metric in workload.metrics:
        assert metric.direction in ("maximize", "minimize"), (
            f"the direction of {metric.name} must be maximize or minimize."
        )
        assert metric.name.isidentifier(), (
            f"the name of a metric must be an identifier, but it is {metric.name!r}."
        )


def check_options(case: WorkloadCase) -> None:
    """Options have a schema, legal defaults and descriptions; the case's options are legal."""
    described = schema(case.workload.Options)
    json.dumps(described, allow_nan=False)
    for name, option in described["properties"].items():
        assert option["description"].endswith("."), (
            f"the description of the option {name} must be a sentence with a full stop."
        )
    defaults = {name: option["default"] for name, option in described["properties"].items()}
    for options in ({}, defaults, case.options):
        parse(case.workload.Options, options)


def check_data(case: WorkloadCase) -> None:
    """Each split has as many examples in every tensor, and the training data fill a batch."""
    if isinstance(case.workload, FunctionWorkload):
        return
    workload = case.open()
    splits = workload.data()
    for name in ("train", "validation", "test"):
        split: tuple[torch.Tensor, ...] = getattr(splits, name)
        sizes = [len(part) for part in split]
        assert sizes, f"{name} has no tensors."
        assert len(set(sizes)) == 1, f"the tensors of {name} have {sizes} examples."
        assert sizes[0] > 0, f"{name} is empty."
    for part, again in zip(splits.train, case.open().data().train, strict=True):
        assert torch.equal(part, again), "data must return the same examples at every call."
    assert 1 <= workload.batch_size <= len(splits.train[0]), (
        f"batch_size must be at most {len(splits.train[0])}, the training examples, but it is "
        f"{workload.batch_size}."
    )


def check_initialisation(case: WorkloadCase) -> None:
    """The initial weights are finite and depend on the seed alone."""
    if isinstance(case.workload, FunctionWorkload):
        return
    workload = case.open()
    weights = []
    for state in (1, 2):
        torch.manual_seed(state)
        model = workload.model()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(float(state))
        workload.initialise(model, seed=1)
        weights.append(dict(model.named_parameters()))
    for name, weight in weights[0].items():
        assert bool(weight.isfinite().all()), f"initialise leaves non-finite numbers in {name}."
        assert torch.equal(weight, weights[1][name]), (
            f"the initial values of {name} depend on more than the seed: initialise must set every "
            "weight, from gradnoise.workloads.normal."
        )


def check_metrics(case: WorkloadCase) -> None:
    """Every declared metric is measured on validation and test, as a finite number that is no worse
    than the declared worst.
    """
    curve = _curve(case)
    for metric in case.workload.metrics:
        for split in ("validation", "test"):
            for values in curve:
                name = f"{split}_{metric.name}"
                assert name in values, f"{name} is missing: measured were {sorted(values)}."
                value = values[name]
                assert math.isfinite(value), f"{name} is {value}."
                is_worse = (
                    value < metric.worst if metric.direction == "maximize" else value > metric.worst
                )
                assert not is_worse, f"{name} is {value}, worse than the worst, {metric.worst}."
    if isinstance(case.workload, FunctionWorkload):
        return
    known = {metric.name for metric in case.workload.metrics}
    for values in curve:
        measured = {name.partition("_")[2] for name in values if name.startswith("validation_")}
        assert measured == known, (
            f"measure returns {sorted(measured)}, declared are {sorted(known)}."
        )


def check_equal_trials(case: WorkloadCase) -> None:
    """Results depend on the trial's spec alone: all draws come from its seed."""
    with case.registered():
        trials.check_equal_trials(case.trial())


def check_places(case: WorkloadCase) -> None:
    """A technique at each declared place trains and has an effect."""
    plain = _curve(case)
    for place in case.workload.places:
        assert _curve(case, place) != plain, f"a technique on the {place} has no effect."


def check_stack(case: WorkloadCase) -> None:
    """The stacked trainer gives the results of the single trainer, if the workload stacks."""
    if case.workload.stacks:
        with case.registered():
            for spec in _arms(case):
                trials.check_stack(spec, case.rtol)


def check_neighbours(case: WorkloadCase) -> None:
    """Neighbours in a stack change no bit of a trial's results."""
    with case.registered():
        for spec in _arms(case):
            alone = trials.train(StackTrainer(4), spec)["trial"]
            for other in _arms(case):
                neighbour = TrialSpec(**{**vars(other), "key": "other", "seed": 5})
                found = trials.train(StackTrainer(4), neighbour, spec)["trial"]
                problem = "a neighbour in the stack changes the trial's results"
                trials.assert_close(found, alone, case.neighbour_rtol, problem)


def check_resume(case: WorkloadCase) -> None:
    """A trial resumed from a checkpoint gives the results of an uninterrupted one."""
    with case.registered():
        trials.check_resume(case.trial(*case.workload.places[:1]), case.rtol)


WORKLOAD_CHECKS: tuple[Callable[[WorkloadCase], None], ...] = (
    check_declaration,
    check_options,
    check_data,
    check_initialisation,
    check_metrics,
    check_equal_trials,
    check_places,
    check_stack,
    check_neighbours,
    check_resume,
)
"""All checks of workloads, each a function of a WorkloadCase."""


def _curve(case: WorkloadCase, *places: str) -> Sequence[Mapping[str, float]]:
    with case.registered():
        return trials.train(SingleTrainer(1), case.trial(*places))["trial"]


def _arms(case: WorkloadCase) -> list[TrialSpec]:
    """Return a plain trial, and a trial with gradient noise and, if it can be had, dropout."""
    noisy = [place for place in case.workload.places if place != "weights"]
    return [case.trial(), case.trial(*noisy)]


def _in_float64(workload: type[Workload]) -> type[Workload]:
    class InFloat64(workload):  # type: ignore[misc,valid-type]
        def data(self) -> Splits:
            return _double(super().data())

        def model(self) -> torch.nn.Module:
            model: torch.nn.Module = super().model()
            return model.double()

    InFloat64.__name__ = workload.__name__
    return InFloat64


@functools.lru_cache(maxsize=4)
def _double(splits: Splits) -> Splits:
    train, validation, test = (
        tuple(part.double() if part.is_floating_point() else part for part in split)
        for split in (splits.train, splits.validation, splits.test)
    )
    return Splits(train=train, validation=validation, test=test)
