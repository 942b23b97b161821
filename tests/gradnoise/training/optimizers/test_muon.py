import pytest
import torch

from gradnoise.training.optimizers.muon import COEFFICIENTS, N_ITERATIONS, orthogonalised
from gradnoise.workloads import normal
from gradnoise.workloads.registry import OPTIMIZERS

MUON = OPTIMIZERS.find("muon")
HYPER = {"lr": 0.02, "momentum": 0.9, "adam_ratio": 0.1, "weight_decay": 0.1}


def drawn(shape: tuple[int, ...], t: int = 0) -> torch.Tensor:
    return normal(1, "numbers", t, str(shape), shape).double()


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (5, 5)], ids=str)
def test_the_iteration_is_a_polynomial_of_the_singular_values(shape: tuple[int, ...]) -> None:
    """On U S V' it is U p(...p(S / |S|)) V' with p(s) = a s + b s^3 + c s^5."""
    matrix = drawn(shape)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    s = s / s.norm()
    a, b, c = COEFFICIENTS
    for _ in range(N_ITERATIONS):
        s = a * s + b * s**3 + c * s**5
    assert 0.6 < float(s.min()) <= float(s.max()) < 1.3
    torch.testing.assert_close(orthogonalised(matrix[None])[0], u * s @ v, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(8, 6), (6, 8)], ids=str)
def test_matrices_are_updated_as_by_torchs_muon(shape: tuple[int, ...]) -> None:
    """Torch iterates in bfloat16, with eight bits: a step differs by about a hundredth."""
    mine, theirs = (torch.nn.Parameter(drawn(shape).float()) for _ in range(2))
    optimizer = MUON.single([("w", mine)], HYPER)
    other = torch.optim.Muon([theirs], lr=0.02, momentum=0.9, weight_decay=0.1)
    start = mine.detach().clone()
    for t in range(10):
        for weight, each in ((mine, optimizer), (theirs, other)):
            weight.grad = drawn(shape, 1 + t).float()
            each.step()
    moved = (theirs - start).norm()
    assert float(((mine - theirs).norm() / moved).detach()) < 0.02


def test_a_kernel_is_the_matrix_of_its_output_channels() -> None:
    kernel = torch.nn.Parameter(drawn((4, 3, 2, 2)))
    matrix = torch.nn.Parameter(drawn((4, 3, 2, 2)).flatten(1))
    for t in range(3):
        for weight in (kernel, matrix):
            if t == 0:
                weight.optimizer = MUON.single([("w", weight)], HYPER)
            weight.grad = drawn((4, 3, 2, 2), 1 + t).view_as(weight)
            weight.optimizer.step()
    assert torch.equal(kernel.flatten(1), matrix)


def test_vectors_are_updated_as_by_adam() -> None:
    mine, theirs = (torch.nn.Parameter(drawn((7,))) for _ in range(2))
    optimizer = MUON.single([("w", mine)], HYPER)
    other = torch.optim.AdamW(
        [theirs], lr=0.02 * 0.1, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.1
    )
    for t in range(20):
        for weight, each in ((mine, optimizer), (theirs, other)):
            weight.grad = drawn((7,), 1 + t)
            each.step()
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=0)
