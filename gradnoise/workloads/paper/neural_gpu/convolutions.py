"""3 x 3 convolutions of a narrow state as matrix products."""

import torch
from torch.nn import functional


def banded(
    kernel: torch.Tensor, bias: torch.Tensor, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return convolutions as a banded matrix, [3 rows, parts x row], and a bias, [parts x row].

    The matrix is 0 between columns of the state that are not adjacent.

    Args:
        kernel: 3 x 3 x maps x parts x maps.
        bias: parts x maps.
        width: Columns of the state; a row of the state has width x maps numbers.
    """
    columns = torch.arange(width, device=kernel.device)
    touches = columns[:, None, None] == columns + torch.arange(-1, 2, device=kernel.device)[:, None]
    matrix = torch.einsum("ajo,ijmpk->iampok", touches.to(kernel.dtype), kernel)
    return matrix.flatten(3, 5).flatten(0, 2), bias[:, None].expand(-1, width, -1).flatten()


def convolved(state: torch.Tensor, matrix: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return a convolution of the state, [examples, n, row], as a matrix product.

    The product is over windows of three rows, with 0 beyond the ends of the state. Measured on a
    single core, for 32 examples with states of 17 x 4 x 24, a step took 9.9 ms by this product, 9.8
    ms by `conv2d`, and 18 ms and 22 ms by products over windows of 3 x 3 (sliced, and by `unfold`).
    With eight stacked models, each took 9.5 ms by this product, 11.2 ms by `conv2d`, and 20 ms and
    25 ms over windows of 3 x 3.
    """
    n = state.shape[1]
    padded = functional.pad(state, (0, 0, 1, 1))
    return torch.cat([padded[:, i : i + n] for i in range(3)], 2) @ matrix + bias
