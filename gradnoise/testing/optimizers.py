"""Conformance of optimizers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import Parameter as Weight

from gradnoise.parameters import check
from gradnoise.testing import trials
from gradnoise.testing.declarations import assert_declared, assert_described, assert_legal
from gradnoise.testing.reference import registered, trial
from gradnoise.training.trial import ParamValue
from gradnoise.workloads import Optimizer, normal
from gradnoise.workloads.registry import OPTIMIZERS

RTOL = 1e-9  # of weights and results: float64, a few dozen updates
N_UPDATES = 30
VECTOR, MATRIX = (37,), (9, 5)  # no multiples of the width of a vector register


@dataclass(frozen=True, kw_only=True)
class OptimizerCase:
    """An optimizer to check.

    Args:
        optimizer: The declaration.
        members: Hyperparameters of several trials, as different as possible, with which training
            does not diverge; at least two.
    """

    optimizer: Optimizer
    members: Sequence[Mapping[str, ParamValue]]

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of the parameters to update."""
        return (VECTOR, MATRIX) if self.optimizer.per_parameter else (VECTOR,)

    def hyper(self) -> list[dict[str, float]]:
        """Return each member's hyperparameters, with defaults."""
        return [self.optimizer.hyperparameters(params) for params in self.members]


def check_declaration(case: OptimizerCase) -> None:
    """Name, hyperparameters, defaults and rules can be announced, and the members are legal."""
    optimizer = case.optimizer
    assert_described(optimizer.name, optimizer.description)
    assert optimizer.formula.strip(), "formula must not be empty."
    assert optimizer.source.strip(), "source must not be empty."
    assert_declared(f"the optimizer {optimizer.name!r}", optimizer.parameters, optimizer.rules)
    assert len(case.members) >= 2, "the case must have at least two members."
    for parameter in optimizer.parameters:
        if parameter.name not in optimizer.required:
            default = optimizer.defaults.get(parameter.name, 0.0)
            assert_legal(parameter, default, f"the default of {parameter.name}")
    for params in case.members:
        try:
            check(params, optimizer.parameters, optimizer.required, optimizer.rules)
        except ValueError as error:
            raise AssertionError(f"the case's member {dict(params)} is illegal: {error}") from None


def check_learning_rate(case: OptimizerCase) -> None:
    """`single` returns a torch optimizer whose learning rate is that of its parameter groups."""
    for hyper in case.hyper():
        steps = []
        for rate in (hyper["lr"], 0.0):
            member = _Single(case.optimizer, 0, hyper, VECTOR)
            assert isinstance(member.optimizer, torch.optim.Optimizer), (
                f"single must return a torch optimizer, but returned {member.optimizer!r}."
            )
            for group in member.optimizer.param_groups:
                assert group["lr"] == hyper["lr"], (
                    f"the group's lr must be {hyper['lr']}, but it is {group['lr']}."
                )
                group["lr"] = rate
            before = member.weight.detach().clone()
            member.step(0)
            steps.append(float((member.weight.detach() - before).abs().max()))
        assert steps[0] > 0, f"an update with {hyper} changes no weight."
        assert steps[1] == 0, "an update at lr 0 in param_groups changes the weights."


def check_stacked_rule(case: OptimizerCase) -> None:
    """The stacked rule, if there is one, gives each member the weights and the moments of its torch
    optimizer, also if the members have made different numbers of updates.
    """
    for shape in case.shapes if case.optimizer.stacked else ():
        _check_stacked_rule(case, shape)


def _check_stacked_rule(case: OptimizerCase, shape: tuple[int, ...]) -> None:
    members = [_Single(case.optimizer, k, hyper, shape) for k, hyper in enumerate(case.hyper())]
    stack = _Stack(case.optimizer, case.hyper(), shape)
    for t in range(N_UPDATES):
        present = [member for member in members if t >= member.k]
        stack.step(t, [(member.k, member.n_updates) for member in present])
        for member in present:
            member.step(t)
    for member, row in zip(members, stack.weights, strict=True):
        weight = member.weight.detach()
        difference = float((row - weight).abs().max())
        assert difference <= RTOL * float(weight.abs().max()), (
            f"with {member.hyper} the stacked rule and the torch optimizer differ by {difference}."
        )
        state = member.optimizer.state[member.weight]
        for name, moment in zip(case.optimizer.moments, stack.moments, strict=True):
            expected = state.get(name)
            if expected is None:  # torch keeps no buffer for a momentum of 0
                continue
            difference = float((moment[member.k] - expected).abs().max())
            assert difference <= RTOL * float(expected.abs().max()), (
                f"with {member.hyper} the moment {name} differs by {difference}."
            )


def check_moments(case: OptimizerCase) -> None:
    """The torch optimizer of a stacked rule keeps the declared moments, and beside them at most
    `step`.
    """
    if case.optimizer.stacked is None:
        return
    kept: set[str] = set()
    for hyper in case.hyper():
        member = _Single(case.optimizer, 0, hyper, VECTOR)
        member.step(0)
        kept |= {
            name
            for name, value in member.optimizer.state[member.weight].items()
            if value is not None
        }
    assert kept - {"step"} <= set(case.optimizer.moments), (
        f"moments must list all state of the torch optimizer, but it keeps {sorted(kept)}."
    )
    assert set(case.optimizer.moments) <= kept, (
        f"no member of the case has the moments {sorted(set(case.optimizer.moments) - kept)}."
    )


def check_neighbours(case: OptimizerCase) -> None:
    """Neighbours change no bit of a member, also if their numbers are not finite."""
    hyper = case.hyper()
    for shape, k in product(case.shapes if case.optimizer.stacked else (), range(len(hyper))):
        alone, together = (_Stack(case.optimizer, hyper, shape) for _ in range(2))
        others = [other for other in range(len(hyper)) if other != k]
        for t in range(N_UPDATES):
            alone.step(t, [(k, t)])
            rows = [*others[: t % 2], k, *others[t % 2 :]]
            together.step(t, [(row, t) for row in rows], non_finite=others[:1] if t > 5 else [])
        assert torch.equal(alone.weights[k], together.weights[k]), (
            f"neighbours change the weights of the member with {hyper[k]}."
        )


def check_zero_columns(case: OptimizerCase) -> None:
    """A hyperparameter that is 0 for every member may be missing, without changing a bit."""
    optimizer = case.optimizer
    for shape, hyper in product(case.shapes if optimizer.stacked else (), case.hyper()):
        zero = {
            parameter.name: 0.0
            for parameter in optimizer.parameters
            if parameter.low <= 0 and not parameter.low_open
        }
        members = [{**hyper, **zero}] * 2
        without, with_zeros = (_Stack(optimizer, members, shape) for _ in range(2))
        for t in range(N_UPDATES):
            without.step(t, [(0, t), (1, t)])
            with_zeros.step(t, [(0, t), (1, t)], with_zeros=True)
        assert torch.equal(without.weights, with_zeros.weights), (
            "columns of zeros and missing columns give different weights."
        )


def check_no_read_back(case: OptimizerCase) -> None:
    """The stacked rule reads no number back to the CPU, so that a CUDA graph can hold it."""
    if case.optimizer.stacked is None:
        return
    columns = _columns(case.hyper())
    n = len(case.members)
    with FakeTensorMode() as mode:
        fake = {name: mode.from_tensor(column) for name, column in columns.items()}
        steps = torch.zeros(n, 1, dtype=torch.float64)
        try:
            for shape in case.shapes:
                weights, gradients = torch.empty(n, *shape), torch.empty(n, *shape)
                moments = [torch.zeros_like(weights) for _ in case.optimizer.moments]
                case.optimizer.stacked(weights, gradients, moments, fake, steps)
        except Exception as error:
            raise AssertionError(
                f"the stacked rule needs the values of tensors: {type(error).__name__}: {error}"
            ) from error


def check_equal_trials(case: OptimizerCase) -> None:
    """Results depend on the trial's spec alone."""
    with registered(OPTIMIZERS, case.optimizer):
        for params in case.members:
            trials.check_equal_trials(trial(("none",), case.optimizer.name, params))


def check_stack(case: OptimizerCase) -> None:
    """With clipping, a learning-rate schedule and noise, the stacked trainer gives the results of
    the single trainer, if there is a stacked rule.
    """
    if case.optimizer.stacked is None:
        return
    noise: dict[str, ParamValue] = {
        "eta": 0.0001,
        "gamma": 0.55,
        "clip_norm": 0.5,
        "lr_schedule": "cosine",
    }
    with registered(OPTIMIZERS, case.optimizer):
        for params in case.members:
            spec = trial(("annealed",), case.optimizer.name, {**params, **noise})
            trials.check_stack(spec, RTOL)


def check_resume(case: OptimizerCase) -> None:
    """A trial resumed from a checkpoint gives the results of an uninterrupted one."""
    with registered(OPTIMIZERS, case.optimizer):
        for params in case.members:
            trials.check_resume(trial(("none",), case.optimizer.name, params), RTOL)


OPTIMIZER_CHECKS: tuple[Callable[[OptimizerCase], None], ...] = (
    check_declaration,
    check_learning_rate,
    check_stacked_rule,
    check_moments,
    check_neighbours,
    check_zero_columns,
    check_no_read_back,
    check_equal_trials,
    check_stack,
    check_resume,
)
"""All checks of optimizers, each a function of an OptimizerCase."""


class _Single:
    """A member under its torch optimizer; its number gives its weights and gradients."""

    def __init__(
        self, rule: Optimizer, k: int, hyper: Mapping[str, float], shape: tuple[int, ...]
    ) -> None:
        self.k, self.hyper, self.weight = k, hyper, Weight(_start(k, shape))
        self.optimizer = rule.single([("w", self.weight)], hyper)
        self.n_updates = 0

    def step(self, t: int) -> None:
        self.weight.grad = _gradient(self.k, t, self.weight.shape)
        self.optimizer.step()
        self.n_updates += 1


class _Stack:
    """Members under the stacked rule."""

    def __init__(
        self, rule: Optimizer, members: Sequence[Mapping[str, float]], shape: tuple[int, ...]
    ) -> None:
        self.rule, self.members, self.shape = rule, members, shape
        self.weights = torch.stack([_start(k, shape) for k in range(len(members))])
        self.moments = [torch.zeros_like(self.weights) for _ in rule.moments]

    def step(
        self,
        t: int,
        present: Sequence[tuple[int, int]],
        *,
        with_zeros: bool = False,
        non_finite: Sequence[int] = (),
    ) -> None:
        """Update members, each given by its number and its updates so far."""
        rows = [k for k, _ in present]
        weights, moments = self.weights[rows], [moment[rows] for moment in self.moments]
        gradients = torch.stack(
            [_gradient(k, t, self.shape) * (torch.nan if k in non_finite else 1) for k in rows]
        )
        steps = torch.tensor([[float(n)] for _, n in present], dtype=torch.float64)
        columns = _columns([self.members[k] for k in rows], with_zeros=with_zeros)
        assert self.rule.stacked is not None
        self.rule.stacked(weights, gradients, moments, columns, steps)
        self.weights[rows] = weights
        for moment, changed in zip(self.moments, moments, strict=True):
            moment[rows] = changed


def _columns(
    members: Sequence[Mapping[str, float]], *, with_zeros: bool = False
) -> dict[str, torch.Tensor]:
    every = {
        name: torch.tensor([member[name] for member in members], dtype=torch.float64)[:, None]
        for name in members[0]
    }
    return {name: column for name, column in every.items() if with_zeros or bool(column.any())}


def _start(k: int, shape: tuple[int, ...]) -> torch.Tensor:
    return normal(k, "init", 0, "w", shape).double()


def _gradient(k: int, t: int, shape: tuple[int, ...]) -> torch.Tensor:
    return normal(9, "gradient", t, str(k), shape).double()
