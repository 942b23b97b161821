"""The hook on every optimizer of torch.optim: each steps on the gradient plus the noise."""

import inspect
import warnings
from functools import partial
from typing import Any

import pytest
import torch
from torch.nn import Parameter

from gradnoise import attach, constant
from gradnoise._streams import normal
from noise_by_hand import (
    ETA,
    GAMMA,
    N_UPDATES,
    SEED,
    STD,
    Update,
    add_noise,
    assert_noise_reaches,
    matrix,
    matrix_and_vector,
    step,
    step_with_closure,
)

OF_TORCH = [
    kind
    for kind in vars(torch.optim).values()
    if inspect.isclass(kind) and issubclass(kind, torch.optim.Optimizer)
]
DENSE = [
    kind
    for kind in OF_TORCH
    if kind not in (torch.optim.Optimizer, torch.optim.LBFGS, torch.optim.SparseAdam)
]


def with_flag(flag: str) -> list[type[torch.optim.Optimizer]]:
    return [kind for kind in DENSE if flag in inspect.signature(kind).parameters]


@pytest.mark.parametrize("kind", DENSE)
def test_every_dense_optimizer_of_torch_steps_on_gradient_plus_noise(
    kind: type[torch.optim.Optimizer],
) -> None:
    assert_noise_reaches(
        partial(kind, lr=0.1), matrix if kind is torch.optim.Muon else matrix_and_vector
    )


@pytest.mark.parametrize(
    ("kind", "flag"),
    [(kind, flag) for flag in ("foreach", "fused", "maximize") for kind in with_flag(flag)],
)
def test_its_other_implementations_do_too(kind: Any, flag: str) -> None:
    assert_noise_reaches(partial(kind, lr=0.1, **{flag: True}))


@pytest.mark.parametrize("kind", DENSE)
def test_a_step_with_a_closure_is_the_same(kind: type[torch.optim.Optimizer]) -> None:
    assert_noise_reaches(
        partial(kind, lr=0.1),
        matrix if kind is torch.optim.Muon else matrix_and_vector,
        update=step_with_closure,
    )


@pytest.mark.parametrize("kind", with_flag("differentiable"))
def test_a_differentiable_update_can_be_differentiated_through_the_noise(kind: Any) -> None:
    """The noise is a constant: the derivative equals that of an update on g + noise."""
    derivatives = []
    for hooked in (True, False):
        scale = torch.tensor(0.3, requires_grad=True)
        weight = torch.linspace(-1, 1, 6).requires_grad_().clone()
        weight.retain_grad()
        optimizer = kind([("weight", weight)], lr=0.1, differentiable=True)
        weight.grad = scale * torch.linspace(-1, 2, 6)
        if hooked:
            attach(optimizer, constant(0.5), seed=SEED)
        else:
            add_noise([("weight", weight)], SEED, 0, 0.5)
        optimizer.step()
        (derivative,) = torch.autograd.grad((weight * torch.linspace(1, 3, 6)).sum(), scale)
        derivatives.append(derivative)
    assert torch.equal(*derivatives)


# torch 2.11 warns if a sparse tensor is made without a choice
@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("update", [step, step_with_closure])
def test_sparse_adam_gets_noise_only_on_the_rows_of_the_gradient(update: Update) -> None:
    """Its updates equal those on gradients whose rows have the noise; the other rows stay."""
    rows = torch.tensor([1, 3, 3])
    tables = []
    for hooked in (True, False):
        table = torch.nn.Embedding.from_pretrained(
            torch.linspace(-1, 1, 15).view(5, 3), freeze=False, sparse=True
        )
        optimizer = torch.optim.SparseAdam([("weight", table.weight)], lr=0.1)
        if hooked:
            noise = attach(optimizer, eta=ETA, gamma=GAMMA, seed=SEED, allow=("sparse",))
        for t in range(N_UPDATES):

            def closure(
                t: int = t, hooked: bool = hooked, table: torch.nn.Embedding = table
            ) -> torch.Tensor:
                table.weight.grad = None
                loss = (0.1 * table(rows) ** 2).sum()
                loss.backward()
                if not hooked:
                    dense = Parameter(torch.zeros(5, 3))
                    # of the backward
                    dense.grad = table.weight.grad.to_dense()  # type: ignore[union-attr]
                    add_noise([("weight", dense)], SEED, t, STD(t))
                    touched = rows.unique()
                    table.weight.grad = torch.sparse_coo_tensor(
                        touched[None],
                        dense.grad[touched],
                        (5, 3),
                        is_coalesced=True,
                        check_invariants=False,
                    )
                return loss.detach()

            update(optimizer, closure)
        tables.append(table.weight.detach())
    assert noise.t == N_UPDATES
    assert torch.equal(*tables)
    untouched = [0, 2, 4]
    assert torch.equal(tables[0][untouched], torch.linspace(-1, 1, 15).view(5, 3)[untouched])


class Midpoint(torch.optim.SGD):
    """An optimizer that evaluates its closure at the weights and after half a step."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        before = [parameter.clone() for parameter in parameters]
        closure()
        self.seen = [[parameter.grad.clone() for parameter in parameters]]
        for parameter in parameters:
            parameter.sub_(parameter.grad, alpha=0.05)
        loss = closure()
        self.seen.append([parameter.grad.clone() for parameter in parameters])
        for parameter, start in zip(parameters, before, strict=True):
            parameter.copy_(start - 0.1 * parameter.grad)
        return loss


def test_every_evaluation_of_an_update_gets_the_noise_of_that_update() -> None:
    parameters = matrix_and_vector()
    optimizer = Midpoint(parameters.items(), lr=0.1)
    noise = attach(optimizer, constant(0.5), seed=SEED)

    def closure() -> torch.Tensor:
        for parameter in parameters.values():
            parameter.grad = torch.ones_like(parameter)
        return torch.zeros(())

    optimizer.step(closure)
    assert noise.t == 1
    closure()
    add_noise(parameters.items(), SEED, 0, 0.5)
    for seen in optimizer.seen:
        assert all(
            torch.equal(gradient, parameter.grad)
            for gradient, parameter in zip(seen, parameters.values(), strict=True)
        )  # type: ignore[arg-type]


def test_lbfgs_raises_an_error() -> None:
    with pytest.raises(TypeError, match="must not be LBFGS"):
        attach(torch.optim.LBFGS([Parameter(torch.zeros(1))]), eta=0.1, seed=1)


class NoAverager:
    """Averages nothing, as the averager of a single process."""

    step = 0

    def average_parameters(self, params: Any) -> None:
        pass


def post_local_sgd(parameters: list[tuple[str, Parameter]]) -> torch.optim.Optimizer:
    from torch.distributed.optim import PostLocalSGDOptimizer  # its import warns

    return PostLocalSGDOptimizer(torch.optim.SGD(parameters, lr=0.1), NoAverager())  # type: ignore[arg-type]


def named_optimizer(parameters: list[tuple[str, Parameter]]) -> torch.optim.Optimizer:
    from torch.distributed.optim import _NamedOptimizer

    return _NamedOptimizer(parameters, torch.optim.SGD, lr=0.1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("wrap", [post_local_sgd, named_optimizer])
def test_the_optimizer_inside_a_wrapper_of_torch_gets_the_noise(wrap: Any) -> None:
    """Whatever the wrapper's attribute is called."""
    parameters = matrix_and_vector()
    optimizer = wrap(list(parameters.items()))
    noise = attach(optimizer, constant(0.5), seed=SEED, names=parameters.items())
    for parameter in parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert noise.t == 1
    for name, parameter in parameters.items():
        expected = 0.5 * normal(SEED, "noise", 0, name, parameter.shape)
        torch.testing.assert_close(parameter.grad, expected)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_a_placeholder_for_an_optimizer_per_parameter_raises_an_error(n: int) -> None:
    """Its step does nothing, so its noise would reach no weight."""
    utilities: Any = pytest.importorskip("transformers.trainer_pt_utils")
    parameters = list(matrix_and_vector().values())[:n]
    inside = {parameter: torch.optim.SGD([parameter]) for parameter in parameters}
    message = f"has {n} optimizers, .* in .optimizer_dict.values" if n else "is a placeholder"
    with pytest.raises(TypeError, match=message):
        attach(utilities.LayerWiseDummyOptimizer(inside), eta=0.1, seed=1)


def test_an_optimizer_of_deepspeed_raises_an_error() -> None:
    kind = type(
        "DeepSpeedZeroOptimizer",
        (torch.optim.SGD,),
        {"__module__": "deepspeed.runtime.zero.stage_1_and_2"},
    )
    with pytest.raises(TypeError, match="ZeRO"):
        attach(kind(matrix().values(), lr=0.1), eta=ETA, seed=SEED)


def test_gradients_stored_elsewhere_cause_a_single_warning() -> None:
    """DeepSpeed leaves every `.grad` None when it wraps an ordinary optimizer."""
    optimizer = torch.optim.SGD(matrix().values(), lr=0.1)
    attach(optimizer, eta=ETA, seed=SEED)
    with pytest.warns(UserWarning, match="No parameter of the optimizer has a gradient.*DeepSpeed"):
        optimizer.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()
