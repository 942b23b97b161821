"""The precision in which torch multiplies float32 numbers."""

import contextlib
import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import backends

_cudnn: Any = backends.cudnn  # torch declares no types for their operations
_mkldnn: Any = backends.mkldnn
OPERATIONS = (
    backends.cuda.matmul,
    _cudnn.conv,
    _cudnn.rnn,
    _mkldnn.matmul,
    _mkldnn.conv,
    _mkldnn.rnn,
)


@contextmanager
def exact_float32() -> Iterator[None]:
    """Multiply float32 numbers with all of their bits within the context, or decorated function.

    By default torch rounds the factors of convolutions on a GPU to TF32, whose mantissa has 10 bits
    instead of 23; if it is set to, those of matrix products too, to TF32 or bfloat16. A model and a
    stack of models use other algorithms and would differ by such roundings. The settings are those
    of the whole process, and as before afterwards. Autocast and models in another type are
    unaffected.
    """
    _warned_once()
    before = [operation.fp32_precision for operation in OPERATIONS]
    of_products = of_cudnn = None
    with contextlib.suppress(RuntimeError):  # the older settings disagree with these
        of_products = torch.get_float32_matmul_precision()
    with contextlib.suppress(RuntimeError):
        of_cudnn = backends.cudnn.allow_tf32
    _set("highest", False, ["ieee"] * len(OPERATIONS))
    try:
        yield
    finally:
        _set(of_products, of_cudnn, before)


@functools.cache
def _warned_once() -> None:
    """Have some versions of torch warn, once a process and unseen, that settings are older."""
    with warnings.catch_warnings(), contextlib.suppress(RuntimeError):
        warnings.simplefilter("ignore", UserWarning)
        torch.get_float32_matmul_precision()


def _set(of_products: str | None, of_cudnn: bool | None, of_operations: list[str]) -> None:
    """Set torch's older settings, where they are given, then the settings of each operation.

    torch raises when an older setting is read that disagrees with those of the operations.
    """
    if of_products is not None:
        torch.set_float32_matmul_precision(of_products)
    if of_cudnn is not None:
        backends.cudnn.allow_tf32 = of_cudnn
    for operation, precision in zip(OPERATIONS, of_operations, strict=True):
        operation.fp32_precision = precision
