import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import Parameter

from gradnoise.parameters import check
from gradnoise.workloads import Optimizer, normal
from gradnoise.workloads.registry import OPTIMIZERS

MEMBERS: Mapping[str, list[dict[str, float]]] = {
    "sgd": [
        {"lr": 0.1},
        {"lr": 0.03, "momentum": 0.9},
        {"lr": 0.3, "weight_decay": 0.1},
        {"lr": 0.01, "momentum": 0.5, "weight_decay": 0.2},
        {"lr": 0.02, "momentum": 0.9, "nesterov": 1, "weight_decay": 0.1},
    ],
    "adam": [
        {"lr": 0.1},
        {"lr": 0.03, "beta1": 0.5, "beta2": 0.9},
        {"lr": 0.3, "weight_decay": 0.1},
        {"lr": 0.01, "beta1": 0.0, "beta2": 0.0},
        {"lr": 0.1, "eps": 0.1},
    ],
    "adamw": [
        {"lr": 0.1},
        {"lr": 0.03, "beta1": 0.5, "beta2": 0.9, "weight_decay": 0},
        {"lr": 0.3, "weight_decay": 0.1},
        {"lr": 0.01, "beta1": 0.0},
    ],
    "adagrad": [{"lr": 0.1}, {"lr": 0.03, "weight_decay": 0.1}, {"lr": 0.3}],
    "rmsprop": [
        {"lr": 0.1},
        {"lr": 0.01, "alpha": 0.9, "momentum": 0.9},
        {"lr": 0.03, "weight_decay": 0.1},
        {"lr": 0.02, "alpha": 0.0, "momentum": 0.5, "weight_decay": 0.2},
    ],
}
DTYPES = [torch.float64, torch.float32]
N_UPDATES = 200
WIDTH = 37  # no multiple of a vector register's numbers


def columns(
    members: Sequence[Mapping[str, float]], *, with_zeros: bool = False
) -> dict[str, torch.Tensor]:
    """Return the hyperparameters as columns; without `with_zeros`, those that are 0 are missing."""
    every = {
        name: torch.tensor([member[name] for member in members], dtype=torch.float64)[:, None]
        for name in members[0]
    }
    return {name: column for name, column in every.items() if with_zeros or bool(column.any())}


def gradient(k: int, t: int, dtype: torch.dtype) -> torch.Tensor:
    return normal(9, "gradient", t, str(k), (WIDTH,)).to(dtype)


def start(k: int, dtype: torch.dtype) -> torch.Tensor:
    return normal(k, "init", 0, "w", (WIDTH,)).to(dtype)


class Stack:
    """Members of a stacked rule; a member's number gives its weights, its gradients, and the update
    at which it enters.
    """

    def __init__(
        self, rule: Optimizer, members: Sequence[Mapping[str, float]], dtype: torch.dtype
    ) -> None:
        self.rule, self.members, self.dtype = rule, members, dtype
        self.weights = torch.stack([start(k, dtype) for k in range(len(members))])
        self.moments = [torch.zeros_like(self.weights) for _ in range(rule.n_moments)]

    def step(
        self,
        t: int,
        entered: Sequence[tuple[int, int]],
        *,
        with_zeros: bool = False,
        spoilt: Sequence[int] = (),
    ) -> None:
        """Update members, given by number and updates so far; the gradients of `spoilt` members are
        NaN.
        """
        rows = [k for k, _ in entered]
        weights, moments = self.weights[rows], [moment[rows] for moment in self.moments]
        gradients = torch.stack(
            [gradient(k, t, self.dtype) * (torch.nan if k in spoilt else 1) for k in rows]
        )
        steps = torch.tensor([[float(n)] for _, n in entered], dtype=torch.float64)
        self.rule.stacked(
            weights,
            gradients,
            moments,
            columns([self.members[k] for k in rows], with_zeros=with_zeros),
            steps,
        )
        self.weights[rows] = weights
        for moment, changed in zip(self.moments, moments, strict=True):
            moment[rows] = changed


class Alone:
    """A member under torch's optimizer, with a bound on the difference of two computations."""

    def __init__(
        self, rule: Optimizer, k: int, member: Mapping[str, float], dtype: torch.dtype
    ) -> None:
        self.k, self.weight = k, Parameter(start(k, dtype))
        self.optimizer = rule.single([("w", self.weight)], member)
        self.carry = 1 / (1 - member.get("momentum", 0.0))
        self.path = 0.0
        self.largest = 0.0
        self.n = 0

    def step(self, t: int) -> None:
        before = self.weight.detach().clone()
        self.weight.grad = gradient(self.k, t, before.dtype)
        self.optimizer.step()
        self.path += float((self.weight.detach() - before).abs().max())
        self.largest = max(self.largest, float(self.weight.detach().abs().max()))
        self.n += 1

    @property
    def tolerance(self) -> float:
        """The bound on the difference. Each computation rounds the weight once or twice per update,
        by half an eps of it, and its step about ten times, by half an eps of a step. Momentum
        carries rounding errors over 1 / (1 - momentum) updates; mean squares average them.
        """
        return torch.finfo(self.weight.dtype).eps * (
            2 * self.n * self.largest + 10 * self.path * self.carry
        )


@pytest.mark.parametrize(
    "dtype", [torch.float64, pytest.param(torch.float32, marks=pytest.mark.slow)], ids=str
)
@pytest.mark.parametrize("name", MEMBERS)
def test_the_stacked_rule_gives_torchs_weights_for_each_member(
    name: str, dtype: torch.dtype
) -> None:
    """Members of different hyperparameters start 0 to 4 updates apart; the moments equal torch's
    too.
    """
    rule = OPTIMIZERS.find(name)
    members = [rule.hyperparameters(params) for params in MEMBERS[name]]
    stack = Stack(rule, members, dtype)
    alone = [Alone(rule, k, member, dtype) for k, member in enumerate(members)]
    for t in range(N_UPDATES):
        entered = [member for member in alone if t >= member.k]
        stack.step(t, [(member.k, member.n) for member in entered])
        for member in entered:
            member.step(t)
    for member, row in zip(alone, stack.weights, strict=True):
        torch.testing.assert_close(row, member.weight.detach(), rtol=0, atol=member.tolerance)
        assert member.tolerance < (1e-10 if dtype == torch.float64 else 1e-2) * member.path
        state = member.optimizer.state[member.weight]
        for key, moment in zip(rule.moments, stack.moments, strict=True):
            if state.get(key) is not None:  # torch keeps no momentum where there is none
                atol = 10 * member.n * torch.finfo(dtype).eps * float(state[key].abs().max())
                torch.testing.assert_close(moment[member.k], state[key], rtol=0, atol=atol)


@st.composite
def legal_members(draw: st.DrawFn) -> tuple[str, list[dict[str, float]]]:
    """Draw an optimizer and hyperparameters from their legal ranges; at these learning rates the
    weights stay finite for 5 updates.
    """
    rule = OPTIMIZERS.find(draw(st.sampled_from(list(MEMBERS))))
    high = {"lr": 1.0, "weight_decay": 2.0}
    members = []
    for _ in range(draw(st.integers(1, 4))):
        params: dict[str, Any] = {"lr": draw(st.floats(1e-6, high["lr"]))}
        for parameter in rule.parameters[1:]:
            smallest = st.nothing() if parameter.low_open else st.just(0.0)
            values = (
                st.integers(0, 1)
                if parameter.integer
                else smallest | st.floats(1e-6, high.get(parameter.name, parameter.high))
            )
            params |= draw(st.sampled_from([{}, {parameter.name: draw(values)}]))
        if not params.get("momentum"):
            params.pop("nesterov", None)
        members.append(rule.hyperparameters(params))
    return rule.name, members


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(legal_members())
def test_it_gives_torchs_weights_for_any_legal_hyperparameters(
    drawn: tuple[str, list[dict[str, float]]],
) -> None:
    """Rounding errors grow where weight decay nearly cancels a gradient whose size then divides the
    step, so the bound is a million times as large.
    """
    name, members = drawn
    rule = OPTIMIZERS.find(name)
    stack = Stack(rule, members, torch.float64)
    alone = [Alone(rule, k, member, torch.float64) for k, member in enumerate(members)]
    for t in range(5):
        stack.step(t, [(member.k, t) for member in alone])
        for member in alone:
            member.step(t)
    for member, row in zip(alone, stack.weights, strict=True):
        torch.testing.assert_close(row, member.weight.detach(), rtol=0, atol=1e6 * member.tolerance)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", MEMBERS)
def test_a_hyperparameter_that_is_0_for_all_may_be_left_out_without_changing_a_bit(
    name: str, dtype: torch.dtype
) -> None:
    """Every hyperparameter that may be 0 is 0: missing columns and columns of zeros give the same
    weights.
    """
    rule = OPTIMIZERS.find(name)
    members = [
        {
            parameter.name: rule.defaults.get(parameter.name, lr) if parameter.low_open else 0.0
            for parameter in rule.parameters
        }
        for lr in (0.1, 0.03)
    ]
    without, zeros = Stack(rule, members, dtype), Stack(rule, members, dtype)
    for t in range(20):
        without.step(t, [(0, t), (1, t)])
        zeros.step(t, [(0, t), (1, t)], with_zeros=True)
    assert torch.equal(without.weights, zeros.weights)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", MEMBERS)
def test_neighbours_change_no_bit_of_a_member(name: str, dtype: torch.dtype) -> None:
    """Neighbours are absent, have other hyperparameters, enter late, or have become NaN."""
    rule = OPTIMIZERS.find(name)
    members = [rule.hyperparameters(params) for params in MEMBERS[name]]
    last = len(members) - 1
    for k in range(len(members)):
        apart, together = Stack(rule, members, dtype), Stack(rule, members, dtype)
        for t in range(20):
            apart.step(t, [(k, t)])
            others = [(other, t) for other in range(len(members)) if other != k]
            entered = [*others[: t % 3], (k, t), *others[t % 3 :]]
            together.step(t, entered, spoilt=[last if k != last else 0] if t > 10 else [])
        assert torch.equal(apart.weights[k], together.weights[k])
        assert not together.weights[last if k != last else 0].isfinite().any()


@pytest.mark.parametrize("name", MEMBERS)
def test_a_stacked_rule_reads_no_number_back(name: str) -> None:
    """It runs on tensors without values, so a CUDA graph can hold it."""
    rule = OPTIMIZERS.find(name)
    members = [rule.hyperparameters(params) for params in MEMBERS[name]]
    given_columns = columns(members)
    with FakeTensorMode() as mode:
        fake = {key: mode.from_tensor(column) for key, column in given_columns.items()}
        weights, gradients = torch.empty(len(members), WIDTH), torch.empty(len(members), WIDTH)
        moments = [torch.zeros_like(weights) for _ in range(rule.n_moments)]
        rule.stacked(
            weights, gradients, moments, fake, torch.zeros(len(members), 1, dtype=torch.float64)
        )


@pytest.mark.parametrize("name", MEMBERS)
def test_missing_hyperparameters_take_torchs_defaults(name: str) -> None:
    rule = OPTIMIZERS.find(name)
    opened = rule.single(
        [("w", Parameter(torch.zeros(1)))],
        rule.hyperparameters({"lr": 1, "eta": 2, "clip_norm": 3}),
    )
    kind: Any = type(opened)
    (group,), (default,) = (
        opened.param_groups,
        kind([("w", Parameter(torch.zeros(1)))], lr=1.0, foreach=True).param_groups,
    )
    assert group.pop("params") == default.pop("params")
    assert group == default


def test_nesterov_without_momentum_is_refused() -> None:
    sgd = OPTIMIZERS.find("sgd")
    params = {"lr": 1, "nesterov": 1}
    with pytest.raises(
        ValueError, match="momentum is missing: with nesterov=1 it must be a finite"
    ):
        check(params, sgd.parameters, rules=sgd.rules)
    with pytest.raises(
        ValueError, match="momentum must be above 0 with nesterov=1, but got momentum=0"
    ):
        check(params | {"momentum": 0}, sgd.parameters, rules=sgd.rules)
    check(params | {"momentum": 0.9}, sgd.parameters, rules=sgd.rules)


@pytest.mark.parametrize("changes", [{"parameters": ()}, {"defaults": {"beta": 0.9}}])
def test_an_optimizer_declares_what_it_uses(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"parameters must include '(lr|beta)'"):
        dataclasses.replace(OPTIMIZERS.find("sgd"), **changes)
