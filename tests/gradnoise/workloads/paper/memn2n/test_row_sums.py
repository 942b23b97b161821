import torch
from torch.func import vmap

from gradnoise.workloads import normal
from gradnoise.workloads.paper.memn2n.row_sums import row_sums

MODELS, TABLES, ROWS, NUMBERS, SUMS, TERMS = 3, 2, 5, 4, 6, 7


def test_sums_and_gradients_are_those_of_a_matrix_product_alone_and_under_vmap() -> None:
    """Also of a row that no sum has, and of a sum without terms."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(1, ROWS + 1, (MODELS, SUMS, TERMS), generator=generator)
    rows[:, 2] = ROWS
    tables = normal(1, "tables", 0, "", (MODELS, TABLES, ROWS, NUMBERS)).double().requires_grad_()
    weights = normal(1, "weights", 0, "", (MODELS, SUMS, TERMS)).double()
    direction = normal(1, "direction", 0, "", (MODELS, TABLES, SUMS, NUMBERS)).double()
    many = torch.zeros(MODELS, SUMS, ROWS + 1).double().scatter_add(2, rows, weights)[..., :-1]
    expected = many[:, None] @ tables
    (of_product,) = torch.autograd.grad(expected, tables, direction)

    together = torch.stack(vmap(row_sums)(tables, rows, weights), 1)
    torch.testing.assert_close(together, expected)
    torch.testing.assert_close(torch.autograd.grad(together, tables, direction)[0], of_product)
    for k in range(MODELS):
        alone = torch.stack(row_sums(tables[k], rows[k], weights[k]))
        torch.testing.assert_close(alone, expected[k])
        (gradient,) = torch.autograd.grad(alone, tables, direction[k])
        torch.testing.assert_close(gradient[k], of_product[k])
