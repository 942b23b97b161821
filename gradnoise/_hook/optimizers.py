"""Which optimizers can have noise, and the names of their parameters."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from gradnoise._hook.torch_internals import is_flattened_by_fsdp1, step_pre_hooks

Names = Mapping[int, tuple[str, torch.Tensor]]
"""Names by the id of their parameter, which is kept alive beside its name."""


def named(pairs: Any) -> Names:
    """Return the names of parameters by id.

    Raises:
        TypeError: If it does not consist of pairs of a name and a parameter.
    """
    try:
        found = [(name, parameter) for name, parameter in pairs]
    except (TypeError, ValueError):
        found = [("", pairs)]
    for name, parameter in found:
        if not isinstance(name, str) or not isinstance(parameter, torch.Tensor):
            raise TypeError(
                "names must be pairs of a name and a parameter, such as model.named_parameters(), "
                f"but got {pairs!r}."
            )
    return {id(parameter): (name, parameter) for name, parameter in found}


def innermost(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Return the optimizer inside all wrappers: a wrapper has one optimizer among its attributes.

    Raises:
        TypeError: If a wrapper shards its state by ZeRO, has parameters that the optimizer inside
            it does not have, or contains several optimizers.
    """
    kinds = _kinds(optimizer)
    if any(
        kind.startswith("deepspeed.") or kind.endswith(".ZeroRedundancyOptimizer") for kind in kinds
    ):
        raise TypeError(
            f"optimizer must not shard its state by ZeRO, as {kinds[0]} does: use DDP, or FSDP2's "
            "fully_shard."
        )
    kind = type(optimizer).__name__
    inside = {
        id(inner): (f".{name}{place}", inner)
        for name, value in getattr(optimizer, "__dict__", {}).items()
        for place, inner in _optimizers_in(value)
        if inner is not optimizer
    }
    if not inside:
        return optimizer
    (place, inner), *others = inside.values()
    if others or place.endswith((")", "]")):
        raise TypeError(
            f"{kind} has {len(inside)} optimizers, of which the first is in {place}: attach noise "
            "to each of them, with names=model.named_parameters()."
        )
    if not _identities(getattr(optimizer, "param_groups", ())) <= _identities(inner.param_groups):
        raise TypeError(
            f"{kind} updates parameters that the {type(inner).__name__} inside it does not: attach "
            "noise to each of the two optimizers instead."
        )
    return innermost(inner)


def check(optimizer: torch.optim.Optimizer) -> None:
    """Raise an error for an optimizer whose gradients the hook would not see, or not correctly.

    Raises:
        TypeError: If it is LBFGS, has parameters of FSDP1, updates during the backward pass, is a
            placeholder, or is no torch optimizer.
    """
    kinds = _kinds(optimizer)
    if isinstance(optimizer, torch.optim.LBFGS):
        raise TypeError(
            "optimizer must not be LBFGS: its line search evaluates several gradients per update."
        )
    if "dummy" in kinds[0].lower():
        raise TypeError(
            f"{kinds[0]} is a placeholder that updates nothing: attach noise to the optimizers "
            "that update the parameters."
        )
    if hasattr(optimizer, "fused_backward") or hasattr(optimizer, "fuse_update"):
        raise TypeError(
            f"optimizer must not update during the backward pass, as {kinds[0]} does: its step has "
            "no gradients."
        )
    try:
        step_pre_hooks(optimizer)
    except AttributeError:
        raise TypeError(
            f"optimizer must be a torch.optim.Optimizer with step hooks, but got {kinds[0]}."
        ) from None
    for name, parameter in _named_parameters(optimizer):
        if is_flattened_by_fsdp1(parameter):
            raise TypeError(
                f"the parameter {name} is sharded by FullyShardedDataParallel, which hides its "
                "elements: use FSDP2's fully_shard."
            )


def names(optimizer: torch.optim.Optimizer, given: Names | None = None) -> tuple[str, ...]:
    """Return the names of all parameters, in order, as `parameters_by_name` does."""
    return tuple(parameters_by_name(optimizer, given))


def parameters_by_name(
    optimizer: torch.optim.Optimizer, given: Names | None = None
) -> dict[str, torch.Tensor]:
    """Return all parameters, in order, by name.

    Args:
        optimizer: The optimizer.
        given: The names; None: those of the optimizer, without names `<group>.<index>`.

    Raises:
        ValueError: If a parameter has no name, or two share a name.
    """
    found: dict[str, torch.Tensor] = {}
    for name, parameter in _named_parameters(optimizer, given):
        if name in found:
            raise ValueError(
                f"two parameters of the optimizer are named {name!r}: they would share their noise."
            )
        found[name] = parameter
    return found


def _named_parameters(
    optimizer: torch.optim.Optimizer, given: Names | None = None
) -> Iterator[tuple[str, torch.Tensor]]:
    for g, group in enumerate(optimizer.param_groups):
        names_of_group = group.get("param_names") or (f"{g}.{i}" for i in itertools.count())
        for name, parameter in zip(names_of_group, group["params"], strict=False):
            if given is None:
                yield name, parameter
            elif id(parameter) in given:
                yield given[id(parameter)][0], parameter
            else:
                raise ValueError(
                    f"names lacks the parameter {name} of the optimizer, of shape "
                    f"{tuple(parameter.shape)}: pass model.named_parameters() of the model whose "
                    "parameters the optimizer has."
                )


def _optimizers_in(value: object) -> Iterator[tuple[str, torch.optim.Optimizer]]:
    """Yield the optimizers that a value is or holds, each with its place in the value."""
    if isinstance(value, torch.optim.Optimizer):
        yield "", value
    elif isinstance(value, Mapping):
        yield from ((".values()", item) for item in value.values() if _is_optimizer(item))
    elif isinstance(value, list | tuple):
        yield from ((f"[{i}]", item) for i, item in enumerate(value) if _is_optimizer(item))


def _is_optimizer(value: object) -> bool:
    return isinstance(value, torch.optim.Optimizer)


def _kinds(optimizer: object) -> list[str]:
    return [f"{kind.__module__}.{kind.__name__}" for kind in type(optimizer).__mro__]


def _identities(groups: Sequence[Mapping[str, Any]]) -> set[int]:
    return {id(parameter) for group in groups for parameter in group["params"]}
