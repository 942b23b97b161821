import pytest
import torch

from gradnoise.workloads import normal
from gradnoise.workloads.registry import OPTIMIZERS

LION = OPTIMIZERS.find("lion")


def test_two_steps_worked_by_hand() -> None:
    """w = 1, lr 0.1, decay 0.5: m_0 = 0, so the first step is the sign of g. Then m = 0.01 g, and
    0.9 * 0.04 - 0.1 * 0.3 = 0.006 > 0: the momentum outweighs the second gradient.
    """
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    hyper = LION.hyperparameters({"lr": 0.1, "weight_decay": 0.5})
    optimizer = LION.single([("w", weight)], hyper)
    for gradient, expected in ((4.0, 0.95 - 0.1), (-0.3, (0.95 - 0.1) * 0.95 - 0.1)):
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        assert float(weight.detach()) == pytest.approx(expected, rel=1e-15)
    moment = float(optimizer.state[weight]["exp_avg"])
    assert moment == pytest.approx(0.99 * 0.04 - 0.01 * 0.3, rel=1e-14)


def test_it_gives_the_weights_of_another_implementation() -> None:
    other = pytest.importorskip("pytorch_optimizer").Lion
    mine, theirs = (
        torch.nn.Parameter(normal(1, "init", 0, "w", (4, 5)).double()) for _ in range(2)
    )
    hyper = {"lr": 0.01, "beta1": 0.8, "beta2": 0.95, "weight_decay": 0.1}
    pairs = (
        (mine, LION.single([("w", mine)], hyper)),
        (theirs, other([theirs], lr=0.01, betas=(0.8, 0.95), weight_decay=0.1)),
    )
    for t in range(50):
        for weight, optimizer in pairs:
            weight.grad = normal(1, "gradient", t, "w", (4, 5)).double()
            optimizer.step()
    torch.testing.assert_close(mine, theirs, rtol=1e-13, atol=0)
