"""The hook on optimizers of another library, pytorch-optimizer, among them wrappers and such as
evaluate gradients in their step.
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


def test_an_optimizer_with_groups_of_two_kinds_steps_on_gradient_plus_noise() -> None:
    def muon(parameters: list[Parameter]) -> torch.optim.Optimizer:
        groups = [
            {"params": [p for p in parameters if (p.ndim == 2) == is_matrix], "use_muon": is_matrix}
            for is_matrix in (True, False)
        ]
        return pytorch_optimizer.Muon(groups, lr=0.1)

    assert_noise_reaches(muon, named=False)


def test_an_optimizer_that_differentiates_the_gradient_again_still_can() -> None:
    """AdaHessian takes the derivatives of the gradients within its step; the noise on them is a
    constant.
    """
    assert_noise_reaches(
        partial(pytorch_optimizer.AdaHessian, lr=0.1), named=False, create_graph=True
    )


def test_an_optimizer_that_needs_the_loss_gets_it() -> None:
    """AliG sets its step size by the loss and the norm of the gradient, noise included."""

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
def test_a_wrapper_gets_noise_once_on_the_optimizer_within(
    wrap: Callable[[torch.optim.Optimizer], Any],
) -> None:
    def make(parameters: list[Parameter]) -> torch.optim.Optimizer:
        wrapped: torch.optim.Optimizer = wrap(torch.optim.SGD(parameters, lr=0.1, momentum=0.9))
        getattr(wrapped, "train", lambda: None)()
        return wrapped

    assert_noise_reaches(make, named=False)


def test_a_wrapper_that_changes_gradients_changes_them_before_the_noise() -> None:
    """As clipping does: OrthoGrad takes away the part of a gradient along its weights, and the
    noise keeps such a part.
    """
    seen = []
    for hooked in (True, False):
        parameters = matrix_and_vector()
        optimizer = pytorch_optimizer.OrthoGrad(torch.optim.SGD(parameters.items(), lr=0.1))
        if hooked:
            attach(optimizer, schedule=constant(0.5), seed=SEED)
        gradients(parameters.values())
        optimizer.step()
        if not hooked:
            add_noise(parameters.items(), SEED, 0, 0.5)
        seen.append([parameter.grad for parameter in parameters.values()])
    assert all(torch.equal(one, other) for one, other in zip(*seen, strict=True))


def test_sharpness_aware_minimization_gets_noise_on_its_update_and_not_on_its_search() -> None:
    """SAM evaluates the gradient twice: the first finds the sharpest weights nearby, the second is
    the update's and gets the noise.
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


def test_a_checkpoint_of_a_wrapper_resumes_the_noise_within() -> None:
    """SAM loads its groups and hands them on, without a call of the inner optimizer's
    load_state_dict.
    """

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


def test_lbfgs_is_refused_under_another_name() -> None:
    with pytest.raises(TypeError, match="LBFGS"):
        attach(
            pytorch_optimizer.load_optimizer("lbfgs")([Parameter(torch.zeros(1))]),
            eta=0.1,
            seed=SEED,
        )
