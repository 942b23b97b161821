"""The handle of the noise: attaching, counting, pausing, copies."""

import copy
import math
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import Parameter

from gradnoise import (
    GradientNoise,
    NoiseProcess,
    annealed,
    anticorrelated,
    attach,
    constant,
    preconditioned,
)
from gradnoise._streams import normal
from weight_sgd import KEY, noise_of, sgd, update, weight_of


def pickled(optimizer: torch.optim.Optimizer) -> Any:
    return pickle.loads(pickle.dumps(optimizer))


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, pickled])
def test_a_copy_of_the_optimizer_gets_noise_after_reattach(
    copied: Callable[[Any], Any],
) -> None:
    optimizer = sgd()
    noise = attach(optimizer, constant(1.0), seed=1)
    for _ in range(3):
        update(optimizer)
    copied_optimizer = copied(optimizer)
    assert noise.is_attached(optimizer)
    assert not noise.is_attached(copied_optimizer)
    assert not update(copied_optimizer).any()
    noise.reattach(copied_optimizer)
    assert noise.is_attached(copied_optimizer)
    assert not noise.is_attached(optimizer)
    assert noise.t == 3
    assert torch.equal(update(copied_optimizer), noise_of(3))
    assert not update(optimizer).any()


def test_noise_moved_to_an_earlier_copy_repeats_what_followed() -> None:
    """As when training rolls back: the copy's t replaces that of the handle."""
    optimizer = sgd()
    noise = attach(optimizer, eta=0.3, seed=1)
    update(optimizer)
    early = copy.deepcopy(optimizer)
    first = [update(optimizer) for _ in range(3)]
    noise.reattach(early)
    assert noise.t == 1
    assert all(torch.equal(gradient, update(early)) for gradient in first)


def test_an_optimizer_copied_together_with_its_handle_gets_noise_after_reattach() -> None:
    optimizer = sgd()
    noise = attach(optimizer, constant(1.0), seed=1)
    update(optimizer)
    copied_optimizer, copied_noise = copy.deepcopy((optimizer, noise))
    assert not copied_noise.is_attached(copied_optimizer)
    copied_noise.reattach(copied_optimizer)
    assert torch.equal(update(copied_optimizer), noise_of(1))
    with pytest.warns(UserWarning, match="have the same noise"):
        assert torch.equal(update(optimizer), noise_of(1))
    assert noise.t == copied_noise.t == 2


def test_noise_is_attached_to_the_optimizer_inside_a_wrapper() -> None:
    class Wrapper:
        def __init__(self, optimizer: torch.optim.Optimizer) -> None:
            self.optimizer = optimizer

    optimizer = sgd()
    wrapper: Any = Wrapper(optimizer)
    noise = attach(wrapper, constant(1.0), seed=1)
    assert noise.is_attached(wrapper)
    assert noise.is_attached(optimizer)
    assert torch.equal(update(optimizer), noise_of(0))


def test_attaching_noise_twice_raises_an_error() -> None:
    optimizer = sgd()
    noise = attach(optimizer, constant(1.0), seed=1)
    with pytest.raises(ValueError, match=r"already has noise: call remove\(\)"):
        attach(optimizer, eta=0.1, seed=2)
    with pytest.raises(ValueError, match="already has noise"):
        noise.reattach(optimizer)
    assert torch.equal(update(optimizer), noise_of(0))
    noise.remove()
    noise.remove()
    attach(optimizer, constant(1.0), seed=2)
    assert torch.equal(update(optimizer), noise_of(0, seed=2))


def test_noise_stays_if_it_cannot_be_moved() -> None:
    optimizer = sgd()
    noise = attach(optimizer, constant(1.0), seed=1)
    with pytest.raises(TypeError, match="LBFGS"):
        noise.reattach(torch.optim.LBFGS([Parameter(torch.zeros(4))]))
    assert noise.is_attached(optimizer)
    assert torch.equal(update(optimizer), noise_of(0))


def test_an_inner_optimizer_of_other_parameters_raises_an_error() -> None:
    """Noise on the inner optimizer would leave the outer optimizer's parameters without noise."""

    class Hybrid(torch.optim.SGD):
        def __init__(self, matrices: list[Parameter], vectors: list[Parameter]) -> None:
            super().__init__(matrices, lr=1.0)
            self.optimizer = torch.optim.Adam(vectors)

    with pytest.raises(
        TypeError, match="Hybrid updates parameters that the Adam inside it does not"
    ):
        attach(Hybrid([Parameter(torch.zeros(2, 2))], [Parameter(torch.zeros(2))]), eta=0.1, seed=1)


def test_paused_steps_get_no_noise_and_do_not_count() -> None:
    optimizer = sgd()
    noise = attach(optimizer, constant(1.0), seed=1)
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
def test_std_is_that_of_the_next_update(t: int) -> None:
    """As in optax's add_noise: sqrt(eta / count^gamma), count from 1."""
    noise = attach(sgd(), eta=0.3, gamma=0.55, seed=1)
    noise.load_state_dict({"t": t, "seed": 1})
    assert noise.std == pytest.approx(math.sqrt(0.3 / (t + 1) ** 0.55), rel=1e-14)


def test_remove_leaves_nothing_in_the_optimizer() -> None:
    optimizer = sgd()
    before = set(optimizer.param_groups[0])
    noise = attach(optimizer, constant(1.0), seed=1)
    update(optimizer)
    noise.remove()
    noise.load_state_dict(noise.state_dict())
    assert set(optimizer.param_groups[0]) == before
    assert noise.t == 1
    assert not noise.is_attached(optimizer)
    assert attach(optimizer, constant(1.0), seed=1).t == 0


@pytest.mark.parametrize("seed", [True, np.int64(1), torch.tensor(1)], ids=repr)
def test_a_seed_may_be_of_any_integer_type(seed: Any) -> None:
    optimizer = sgd()
    attach(optimizer, constant(1.0), seed=seed)
    assert torch.equal(update(optimizer), noise_of(0, seed=1))


@pytest.mark.parametrize("seed", [1.0, 1.5, math.nan, "1", None])
def test_a_seed_that_is_no_integer_raises_an_error(seed: Any) -> None:
    with pytest.raises(TypeError, match="integer"):
        attach(sgd(), eta=0.1, seed=seed)


def test_a_seed_may_be_of_any_size() -> None:
    optimizer = sgd()
    attach(optimizer, constant(1.0), seed=2**200 + 1)
    assert torch.equal(update(optimizer), noise_of(0, seed=2**200 + 1))


def test_a_seed_set_later_is_used_from_the_next_update_on() -> None:
    optimizer = sgd()
    noise = attach(optimizer, constant(1.0), seed=1)
    update(optimizer)
    noise.seed = 2
    assert torch.equal(update(optimizer), noise_of(1, seed=2))


def test_a_step_without_gradients_warns_once() -> None:
    optimizer = sgd()
    attach(optimizer, constant(1.0), seed=1)
    with pytest.warns(UserWarning, match="No parameter of the optimizer has a gradient"):
        optimizer.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()
        assert torch.equal(update(optimizer), noise_of(2))


def test_parameters_that_share_a_name_raise_an_error() -> None:
    weights = [Parameter(torch.zeros(4)) for _ in range(2)]
    groups = [{"params": [("weight", weight)]} for weight in weights]
    with pytest.raises(ValueError, match="two parameters of the optimizer are named 'weight'"):
        attach(torch.optim.SGD(groups, lr=1.0), eta=0.1, seed=1)


def test_the_noise_continues_without_a_reference_to_its_handle() -> None:
    optimizer = sgd()
    attach(optimizer, constant(1.0), seed=1)
    assert all(torch.equal(update(optimizer), noise_of(t)) for t in range(3))


def test_noise_attached_during_a_step_starts_with_the_next_step() -> None:
    optimizer = sgd()
    attached: list[GradientNoise] = []

    def closure() -> float:
        if not attached:
            attached.append(attach(optimizer, constant(1.0), seed=1))
        weight_of(optimizer)
        optimizer.param_groups[0]["params"][0].grad = torch.zeros(4)
        return 0.0

    optimizer.step(closure)
    assert attached[0].t == 0
    assert torch.equal(update(optimizer), noise_of(0))


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize(
    "process", [annealed(0.3, 0.55), constant(1.0), anticorrelated(0.1), preconditioned(0.3, 0.55)]
)
def test_a_copy_of_a_handle_continues_on_another_optimizer(
    copied: Callable[[Any], Any], process: NoiseProcess
) -> None:
    """It has the process, the options, t and the preconditioner's state, but no optimizer."""
    optimizer = sgd()
    noise = attach(optimizer, process, seed=1, noise_scale={"weight": 0.5}, measure_ratio=True)
    update(optimizer, 2.0)
    again = copied(noise)
    assert not again.is_attached(optimizer)
    assert (again.t, again.seed, again.last_std) == (1, 1, noise.last_std)
    other = sgd()
    again.reattach(other)
    continued = update(other, 3.0)
    with pytest.warns(UserWarning, match="have the same noise"):
        assert torch.equal(continued, update(optimizer, 3.0))
    assert (again.t, again.ratio) == (2, noise.ratio)


def test_a_seed_set_later_is_checked() -> None:
    noise = attach(sgd(), constant(1.0), seed=1)
    with pytest.raises(TypeError, match=r"seed must be an integer, but got seed=1\.5"):
        noise.seed = 1.5  # type: ignore[assignment]
    with pytest.raises(ValueError, match="seed must be at least 0, but got seed=-1"):
        noise.seed = -1
    assert noise.seed == 1


def test_last_std_and_ratio_belong_to_the_same_update() -> None:
    optimizer = sgd()
    noise = attach(optimizer, eta=0.3, gamma=0.55, seed=1, measure_ratio=True)
    assert (noise.last_std, noise.ratio) == (None, None)
    for t in range(3):
        update(optimizer, 2.0)
        assert noise.last_std == annealed(0.3, 0.55).std(t)
        assert noise.ratio == pytest.approx(annealed(0.3, 0.55).std(t) / 4.0)


def test_the_representation_names_process_seed_t_and_optimizer() -> None:
    optimizer = sgd()
    noise = attach(optimizer, eta=0.3, gamma=0.55, seed=7)
    update(optimizer)
    for part in ("eta=0.3", "gamma=0.55", "seed=7", "t=1", "optimizer=SGD"):
        assert part in repr(noise)
    noise.remove()
    assert "t=1, optimizer=None" in repr(noise)


def test_names_given_to_attach_take_the_place_of_those_of_the_optimizer() -> None:
    """However the optimizer was built, and for parameters that are added later."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    optimizer = torch.optim.SGD(model[1].parameters(), lr=1.0)
    attach(optimizer, constant(1.0), seed=1, names=model.named_parameters())
    optimizer.add_param_group({"params": list(model[0].parameters())})
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, normal(1, "noise", 0, name, parameter.shape))


@pytest.mark.parametrize(
    ("names", "kind", "message"),
    [
        (lambda model: model.parameters(), TypeError, "names must be pairs of a name and a param"),
        (lambda _: 3, TypeError, r"such as model.named_parameters\(\), but got 3"),
        (lambda _: [], ValueError, r"names lacks the parameter 0.0 of the optimizer, of shape \(3"),
    ],
)
def test_illegal_names_raise_an_error(
    names: Callable[[torch.nn.Module], Any], kind: type[Exception], message: str
) -> None:
    model = torch.nn.Linear(3, 3)
    with pytest.raises(kind, match=message):
        attach(torch.optim.SGD(model.parameters()), eta=0.1, seed=1, names=names(model))


def test_a_copy_needs_the_names_of_its_model() -> None:
    model = torch.nn.Linear(3, 3)
    optimizer = torch.optim.SGD(model.parameters())
    noise = attach(optimizer, constant(1.0), seed=1, names=model.named_parameters())
    other, twin = copy.deepcopy((model, optimizer))
    noise.reattach(twin, names=other.named_parameters())
    other.weight.grad = torch.zeros_like(other.weight)
    twin.step()
    assert torch.equal(other.weight.grad, normal(1, "noise", 0, "weight", (3, 3)))


@pytest.mark.parametrize(
    ("optimizer", "seed", "message"),
    [
        ("adam", 1, "must be a torch.optim.Optimizer with step hooks, but got"),
        (None, 1.5, "seed must be an integer"),
    ],
)
def test_an_object_that_is_no_optimizer_or_no_seed_raises_an_error(
    optimizer: Any, seed: Any, message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        attach(optimizer or torch.optim.SGD([Parameter(torch.zeros(1))]), eta=0.1, seed=seed)
