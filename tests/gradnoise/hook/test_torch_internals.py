"""Facts about torch beyond its documented interface, each with the functions that rely on it.

A failure here names the torch version in which a fact no longer holds.
"""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.tensor import Replicate, Shard
from torch.nn import Parameter

from gradnoise._hook import torch_internals

VERSION = f"in torch {torch.__version__}"


class Seen:
    """A step hook that records what `torch_internals` returns for each step."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.nested: list[bool] = []
        self.phantom: list[bool] = []
        self.skipped: list[bool] = []
        self.scales: list[float] = []
        optimizer.register_step_pre_hook(self)

    def __call__(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        self.nested.append(torch_internals.is_nested_step(optimizer))
        self.phantom.append(torch_internals.is_phantom_step(optimizer))
        self.skipped.append(torch_internals.skips_its_update(optimizer))
        self.scales.append(torch_internals.grad_scale(optimizer))


class Twice(torch.optim.SGD):
    """An optimizer whose step calls its parent's."""

    def step(self, closure: Any = None) -> Any:
        return super().step(closure)


def weight() -> Parameter:
    parameter = Parameter(torch.zeros(3))
    parameter.grad = torch.ones(3)
    return parameter


@pytest.fixture
def process_group() -> Iterator[None]:
    """A process group that consists of this process."""
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_step_hooks_are_stored_by_the_id_of_their_handle() -> None:
    optimizer = torch.optim.SGD([weight()], lr=1.0)
    handle = optimizer.register_step_pre_hook(lambda *_: None)
    assert handle.id in torch_internals.step_pre_hooks(optimizer), VERSION
    handle.remove()
    assert handle.id not in torch_internals.step_pre_hooks(optimizer), VERSION


def test_an_object_without_step_hooks_raises_an_error() -> None:
    with pytest.raises(AttributeError):
        torch_internals.step_pre_hooks("adam")  # type: ignore[arg-type]


def test_the_code_around_a_step_has_the_optimizer_in_its_variable_args() -> None:
    """`is_nested_step` finds the running steps by this code object and variable."""
    wrapper = torch.optim.Optimizer.profile_hook_step(len)
    assert inspect.unwrap(wrapper) is len, VERSION
    assert "args" in wrapper.__code__.co_varnames, VERSION
    optimizer = torch.optim.SGD([weight()], lr=1.0)
    found = []

    def hook(*_: Any) -> None:
        frame = inspect.currentframe()
        while frame is not None:
            if frame.f_code is wrapper.__code__:
                found.append(frame.f_locals["args"][0] is optimizer)
            frame = frame.f_back

    optimizer.register_step_pre_hook(hook)
    optimizer.step()
    assert found == [True], VERSION


@pytest.mark.parametrize("with_closure", [False, True])
def test_a_step_called_by_a_step_of_the_same_optimizer_is_nested(with_closure: bool) -> None:
    # torch wraps the step of a class when its first instance is made: here the parent's too
    torch.optim.SGD([weight()], lr=1.0)
    optimizer = Twice([weight()], lr=1.0)
    seen = Seen(optimizer)
    for _ in range(2):
        optimizer.step(*([lambda: 0.0] if with_closure else []))
    assert seen.nested == [False, True] * 2, VERSION


def test_a_step_called_by_a_step_of_another_optimizer_is_not_nested() -> None:
    inner, outer = (torch.optim.SGD([weight()], lr=1.0) for _ in range(2))
    seen = Seen(inner)
    outer.step(lambda: inner.step())
    assert seen.nested == [False], VERSION


def test_a_distributed_checkpoint_creates_optimizer_state_by_a_step() -> None:
    """Before the first step, `_init_optim_state` makes a step at learning rate 0."""
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    seen = Seen(optimizer)
    get_optimizer_state_dict(model, optimizer)
    assert seen.phantom == [True], VERSION
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert seen.phantom == [True, False], VERSION


def test_a_step_at_learning_rate_zero_is_no_phantom() -> None:
    optimizer = torch.optim.SGD([weight()], lr=0.0)
    seen = Seen(optimizer)
    optimizer.step()
    assert seen.phantom == [False]


def test_grad_scaler_passes_its_scale_to_a_fused_optimizer() -> None:
    """In `grad_scale` and `found_inf`, which exist only during the step."""
    parameter = Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD([parameter], lr=1.0, fused=True)
    seen = Seen(optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=1_024.0)
    for factor in (1.0, float("inf")):
        optimizer.zero_grad()
        scaler.scale((factor * parameter).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    assert seen.scales[0] == 1_024.0, VERSION
    assert seen.skipped == [False, True], VERSION
    assert torch_internals.grad_scale(optimizer) == 1.0, VERSION
    assert not torch_internals.skips_its_update(optimizer), VERSION


@pytest.mark.usefixtures("process_group")
@pytest.mark.filterwarnings("ignore")  # FSDP1 is deprecated
@pytest.mark.parametrize("use_orig_params", [False, True])
def test_fsdp1_marks_the_parameters_that_it_flattens(use_orig_params: bool) -> None:
    """By `_fsdp_flattened` or `_is_flat_param`."""
    model = torch.nn.Linear(2, 1)
    assert not any(map(torch_internals.is_flattened_by_fsdp1, model.parameters()))
    sharded = FullyShardedDataParallel(
        model, device_id=torch.device("cpu"), use_orig_params=use_orig_params
    )
    assert all(map(torch_internals.is_flattened_by_fsdp1, sharded.parameters())), VERSION


@pytest.mark.usefixtures("process_group")
def test_the_local_box_of_a_tensor_has_a_shape_and_offsets() -> None:
    """Boxes of several ranks are tested in test_distributed.py."""
    mesh = init_device_mesh("cpu", (1,))
    for placement in (Shard(0), Shard(1), Replicate()):
        shape, offsets = torch_internals.local_box((4, 3), mesh, (placement,))
        assert (tuple(shape), tuple(offsets)) == ((4, 3), (0, 0)), VERSION


def test_groups_of_named_parameters_contain_their_names() -> None:
    """`optimizers.names` reads the key `param_names`."""
    optimizer = torch.optim.SGD([("a", weight()), ("b", weight())], lr=1.0)
    assert optimizer.param_groups[0]["param_names"] == ["a", "b"], VERSION
