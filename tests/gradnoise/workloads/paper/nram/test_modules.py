import itertools
import math
from collections.abc import Callable

import pytest
import torch

from gradnoise._streams import normal
from gradnoise.workloads.paper.nram.modules import MODULES, N_ARGUMENTS, is_number, module

INTEGERS: dict[str, Callable[..., int]] = {
    "zero": lambda: 0,
    "one": lambda: 1,
    "two": lambda: 2,
    "inc": lambda a: a + 1,
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "dec": lambda a: a - 1,
    "less": lambda a, b: a < b,
    "less_or_equal": lambda a, b: a <= b,
    "equal": lambda a, b: a == b,
    "min": min,
    "max": max,
}


def computed(name: str, cells: list[int], *arguments: int) -> tuple[int, list[int]]:
    """Return a module's output and the memory after it, in integers."""
    if name == "read":
        return cells[arguments[0]], cells
    if name == "write":
        pointer, value = arguments
        return 0, [*cells[:pointer], value, *cells[pointer + 1 :]]
    return int(INTEGERS[name](*arguments)) % len(cells), cells


@pytest.mark.parametrize("size", [4, 5, 7])
@pytest.mark.parametrize("name", MODULES)
def test_a_module_computes_with_integers_modulo_the_size(name: str, size: int) -> None:
    """For all arguments, and a memory whose numbers differ from their indices."""
    cells = [(3 * i + 2) % size for i in range(size)]
    cases = list(itertools.product(range(size), repeat=N_ARGUMENTS[name]))
    memory = is_number(torch.tensor([cells] * len(cases)), size).double()
    arguments = [
        is_number(torch.tensor(column), size).double() for column in zip(*cases, strict=True)
    ]
    output, after = module(name, memory, arguments)
    expected = [computed(name, cells, *case) for case in cases]
    assert output.shape == (len(cases), size)
    torch.testing.assert_close(
        output,
        is_number(torch.tensor([output for output, _ in expected]), size).double(),
        rtol=0,
        atol=1e-15,
    )
    torch.testing.assert_close(
        after,
        is_number(torch.tensor([cells for _, cells in expected]), size).double(),
        rtol=0,
        atol=1e-15,
    )


def test_the_modules_are_the_papers_fourteen() -> None:
    assert len(MODULES) == 14
    assert [n for name in MODULES if (n := N_ARGUMENTS[name])] == [1, 1, 2, 2, 1, 2, 2, 2, 2, 2, 2]


def distributions(seed: int, *shape: int) -> torch.Tensor:
    return (3 * normal(seed, "test", 0, "", shape).double()).softmax(-1)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_on_distributions_is_its_expectation(name: str) -> None:
    """Over independent numbers, so the output is a distribution too. A memory is M independent
    numbers; `write` mixes the old and the new memory.
    """
    size = 5
    cells, arguments = (
        distributions(1, 1, size, size),
        [distributions(2 + i, 1, size) for i in range(N_ARGUMENTS[name])],
    )
    output, after = module(name, cells, arguments)
    expected, expected_after = (
        torch.zeros(size, dtype=torch.float64),
        torch.zeros(size, size, dtype=torch.float64),
    )
    for case in itertools.product(range(size), repeat=len(arguments)):
        chance = math.prod(
            float(argument[0, number]) for argument, number in zip(arguments, case, strict=True)
        )
        if name == "read":
            expected += chance * cells[0, case[0]]
        else:
            expected[computed(name, [0] * size, *case)[0]] += chance
        now = cells[0].clone()
        if name == "write":
            now[case[0]] = torch.eye(size, dtype=torch.float64)[case[1]]
        expected_after += chance * now
    torch.testing.assert_close(output[0], expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(after[0], expected_after, rtol=1e-12, atol=1e-12)
