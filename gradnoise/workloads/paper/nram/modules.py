"""The 14 modules of the machine, on distributions over the integers 0, ..., M - 1."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch.nn import functional


def read(cells: torch.Tensor, pointer: torch.Tensor) -> torch.Tensor:
    """Return M^T p: the value in the cell of pointer p."""
    return (pointer[:, None] @ cells)[:, 0]


def write(cells: torch.Tensor, pointer: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return (1 - p) 1^T . M + p a^T: the memory with value a in the cell of pointer p."""
    return (1 - pointer[:, :, None]) * cells + pointer[:, :, None] * value[:, None]


def add(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a.flip(1).roll(1, 1)[:, None] @ rotations(b))[:, 0]


def subtract(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (b[:, None] @ rotations(a))[:, 0]


def less(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return truth((a * above(b)).sum(1), a.shape[1])


def less_or_equal(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return truth((a * (above(b) + b)).sum(1), a.shape[1])


def equal(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return truth((a * b).sum(1), a.shape[1])


def minimum(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a * (above(b) + b) + b * above(a)


def maximum(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a * b.cumsum(1) + b * (a.cumsum(1) - a)


CONSTANTS: Mapping[str, int] = {"zero": 0, "one": 1, "two": 2}
ARITHMETIC: Mapping[str, Callable[..., torch.Tensor]] = {
    "inc": lambda a: a.roll(1, 1),
    "add": add,
    "sub": subtract,
    "dec": lambda a: a.roll(-1, 1),
    "less": less,
    "less_or_equal": less_or_equal,
    "equal": equal,
    "min": minimum,
    "max": maximum,
}
MODULES = ("read", *CONSTANTS, *ARITHMETIC, "write")
"""In order: a module can use the outputs of the modules before it."""

N_ARGUMENTS: Mapping[str, int] = {
    name: 0 if name in CONSTANTS else 1 if name in ("read", "inc", "dec") else 2 for name in MODULES
}


def module(
    name: str, cells: torch.Tensor, arguments: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a module's output, [examples, M], and the memory after it.

    Arithmetic is modulo M. The output of `write` is 0.
    """
    if name == "read":
        return read(cells, *arguments), cells
    if name in ARITHMETIC:
        return ARITHMETIC[name](*arguments), cells
    if name == "write":
        cells = write(cells, *arguments)
    n, size = cells.shape[:2]
    constant = torch.arange(size, device=cells.device) == CONSTANTS.get(name, 0)
    return constant.to(cells.dtype).expand(n, size), cells


def is_number(numbers: torch.Tensor, size: int) -> torch.Tensor:
    """Return integers one-hot, as booleans, [..., size]; all False for numbers out of range."""
    return numbers[..., None] == torch.arange(size, device=numbers.device)


def above(a: torch.Tensor) -> torch.Tensor:
    """Return P(a > i) for each i."""
    return a.flip(1).cumsum(1).flip(1) - a


def truth(p: torch.Tensor, size: int) -> torch.Tensor:
    """Return the distribution of a number that is 1 with probability p, else 0."""
    return functional.pad(torch.stack([1 - p, p], 1), (0, size - 2))


def rotations(a: torch.Tensor) -> torch.Tensor:
    """Return [examples, s, k]: a at (s + k) modulo M."""
    n, size = a.shape
    return a[:, None].expand(n, size + 1, size).reshape(n, size, size + 1)[:, :, :size]
