"""Operations of torch that `torch.func.vmap` cannot transform, composed of others that it can."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch.nn import functional

Function = Callable[..., Any]

_SWITCHES: Sequence[tuple[Callable[[], bool], Callable[[bool], object]]] = (
    (torch.backends.cuda.flash_sdp_enabled, torch.backends.cuda.enable_flash_sdp),
    (torch.backends.cuda.mem_efficient_sdp_enabled, torch.backends.cuda.enable_mem_efficient_sdp),
    (torch.backends.cuda.cudnn_sdp_enabled, torch.backends.cuda.enable_cudnn_sdp),
    (torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled),
)
"""The fused forms of attention, for which vmap has no rule, on CPUs too."""


@contextmanager
def decomposed() -> Iterator[None]:
    """Compute attention, linear layers and normalisation within the context by operations that vmap
    transforms well.
    """
    before = [is_enabled() for is_enabled, _ in _SWITCHES]
    originals = [getattr(module, name) for module, name, _ in _WRAPPED]
    for _, enable in _SWITCHES:
        enable(False)
    for (module, name, wrap), original in zip(_WRAPPED, originals, strict=True):
        setattr(module, name, wrap(original))
    try:
        yield
    finally:
        for (_, enable), was_enabled in zip(_SWITCHES, before, strict=True):
            enable(was_enabled)
        for (module, name, _), original in zip(_WRAPPED, originals, strict=True):
            setattr(module, name, original)


def decomposing(function: Function) -> Function:
    """Return the function with its attention and normalisation decomposed."""

    def call(*args: Any) -> Any:
        with decomposed():
            return function(*args)

    return call


def _cast_once(attention: Function) -> Function:
    """Return attention that applies autocast to its arguments alone.

    `torch.func` would apply autocast again, at the level of each transformation, to the products of
    which attention is composed, and their types would disagree in the backward pass.
    """

    @wraps(attention)
    def call(query: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        device = query.device.type
        if not torch.is_autocast_enabled(device):
            return attention(query, *args, **kwargs)
        narrow = torch.get_autocast_dtype(device)

        def cast(value: Any) -> Any:
            is_cast = isinstance(value, torch.Tensor) and value.is_floating_point()
            return value.to(narrow) if is_cast and value.dtype != torch.float64 else value

        with torch.autocast(device, enabled=False):
            return attention(
                cast(query),
                *map(cast, args),
                **{name: cast(value) for name, value in kwargs.items()},
            )

    return call


def _in_one_type(normalise: Function) -> Function:
    """Return a normalisation on a CPU that computes in the type of its weights.

    The result has the type of the inputs. Under autocast they are narrower than the weights, which
    the backward pass of vmap's rule rejects. On a GPU torch computes it as before.
    """

    @wraps(normalise)
    def call(inputs: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        others = [each for each in (*args, *kwargs.values()) if isinstance(each, torch.Tensor)]
        if not inputs.is_cpu or all(each.dtype == inputs.dtype for each in others):
            return normalise(inputs, *args, **kwargs)
        return normalise(inputs.to(others[0].dtype), *args, **kwargs).to(inputs.dtype)

    return call


def _of_matrices(linear: Function) -> Function:
    """Return a linear layer that multiplies all its inputs as one matrix.

    For inputs of more axes that are not contiguous, vmap's rule would copy the weights for each
    index of the first axis.
    """

    @wraps(linear)
    def call(inputs: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if inputs.dim() <= 2:
            return linear(inputs, *args, **kwargs)
        outputs = linear(inputs.reshape(-1, inputs.shape[-1]), *args, **kwargs)
        return outputs.view(*inputs.shape[:-1], -1)

    return call


_WRAPPED: Sequence[tuple[Any, str, Callable[[Function], Function]]] = (
    (functional, "linear", _of_matrices),
    (functional, "scaled_dot_product_attention", _cast_once),
    (torch, "layer_norm", _in_one_type),
    (torch, "batch_norm", _in_one_type),
    (torch, "instance_norm", _in_one_type),
)
