"""The always-valid p-value and interval: exact for symmetric differences, at every number of pairs.

`pytest -m slow tests/service/compare/test_anytime.py` simulates the tables of docs/statistics.md.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from gradnoise_service.compare.anytime import (
    BETS,
    WEIGHTS,
    anytime_interval,
    anytime_p,
    log_e_values,
    pairs_to_decide,
)
from gradnoise_service.compare.power import chances
from gradnoise_service.compare.verdict import decide
from gradnoise_service.domain.sequential import ALPHA, fewest_anytime_pairs
from statistics_page import documented

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
BOUND = math.log(2 / ALPHA)
N_STUDIES = 4_000
LOOKS = (12, 24, 48, 200)
SIZES: Mapping[str, Sequence[float]] = {
    "different": [0.3, 1.2, 0.4, 2.0, 0.1, 0.7, 3.0, 0.9],
    "tied, with zeros": [1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 2.0, 1.0],
    "with a lost run": [0.02, 0.03, 0.01, 100.0, 0.02, 0.03, 0.01, 0.02],
}


def learned(rng: np.random.Generator, shape: tuple[int, int], rate: float) -> np.ndarray:
    return np.where(rng.random(shape) < rate, 0.75, 0.1) + rng.normal(0, 0.02, shape)


# differences of equal arms
EQUAL: Mapping[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "skewed": lambda rng, shape: rng.exponential(size=shape) - rng.exponential(size=shape),
    "learns or not": lambda rng, shape: learned(rng, shape, 0.5) - learned(rng, shape, 0.5),
    "tied": lambda rng, shape: (
        np.round(rng.normal(0, 0.7, shape)) - np.round(rng.normal(0, 0.7, shape))
    ),
    "equal means alone": lambda rng, shape: rng.exponential(size=shape) - 1,
}


def draws(data: str, n_studies: int) -> np.ndarray:
    return EQUAL[data](np.random.default_rng(3), (n_studies, LOOKS[-1]))


def is_rejected(differences: np.ndarray, centre: float) -> np.ndarray:
    """Return whether the running confidence sequence excludes a centre, after each difference."""
    e = np.maximum(log_e_values(differences, centre), log_e_values(-differences, -centre))
    rejected: np.ndarray = np.maximum.accumulate(e, axis=-1) >= BOUND
    return rejected


def helps(effect: float, n_studies: int) -> np.ndarray:
    """Return the share of studies with a normal gain of `effect` sd that help, by their pairs."""
    d = np.random.default_rng(4).normal(effect, 1, (n_studies, LOOKS[-1]))
    shares: np.ndarray = np.mean(np.maximum.accumulate(log_e_values(d), axis=-1) >= BOUND, axis=0)
    return shares


def stays_within(delta: float, n_studies: int) -> np.ndarray:
    """Return the share of studies of equal arms whose interval is within +-delta sd."""
    d = np.random.default_rng(5).normal(size=(n_studies, LOOKS[-1]))
    beyond = (np.maximum.accumulate(log_e_values(x, -delta), axis=-1) >= BOUND for x in (d, -d))
    shares: np.ndarray = np.mean(np.logical_and(*beyond), axis=0)
    return shares


def three_errors(share: float, n: int) -> float:
    return 3 * math.sqrt(share * (1 - share) / n)


def signed(sizes: Sequence[float]) -> np.ndarray:
    """Return the sizes with all combinations of signs."""
    return np.array(list(itertools.product([-1, 1], repeat=len(sizes)))) * np.array(sizes)


def by_hand(differences: Sequence[float], centre: float) -> float:
    """Return E_n from the formula of the module's docstring."""
    total = 0.0
    for bet, weight in zip(BETS, WEIGHTS, strict=True):
        e = 1.0
        for i, d in enumerate(differences):
            s = float(np.std(differences[:i], ddof=1)) if i > 1 else 0.0
            most = max(abs(x - centre) for x in differences[: i + 1])
            scale = max(s, most / math.sqrt(i + 1))
            y = (d - centre) * bet / scale
            e *= math.exp(y) / math.cosh(y)
        total += weight * e
    return total


def test_e_values_are_those_of_the_formula() -> None:
    d = [0.3, -0.2, 1.4, 0.3, 0.9, -2.0]
    for centre in (0.0, 0.7):
        expected = [by_hand(d[:n], centre) for n in range(1, len(d) + 1)]
        assert np.exp(log_e_values(np.array(d), centre)) == pytest.approx(expected)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_over_all_sign_flips_the_mean_e_value_is_exactly_1_after_every_pair(
    sizes: Sequence[float],
) -> None:
    assert np.exp(log_e_values(signed(sizes))).mean(axis=0) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_over_all_sign_flips_any_look_errs_in_at_most_5_percent(sizes: Sequence[float]) -> None:
    """Exactly, without a simulation: 12 differences, 4,096 sign flips, a verdict at any of them."""
    flips = signed([*sizes, *sizes[:4]])
    wrong = float(is_rejected(flips, 0.0).any(axis=-1).mean())
    assert wrong <= ALPHA


def test_e_values_fall_as_the_centre_rises() -> None:
    """So the rejected centres are all below an end; with heavy tails as well."""
    rng = np.random.default_rng(3)
    centres = np.linspace(-9, 9, 501)[:, None]
    for _ in range(20):
        d = np.broadcast_to(rng.standard_t(1.5, 12), (501, 12))
        assert np.diff(log_e_values(d, centres), axis=0).max() <= 1e-12


@pytest.mark.parametrize("seed", range(6))
def test_the_interval_excludes_0_where_p_is_significant(seed: int) -> None:
    d = np.random.default_rng(seed).normal(0.8, 1, 20).tolist()
    interval, p = anytime_interval(d, level=0.95), anytime_p(d)
    assert (interval.low > 0 or interval.high < 0) == (p <= 0.05)
    assert interval.method == "anytime"
    # at the ends, p is the level
    for end in (interval.low, interval.high):
        assert anytime_p([x - end for x in d]) == pytest.approx(0.05, rel=1e-6)


def test_p_is_twice_the_inverse_of_the_largest_e_value() -> None:
    d = [0.2, 0.1, 0.3, 0.3, 0.2, 0.5, 0.3, 0.2, -0.9]
    largest = max(by_hand(d[:n], 0.0) for n in range(1, 10))
    assert anytime_p(d) == pytest.approx(2 / largest)
    assert anytime_p(d) == anytime_p(d[:-1]) == anytime_p([-x for x in d])
    assert anytime_p([0.1, -0.1]) == anytime_p([0.0]) == 1.0


def test_the_interval_moves_and_scales_with_the_differences() -> None:
    d = np.random.default_rng(2).normal(0.3, 1, 15)
    at = anytime_interval(d.tolist(), level=0.95)
    moved = anytime_interval((1e-3 * d + 5).tolist(), level=0.95)
    ends = (1e-3 * at.low + 5, 1e-3 * at.high + 5)
    assert (moved.low, moved.high) == pytest.approx(ends, rel=1e-9)
    mirrored = anytime_interval((-d).tolist(), level=0.95)
    assert (mirrored.low, mirrored.high) == pytest.approx((-at.high, -at.low))


def test_further_pairs_never_widen_the_interval() -> None:
    d = np.random.default_rng(8).normal(0.4, 1, 40).tolist()
    intervals = [anytime_interval(d[:n], level=0.95) for n in range(10, 41, 6)]
    for earlier, later in itertools.pairwise(intervals):
        assert earlier.low <= later.low < later.high <= earlier.high
    strict = anytime_interval(d, level=0.975)
    assert strict.low < intervals[-1].low < intervals[-1].high < strict.high


def test_where_no_centre_is_left_the_present_interval_is_given() -> None:
    """Differences whose centre moves: after 10 pairs only 1 is left, which the others reject."""
    first = anytime_interval([1.0] * 10, level=0.95)
    assert (first.low, first.high) == (1.0, 1.0)
    moved = anytime_interval([1.0] * 10 + [0.0] * 30, level=0.95)
    assert 0.0 < moved.low < moved.high < 1.0


@pytest.mark.parametrize("alpha", [0.05, 0.025, 0.05 / 9])
def test_the_fewest_pairs_have_a_bounded_interval_and_fewer_none(alpha: float) -> None:
    """A single pair has a factor below 2, so at least log2(2 / alpha) pairs are needed."""
    fewest = fewest_anytime_pairs(alpha)
    assert math.log2(2 / alpha) < fewest <= math.log2(2 / alpha) + 3
    same = anytime_interval([0.65] * fewest, level=1 - alpha)
    assert (same.low, same.high) == (0.65, 0.65)
    d = np.random.default_rng(1).normal(size=fewest).tolist()
    interval = anytime_interval(d, level=1 - alpha)
    assert interval.low < min(d) < max(d) < interval.high
    with pytest.raises(ValueError, match=f"at least {fewest}, but got {fewest - 1}"):
        anytime_interval(d[1:], level=1 - alpha)


@pytest.mark.parametrize(("mean", "delta"), [(0.3, 0.01), (0.05, 0.6)])
def test_the_pairs_that_decide_are_the_fewest_repetitions_that_do(
    mean: float, delta: float
) -> None:
    """A small smallest difference ends in `helps`, a large one in `no_difference`."""
    d = np.random.default_rng(1).normal(size=12)
    d += mean - d.mean()

    def decides(n_pairs: int) -> bool:
        interval = anytime_interval(np.resize(d, n_pairs).tolist(), level=0.95)
        return decide(interval, delta, 0.0)[0] != "undecided"

    n = pairs_to_decide(d.tolist(), smallest_difference=delta, level=0.95)
    assert n is not None
    assert n > 12
    assert (decides(n - 1), decides(n)) == (False, True)


def test_differences_of_mean_0_never_decide_against_a_tiny_smallest_difference() -> None:
    assert pairs_to_decide([1.0, -1.0] * 6, smallest_difference=1e-9, level=0.95) is None


@pytest.mark.parametrize("data", [data for data in EQUAL if data != "equal means alone"])
def test_over_200_looks_equal_arms_are_called_different_in_at_most_5_percent(data: str) -> None:
    """Bound: two standard errors of the simulation; a verdict may be taken after every pair."""
    wrong = is_rejected(draws(data, 1_000), 0.0)[:, -1].mean()
    assert 0 < wrong <= ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / 1_000)


@pytest.mark.parametrize("data", ["normal", "tied"])
def test_the_centre_is_in_all_intervals_of_200_looks_in_95_percent(data: str) -> None:
    """Of differences with the centre 0.3. Bound: two standard errors of the simulation."""
    covered = 1 - is_rejected(draws(data, 1_000) + 0.3, 0.3).any(axis=-1).mean()
    assert covered >= 0.95 - 2 * math.sqrt(0.95 * 0.05 / 1_000)


@pytest.mark.slow
@pytest.mark.parametrize("data", EQUAL)
def test_the_documented_error_of_monitoring_is_the_simulated_one(data: str) -> None:
    """The studies are seeded; 0.1 % allows for other rounding on another machine."""
    rejected = is_rejected(draws(data, N_STUDIES), 0.0)
    measured = [rejected[:, n - 1].mean() for n in LOOKS]
    assert measured == pytest.approx(documented("always valid", data), abs=0.001)
    bound = ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / N_STUDIES)
    assert data == "equal means alone" or max(measured) <= bound


@pytest.mark.parametrize(
    "effect",
    [pytest.param(0.5, marks=pytest.mark.slow), 0.8, pytest.param(1.2, marks=pytest.mark.slow)],
)
def test_the_documented_power_is_the_simulated_one(effect: float) -> None:
    """Within three standard errors; that of a single verdict is computed."""
    shares, row = helps(effect, 1_000), f"gain of {effect} sd"
    always = documented("`helps`, always valid", row)
    for n, share in zip(LOOKS[:3], always, strict=True):
        assert shares[n - 1] == pytest.approx(share, abs=three_errors(max(share, 0.02), 800))
    single = [
        chances(n, effect, 1.0, smallest_difference=1e-9, level=0.95)["helps"] for n in LOOKS[:3]
    ]
    assert single == pytest.approx(documented("`helps`, single verdict", row), abs=0.0006)


@pytest.mark.parametrize("delta", [1.0, pytest.param(0.5, marks=pytest.mark.slow)])
def test_the_documented_chance_of_no_difference_is_the_simulated_one(delta: float) -> None:
    shares, row = stays_within(delta, 1_000), f"equal arms, delta {delta:g} sd"
    always = documented("`no_difference`, always valid", row)
    for n, share in zip(LOOKS[:3], always, strict=True):
        assert shares[n - 1] == pytest.approx(
            share, abs=three_errors(min(max(share, 0.02), 0.98), 800)
        )
    single = [
        chances(n, 0.0, 1.0, smallest_difference=delta, level=0.95)["no_difference"]
        for n in LOOKS[:3]
    ]
    assert single == pytest.approx(documented("`no_difference`, single verdict", row), abs=0.0006)


def test_80_percent_power_needs_1_8_times_the_pairs_of_a_single_verdict() -> None:
    """For a gain of 0.8 standard deviations: 27 pairs in place of 15."""
    always = 1 + int(np.argmax(helps(0.8, 1_000) >= 0.8))
    assert 25 <= always <= 29
    singles = (chances(n, 0.8, 1.0, smallest_difference=1e-9, level=0.95) for n in range(6, 40))
    assert 6 + next(i for i, chance in enumerate(singles) if chance["helps"] >= 0.8) == 15
