import math

import torch

from gradnoise.hook import attach
from gradnoise.streams import normal
from gradnoise.techniques.anticorrelated import anticorrelated

STD, LR, SHAPE = 0.5, 0.1, (3, 4)


def test_under_plain_sgd_the_noise_of_many_updates_is_that_of_the_last_alone() -> None:
    """w_T = w_0 - lr sum_t g_t - lr std xi_{T-1}, the gradients being those along the way.

    The noise is drawn and scaled in float32, 2^-24 of at most 6 std for each of the 2 T terms; the
    rest is float64.
    """
    weight = torch.nn.Parameter(torch.ones(SHAPE, dtype=torch.float64))
    optimizer = torch.optim.SGD([("w", weight)], lr=LR)
    attach(optimizer, seed=3, injection=anticorrelated(std=STD))
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


def test_the_noise_of_an_update_takes_back_that_of_the_one_before() -> None:
    """xi_t - xi_{t-1} has variance 2, and correlation -1/2 with the next; n draws give either
    within 5 / sqrt(n) or so.
    """
    n = 20_000
    weight = torch.nn.Parameter(torch.zeros(n, dtype=torch.float64))
    optimizer = torch.optim.SGD([("w", weight)], lr=1.0)
    attach(optimizer, seed=3, injection=anticorrelated(std=STD))
    steps = []
    for _ in range(3):
        before = weight.detach().clone()
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
        steps.append((before - weight.detach()) / STD)
    first, second, third = steps
    for step, variance in ((first, 1.0), (second, 2.0), (third, 2.0)):
        assert abs(float(step.square().mean()) - variance) <= 5 * variance * math.sqrt(2 / n)
    for one, other, covariance in (
        (first, second, -1.0),
        (second, third, -1.0),
        (first, third, 0.0),
    ):
        # the variance of a product of two centred normals is var var + cov^2, at most 2 x 2 + 1
        assert abs(float((one * other).mean()) - covariance) <= 5 * math.sqrt(5 / n)
