"""Gradients of every layout: where noise can be added in place, and their global norm."""

import functools
import math
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import torch

from gradnoise._hook.torch_internals import local_box
from gradnoise._parts import Part, of_box, whole


def in_place(name: str, parameter: Any, allow: Collection[str]) -> tuple[torch.Tensor, Part | None]:
    """Return the tensor that noise on a gradient is added to, and the part of the parameter in it.

    A change of the tensor changes the gradient. The gradient is replaced where it cannot be changed
    element by element.

    Args:
        name: The parameter's name, for error messages.
        parameter: A parameter with a gradient.
        allow: The legal kinds among `sparse` and `complex`.

    Returns:
        A strided real tensor, and the part of the parameter that it holds; None: all of it.

    Raises:
        TypeError: If the gradient's kind is not allowed, or its placement is not supported.
    """
    gradient = parameter.grad
    if hasattr(gradient, "to_local"):  # a DTensor, such as a gradient of FSDP2
        if hasattr(parameter, "placements") and gradient.placements != parameter.placements:
            # such as the partial sums of a norm's gradient under sequence parallelism
            gradient = gradient.redistribute(placements=parameter.placements)
            parameter.grad = gradient
        return of_shard(name, gradient)
    if gradient.layout != torch.strided:
        _check_allowed("sparse", name, allow)
        parameter.grad, values, part = of_sparse(name, gradient)
        return values, part
    if gradient.is_complex():
        _check_allowed("complex", name, allow)
        parameter.grad = gradient = gradient.resolve_conj()
        return torch.view_as_real(gradient), None
    return gradient, None


def of_shard(name: str, gradient: Any) -> tuple[torch.Tensor, Part]:
    """Return the local tensor of a DTensor, and the part of the whole that it holds.

    Raises:
        TypeError: If a placement is neither Replicate nor Shard, or the gradient is complex.
    """
    from torch.distributed.tensor import Replicate, Shard

    if gradient.is_complex() or any(
        type(placement) not in (Replicate, Shard) for placement in gradient.placements
    ):
        raise TypeError(
            f"the gradient of {name} is placed as {gradient.placements}, {gradient.dtype}: noise "
            "is defined for real gradients placed as Shard or Replicate."
        )
    part = _of_local_box(tuple(gradient.shape), gradient.device_mesh, tuple(gradient.placements))
    return gradient.to_local(), part


@functools.lru_cache(maxsize=65_536)
def _of_local_box(shape: tuple[int, ...], mesh: Any, placements: tuple[Any, ...]) -> Part:
    return of_box(shape, *local_box(shape, mesh, placements))


def of_sparse(name: str, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Part]:
    """Coalesce a sparse gradient; return it, its values (the same memory), and their part.

    Raises:
        TypeError: If its layout is not sparse_coo, or it is complex.
    """
    if gradient.layout != torch.sparse_coo or gradient.is_complex():
        raise TypeError(
            f"the gradient of {name} is {gradient.layout}, {gradient.dtype}: noise is defined for "
            "real sparse_coo gradients."
        )
    gradient = gradient.coalesce()
    values = gradient.values()
    n_sparse = gradient.sparse_dim()
    rows = np.ravel_multi_index(
        tuple(gradient.indices().cpu().numpy()), tuple(gradient.shape[:n_sparse])
    )
    size = math.prod(gradient.shape[n_sparse:])
    return gradient, values, Part(rows.astype(np.int64) * size, size) if len(rows) else whole((0,))


def version(gradient: Any) -> object:
    """Return a value that changes with every change of the gradient in place."""
    local = getattr(gradient, "_local_tensor", None)
    return gradient._version, None if local is None else local._version


def global_norm(gradients: Iterable[Any]) -> torch.Tensor:
    """Return the L2 norm of all gradients together; the same on all ranks of DTensors."""
    alike: dict[object, list[torch.Tensor]] = {}
    for gradient in gradients:
        is_shard = hasattr(gradient, "to_local")
        placed = (gradient.device_mesh, gradient.placements) if is_shard else gradient.device
        alike.setdefault(placed, []).append(_norm_or_self(gradient))
    norms = [torch.nn.utils.get_total_norm(group) for group in alike.values()]
    norms = [norm.full_tensor() if hasattr(norm, "full_tensor") else norm for norm in norms]
    if len(norms) == 1:
        norm: torch.Tensor = norms[0]
        return norm
    whole: torch.Tensor = torch.stack([norm.to("cpu", torch.float64) for norm in norms]).norm()
    return whole


def _norm_or_self(gradient: torch.Tensor) -> torch.Tensor:
    """Return a tensor of the same norm, in a form that `get_total_norm` takes.

    In half precision the sum of squares would be inexact or infinite, so it is taken in float32.
    """
    if gradient.layout != torch.strided:
        gradient = gradient.values()
    return (
        torch.linalg.vector_norm(gradient, dtype=torch.float32)
        if gradient.dtype in (torch.float16, torch.bfloat16)
        else gradient
    )


def _check_allowed(kind: str, name: str, allow: Collection[str]) -> None:
    if kind not in allow:
        raise TypeError(
            f"the gradient of {name} is {kind}: pass allow=[{kind!r}] to attach if it should get "
            "noise (a preconditioner does not support sparse gradients), or move the parameter to "
            "an optimizer without noise."
        )
