import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats

from gradnoise._streams import normal, permutation

N = 1_000_000


@pytest.fixture(scope="module")
def draws() -> torch.Tensor:
    return normal(1, "test", 0, "draws", (N,)).double()


def test_draws_have_the_moments_of_a_normal(draws: torch.Tensor) -> None:
    """Each moment of n draws lies within five of its own standard errors: 1/sqrt(n), sqrt(2/(n-1)),
    sqrt(15/n), sqrt(96/n).
    """
    assert abs(float(draws.mean())) < 5 / math.sqrt(N)
    assert abs(float(draws.var()) - 1) < 5 * math.sqrt(2 / (N - 1))
    assert abs(float((draws**3).mean())) < 5 * math.sqrt(15 / N)
    assert abs(float((draws**4).mean()) - 3) < 5 * math.sqrt(96 / N)


def test_draws_follow_the_normal_distribution(draws: torch.Tensor) -> None:
    """The Kolmogorov-Smirnov test does not reject at a level of 1e-6."""
    assert stats.kstest(draws.numpy(), "norm").pvalue > 1e-6


@pytest.mark.parametrize("z", [3.0, 4.0, 4.5])
def test_tails_are_those_of_a_normal(draws: torch.Tensor, z: float) -> None:
    """The number of draws beyond z is Poisson: within five standard deviations of its mean."""
    expected = N * 2 * stats.norm.sf(z)
    assert abs(int((draws.abs() > z).sum()) - expected) < 5 * math.sqrt(expected)


@pytest.mark.parametrize(
    "other",
    [
        (2, "test", 0, "a"),
        (1, "noise", 0, "a"),
        (1, "test", 1, "a"),
        (1, "test", 2**40, "a"),
        (1, "test", 0, "b"),
    ],
    ids=str,
)
def test_streams_that_differ_in_any_argument_are_uncorrelated(
    other: tuple[int, str, int, str],
) -> None:
    n = 100_000
    streams = torch.stack([normal(1, "test", 0, "a", (n,)), normal(*other, (n,))])
    assert abs(float(torch.corrcoef(streams)[0, 1])) < 5 / math.sqrt(n)


def test_streams_stay_unchanged() -> None:
    """Stored seeds must keep their meaning: the values define the streams, to rounding."""
    assert normal(1, "init", 3, "weight", (4,)).tolist() == pytest.approx(
        [0.924525, -1.732871, 0.303948, 0.265481], abs=1e-5
    )
    assert permutation(1, "order", 3, 6).tolist() == [0, 2, 3, 4, 1, 5]


def test_every_permutation_of_three_is_equally_likely() -> None:
    """The chi-squared test over 6,000 permutations does not reject at a level of 1e-6."""
    counts: dict[tuple[int, ...], int] = {}
    for epoch in range(6_000):
        order = tuple(permutation(3, "order", epoch, 3).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6
    assert stats.chisquare(list(counts.values())).pvalue > 1e-6


@pytest.mark.parametrize(
    "draw", [lambda: normal(1, "init", 0, "w", (5,)), lambda: permutation(1, "order", 0, 5)]
)
def test_the_global_generators_are_unchanged(draw: Callable[[], object]) -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(0)
    np.random.seed(0)
    draw()
    assert (torch.rand(1), np.random.rand()) == expected
