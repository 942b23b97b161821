import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import Parameter

from gradnoise import annealed, attach, constant
from gradnoise.streams import normal
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


def tripling(
    optimizer: torch.optim.Optimizer, parameters: dict[str, Parameter]
) -> Callable[[], torch.Tensor]:
    """Return a closure that leaves a gradient of 3 everywhere, and returns its loss."""

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = sum((parameter * 3).sum() for parameter in parameters.values())
        loss.backward()  # type: ignore[union-attr]
        return loss.detach()  # type: ignore[union-attr]

    return closure


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
def test_any_optimizer_sees_gradient_plus_noise(make: Callable[..., torch.optim.Optimizer]) -> None:
    """With the hook it does bit for bit what it does by itself when it is handed g + std_t * N(0,
    1), at every update.
    """
    hooked, byhand = net(), net()
    with_hook, without = make(hooked.items()), make(byhand.items())
    attach(with_hook, eta=0.3, gamma=0.55, seed=1)
    for t in range(5):
        set_gradients(hooked)
        with_hook.step()
        set_gradients(byhand)
        add_noise(byhand.items(), seed=1, t=t, std=annealed(0.3, 0.55)(t))
        without.step()
        assert all(torch.equal(hooked[name], byhand[name]) for name in NAMES)


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
    """Clipped to almost nothing, the gradient is all noise, at its full size; the update is the
    learning rate times it.
    """
    parameters = net()
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    optimizer = torch.optim.SGD(parameters.items(), lr=0.01)
    attach(optimizer, schedule=constant(0.5), seed=1)
    set_gradients(parameters, 100.0)
    torch.nn.utils.clip_grad_norm_(parameters.values(), 1e-12)
    optimizer.step()
    for name, parameter in parameters.items():
        expected = before[name] - 0.01 * 0.5 * noise_of(1, 0, name, parameter)
        torch.testing.assert_close(parameter.detach(), expected)


def test_accumulated_gradients_get_noise_once_an_update() -> None:
    parameters = net()
    optimizer = torch.optim.SGD(parameters.items(), lr=1.0)
    noise = attach(optimizer, schedule=constant(1.0), seed=1)
    for _ in range(4):
        sum(parameter.sum() for parameter in parameters.values()).backward()  # type: ignore[union-attr]
    bias = parameters["bias"]
    optimizer.step()
    assert noise.t == 1
    torch.testing.assert_close(bias.grad, 4.0 + noise_of(1, 0, "bias", bias))


class Twice(torch.optim.SGD):
    """An optimizer whose step calls its parent's, so that both fire the hooks."""

    def step(self, closure: Any = None) -> Any:
        return super().step(closure)


@pytest.mark.parametrize("kind", [torch.optim.SGD, Twice])
@pytest.mark.parametrize("call", ["positional", "keyword"])
def test_a_closure_gets_noise_after_its_backward(kind: type[torch.optim.SGD], call: str) -> None:
    """Once, on the gradient that the closure computes; what the closure returns comes back."""
    # a plain parent, whose step is then patched too
    torch.optim.SGD([Parameter(torch.zeros(1))], lr=1.0)
    parameters = net()
    optimizer = kind(parameters.items(), lr=1.0)
    noise = attach(optimizer, schedule=constant(1.0), seed=1)

    closure = tripling(optimizer, parameters)
    loss = optimizer.step(closure) if call == "positional" else optimizer.step(closure=closure)
    assert float(loss) == pytest.approx(0.0, abs=1e-6)
    assert noise.t == 1
    for name, parameter in parameters.items():
        torch.testing.assert_close(parameter.grad, 3.0 + noise_of(1, 0, name, parameter))


def test_a_step_within_a_step_counts_once() -> None:
    torch.optim.SGD([Parameter(torch.zeros(1))], lr=1.0)
    parameters = net()
    optimizer = Twice(parameters.items(), lr=1.0)
    noise = attach(optimizer, schedule=constant(1.0), seed=1)
    for t in range(3):
        set_gradients(parameters)
        optimizer.step()
        assert noise.t == t + 1
        torch.testing.assert_close(
            parameters["bias"].grad, 1.0 + noise_of(1, t, "bias", parameters["bias"])
        )


@pytest.mark.parametrize("kind", [torch.optim.SGD, Twice])
def test_a_step_that_raises_counts_for_nothing_and_stops_nothing(
    kind: type[torch.optim.SGD],
) -> None:
    torch.optim.SGD([Parameter(torch.zeros(1))], lr=1.0)
    parameters = net()
    optimizer = kind(parameters.items(), lr=1.0)
    noise = attach(optimizer, schedule=constant(1.0), seed=1)

    def closure() -> float:
        raise OSError("no data")

    with pytest.raises(OSError, match="no data"):
        optimizer.step(closure)
    assert noise.t == 0
    set_gradients(parameters)
    optimizer.step()
    assert noise.t == 1
    torch.testing.assert_close(
        parameters["bias"].grad, 1.0 + noise_of(1, 0, "bias", parameters["bias"])
    )


def test_a_step_within_a_step_counts_once_under_a_wrapper_of_the_class() -> None:
    """As of a library that times or logs every step: it replaces `step` of the class, and calls
    what was there.
    """
    torch.optim.SGD([Parameter(torch.zeros(1))], lr=1.0)

    class Logged(Twice):
        def step(self, closure: Any = None) -> Any:
            return super().step(closure)

    parameters = net()
    optimizer = Logged(parameters.items(), lr=1.0)
    original = Logged.step

    def step(self: Logged, *rest: Any, **options: Any) -> Any:
        return original(self, *rest, **options)

    Logged.step = step  # type: ignore[method-assign]
    noise = attach(optimizer, schedule=constant(1.0), seed=1)
    for t in range(2):
        set_gradients(parameters)
        optimizer.step()
        assert noise.t == t + 1
        torch.testing.assert_close(
            parameters["bias"].grad, 1.0 + noise_of(1, t, "bias", parameters["bias"])
        )


class Counting(torch.optim.SGD):
    """An optimizer whose step takes no closure, but an argument of its own."""

    def step(self, count: int = 0) -> Any:  # type: ignore[override]
        super().step()
        self.count = count


@pytest.mark.parametrize("count", [0, 3])
def test_an_argument_that_is_no_closure_is_passed_on(count: int) -> None:
    parameters = net()
    optimizer = Counting(parameters.items(), lr=1.0)
    noise = attach(optimizer, schedule=constant(1.0), seed=1)
    set_gradients(parameters)
    optimizer.step(count)
    assert (noise.t, optimizer.count) == (1, count)
    torch.testing.assert_close(
        parameters["bias"].grad, 1.0 + noise_of(1, 0, "bias", parameters["bias"])
    )


class Deaf(torch.optim.SGD):
    """An optimizer that takes a closure and does not call it."""

    def step(self, closure: Any = None) -> Any:
        return super().step()


def test_a_closure_that_is_never_called_is_warned_of() -> None:
    """The noise would have come after it."""
    parameters = net()
    optimizer = Deaf(parameters.items(), lr=1.0)
    attach(optimizer, schedule=constant(1.0), seed=1)
    set_gradients(parameters)
    with pytest.warns(UserWarning, match="never called the closure"):
        optimizer.step(lambda: 0.0)
    set_gradients(parameters)
    optimizer.step(lambda: 0.0)
    optimizer.step()
    torch.testing.assert_close(
        parameters["bias"].grad, 1.0 + noise_of(1, 2, "bias", parameters["bias"])
    )


def test_a_closure_sees_the_gradients_without_noise() -> None:
    parameters = net()
    optimizer = torch.optim.SGD(parameters.items(), lr=1.0)
    attach(optimizer, schedule=constant(1.0), seed=1)

    def closure() -> float:
        set_gradients(parameters, 2.0)
        torch.nn.utils.clip_grad_norm_(parameters.values(), 1e-3)
        return float(
            torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters.values()])
        )  # type: ignore[misc]

    for _ in range(2):
        assert optimizer.step(closure) == pytest.approx(1e-3, rel=1e-3)


def test_a_learning_rate_schedule_changes_nothing_of_the_noise() -> None:
    parameters = net()
    optimizer = torch.optim.SGD(parameters.items(), lr=1.0)
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    attach(optimizer, schedule=constant(1.0), seed=1)
    for t in range(2):
        set_gradients(parameters)
        optimizer.step()
        decay.step()
        torch.testing.assert_close(
            parameters["bias"].grad, 1.0 + noise_of(1, t, "bias", parameters["bias"])
        )


def test_the_order_and_the_groups_of_parameters_change_nothing() -> None:
    one, two = net(), net()
    optimizers = [
        torch.optim.SGD(one.items(), lr=1.0),
        torch.optim.SGD([{"params": [(name, two[name])]} for name in reversed(NAMES)], lr=1.0),
    ]
    for optimizer in optimizers:
        attach(optimizer, schedule=constant(1.0), seed=1)
    for parameters, optimizer in zip((one, two), optimizers, strict=True):
        set_gradients(parameters)
        optimizer.step()
    assert all(torch.equal(one[name], two[name]) for name in NAMES)


def test_parameters_without_names_go_by_group_and_index() -> None:
    parameters = net()
    optimizer = torch.optim.SGD(
        [{"params": [parameters["weight"]]}, {"params": [parameters["bias"]]}], lr=1.0
    )
    attach(optimizer, schedule=constant(1.0), seed=1)
    set_gradients(parameters)
    optimizer.step()
    torch.testing.assert_close(
        parameters["bias"].grad, 1.0 + noise_of(1, 0, "1.0", parameters["bias"])
    )


def test_layers_of_equal_shape_and_other_seeds_get_other_noise() -> None:
    weights = {name: Parameter(torch.zeros(8)) for name in ("a", "b")}
    drawn = []
    for seed in (1, 2):
        optimizer = torch.optim.SGD(weights.items(), lr=1.0)
        with attach(optimizer, schedule=constant(1.0), seed=seed):
            set_gradients(weights, 0.0)
            optimizer.step()
        drawn += [weight.grad for weight in weights.values()]
    assert all(not torch.equal(one, other) for i, one in enumerate(drawn) for other in drawn[:i])


def test_parameters_without_gradient_are_skipped_and_change_nothing_for_the_others() -> None:
    parameters = net()
    optimizer = torch.optim.SGD(parameters.items(), lr=1.0)
    noise = attach(optimizer, schedule=constant(1.0), seed=1)
    for t, name in enumerate(("bias", "weight", "bias")):
        for other in NAMES:
            parameters[other].grad = torch.zeros_like(parameters[other]) if other == name else None
        optimizer.step()
        assert torch.equal(parameters[name].grad, noise_of(1, t, name, parameters[name]))  # type: ignore[arg-type]
    assert noise.t == 3


def test_a_step_without_any_gradient_warns() -> None:
    optimizer = torch.optim.SGD(net().items(), lr=1.0)
    attach(optimizer, schedule=constant(1.0), seed=1)
    with pytest.warns(UserWarning, match="No parameter of the optimizer has a gradient") as warned:
        optimizer.step()
    assert warned[0].filename == __file__  # it shows the line that made the step


def test_sparse_and_complex_gradients_are_refused_by_name() -> None:
    table = torch.nn.Embedding(10, 3, sparse=True)
    optimizer = torch.optim.SGD(table.named_parameters(), lr=1.0)
    attach(optimizer, schedule=constant(1.0), seed=1)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(TypeError, match="the gradient of weight is sparse"):
        optimizer.step()
    wave = Parameter(torch.zeros(2, dtype=torch.complex64))
    optimizer = torch.optim.SGD([("wave", wave)], lr=1.0)
    attach(optimizer, schedule=constant(1.0), seed=1)
    wave.grad = torch.zeros_like(wave)
    with pytest.raises(TypeError, match="the gradient of wave is complex"):
        optimizer.step()


def test_lbfgs_is_refused() -> None:
    with pytest.raises(TypeError, match="must not be LBFGS"):
        attach(torch.optim.LBFGS([Parameter(torch.zeros(1))]), eta=0.1, seed=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": 1}, "give exactly one of eta, schedule and injection"),
        (
            {"seed": 1, "eta": 0.1, "schedule": constant(1.0)},
            "give exactly one of eta, schedule and injection",
        ),
        ({"seed": -1, "eta": 0.1}, "seed must be at least 0, but got seed=-1"),
        ({"seed": 1, "eta": -0.1}, "eta must be at least 0 and finite, but got eta=-0.1"),
        (
            {"seed": 1, "eta": 0.1, "gamma": -1},
            "gamma must be at least 0 and finite, but got gamma=-1",
        ),
    ],
)
def test_illegal_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attach(torch.optim.SGD(net().items(), lr=1.0), **arguments)


def test_after_removal_the_optimizer_is_as_before() -> None:
    parameters = net()
    optimizer = torch.optim.SGD(parameters.items(), lr=1.0)
    with attach(optimizer, schedule=constant(1.0), seed=1) as noise:
        set_gradients(parameters)
        optimizer.step()
    set_gradients(parameters)
    optimizer.step()
    assert noise.t == 1
    assert torch.equal(parameters["bias"].grad, torch.ones(2))  # type: ignore[arg-type]


def test_training_resumed_from_a_checkpoint_is_training_that_never_stopped() -> None:
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


def test_a_gradient_scaler_scales_the_noise_too_and_a_skipped_update_does_not_count() -> None:
    """A fused optimizer unscales inside its step, so the hook sees scaled gradients; it skips the
    update when one is infinite.
    """
    parameters = {"weight": Parameter(torch.zeros(1_000))}
    optimizer = torch.optim.SGD(parameters.items(), lr=1.0, fused=True)
    noise = attach(optimizer, schedule=constant(1.0), seed=1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for t, target in ((0, 2.0), (1, math.inf), (1, 2.0)):
        before = parameters["weight"].detach().clone()
        optimizer.zero_grad()
        scaler.scale((parameters["weight"] * target).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        moved = before - parameters["weight"].detach()
        if math.isinf(target):
            assert noise.t == t
            assert not moved.any()
        else:
            assert noise.t == t + 1
            torch.testing.assert_close(
                moved, target + noise_of(1, t, "weight", moved), rtol=1e-5, atol=1e-5
            )


class UnscalesItself(torch.optim.SGD):
    """By torch's older contract, of which GradScaler itself warns."""

    _step_supports_amp_scaling = True

    def step(self, closure: Any = None, *, grad_scaler: Any = None) -> Any:
        if grad_scaler is not None:
            grad_scaler.unscale_(self)
        return super().step(closure)


@pytest.mark.filterwarnings("ignore:GradScaler is going to stop passing itself")
def test_an_optimizer_that_unscales_gradients_after_the_noise_is_refused() -> None:
    """The noise would come out too small by the scale, 1,024, without a word."""
    parameters = net()
    optimizer = UnscalesItself(parameters.items(), lr=1.0)
    attach(optimizer, schedule=constant(1.0), seed=1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(sum(parameter.sum() for parameter in parameters.values())).backward()  # type: ignore[union-attr, arg-type]
    with pytest.raises(TypeError, match="UnscalesItself takes a GradScaler"):
        scaler.step(optimizer)


def test_noise_stays_in_the_gradient_until_it_is_zeroed() -> None:
    """As clipping does: the next backward adds to what is there."""
    parameters = net()
    optimizer = torch.optim.SGD(parameters.items(), lr=1.0)
    attach(optimizer, schedule=constant(1.0), seed=1)
    for _ in range(2):
        sum(parameter.sum() for parameter in parameters.values()).backward()  # type: ignore[union-attr]
        optimizer.step()
    for name, parameter in parameters.items():
        expected = 2.0 + noise_of(1, 0, name, parameter) + noise_of(1, 1, name, parameter)
        torch.testing.assert_close(parameter.grad, expected)


def test_step_hooks_run_before_or_after_the_noise_as_they_were_registered() -> None:
    parameters = net()
    optimizer = torch.optim.SGD(parameters.items(), lr=1.0)
    seen = []
    for is_before in (True, False):
        optimizer.register_step_pre_hook(lambda *_: seen.append(parameters["bias"].grad.clone()))  # type: ignore[union-attr]
        if is_before:
            attach(optimizer, schedule=constant(1.0), seed=1)
    set_gradients(parameters)
    optimizer.step()
    assert torch.equal(seen[0], torch.ones(2))
    torch.testing.assert_close(seen[1], 1.0 + noise_of(1, 0, "bias", parameters["bias"]))


def test_a_compiled_step_gets_the_same_noise() -> None:
    plain, compiled = net(), net()
    one, two = torch.optim.SGD(plain.items(), lr=0.1), torch.optim.SGD(compiled.items(), lr=0.1)
    noise = attach(one, eta=0.3, seed=1), attach(two, eta=0.3, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.compile warns of its own parts
        step = torch.compile(two.step, backend="eager")
        for _ in range(3):
            set_gradients(plain)
            set_gradients(compiled)
            one.step()
            step()
    assert noise[0].t == noise[1].t == 3
    for name in NAMES:
        torch.testing.assert_close(plain[name], compiled[name])


@pytest.mark.parametrize("kind", [torch.optim.SGD, Twice])
@pytest.mark.parametrize("with_closure", [False, True])
def test_a_compiled_step_gets_noise_once_whatever_it_calls(
    kind: type[torch.optim.SGD], with_closure: bool
) -> None:
    torch.optim.SGD([Parameter(torch.zeros(1))], lr=1.0)
    parameters = net()
    optimizer = kind(parameters.items(), lr=1.0)
    noise = attach(optimizer, schedule=constant(1.0), seed=1)

    closure = tripling(optimizer, parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        step = torch.compile(optimizer.step, backend="eager")
        for t in range(3):
            if with_closure:
                step(closure)
            else:
                closure()
                step()
            for name, parameter in parameters.items():
                torch.testing.assert_close(parameter.grad, 3.0 + noise_of(1, t, name, parameter))
    assert noise.t == 3


def test_the_update_count_makes_a_compiled_step_no_step_to_compile_anew() -> None:
    """t lies in the optimizer's groups, which torch.compile guards; a number that changes is a
    variable after its first change.
    """
    graphs = 0

    def backend(graph: Any, _inputs: Any) -> Any:
        nonlocal graphs
        graphs += 1
        return graph.forward

    parameters = net()
    optimizer = torch.optim.SGD(parameters.items(), lr=1.0)
    attach(optimizer, schedule=constant(1.0), seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        step = torch.compile(optimizer.step, backend=backend)
        for _ in range(6):
            set_gradients(parameters)
            step()
    assert 1 <= graphs <= 2


def test_the_global_generator_is_left_alone() -> None:
    parameters = net()
    optimizer = torch.optim.SGD(parameters.items(), lr=1.0)
    attach(optimizer, eta=1.0, seed=1)
    set_gradients(parameters)
    before = torch.get_rng_state()
    optimizer.step()
    assert torch.equal(before, torch.get_rng_state())
