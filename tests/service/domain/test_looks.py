"""Levels of looks are the published values; crossing probabilities are those of the normal law."""

import math

import numpy as np
import pytest
from scipy import stats

from gradnoise_service.domain.looks import OBRIEN_FLEMING, POCOCK, crossing_chance, nominal_levels


@pytest.mark.parametrize(
    ("n_looks", "shape", "published"),
    [
        (1, POCOCK, 1.960),
        (2, POCOCK, 2.178),
        (3, POCOCK, 2.289),
        (4, POCOCK, 2.361),
        (5, POCOCK, 2.413),
        (10, POCOCK, 2.555),
        (2, OBRIEN_FLEMING, 1.977),
        (3, OBRIEN_FLEMING, 2.004),
        (4, OBRIEN_FLEMING, 2.024),
        (5, OBRIEN_FLEMING, 2.040),
        (4, 0.25, 2.113),
        (5, 0.25, 2.136),
    ],
)
def test_the_bounds_are_the_published_ones(n_looks: int, shape: float, published: float) -> None:
    """Jennison and Turnbull 2000, tables 2.1, 2.3 and 2.9, for equal groups at 5 %.

    The tables have three digits.
    """
    levels = nominal_levels([7 * (k + 1) for k in range(n_looks)], shape=shape, alpha=0.05)
    bounds = [-stats.norm.ppf(level / 2) for level in levels]
    assert bounds[-1] == pytest.approx(published, abs=0.00051)
    assert bounds == pytest.approx(
        [bounds[-1] * ((k + 1) / n_looks) ** (shape - 0.5) for k in range(n_looks)]
    )


def test_the_chance_of_a_crossing_is_that_of_the_multivariate_normal() -> None:
    """Corr(Z_j, Z_k) = sqrt(n_j / n_k), also for looks in close succession."""
    pairs, bounds = [12, 13, 40], [2.5, 1.8, 2.0]
    covariance = [[math.sqrt(min(a, b) / max(a, b)) for b in pairs] for a in pairs]
    inside = stats.multivariate_normal(cov=covariance).cdf(
        bounds, lower_limit=[-b for b in bounds], rng=np.random.default_rng(1)
    )
    assert crossing_chance(pairs, bounds) == pytest.approx(1 - inside, abs=2e-4)


@pytest.mark.parametrize("pairs", [[], [0], [5, 5], [8, 4]])
def test_looks_that_do_not_increase_are_rejected(pairs: list[int]) -> None:
    with pytest.raises(ValueError, match="rise from look to look, but got pairs="):
        crossing_chance(pairs, [1.96] * len(pairs))


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 9])
@pytest.mark.parametrize("shape", [OBRIEN_FLEMING, POCOCK])
@pytest.mark.parametrize(
    "pairs",
    [
        [2, 3, 1_000_000],
        pytest.param([1_000_000, 1_000_001], marks=pytest.mark.slow),
        pytest.param([999_990, 999_995, 1_000_000], marks=pytest.mark.slow),
    ],
)
def test_very_close_and_very_distant_looks_have_levels(
    pairs: list[int], shape: float, alpha: float
) -> None:
    """Each level is at most alpha, and their sum at least alpha.

    Two looks at almost equal data have the error of a single look. A look at almost no data spends
    almost none of it.
    """
    levels = nominal_levels(pairs, shape=shape, alpha=alpha)
    assert 0 <= max(levels) <= alpha * (1 + 1e-6)
    assert sum(levels) >= alpha * (1 - 1e-6)
    if pairs[0] > pairs[-1] / 2:
        assert min(levels) > 0.95 * alpha
    elif shape == OBRIEN_FLEMING:
        assert levels == pytest.approx([0, 0, alpha], rel=1e-4)
