from collections.abc import Sequence

import pytest
import torch

from gradnoise.training.optimizers.schedule_free_adamw import evaluated
from gradnoise.workloads import normal
from gradnoise.workloads.registry import OPTIMIZERS

RULE = OPTIMIZERS.find("schedule_free_adamw")
HYPER = {"lr": 0.03, "beta1": 0.8, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1}
COLUMNS = {name: torch.tensor([[value]], dtype=torch.float64) for name, value in HYPER.items()}
SHAPE = (4, 5)


def gradient(t: int) -> torch.Tensor:
    return normal(1, "gradient", t, "w", SHAPE).double()


def trained(rates: Sequence[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weights y, and x, after an update at each learning rate."""
    weight = torch.nn.Parameter(normal(1, "init", 0, "w", SHAPE).double())
    optimizer = RULE.single([("w", weight)], HYPER)
    for t, rate in enumerate(rates):
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = gradient(t)
        optimizer.step()
    moments = [optimizer.state[weight][name].view(1, -1) for name in RULE.moments]
    y = weight.detach()
    return y, evaluated(y.view(1, -1), moments, COLUMNS).view(SHAPE)


@pytest.mark.parametrize("rates", [[0.03] * 40, [0.01, 0.02, 0.03, 0.03, 0.0, 0.02]], ids=len)
def test_it_follows_the_published_recursion(rates: list[float]) -> None:
    """Algorithm 1 of the paper in x, y and z, at a constant rate and with a warm-up."""
    x = z = normal(1, "init", 0, "w", SHAPE).double()
    square, total = torch.zeros(SHAPE).double(), 0.0
    for t, rate in enumerate(rates):
        y = 0.2 * z + 0.8 * x
        square = 0.95 * square + 0.05 * gradient(t) ** 2
        step = gradient(t) / ((square / (1 - 0.95 ** (t + 1))).sqrt() + 1e-8) + 0.1 * y
        z = z - rate * step
        total += rate**2
        x = x + (z - x) * rate**2 / total
    y, found = trained(rates)
    torch.testing.assert_close(found, x, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(y, 0.2 * z + 0.8 * x, rtol=1e-12, atol=1e-13)


def test_it_gives_the_weights_of_another_implementation() -> None:
    other = pytest.importorskip("pytorch_optimizer").ScheduleFreeAdamW
    weight = torch.nn.Parameter(normal(1, "init", 0, "w", SHAPE).double())
    optimizer = other([weight], lr=0.03, betas=(0.8, 0.95), weight_decay=0.1, eps=1e-8)
    optimizer.train()
    for t in range(30):
        weight.grad = gradient(t)
        optimizer.step()
    y, x = trained([0.03] * 30)
    torch.testing.assert_close(y, weight.detach(), rtol=1e-10, atol=1e-12)
    optimizer.eval()
    torch.testing.assert_close(x, weight.detach(), rtol=1e-10, atol=1e-12)
