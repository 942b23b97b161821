"""The quality of 10^8 draws. True normal draws would fail each test with probability 1e-6."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy import stats

from gradnoise._streams import normal

pytestmark = pytest.mark.slow

STEPS = 10
SIZE = 10_000_000
N = STEPS * SIZE
CHANCE = 1e-6


def z_bound(n_tests: int) -> float:
    """Return the bound, in standard errors, on the largest of n_tests normal statistics."""
    return float(stats.norm.isf(CHANCE / 2 / n_tests))


def draws() -> Iterator[torch.Tensor]:
    for t in range(STEPS):
        yield normal(1, "quality", t, "w", (SIZE,)).double()


def test_the_moments_are_those_of_a_normal() -> None:
    """The means of x, x^2, x^3 and x^4 of n draws have the standard errors 1, sqrt(2), sqrt(15) and
    sqrt(96), over sqrt(n).
    """
    sums = torch.zeros(4, dtype=torch.float64)
    for drawn in draws():
        square = drawn * drawn
        sums += torch.stack(
            [drawn.sum(), square.sum(), (square * drawn).sum(), (square * square).sum()]
        )
    means = (sums / N).tolist()
    for mean, expected, variance in zip(means, (0, 1, 0, 3), (1, 2, 15, 96), strict=True):
        assert abs(mean - expected) < z_bound(4) * math.sqrt(variance / N)


def test_the_tails_are_those_of_a_normal() -> None:
    """The numbers beyond each z, to either side, are Poisson about n times the normal's
    probability: 29 beyond 5.
    """
    zs = (3.0, 4.0, 4.5, 5.0)
    counts = np.zeros((2, len(zs)), dtype=np.int64)
    for drawn in draws():
        counts += np.array([[int((sign * drawn > z).sum()) for z in zs] for sign in (1, -1)])
    for side in counts.tolist():
        for z, count in zip(zs, side, strict=True):
            expected = N * stats.norm.sf(z)
            chance = min(stats.poisson.cdf(count, expected), stats.poisson.sf(count - 1, expected))
            assert chance > CHANCE / 16


def test_the_distribution_is_normal_throughout() -> None:
    """Kolmogorov and Smirnov's distance, at 10,000 quantiles: beyond x / sqrt(n) with probability 2
    exp(-2 x^2) at most.
    """
    levels = np.arange(1, 10_000) / 10_000
    edges = torch.from_numpy(stats.norm.ppf(levels))
    counts = torch.zeros(len(levels) + 1, dtype=torch.int64)
    for drawn in draws():
        counts += torch.bincount(torch.bucketize(drawn, edges), minlength=len(counts))
    distance = np.abs(counts.cumsum(0)[:-1].numpy() / N - levels).max()
    assert distance < math.sqrt(math.log(2 / CHANCE) / 2 / N)


def features(drawn: torch.Tensor) -> torch.Tensor:
    """Return the numbers, squares and signs as rows, each with mean 0 and variance 1 if normal."""
    return torch.stack([drawn, (drawn * drawn - 1) / math.sqrt(2), drawn.sign()])


def assert_uncorrelated(first: torch.Tensor, second: torch.Tensor, n_pairs: int) -> None:
    """Check one of n_pairs pairs of features.

    The mean product of n independent pairs of numbers has the standard error 1 / sqrt(n).
    """
    n = first.shape[1]
    bound = z_bound(n_pairs * len(first) ** 2) / math.sqrt(n)
    assert float((first @ second.T / n).abs().max()) < bound


def test_neighbours_are_independent() -> None:
    """At the lags between numbers of the same word, block, lane or group, and at others."""
    drawn = features(normal(1, "quality", 0, "w", (SIZE,)).double())
    lags = (1, 2, 3, 4, 16, 31, 32, 64, 96, 128, 2_048, 65_536)
    for lag in lags:
        assert_uncorrelated(drawn[:, :-lag], drawn[:, lag:], len(lags))


def test_steps_parameters_seeds_and_purposes_are_independent() -> None:
    base = features(normal(1, "quality", 0, "w", (SIZE,)).double())
    others = [
        *((1, "quality", t, "w") for t in (1, 2, 3, 1_000, 2**31, 2**32, 2**40)),
        *((1, "quality", 0, name) for name in ("v", "w2", "0.0", "0.1")),
        *((seed, "quality", 0, "w") for seed in (0, 2, 3, 2**32 + 1, 2**64 + 1)),
        (1, "noise", 0, "w"),
    ]
    for other in others:
        drawn = features(normal(*other, (SIZE,)).double())
        assert_uncorrelated(base, drawn, len(others))
