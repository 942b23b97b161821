import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import Parameter

from gradnoise import NoiseProcess, annealed, attach, constant
from gradnoise._streams import normal
from noise_by_hand import add_noise

NAMES = ("weight", "bias")


def net() -> dict[str, Parameter]:
    return {
        "weight": Parameter(torch.linspace(-1, 1, 6).view(2, 3)),
        "bias": Parameter(torch.zeros(2)),
    }


def set_gradients(parameters: dict[str, Parameter], value: float = 1.0) -> None:
    for parameter in parameters.values():
        parameter.grad = torch.full_like(parameter, value)


def noise_of(seed: int, t: int, name: str, like: torch.Tensor) -> torch.Tensor:
    return normal(seed, "noise", t, name, like.shape)


OPTIMIZERS: list[Callable[..., torch.optim.Optimizer]] = [
    lambda p: torch.optim.SGD(p, lr=0.1),
    lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    lambda p: torch.optim.SGD(p, lr=0.1, fused=True),
    lambda p: torch.optim.Adam(p, lr=0.1),
    lambda p: torch.optim.AdamW(p, lr=0.1, foreach=True),
    lambda p: torch.optim.RMSprop(p, lr=0.1),
    lambda p: torch.optim.Adagrad(p, lr=0.1),
    lambda p: torch.optim.Adadelta(p, lr=0.1),
    lambda p: torch.optim.NAdam(p, lr=0.1),
]


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_any_optimizer_steps_on_gradient_plus_noise(
    make: Callable[..., torch.optim.Optimizer],
) -> None:
    """Its updates equal, to the bit, those on gradients to which the noise was added by hand."""
    hooked, by_hand = net(), net()
    with_hook, without = make(hooked.items()), make(by_hand.items())
    attach(with_hook, eta=0.3, gamma=0.55, seed=1)
    for t in range(5):
        set_gradients(hooked)
        with_hook.step()
        set_gradients(by_hand)
        add_noise(by_hand.items(), seed=1, t=t, std=annealed(0.3, 0.55).std(t))
        without.step()
        assert all(torch.equal(hooked[name], by_hand[name]) for name in NAMES)


@pytest.mark.parametrize("t", [0, 20])
def test_noise_has_the_scheduled_variance_at_each_update(t: int) -> None:
    """The sample variance of n draws lies within five of its own standard errors of eta / (1 +
    t)^gamma, after an update at rate 1.
    """
    n = 100_000
    weight = Parameter(torch.zeros(n))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    attach(optimizer, eta=0.3, gamma=0.55, seed=1)
    for _ in range(t + 1):
        before = weight.detach().clone()
        weight.grad = torch.zeros(n)
        optimizer.step()
    variance = float((weight.detach() - before).double().var())
    assert abs(variance / (0.3 / (1 + t) ** 0.55) - 1) < 5 * math.sqrt(2 / (n - 1))


def test_noise_comes_after_clipping_and_before_the_learning_rate() -> None:
    """Clipping leaves almost nothing of the gradient and does not change the noise; the update is
    the learning rate times the noise.
    """
    parameters = net()
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    optimizer = torch.optim.SGD(parameters.items(), lr=0.01)
    attach(optimizer, constant(0.5), seed=1)
    set_gradients(parameters, 100.0)
    torch.nn.utils.clip_grad_norm_(parameters.values(), 1e-12)
    optimizer.step()
    for name, parameter in parameters.items():
        expected = before[name] - 0.01 * 0.5 * noise_of(1, 0, name, parameter)
        torch.testing.assert_close(parameter.detach(), expected)


def test_accumulated_gradients_get_noise_once_an_update() -> None:
    parameters = net()
    optimizer = torch.optim.SGD(parameters.items(), lr=1.0)
    noise = attach(optimizer, constant(1.0), seed=1)
    for _ in range(4):
        sum(parameter.sum() for parameter in parameters.values()).backward()  # type: ignore[union-attr]
    bias = parameters["bias"]
    optimizer.step()
    assert noise.t == 1
    torch.testing.assert_close(bias.grad, 4.0 + noise_of(1, 0, "bias", bias))


def test_a_learning_rate_schedule_does_not_change_the_noise() -> None:
    parameters = net()
    optimizer = torch.optim.SGD(parameters.items(), lr=1.0)
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    attach(optimizer, constant(1.0), seed=1)
    for t in range(2):
        set_gradients(parameters)
        optimizer.step()
        decay.step()
        torch.testing.assert_close(
            parameters["bias"].grad, 1.0 + noise_of(1, t, "bias", parameters["bias"])
        )


def test_order_and_groups_of_parameters_do_not_change_the_noise() -> None:
    forward, backward = net(), net()
    groups = [{"params": [(name, backward[name])]} for name in reversed(NAMES)]
    optimizers = [torch.optim.SGD(forward.items(), lr=1.0), torch.optim.SGD(groups, lr=1.0)]
    for optimizer in optimizers:
        attach(optimizer, constant(1.0), seed=1)
    for parameters, optimizer in zip((forward, backward), optimizers, strict=True):
        set_gradients(parameters)
        optimizer.step()
    assert all(torch.equal(forward[name], backward[name]) for name in NAMES)


def test_parameters_without_names_are_named_by_group_and_index() -> None:
    parameters = net()
    optimizer = torch.optim.SGD(
        [{"params": [parameters["weight"]]}, {"params": [parameters["bias"]]}], lr=1.0
    )
    attach(optimizer, constant(1.0), seed=1)
    set_gradients(parameters)
    optimizer.step()
    torch.testing.assert_close(
        parameters["bias"].grad, 1.0 + noise_of(1, 0, "1.0", parameters["bias"])
    )


def test_layers_of_equal_shape_and_other_seeds_get_different_noise() -> None:
    weights = {name: Parameter(torch.zeros(8)) for name in ("a", "b")}
    drawn = []
    for seed in (1, 2):
        optimizer = torch.optim.SGD(weights.items(), lr=1.0)
        with attach(optimizer, constant(1.0), seed=seed):
            set_gradients(weights, 0.0)
            optimizer.step()
        drawn += [weight.grad for weight in weights.values()]
    pairs = itertools.combinations(drawn, 2)
    assert not any(torch.equal(first, second) for first, second in pairs)


def test_a_parameter_without_gradient_does_not_change_the_noise_of_the_others() -> None:
    parameters = net()
    optimizer = torch.optim.SGD(parameters.items(), lr=1.0)
    noise = attach(optimizer, constant(1.0), seed=1)
    for t, name in enumerate(("bias", "weight", "bias")):
        for other in NAMES:
            parameters[other].grad = torch.zeros_like(parameters[other]) if other == name else None
        optimizer.step()
        assert torch.equal(parameters[name].grad, noise_of(1, t, name, parameters[name]))  # type: ignore[arg-type]
    assert noise.t == 3


def test_a_step_without_any_gradient_warns() -> None:
    optimizer = torch.optim.SGD(net().items(), lr=1.0)
    attach(optimizer, constant(1.0), seed=1)
    with pytest.warns(UserWarning, match="No parameter of the optimizer has a gradient") as warned:
        optimizer.step()
    assert warned[0].filename == __file__  # the line that called step()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": 1}, "give exactly one of process and eta, but got process=None and eta=None"),
        (
            {"seed": 1, "eta": 0.1, "process": constant(1.0)},
            "give exactly one of process and eta, but got process=NoiseProcess.* and eta=0.1",
        ),
        ({"seed": 1, "gamma": 0.5}, "give exactly one of process and eta"),
        (
            {"seed": 1, "gamma": 0.5, "process": constant(1.0)},
            "would be ignored beside a process, but got gamma=0.5: pass it to the process",
        ),
        (
            {"seed": 1, "eta": 0.1, "allow": ["dense"]},
            "allow must contain only sparse and complex, but got 'dense'",
        ),
        ({"seed": -1, "eta": 0.1}, "seed must be at least 0, but got seed=-1"),
        ({"seed": 1, "eta": -0.1}, "eta must be at least 0 and finite, but got eta=-0.1"),
        (
            {"seed": 1, "eta": 0.1, "gamma": -1},
            "gamma must be at least 0 and finite, but got gamma=-1",
        ),
    ],
)
def test_illegal_arguments_raise_an_error_that_names_them(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        attach(torch.optim.SGD(net().items(), lr=1.0), **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eta": "1e-3"}, "eta must be a number, at least 0 and finite, but got eta='1e-3'"),
        ({"eta": True}, "eta must be a number, at least 0 and finite, but got eta=True"),
        ({"eta": [0.1, 0.2]}, r"eta must be a number, .* but got eta=\[0.1, 0.2\]"),
        ({"eta": torch.ones(2)}, r"eta must be a number, .* but got eta=tensor"),
        ({"eta": 0.1, "gamma": "0.5"}, "gamma must be a number, .* but got gamma='0.5'"),
        ({"eta": 0.1, "allow": "sparse"}, r"allow must be a list of kinds, .*got allow='sparse'"),
        ({"eta": 0.1, "noise_scale": 0.5}, "noise_scale must map patterns of names to .* got 0.5"),
        (
            {"eta": 0.1, "noise_scale": {"*": "0"}},
            r"noise_scale\['\*'\] must be a number, .*='0'",
        ),
        ({"schedule": 0.1}, "unexpected keyword argument 'schedule'"),
        ({"process": NoiseProcess.of(lambda _t: "a")}, "must return a number, but returned 'a'"),
        ({"process": NoiseProcess(terms=lambda t: t)}, r"terms must return pairs .* returned 0"),
    ],
)
def test_arguments_of_the_wrong_type_raise_an_error_that_names_them(
    arguments: dict[str, Any], message: str
) -> None:
    optimizer = torch.optim.SGD(net().items(), lr=1.0)
    with pytest.raises(TypeError, match=message):
        attach(optimizer, **({"seed": 1} | arguments))
    assert "gradnoise_t" not in optimizer.param_groups[0]


@pytest.mark.parametrize(
    ("process", "message"),
    [
        (NoiseProcess.of(lambda _t: math.nan), "at least 0 and finite, but returned nan at t=0"),
        (NoiseProcess(terms=lambda t: [(t, math.inf)]), r"but returned \(0, inf\) at t=0"),
        (NoiseProcess(terms=lambda t: [(t - 1, 0.1)]), r"but returned \(-1, 0.1\) at t=0"),
    ],
)
def test_a_process_without_legal_noise_at_the_first_update_raises_an_error(
    process: NoiseProcess, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        attach(torch.optim.SGD(net().items(), lr=1.0), process, seed=1)


def test_a_tensor_given_as_eta_is_copied() -> None:
    eta = torch.tensor(0.25, requires_grad=True)
    noise = attach(torch.optim.SGD(net().items(), lr=1.0), eta=eta, seed=1)  # type: ignore[arg-type]
    with torch.no_grad():
        eta.fill_(9.0)
    assert noise.std == 0.5


def test_after_remove_the_gradients_have_no_noise() -> None:
    parameters = net()
    optimizer = torch.optim.SGD(parameters.items(), lr=1.0)
    with attach(optimizer, constant(1.0), seed=1) as noise:
        set_gradients(parameters)
        optimizer.step()
    set_gradients(parameters)
    optimizer.step()
    assert noise.t == 1
    assert torch.equal(parameters["bias"].grad, torch.ones(2))  # type: ignore[arg-type]


def test_training_resumed_from_a_checkpoint_equals_uninterrupted_training() -> None:
    def train(
        parameters: dict[str, Parameter], n: int, state: dict[str, int] | None = None
    ) -> dict[str, int]:
        optimizer = torch.optim.SGD(parameters.items(), lr=0.1)
        noise = attach(optimizer, eta=0.3, seed=1 if state is None else 99)
        if state is not None:
            noise.load_state_dict(state)
        for _ in range(n):
            set_gradients(parameters)
            optimizer.step()
        return noise.state_dict()

    straight, stopped = net(), net()
    train(straight, 6)
    train(stopped, 4, train(stopped, 2))
    assert all(torch.equal(straight[name], stopped[name]) for name in NAMES)


def test_noise_stays_in_the_gradient_until_it_is_zeroed() -> None:
    """As with clipping, the next backward pass adds to the changed gradient."""
    parameters = net()
    optimizer = torch.optim.SGD(parameters.items(), lr=1.0)
    attach(optimizer, constant(1.0), seed=1)
    for _ in range(2):
        sum(parameter.sum() for parameter in parameters.values()).backward()  # type: ignore[union-attr]
        optimizer.step()
    for name, parameter in parameters.items():
        expected = 2.0 + noise_of(1, 0, name, parameter) + noise_of(1, 1, name, parameter)
        torch.testing.assert_close(parameter.grad, expected)


def test_step_hooks_run_before_or_after_the_noise_in_order_of_registration() -> None:
    parameters = net()
    optimizer = torch.optim.SGD(parameters.items(), lr=1.0)
    seen = []
    for is_before in (True, False):
        optimizer.register_step_pre_hook(lambda *_: seen.append(parameters["bias"].grad.clone()))  # type: ignore[union-attr]
        if is_before:
            attach(optimizer, constant(1.0), seed=1)
    set_gradients(parameters)
    optimizer.step()
    assert torch.equal(seen[0], torch.ones(2))
    torch.testing.assert_close(seen[1], 1.0 + noise_of(1, 0, "bias", parameters["bias"]))


def test_the_global_generator_is_unchanged() -> None:
    parameters = net()
    optimizer = torch.optim.SGD(parameters.items(), lr=1.0)
    attach(optimizer, eta=1.0, seed=1)
    set_gradients(parameters)
    before = torch.get_rng_state()
    optimizer.step()
    assert torch.equal(before, torch.get_rng_state())


def test_a_process_may_be_positional_or_named() -> None:
    drawn = []
    for positional, named in (([constant(0.5)], {}), ([], {"process": constant(0.5)})):
        parameters = net()
        optimizer = torch.optim.SGD(parameters.items(), lr=1.0)
        attach(optimizer, *positional, seed=1, **named)
        set_gradients(parameters)
        optimizer.step()
        drawn.append(parameters["bias"].grad)
    assert torch.equal(drawn[0], drawn[1])
    torch.testing.assert_close(drawn[0], 1.0 + 0.5 * noise_of(1, 0, "bias", drawn[0]))


def test_eta_and_gamma_are_short_for_the_annealed_process() -> None:
    """gamma is 0.55 by default."""
    noises = [
        attach(torch.optim.SGD(net().items(), lr=1.0), *process, seed=1, **arguments)
        for process, arguments in (
            ((annealed(0.3, 0.55),), {}),
            ((), {"eta": 0.3, "gamma": 0.55}),
            ((), {"eta": 0.3}),
        )
    ]
    for t in (0, 7, 1_000):
        for noise in noises:
            noise.load_state_dict({"t": t, "seed": 1})
        assert len({noise.std for noise in noises}) == 1


def test_a_function_of_t_is_a_process_by_noise_process_of() -> None:
    parameters = net()
    optimizer = torch.optim.SGD(parameters.items(), lr=1.0)
    noise = attach(optimizer, NoiseProcess.of(lambda t: 0.1 * 0.5**t), seed=1)
    for t in range(3):
        assert noise.std == 0.1 * 0.5**t
        set_gradients(parameters)
        optimizer.step()
        expected = 1.0 + 0.1 * 0.5**t * noise_of(1, t, "bias", parameters["bias"])
        torch.testing.assert_close(parameters["bias"].grad, expected)


@pytest.mark.parametrize(
    ("process", "message"),
    [
        (0.1, r"process must be a NoiseProcess, but got 0.1. Pass eta=0.1 .* or constant\(0.1\)"),
        ("annealed", r"but got 'annealed'. Pass a process such as annealed\(eta=0.01"),
        (lambda t: 0.1, r"Pass NoiseProcess.of\(schedule\) for a function from t"),
        (annealed, r"the result of a call such as annealed\(eta=0.01, gamma=0.55\)"),
        ({"eta": 0.1}, r"but got {'eta': 0.1}. Pass a process"),
    ],
    ids=["a number", "a string", "a schedule", "a function that returns processes", "a mapping"],
)
def test_an_object_that_is_no_process_raises_an_error_with_a_remedy(
    process: Any, message: str
) -> None:
    optimizer = torch.optim.SGD(net().items(), lr=1.0)
    with pytest.raises(TypeError, match=message):
        attach(optimizer, process, seed=1)
    assert "gradnoise_t" not in optimizer.param_groups[0]
