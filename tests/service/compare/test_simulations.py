"""Coverage and error rates hold in simulated studies, and are those of docs/statistics.md.

`pytest -m slow tests/service/compare` simulates one documented cell of each row and of each column
again. The default suite simulates a single column with fewer studies.
"""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from gradnoise_service.compare.intervals import (
    interquartile_interval,
    mean_interval,
    share_interval,
)
from gradnoise_service.compare.sign_flips import sign_flip_p
from gradnoise_service.compare.tables import seed_rows
from gradnoise_service.compare.verdict import judge, p_value
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.sequential import ALPHA
from gradnoise_service.domain.study import Metric, Trial
from simulated_verdict import simulated_verdict
from statistics_page import TEXT, documented

Make = Callable[..., tuple[Design, list[Trial]]]
Draw = Callable[[np.random.Generator, int, bool], np.ndarray]
PAIRS = (6, 12, 20, 40)
N_STUDIES = 1_000
N_EQUAL_STUDIES = 4_000


def learned(rng: np.random.Generator, n: int, rate: float) -> np.ndarray:
    return np.where(rng.random(n) < rate, 0.75, 0.1) + rng.normal(0, 0.02, n)


# values of an arm's runs: of the baseline, or of a better arm
ARMS: Mapping[str, Draw] = {
    "normal": lambda rng, n, better: rng.normal(0.3 * better, 1, n),
    "skewed": lambda rng, n, better: rng.exponential(size=n),
    "learns or not": lambda rng, n, better: learned(rng, n, 0.7 if better else 0.5),
    "tied": lambda rng, n, better: np.round(rng.normal(0.3 * better, 0.7, n)),
}
MOSTLY_SLOW = [
    pytest.param(data, marks=[] if data == "normal" else [pytest.mark.slow]) for data in ARMS
]


def differences(data: str, rng: np.random.Generator, n: int) -> np.ndarray:
    noisy = ARMS[data](rng, n, True)
    # equal arms have symmetric differences, so here the baseline is constant
    if data == "skewed":
        return noisy - 0.3
    return noisy - ARMS[data](rng, n, False)


def coverage(data: str, n: int, n_studies: int) -> dict[str, float]:
    """Return the coverage of each 95 % interval of n pairs."""
    many = np.sort(differences(data, np.random.default_rng(1), 1_000_000))
    truth = {
        "mean": many.mean(),
        "interquartile mean": many[250_000:750_000].mean(),
        "P(better)": np.mean(many > 0) + np.mean(many == 0) / 2,
    }
    rng = np.random.default_rng(n)
    covered = dict.fromkeys(truth, 0)
    for seed in range(n_studies):
        x = differences(data, rng, n)
        intervals = {
            "mean": mean_interval(x.tolist(), level=0.95, seed=seed),
            "interquartile mean": interquartile_interval(x.tolist(), level=0.95, seed=seed),
            "P(better)": share_interval(float(np.mean(x > 0) + np.mean(x == 0) / 2), n, level=0.95),
        }
        for name, interval in intervals.items():
            covered[name] += interval.low <= truth[name] <= interval.high
    return {name: hits / n_studies for name, hits in covered.items()}


def without_gain(data: str, rng: np.random.Generator, n: int) -> np.ndarray:
    """Return differences of arms with equal means.

    The arms are equal, or have only their means in common. The test guarantees nothing for the
    latter.
    """
    if data == "equal means alone":
        return rng.exponential(size=n) - 1
    baseline, noisy = ARMS[data](rng, n, False), ARMS[data](rng, n, False)
    return noisy - baseline


def false_verdicts(data: str, n: int, n_studies: int, design: Design) -> float:
    """Return the share of studies in which an equal arm is called better or worse."""
    rng = np.random.default_rng(n)
    wrong = 0
    for _ in range(n_studies):
        gains = without_gain(data, rng, n).tolist()
        p = sign_flip_p(gains)
        if p <= ALPHA:  # else the verdict is neither
            wrong += simulated_verdict(design, gains, p) in ("helps", "hurts")
    return wrong / n_studies


def three_errors(share: float, *counts: int) -> float:
    """Return three standard errors of the difference of simulated shares."""
    return 3 * math.sqrt(share * (1 - share) * sum(1 / n for n in counts))


@pytest.mark.parametrize("data", MOSTLY_SLOW)
def test_intervals_cover_as_often_as_documented(data: str) -> None:
    for name, share in coverage(data, 12, 150).items():
        expected = documented(name, data)[PAIRS.index(12)]
        error = three_errors(min(expected, 0.99), 150, N_STUDIES)
        assert share == pytest.approx(expected, abs=error), name


@pytest.mark.slow
@pytest.mark.parametrize(("data", "n"), [(data, PAIRS[i]) for i, data in enumerate(ARMS)])
def test_the_documented_coverage_is_the_simulated_one(data: str, n: int) -> None:
    """The studies are seeded; 0.3 % allows for other rounding on another machine."""
    for name, share in coverage(data, n, N_STUDIES).items():
        assert share == pytest.approx(documented(name, data)[PAIRS.index(n)], abs=0.003), name


def test_intervals_of_normal_differences_have_their_nominal_coverage() -> None:
    """At any number of pairs, less three standard errors of the simulation."""
    assert min(documented("mean", "normal")) >= 0.95 - three_errors(0.95, N_STUDIES)


@pytest.mark.parametrize("data", ARMS)
@pytest.mark.parametrize("n", [pytest.param(8, marks=pytest.mark.slow), 15])
def test_equal_arms_are_called_different_in_at_most_5_percent(
    data: str, n: int, make_design: Callable[..., Design]
) -> None:
    assert false_verdicts(data, n, 600, make_design()) <= ALPHA + three_errors(ALPHA, 600)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "n"),
    [(data, PAIRS[i - 1]) for i, data in enumerate([*ARMS, "equal means alone"])],
)
def test_the_documented_error_rates_are_the_simulated_ones(
    data: str, n: int, make_design: Callable[..., Design]
) -> None:
    measured = false_verdicts(data, n, N_EQUAL_STUDIES, make_design())
    assert measured == pytest.approx(documented("equal arms", data)[PAIRS.index(n)], abs=0.003)
    assert data not in ARMS or measured <= ALPHA + three_errors(ALPHA, N_EQUAL_STUDIES)


@pytest.mark.parametrize("n", [6, 13])
@pytest.mark.parametrize("mean", [-1.0, 0.0, 0.02, 0.5])
def test_a_simulated_verdict_is_that_of_a_comparison(
    make_trials: Make, accuracy: Metric, n: int, mean: float
) -> None:
    gains = np.random.default_rng(n).normal(mean, 0.01 + abs(mean), n).tolist()
    design, trials = make_trials({"baseline": [0.0] * n, "noisy": gains})
    rows = seed_rows(design, accuracy, trials)
    compared = judge(design, accuracy, rows, "noisy", p=p_value(design, rows, "noisy"))
    assert compared.verdict == simulated_verdict(design, gains)


def test_every_documented_test_exists() -> None:
    tests = "".join(
        path.read_text(encoding="utf-8") for path in Path(__file__).parents[2].rglob("test_*.py")
    )
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert len(named) > 10
    assert named <= set(re.findall(r"def (test_\w+)", tests))
