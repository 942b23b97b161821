"""The handle of the hook: where the noise is attached, what it counts, and what it remembers."""

import copy
import io
import math
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import Parameter

from gradnoise import GradientNoise, annealed, anticorrelated, attach, constant, preconditioned
from gradnoise.noise import NoiseProcess
from gradnoise.streams import normal

KEY = "gradnoise_t"


def noise_of(t: int, seed: int = 1) -> torch.Tensor:
    return normal(seed, "noise", t, "weight", (4,))


def sgd(**options: Any) -> torch.optim.Optimizer:
    """Return SGD with momentum on one weight of four elements."""
    return torch.optim.SGD([("weight", Parameter(torch.zeros(4)))], lr=1.0, momentum=0.9, **options)


def update(optimizer: torch.optim.Optimizer, gradient: float = 0.0) -> torch.Tensor:
    """Do one update and return the gradient that the optimizer saw."""
    weight = optimizer.param_groups[0]["params"][0]
    weight.grad = torch.full((4,), gradient)
    optimizer.step()
    return weight.grad


def weight_of(optimizer: torch.optim.Optimizer) -> torch.Tensor:
    return optimizer.param_groups[0]["params"][0].detach()


def pickled(optimizer: torch.optim.Optimizer) -> Any:
    return pickle.loads(pickle.dumps(optimizer))


def saved(optimizer: torch.optim.Optimizer) -> Any:
    """Return the optimizer's state after a way through a file, as it is loaded by default: nothing
    in it but tensors and plain values.
    """
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    return torch.load(file)


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, pickled])
def test_a_copy_of_the_optimizer_gets_noise_once_it_is_attached_again(
    copied: Callable[[Any], Any],
) -> None:
    optimizer = sgd()
    noise = attach(optimizer, schedule=constant(1.0), seed=1)
    for _ in range(3):
        update(optimizer)
    other = copied(optimizer)
    assert noise.is_attached(optimizer)
    assert not noise.is_attached(other)
    assert not update(other).any()
    noise.reattach(other)
    assert noise.is_attached(other)
    assert not noise.is_attached(optimizer)
    assert noise.t == 3
    assert torch.equal(update(other), noise_of(3))
    assert not update(optimizer).any()


def test_noise_moved_to_an_earlier_copy_goes_on_from_there() -> None:
    """As when training rolls back: the copy's t is taken up, and what follows is what followed
    then.
    """
    optimizer = sgd()
    noise = attach(optimizer, eta=0.3, seed=1)
    update(optimizer)
    early = copy.deepcopy(optimizer)
    first = [update(optimizer) for _ in range(3)]
    noise.reattach(early)
    assert noise.t == 1
    assert all(torch.equal(one, update(early)) for one in first)


def test_an_optimizer_copied_together_with_its_handle_is_attached_by_reattach() -> None:
    optimizer = sgd()
    noise = attach(optimizer, schedule=constant(1.0), seed=1)
    update(optimizer)
    other, other_noise = copy.deepcopy((optimizer, noise))
    assert not other_noise.is_attached(other)
    other_noise.reattach(other)
    assert torch.equal(update(other), noise_of(1))
    assert torch.equal(update(optimizer), noise_of(1))
    assert noise.t == other_noise.t == 2


def test_noise_is_attached_to_the_optimizer_within_a_wrapper() -> None:
    class Wrapper:
        def __init__(self, optimizer: torch.optim.Optimizer) -> None:
            self.optimizer = optimizer

    optimizer = sgd()
    wrapper: Any = Wrapper(optimizer)
    noise = attach(wrapper, schedule=constant(1.0), seed=1)
    assert noise.is_attached(wrapper)
    assert noise.is_attached(optimizer)
    assert torch.equal(update(optimizer), noise_of(0))


def test_noise_is_not_added_twice() -> None:
    optimizer = sgd()
    noise = attach(optimizer, schedule=constant(1.0), seed=1)
    with pytest.raises(ValueError, match=r"has noise already: remove\(\) that first"):
        attach(optimizer, eta=0.1, seed=2)
    with pytest.raises(ValueError, match="has noise already"):
        noise.reattach(optimizer)
    assert torch.equal(update(optimizer), noise_of(0))
    noise.remove()
    noise.remove()
    attach(optimizer, schedule=constant(1.0), seed=2)
    assert torch.equal(update(optimizer), noise_of(0, seed=2))


def test_noise_that_cannot_move_stays() -> None:
    optimizer = sgd()
    noise = attach(optimizer, schedule=constant(1.0), seed=1)
    with pytest.raises(TypeError, match="LBFGS"):
        noise.reattach(torch.optim.LBFGS([Parameter(torch.zeros(4))]))
    assert noise.is_attached(optimizer)
    assert torch.equal(update(optimizer), noise_of(0))


def test_an_optimizer_with_another_within_for_other_parameters_is_refused() -> None:
    """Noise on the one within alone would be no noise on the rest."""

    class Hybrid(torch.optim.SGD):
        def __init__(self, matrices: list[Parameter], vectors: list[Parameter]) -> None:
            super().__init__(matrices, lr=1.0)
            self.optimizer = torch.optim.Adam(vectors)

    with pytest.raises(
        TypeError, match="Hybrid updates parameters that the Adam within it does not"
    ):
        attach(Hybrid([Parameter(torch.zeros(2, 2))], [Parameter(torch.zeros(2))]), eta=0.1, seed=1)


def test_paused_steps_get_no_noise_and_do_not_count() -> None:
    optimizer = sgd()
    noise = attach(optimizer, schedule=constant(1.0), seed=1)
    update(optimizer)
    with noise.paused():
        assert not update(optimizer).any()
        with noise.paused():
            assert not update(optimizer).any()
        assert not update(optimizer).any()
    assert noise.t == optimizer.param_groups[0][KEY] == 1
    with pytest.raises(OSError, match="no data"), noise.paused():
        raise OSError("no data")
    assert torch.equal(update(optimizer), noise_of(1))


@pytest.mark.parametrize("t", [0, 1, 2, 9, 99, 10_000, 10**9])
def test_its_std_is_that_of_the_next_update(t: int) -> None:
    """In the form of optax's add_noise: sqrt(eta / count^gamma), count from 1."""
    noise = attach(sgd(), eta=0.3, gamma=0.55, seed=1)
    noise.load_state_dict({"t": t, "seed": 1})
    assert noise.std == pytest.approx(math.sqrt(0.3 / (t + 1) ** 0.55), rel=1e-14)


def test_several_terms_add_up() -> None:
    """The noise of an injection is the sum over its terms; an earlier update's draws are the same
    whenever they are asked for.
    """
    optimizer = sgd()
    noise = attach(
        optimizer, injection=NoiseProcess(terms=lambda t: [(t, 0.4), (t + 5, 0.3)]), seed=1
    )
    assert noise.std == pytest.approx(0.5)
    for t in range(3):
        torch.testing.assert_close(
            update(optimizer, 2.0), 2.0 + 0.4 * noise_of(t) + 0.3 * noise_of(t + 5)
        )
    noise.remove()
    attach(optimizer, injection=anticorrelated(std=0.5), seed=1)
    torch.testing.assert_close(update(optimizer), 0.5 * noise_of(0))
    torch.testing.assert_close(update(optimizer), 0.5 * (noise_of(1) - noise_of(0)))


def test_an_injection_of_no_term_is_no_noise() -> None:
    optimizer = sgd()
    noise = attach(optimizer, injection=NoiseProcess(terms=lambda _t: ()), seed=1)
    assert torch.equal(update(optimizer, 2.0), torch.full((4,), 2.0))
    assert (noise.t, noise.std) == (1, 0.0)


def test_preconditioned_noise_follows_its_formula() -> None:
    """std_t N_t / sqrt(damping + sqrt(V)), V of the gradients before their noise."""
    optimizer = sgd()
    attach(
        optimizer, injection=preconditioned(eta=0.3, gamma=0.55, decay=0.9, damping=1e-3), seed=1
    )
    mean_square = 0.0
    for t in range(4):
        mean_square = 0.9 * mean_square + 0.1 * 2.0**2
        expected = 2.0 + annealed(0.3, 0.55)(t) * noise_of(t) / math.sqrt(
            1e-3 + math.sqrt(mean_square)
        )
        torch.testing.assert_close(update(optimizer, 2.0), expected)


def test_what_a_preconditioner_keeps_is_float32_whatever_the_default() -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        optimizer = sgd()
        noise = attach(optimizer, injection=preconditioned(eta=0.3, gamma=0.55), seed=1)
        update(optimizer, 2.0)
    finally:
        torch.set_default_dtype(before)
    assert noise.state_dict()["states"]["weight"].dtype == torch.float32


def train(optimizer: torch.optim.Optimizer, n: int) -> None:
    for _ in range(n):
        weight = optimizer.param_groups[0]["params"][0]
        weight.grad = (weight.detach() - torch.arange(4)) / 4
        optimizer.step()


@pytest.mark.parametrize(
    "arguments",
    [{"eta": 0.3}, {"injection": anticorrelated(0.1)}, {"injection": preconditioned(0.01, 0.55)}],
    ids=str,
)
def test_its_state_resumes_training_bit_for_bit(arguments: dict[str, Any]) -> None:
    straight = sgd()
    attach(straight, seed=1, **arguments)
    train(straight, 7)
    stopped = sgd()
    noise = attach(stopped, seed=1, **arguments)
    train(stopped, 3)
    file = io.BytesIO()
    torch.save([stopped.state_dict(), noise.state_dict(), weight_of(stopped)], file)
    train(stopped, 2)  # what is saved must not move on
    file.seek(0)
    of_optimizer, of_noise, weight = torch.load(file)
    resumed = sgd()
    weight_of(resumed).copy_(weight)
    again = attach(resumed, seed=99, **arguments)
    resumed.load_state_dict(of_optimizer)
    again.load_state_dict(of_noise)
    train(resumed, 4)
    assert torch.equal(weight_of(straight), weight_of(resumed))
    assert (again.t, again.seed) == (7, 1)


def test_a_checkpoint_of_the_optimizer_alone_resumes_t() -> None:
    """And nothing else: seed, eta and schedule are the new configuration's."""
    optimizer = sgd()
    attach(optimizer, eta=0.3, seed=1)
    for _ in range(3):
        update(optimizer)
    resumed = sgd()
    noise = attach(resumed, eta=0.7, seed=5)
    resumed.load_state_dict(saved(optimizer))
    assert noise.t == 3
    torch.testing.assert_close(update(resumed), annealed(0.7, 0.55)(3) * noise_of(3, seed=5))


def test_a_checkpoint_loaded_before_attaching_resumes_t() -> None:
    optimizer = sgd()
    attach(optimizer, schedule=constant(1.0), seed=1)
    for _ in range(3):
        update(optimizer)
    resumed = sgd()
    resumed.load_state_dict(saved(optimizer))
    noise = attach(resumed, schedule=constant(1.0), seed=1)
    assert noise.t == 3
    assert torch.equal(update(resumed), noise_of(3))


def test_a_checkpoint_made_without_noise_leaves_t_alone() -> None:
    foreign = sgd()
    update(foreign)
    optimizer = sgd()
    noise = attach(optimizer, schedule=constant(1.0), seed=1)
    for _ in range(3):
        update(optimizer)
    optimizer.load_state_dict(saved(foreign))
    assert noise.t == 3
    assert optimizer.param_groups[0][KEY] == 3
    assert torch.equal(update(optimizer), noise_of(3))


def test_after_removal_nothing_is_left_in_the_optimizer() -> None:
    optimizer = sgd()
    before = set(optimizer.param_groups[0])
    noise = attach(optimizer, schedule=constant(1.0), seed=1)
    update(optimizer)
    noise.remove()
    noise.load_state_dict(noise.state_dict())
    assert set(optimizer.param_groups[0]) == before
    assert noise.t == 1
    assert not noise.is_attached(optimizer)
    assert attach(optimizer, schedule=constant(1.0), seed=1).t == 0


def test_its_state_is_of_plain_values_whatever_it_was_given() -> None:
    noise = attach(sgd(), eta=0.3, seed=np.int64(7))  # type: ignore[arg-type]
    noise.load_state_dict({"t": np.int64(3), "seed": np.int64(7)})
    assert {key: type(value) for key, value in noise.state_dict().items()} == {
        "t": int,
        "seed": int,
    }
    assert noise.state_dict() == {"t": 3, "seed": 7}


@pytest.mark.parametrize("seed", [True, np.int64(1), torch.tensor(1)], ids=repr)
def test_a_seed_is_its_value_whatever_its_type(seed: Any) -> None:
    optimizer = sgd()
    attach(optimizer, schedule=constant(1.0), seed=seed)
    assert torch.equal(update(optimizer), noise_of(0, seed=1))


@pytest.mark.parametrize("seed", [1.0, 1.5, math.nan, "1", None])
def test_a_seed_that_is_no_integer_is_refused(seed: Any) -> None:
    with pytest.raises(TypeError, match="integer"):
        attach(sgd(), eta=0.1, seed=seed)


def test_a_seed_of_any_size_will_do() -> None:
    optimizer = sgd()
    attach(optimizer, schedule=constant(1.0), seed=2**200 + 1)
    assert torch.equal(update(optimizer), noise_of(0, seed=2**200 + 1))


def test_a_seed_that_is_set_later_is_used_from_the_next_update_on() -> None:
    optimizer = sgd()
    noise = attach(optimizer, schedule=constant(1.0), seed=1)
    update(optimizer)
    noise.seed = 2
    assert torch.equal(update(optimizer), noise_of(1, seed=2))


def test_a_step_without_gradients_warns_once() -> None:
    optimizer = sgd()
    attach(optimizer, schedule=constant(1.0), seed=1)
    with pytest.warns(UserWarning, match="No parameter of the optimizer has a gradient"):
        optimizer.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()
        assert torch.equal(update(optimizer), noise_of(2))


def test_parameters_that_share_a_name_are_refused() -> None:
    weights = [Parameter(torch.zeros(4)) for _ in range(2)]
    groups = [{"params": [("weight", weight)]} for weight in weights]
    with pytest.raises(ValueError, match="two parameters of the optimizer are named 'weight'"):
        attach(torch.optim.SGD(groups, lr=1.0), eta=0.1, seed=1)


def test_a_handle_that_nobody_keeps_goes_on() -> None:
    optimizer = sgd()
    attach(optimizer, schedule=constant(1.0), seed=1)
    assert all(torch.equal(update(optimizer), noise_of(t)) for t in range(3))


def test_noise_that_is_attached_within_a_step_begins_with_the_next() -> None:
    optimizer = sgd()
    attached: list[GradientNoise] = []

    def closure() -> float:
        if not attached:
            attached.append(attach(optimizer, schedule=constant(1.0), seed=1))
        weight_of(optimizer)
        optimizer.param_groups[0]["params"][0].grad = torch.zeros(4)
        return 0.0

    optimizer.step(closure)
    assert attached[0].t == 0
    assert torch.equal(update(optimizer), noise_of(0))


@pytest.mark.parametrize(
    ("optimizer", "seed", "message"),
    [
        ("adam", 1, "must be a torch.optim.Optimizer with step hooks, but got"),
        (None, 1.5, "seed must be an integer"),
    ],
)
def test_what_is_no_optimizer_or_no_seed_is_named(optimizer: Any, seed: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        attach(optimizer or torch.optim.SGD([Parameter(torch.zeros(1))]), eta=0.1, seed=seed)
