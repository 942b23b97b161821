"""What the hook relies on in torch beyond its documented interface.

Each fact is pinned by a test in tests/gradnoise/hook/test_torch_internals.py, which names the torch
version when a fact no longer holds.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

import torch

# the code of the function that torch wraps around the step of every optimizer class: it calls the
# step hooks, and its variable `args` starts with the optimizer
_CALLS_STEP_HOOKS = torch.optim.Optimizer.profile_hook_step(len).__code__


def step_pre_hooks(optimizer: torch.optim.Optimizer) -> Mapping[int, Callable[..., Any]]:
    """Return the optimizer's step pre-hooks by the id of their handle.

    Raises:
        AttributeError: If the object is no torch optimizer with step hooks.
    """
    return optimizer._optimizer_step_pre_hooks


def is_nested_step(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether the running step was called by another step of the same optimizer.

    A subclass whose step calls super().step() calls the step hooks twice.
    """
    steps = [frame for frame in _frames() if frame.f_code is _CALLS_STEP_HOOKS]
    return any(frame.f_locals["args"][0] is optimizer for frame in steps[1:])


def is_phantom_step(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether torch's distributed checkpoint makes this step to create optimizer state.

    Such a step has learning rate 0 and gradients of 0.
    """
    rates = [group.get("lr", 0.0) for group in optimizer.param_groups]
    if any(not isinstance(rate, torch.Tensor) and rate != 0 for rate in rates):
        return False
    return any(
        frame.f_code.co_name == "_init_optim_state"
        and frame.f_globals["__name__"].startswith("torch.")
        for frame in _frames()
    )


def skips_its_update(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether the step will leave the weights unchanged because a gradient is infinite.

    GradScaler sets `found_inf` on optimizers that unscale gradients in their step (fused ones).
    """
    return bool(getattr(optimizer, "found_inf", False))


def grad_scale(optimizer: torch.optim.Optimizer) -> float:
    """Return the factor of the gradients that the optimizer divides by in its step.

    GradScaler sets `grad_scale` on optimizers that unscale gradients in their step (fused ones).
    """
    scale = getattr(optimizer, "grad_scale", None)
    return 1.0 if scale is None else float(scale)


def default_store() -> Any:
    """Return the store of the default process group; None without a group of several ranks."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return None
    if distributed.get_world_size() == 1:
        return None
    return distributed.distributed_c10d._get_default_store()


def is_flattened_by_fsdp1(parameter: torch.Tensor) -> bool:
    """Return whether FullyShardedDataParallel replaced or flattened the parameter."""
    return bool(
        getattr(parameter, "_fsdp_flattened", False) or getattr(parameter, "_is_flat_param", False)
    )


def local_box(
    shape: tuple[int, ...], mesh: Any, placements: Sequence[Any]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shape and the offsets of this rank's box of a DTensor.

    Args:
        shape: The shape of the whole tensor.
        mesh: Its device mesh.
        placements: Its placements, each Replicate or Shard.
    """
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    return compute_local_shape_and_global_offset(shape, mesh, placements)


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back
