"""Which optimizers can have noise, and the names of their parameters."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from gradnoise._hook.torch_internals import is_flattened_by_fsdp1, step_pre_hooks


def innermost(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Return the optimizer inside all wrappers; a wrapper has an `.optimizer` or `.base_optimizer`.

    Raises:
        TypeError: If the outer optimizer has parameters that the inner optimizer does not have.
    """
    candidates = [getattr(optimizer, name, None) for name in ("optimizer", "base_optimizer")]
    inner = next((found for found in candidates if isinstance(found, torch.optim.Optimizer)), None)
    if inner is None:
        return optimizer
    if not _identities(getattr(optimizer, "param_groups", ())) <= _identities(inner.param_groups):
        names = type(optimizer).__name__, type(inner).__name__
        raise TypeError(
            f"{names[0]} updates parameters that the {names[1]} inside it does not: attach noise "
            "to each of the two optimizers instead."
        )
    return innermost(inner)


def check(optimizer: torch.optim.Optimizer) -> None:
    """Raise an error for an optimizer whose gradients the hook would not see, or not correctly.

    Raises:
        TypeError: If it is LBFGS, shards its state by ZeRO, has parameters of FSDP1, or is no torch
            optimizer.
        ValueError: If two of its parameters share a name.
    """
    kinds = [f"{kind.__module__}.{kind.__name__}" for kind in type(optimizer).__mro__]
    if isinstance(optimizer, torch.optim.LBFGS):
        raise TypeError(
            "optimizer must not be LBFGS: its line search evaluates several gradients per update."
        )
    if any(
        kind.startswith("deepspeed.") or kind.endswith(".ZeroRedundancyOptimizer") for kind in kinds
    ):
        raise TypeError(
            f"optimizer must not shard its state by ZeRO, as {kinds[0]} does: use DDP, or FSDP2's "
            "fully_shard."
        )
    try:
        step_pre_hooks(optimizer)
    except AttributeError:
        raise TypeError(
            f"optimizer must be a torch.optim.Optimizer with step hooks, but got {kinds[0]}."
        ) from None
    names(optimizer)
    for name, parameter in _named_parameters(optimizer):
        if is_flattened_by_fsdp1(parameter):
            raise TypeError(
                f"the parameter {name} is sharded by FullyShardedDataParallel, which hides its "
                "elements: use FSDP2's fully_shard."
            )


def names(optimizer: torch.optim.Optimizer) -> tuple[str, ...]:
    """Return the names of all parameters, in order; without names `<group>.<index>`.

    Raises:
        ValueError: If two parameters share a name.
    """
    found = tuple(name for name, _ in _named_parameters(optimizer))
    if len(set(found)) < len(found):
        name = next(name for name in found if found.count(name) > 1)
        raise ValueError(
            f"two parameters of the optimizer are named {name!r}: they would share their noise."
        )
    return found


def named_parameters(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return all parameters by name; without names `<group>.<index>`."""
    return dict(_named_parameters(optimizer))


def _named_parameters(optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, torch.Tensor]]:
    for g, group in enumerate(optimizer.param_groups):
        names_of_group = group.get("param_names") or (f"{g}.{i}" for i in itertools.count())
        yield from zip(names_of_group, group["params"], strict=False)


def _identities(groups: Sequence[Mapping[str, Any]]) -> set[int]:
    return {id(parameter) for group in groups for parameter in group["params"]}
