"""Verdict probabilities are those of simulated studies, and required pairs are the fewest."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from gradnoise_service.compare.power import MOST_PAIRS, chances, pairs_for, pairs_to_decide
from gradnoise_service.domain.design import Design
from simulated_verdict import simulated_verdict

VERDICTS = ("helps", "hurts", "no_difference", "undecided")


@pytest.mark.parametrize(
    ("n_studies", "n", "difference", "sd"),
    [
        (150, 12, 0.05, 0.05),
        *(
            pytest.param(500, n, difference, 0.05, marks=pytest.mark.slow)
            for n, difference in (
                (6, 0.05),
                (6, 0.1),
                (8, 0.05),
                (12, 0.0),
                (12, 0.02),
                (12, -0.03),
                (20, 0.05),
                (40, 0.0),
                (40, 0.02),
            )
        ),
    ],
)
def test_studies_end_as_often_in_each_verdict_as_computed(
    make_design: Callable[..., Design], n_studies: int, n: int, difference: float, sd: float
) -> None:
    """Bound: three standard errors of the simulation, and 0.03.

    The second term allows for the bootstrap interval, which is Student's only approximately. The
    smallest difference is 0.02, and the differences are normal.
    """
    rng = np.random.default_rng(n)
    found = dict.fromkeys(VERDICTS, 0)
    design = make_design()
    for _ in range(n_studies):
        found[simulated_verdict(design, rng.normal(difference, sd, size=n).tolist())] += 1
    delta = design.spec.smallest_difference
    computed = chances(n, difference, sd, smallest_difference=delta, level=0.95)
    for verdict, chance in computed.items():
        assert found[verdict] / n_studies == pytest.approx(
            chance, abs=0.03 + 3 * math.sqrt(chance * (1 - chance) / n_studies)
        ), verdict


def test_for_many_pairs_the_power_is_the_z_test_s() -> None:
    """Phi(d sqrt(n) / s - z), where the smallest difference is far below."""
    n, z = 5_000, stats.norm.ppf(0.975)
    computed = chances(n, 0.04, 1.0, smallest_difference=1e-6, level=0.95)["helps"]
    assert computed == pytest.approx(stats.norm.cdf(0.04 * math.sqrt(n) - z), abs=2e-4)


def test_the_probabilities_sum_to_1_and_follow_the_sign() -> None:
    gain, loss = (chances(15, d, 0.1, smallest_difference=0.03, level=0.95) for d in (0.04, -0.04))
    assert sum(gain.values()) == pytest.approx(1)
    assert (gain["helps"], gain["no_difference"]) == pytest.approx(
        (loss["hurts"], loss["no_difference"])
    )


def test_too_few_pairs_are_undecided() -> None:
    assert chances(5, 1.0, 0.01, smallest_difference=0.1, level=0.95)["undecided"] == 1


@pytest.mark.parametrize(
    ("sd", "power", "level"),
    [(0.02, 0.8, 0.95), (0.05, 0.5, 0.95), (0.05, 0.95, 0.95), (0.3, 0.8, 0.975)],
)
def test_the_required_pairs_are_the_fewest_that_reach_the_power(
    sd: float, power: float, level: float
) -> None:
    n = pairs_for(0.05, sd, power, level)
    at, below = (
        chances(k, 0.05, sd, smallest_difference=0.05, level=level)["helps"] for k in (n, n - 1)
    )
    assert below < power <= at


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            (0.0, 0.1, 0.8, 0.95),
            "smallest_difference must be above 0 and finite, but got smallest_difference=0",
        ),
        ((0.1, float("nan"), 0.8, 0.95), "sd must be above 0 and finite, but got sd=nan"),
        (
            (0.1, 0.1, 0.975, 0.95),
            "power must be above 0 and below 0.975, which no number of pairs reaches, but got "
            "power=0.975",
        ),
        ((0.1, 0.1, 0.8, 1.0), r"level must be in \(0, 1\), but got level=1"),
        (
            (1e-9, 1.0, 0.8, 0.95),
            "requires more than 1,000,000 pairs: give a larger smallest_difference or a smaller sd",
        ),
    ],
)
def test_an_unreachable_power_is_rejected(
    arguments: tuple[float, float, float, float], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        pairs_for(*arguments)


def test_pairs_to_decide_count_every_verdict_and_are_limited() -> None:
    """A study is decided if it detects an effect or its interval is within the smallest difference.

    Without an effect the latter requires at least 2 (z s / delta)^2 pairs.
    """
    found = pairs_to_decide(6, 0.5, 0.5, smallest_difference=0.1, level=0.95)
    same = pairs_to_decide(6, 0.0, 0.5, smallest_difference=0.1, level=0.95)
    assert found is not None
    assert same is not None
    assert 6 < found < 25 < same
    # 5 % are called different, so |mean| < delta - z s / sqrt(n) in 75 %: delta sqrt(n) / s =
    # z_0.975 + z_0.875; Student adds a little
    assert same == pytest.approx(
        ((stats.norm.ppf(0.975) + stats.norm.ppf(0.875)) * 5) ** 2, rel=0.02
    )
    assert pairs_to_decide(6, 0.0, 1e99, smallest_difference=0.1, level=0.95) is None
    assert (
        pairs_to_decide(MOST_PAIRS // 2, 0.5, 0.5, smallest_difference=0.1, level=0.95)
        == MOST_PAIRS // 2 + 1
    )
