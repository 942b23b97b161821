"""The hook in steps of every form: closures, nested steps, compiled steps, GradScaler."""

import math
import traceback
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import Parameter

from gradnoise import attach, constant
from gradnoise._streams import normal


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
    """Return a closure that sets every gradient to 3 and returns its loss."""

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = sum((parameter * 3).sum() for parameter in parameters.values())
        loss.backward()  # type: ignore[union-attr]
        return loss.detach()  # type: ignore[union-attr]

    return closure


class Twice(torch.optim.SGD):
    """An optimizer whose step calls its parent's, so that both call the step hooks."""

    def step(self, closure: Any = None) -> Any:
        return super().step(closure)


@pytest.mark.parametrize("kind", [torch.optim.SGD, Twice])
@pytest.mark.parametrize("call", ["positional", "keyword"])
def test_a_closure_gets_noise_after_its_backward(kind: type[torch.optim.SGD], call: str) -> None:
    """Once, on the gradient that the closure computes; step() returns the closure's loss."""
    # torch patches the step of a class when its first instance is made: here the parent's too
    torch.optim.SGD([Parameter(torch.zeros(1))], lr=1.0)
    parameters = net()
    optimizer = kind(parameters.items(), lr=1.0)
    noise = attach(optimizer, constant(1.0), seed=1)

    closure = tripling(optimizer, parameters)
    loss = optimizer.step(closure) if call == "positional" else optimizer.step(closure=closure)
    assert float(loss) == pytest.approx(0.0, abs=1e-6)
    assert noise.t == 1
    for name, parameter in parameters.items():
        torch.testing.assert_close(parameter.grad, 3.0 + noise_of(1, 0, name, parameter))


def test_a_nested_step_counts_once() -> None:
    torch.optim.SGD([Parameter(torch.zeros(1))], lr=1.0)
    parameters = net()
    optimizer = Twice(parameters.items(), lr=1.0)
    noise = attach(optimizer, constant(1.0), seed=1)
    for t in range(3):
        set_gradients(parameters)
        optimizer.step()
        assert noise.t == t + 1
        torch.testing.assert_close(
            parameters["bias"].grad, 1.0 + noise_of(1, t, "bias", parameters["bias"])
        )


@pytest.mark.parametrize("kind", [torch.optim.SGD, Twice])
def test_a_step_that_raises_an_error_does_not_count(
    kind: type[torch.optim.SGD],
) -> None:
    torch.optim.SGD([Parameter(torch.zeros(1))], lr=1.0)
    parameters = net()
    optimizer = kind(parameters.items(), lr=1.0)
    noise = attach(optimizer, constant(1.0), seed=1)

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


class OutOfMemory(torch.optim.SGD):
    """An optimizer whose first steps raise an error after the hooks."""

    n_failures = 1

    def step(self, closure: Any = None) -> Any:
        if closure is not None:
            closure()
        if self.n_failures:
            self.n_failures -= 1
            raise MemoryError
        return super().step()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("with_closure", [False, True])
def test_a_step_tried_again_after_an_error_gets_the_noise_once(
    with_closure: bool, dtype: torch.dtype
) -> None:
    """Whether its gradients are the same, computed again, or zeroed in place before."""
    parameters = {name: Parameter(weights.data.to(dtype)) for name, weights in net().items()}
    optimizer = OutOfMemory(parameters.items(), lr=1.0)
    noise = attach(optimizer, constant(1.0), seed=1)
    arguments = [lambda: 0.0] if with_closure else []
    for t, is_zeroed in enumerate((None, True, False)):
        optimizer.n_failures = 2
        set_gradients(parameters)
        for _ in range(2):
            with pytest.raises(MemoryError):
                optimizer.step(*arguments)
        if is_zeroed is not None:
            optimizer.zero_grad(set_to_none=is_zeroed)
            sum(parameter.sum() for parameter in parameters.values()).backward()  # type: ignore[union-attr]
        optimizer.step(*arguments)
        assert noise.t == t + 1
        for name, parameter in parameters.items():
            expected = 1.0 + noise_of(1, t, name, parameter).to(dtype)
            torch.testing.assert_close(parameter.grad, expected)


def test_a_parameter_whose_gradient_was_computed_again_gets_new_noise_alone() -> None:
    parameters = net()
    optimizer = OutOfMemory(parameters.items(), lr=1.0)
    attach(optimizer, constant(1.0), seed=1)
    set_gradients(parameters)
    with pytest.raises(MemoryError):
        optimizer.step()
    parameters["bias"].grad = torch.zeros(2)
    optimizer.step()
    for name, gradient in (("weight", 1.0), ("bias", 0.0)):
        expected = gradient + noise_of(1, 0, name, parameters[name])
        torch.testing.assert_close(parameters[name].grad, expected)


def test_a_step_that_raises_an_error_holds_no_gradient() -> None:
    """So that memory is free once the gradients are zeroed."""
    parameters = net()
    optimizer = OutOfMemory(parameters.items(), lr=1.0)
    attach(optimizer, constant(1.0), seed=1)
    set_gradients(parameters)
    held = [weakref.ref(parameter.grad) for parameter in parameters.values()]
    try:
        optimizer.step()
    except MemoryError as error:
        traceback.clear_frames(error.__traceback__)
    optimizer.zero_grad()
    assert [reference() for reference in held] == [None, None]


def test_a_closure_that_is_evaluated_again_on_the_same_gradients_gets_the_noise_once() -> None:
    class LineSearch(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            closure()
            closure()
            return super().step()

    parameters = net()
    optimizer = LineSearch(parameters.items(), lr=1.0)
    attach(optimizer, constant(1.0), seed=1)
    set_gradients(parameters)
    optimizer.step(lambda: 0.0)
    torch.testing.assert_close(
        parameters["bias"].grad, 1.0 + noise_of(1, 0, "bias", parameters["bias"])
    )


def test_a_nested_step_counts_once_if_a_library_replaced_the_step_of_the_class() -> None:
    """As libraries do that time or log every step."""
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
    noise = attach(optimizer, constant(1.0), seed=1)
    for t in range(2):
        set_gradients(parameters)
        optimizer.step()
        assert noise.t == t + 1
        torch.testing.assert_close(
            parameters["bias"].grad, 1.0 + noise_of(1, t, "bias", parameters["bias"])
        )


class Counting(torch.optim.SGD):
    """An optimizer whose step takes another argument in place of a closure."""

    def step(self, count: int = 0) -> Any:  # type: ignore[override]
        super().step()
        self.count = count


@pytest.mark.parametrize("count", [0, 3])
def test_an_argument_that_is_no_closure_is_passed_to_the_step(count: int) -> None:
    parameters = net()
    optimizer = Counting(parameters.items(), lr=1.0)
    noise = attach(optimizer, constant(1.0), seed=1)
    set_gradients(parameters)
    optimizer.step(count)
    assert (noise.t, optimizer.count) == (1, count)
    torch.testing.assert_close(
        parameters["bias"].grad, 1.0 + noise_of(1, 0, "bias", parameters["bias"])
    )


class IgnoresClosure(torch.optim.SGD):
    """An optimizer that takes a closure and does not call it."""

    def step(self, closure: Any = None) -> Any:
        return super().step()


def test_a_closure_that_is_not_called_causes_a_warning() -> None:
    """The noise is added after the closure, so the update has none."""
    parameters = net()
    optimizer = IgnoresClosure(parameters.items(), lr=1.0)
    attach(optimizer, constant(1.0), seed=1)
    set_gradients(parameters)
    with pytest.warns(UserWarning, match="did not call the closure"):
        optimizer.step(lambda: 0.0)
    set_gradients(parameters)
    optimizer.step(lambda: 0.0)
    optimizer.step()
    torch.testing.assert_close(
        parameters["bias"].grad, 1.0 + noise_of(1, 2, "bias", parameters["bias"])
    )


def test_a_closure_receives_gradients_without_noise() -> None:
    parameters = net()
    optimizer = torch.optim.SGD(parameters.items(), lr=1.0)
    attach(optimizer, constant(1.0), seed=1)

    def closure() -> float:
        set_gradients(parameters, 2.0)
        torch.nn.utils.clip_grad_norm_(parameters.values(), 1e-3)
        return float(
            torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters.values()])
        )  # type: ignore[misc]

    for _ in range(2):
        assert optimizer.step(closure) == pytest.approx(1e-3, rel=1e-3)


def test_grad_scaler_scales_the_noise_and_a_skipped_update_does_not_count() -> None:
    """A fused optimizer unscales inside its step, so the hook receives scaled gradients.

    It skips the update if a gradient is infinite.
    """
    parameters = {"weight": Parameter(torch.zeros(1_000))}
    optimizer = torch.optim.SGD(parameters.items(), lr=1.0, fused=True)
    noise = attach(optimizer, constant(1.0), seed=1)
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
    """An optimizer of torch's older contract; GradScaler warns of it."""

    _step_supports_amp_scaling = True

    def step(self, closure: Any = None, *, grad_scaler: Any = None) -> Any:
        if grad_scaler is not None:
            grad_scaler.unscale_(self)
        return super().step(closure)


@pytest.mark.filterwarnings("ignore:GradScaler is going to stop passing itself")
def test_an_optimizer_that_unscales_gradients_after_the_noise_raises_an_error() -> None:
    """The noise would silently be too small by the scale, 1,024."""
    parameters = net()
    optimizer = UnscalesItself(parameters.items(), lr=1.0)
    attach(optimizer, constant(1.0), seed=1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(sum(parameter.sum() for parameter in parameters.values())).backward()  # type: ignore[union-attr, arg-type]
    with pytest.raises(TypeError, match="UnscalesItself takes a GradScaler"):
        scaler.step(optimizer)


def test_a_compiled_step_gets_the_same_noise() -> None:
    plain, compiled = net(), net()
    eager, traced = (torch.optim.SGD(net.items(), lr=0.1) for net in (plain, compiled))
    noise = attach(eager, eta=0.3, seed=1), attach(traced, eta=0.3, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.compile uses deprecated parts of torch
        step = torch.compile(traced.step, backend="eager")
        for _ in range(3):
            set_gradients(plain)
            set_gradients(compiled)
            eager.step()
            step()
    assert noise[0].t == noise[1].t == 3
    for name in plain:
        torch.testing.assert_close(plain[name], compiled[name])


@pytest.mark.slow
@pytest.mark.parametrize("kind", [torch.optim.SGD, Twice])
@pytest.mark.parametrize("with_closure", [False, True])
def test_a_compiled_step_gets_noise_once(kind: type[torch.optim.SGD], with_closure: bool) -> None:
    torch.optim.SGD([Parameter(torch.zeros(1))], lr=1.0)
    parameters = net()
    optimizer = kind(parameters.items(), lr=1.0)
    noise = attach(optimizer, constant(1.0), seed=1)

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


def test_the_update_count_does_not_make_torch_compile_a_step_again() -> None:
    """torch.compile guards the groups, which contain t; after a first change, t is a variable."""
    graphs = 0

    def backend(graph: Any, _inputs: Any) -> Any:
        nonlocal graphs
        graphs += 1
        return graph.forward

    parameters = net()
    optimizer = torch.optim.SGD(parameters.items(), lr=1.0)
    attach(optimizer, constant(1.0), seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        step = torch.compile(optimizer.step, backend=backend)
        for _ in range(6):
            set_gradients(parameters)
            step()
    assert 1 <= graphs <= 2
