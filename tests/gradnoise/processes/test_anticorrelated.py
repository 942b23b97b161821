import math

import torch

from gradnoise import attach
from gradnoise._processes.anticorrelated import anticorrelated
from gradnoise._streams import normal

STD, LR, SHAPE = 0.5, 0.1, (3, 4)


def test_under_plain_sgd_the_noise_of_many_updates_telescopes_to_the_last_draw() -> None:
    """w_T = w_0 - lr sum_t g_t - lr std xi_{T-1}, g_t the gradient before the noise.

    The noise is drawn and scaled in float32, with an error of 2^-24 of at most 6 std in each of the
    2 T terms; all else is float64.
    """
    weight = torch.nn.Parameter(torch.ones(SHAPE, dtype=torch.float64))
    optimizer = torch.optim.SGD([("w", weight)], lr=LR)
    attach(optimizer, anticorrelated(std=STD), seed=3)
    gradients = torch.zeros(SHAPE, dtype=torch.float64)
    for t in range(20):
        optimizer.zero_grad()
        weight.pow(4).sum().backward()
        gradients += weight.grad  # type: ignore[arg-type]  # there after backward
        optimizer.step()
        expected = 1 - LR * gradients - LR * STD * normal(3, "noise", t, "w", SHAPE)
        torch.testing.assert_close(
            weight.detach(), expected, rtol=0, atol=LR * 2 * (t + 1) * 6 * STD * 2**-24
        )


def test_the_noise_of_an_update_subtracts_the_previous_draw() -> None:
    """xi_t - xi_{t-1} has variance 2, and covariance -1 with that of the next update."""
    n = 20_000
    weight = torch.nn.Parameter(torch.zeros(n, dtype=torch.float64))
    optimizer = torch.optim.SGD([("w", weight)], lr=1.0)
    attach(optimizer, anticorrelated(std=STD), seed=3)
    steps = []
    for _ in range(3):
        before = weight.detach().clone()
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
        steps.append((before - weight.detach()) / STD)
    first, second, third = steps
    for step, variance in ((first, 1.0), (second, 2.0), (third, 2.0)):
        assert abs(float(step.square().mean()) - variance) <= 5 * variance * math.sqrt(2 / n)
    for earlier, later, covariance in (
        (first, second, -1.0),
        (second, third, -1.0),
        (first, third, 0.0),
    ):
        # the variance of a product of two centred normals is var var + cov^2, at most 2 x 2 + 1
        assert abs(float((earlier * later).mean()) - covariance) <= 5 * math.sqrt(5 / n)
