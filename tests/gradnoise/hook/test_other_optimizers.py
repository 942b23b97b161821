"""The hook on optimizers of pytorch-optimizer, among them wrappers and optimizers that evaluate
gradients in their step.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch.nn import Parameter

from gradnoise import attach, constant
from noise_by_hand import (
    SEED,
    Closure,
    add_noise,
    assert_noise_reaches,
    gradients,
    matrix_and_vector,
)

pytorch_optimizer: Any = pytest.importorskip("pytorch_optimizer")

OF_PYTORCH_OPTIMIZER = [
    "AdaBelief",
    "AdaFactor",
    "Adan",
    "AdEMAMix",
    "GrokFastAdamW",
    "Lamb",
    "Lion",
    "MADGRAD",
    "Prodigy",
    "ScheduleFreeAdamW",
    "Shampoo",
    "SOAP",
    "StableAdamW",
    "Tiger",
]


@pytest.mark.parametrize("name", OF_PYTORCH_OPTIMIZER)
def test_optimizers_of_another_library_step_on_gradient_plus_noise(name: str) -> None:
    assert_noise_reaches(partial(getattr(pytorch_optimizer, name), lr=0.1), named=False)


def test_an_optimizer_with_two_kinds_of_groups_steps_on_gradient_plus_noise() -> None:
    def muon(parameters: list[Parameter]) -> torch.optim.Optimizer:
        groups = [
            {"params": [p for p in parameters if (p.ndim == 2) == is_matrix], "use_muon": is_matrix}
            for is_matrix in (True, False)
        ]
        return pytorch_optimizer.Muon(groups, lr=0.1)

    assert_noise_reaches(muon, named=False)


def test_an_optimizer_can_differentiate_the_gradient_again() -> None:
    """AdaHessian differentiates the gradients in its step; their noise is a constant."""
    assert_noise_reaches(
        partial(pytorch_optimizer.AdaHessian, lr=0.1), named=False, create_graph=True
    )


def test_an_optimizer_receives_the_loss_of_its_closure() -> None:
    """AliG computes its step size from the loss and the norm of the noisy gradient."""

    def step_with_loss(optimizer: torch.optim.Optimizer, closure: Closure) -> None:
        loss = closure()
        optimizer.step(lambda: float(loss))

    assert_noise_reaches(pytorch_optimizer.AliG, named=False, update=step_with_loss)


@pytest.mark.parametrize(
    "wrap",
    [
        partial(pytorch_optimizer.Lookahead, k=2),
        pytorch_optimizer.ScheduleFreeWrapper,
        pytorch_optimizer.PCGrad,
    ],
)
def test_a_wrapper_gets_noise_once_on_the_inner_optimizer(
    wrap: Callable[[torch.optim.Optimizer], Any],
) -> None:
    def make(parameters: list[Parameter]) -> torch.optim.Optimizer:
        wrapped: torch.optim.Optimizer = wrap(torch.optim.SGD(parameters, lr=0.1, momentum=0.9))
        getattr(wrapped, "train", lambda: None)()
        return wrapped

    assert_noise_reaches(make, named=False)


def test_a_wrapper_changes_gradients_before_the_noise() -> None:
    """OrthoGrad removes the component of a gradient along its weights; the noise keeps its own."""
    seen = []
    for hooked in (True, False):
        parameters = matrix_and_vector()
        optimizer = pytorch_optimizer.OrthoGrad(torch.optim.SGD(parameters.items(), lr=0.1))
        if hooked:
            attach(optimizer, constant(0.5), seed=SEED)
        gradients(parameters.values())
        optimizer.step()
        if not hooked:
            add_noise(parameters.items(), SEED, 0, 0.5)
        seen.append([parameter.grad for parameter in parameters.values()])
    pairs = zip(*seen, strict=True)
    assert all(torch.equal(hooked, by_hand) for hooked, by_hand in pairs)


def test_sharpness_aware_minimization_gets_noise_only_on_its_update() -> None:
    """SAM evaluates the gradient twice: first to find the sharpest weights nearby, then for the
    update.
    """

    def two_evaluations(sam: Any, closure: Closure) -> None:
        gradients(sam.param_groups[0]["params"])
        sam.step(closure)

    def in_two_calls(sam: Any, closure: Closure) -> None:
        gradients(sam.param_groups[0]["params"])
        sam.first_step(zero_grad=True)
        closure()
        sam.second_step()

    for update in (two_evaluations, in_two_calls):
        make = partial(pytorch_optimizer.SAM, base_optimizer=torch.optim.SGD, lr=0.1, momentum=0.9)
        assert_noise_reaches(make, named=False, update=update)


def test_a_checkpoint_of_a_wrapper_restores_t() -> None:
    """SAM passes the loaded groups to the inner optimizer without calling its load_state_dict."""

    def start() -> tuple[Any, Any]:
        sam = pytorch_optimizer.SAM(list(matrix_and_vector().values()), torch.optim.SGD, lr=0.1)
        return sam, attach(sam, eta=0.1, seed=SEED)

    def update(sam: Any) -> None:
        gradients(sam.param_groups[0]["params"])
        sam.step(lambda: gradients(sam.param_groups[0]["params"]))

    saved, _ = start()
    update(saved)
    update(saved)
    loaded, noise = start()
    loaded.load_state_dict(saved.state_dict())
    assert noise.t == 2
    update(loaded)
    assert noise.t == 3


def test_lbfgs_raises_an_error_under_another_name() -> None:
    with pytest.raises(TypeError, match="LBFGS"):
        attach(
            pytorch_optimizer.load_optimizer("lbfgs")([Parameter(torch.zeros(1))]),
            eta=0.1,
            seed=SEED,
        )


@pytest.mark.parametrize("name", ["LOMO", "AdaLOMO"])
def test_an_optimizer_that_updates_in_the_backward_pass_raises_an_error(name: str) -> None:
    with pytest.raises(TypeError, match=f"must not update during the backward pass, as .*{name}"):
        attach(getattr(pytorch_optimizer, name)(torch.nn.Linear(3, 3)), eta=0.1, seed=SEED)
