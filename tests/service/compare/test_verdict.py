"""The verdict follows from the interval, the smallest difference and the exact test."""

from collections.abc import Callable

import pytest

from gradnoise_service.compare.facts.base import Interval
from gradnoise_service.compare.tables import seed_rows
from gradnoise_service.compare.verdict import decide, judge, p_value
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.study import Metric, Trial

Make = Callable[..., tuple[Design, list[Trial]]]


@pytest.mark.parametrize(
    ("low", "high", "p", "expected"),
    [
        (0.03, 0.05, 0.01, ("helps", "interval_beyond")),
        (0.02, 0.05, 0.01, ("helps", "interval_beyond")),
        (0.01, 0.05, 0.05, ("helps", "interval_excludes_zero")),
        (0.01, 0.05, 0.051, ("undecided", "test_not_significant")),
        (-0.05, -0.01, 0.01, ("hurts", "interval_excludes_zero")),
        (-0.05, -0.03, 0.01, ("hurts", "interval_beyond")),
        (0.001, 0.019, 0.001, ("no_difference", "interval_within")),
        (-0.019, 0.019, 1.0, ("no_difference", "interval_within")),
        (0.0, 0.0, 1.0, ("no_difference", "interval_within")),
        (-0.02, 0.01, 1.0, ("undecided", "interval_includes_zero")),
        (-0.01, 0.05, 0.04, ("undecided", "interval_includes_zero")),
        (0.0, 0.05, 0.04, ("undecided", "interval_includes_zero")),
        (-0.5, 0.5, 1.0, ("undecided", "interval_includes_zero")),
    ],
)
def test_an_interval_decides_against_the_smallest_difference(
    low: float, high: float, p: float, expected: tuple[str, str]
) -> None:
    assert decide(Interval(low=low, high=high, level=0.95, method="bca"), 0.02, p) == expected


@pytest.mark.parametrize(
    ("noisy", "verdict", "means", "further"),
    [
        ([0.9, 0.8, 0.85, 0.9, 0.95, 0.9], "helps", (0.8833, 0.5, 0.3833), None),
        ([0.1, 0.2, 0.15, 0.1, 0.05, 0.1], "hurts", (0.1167, 0.5, -0.3833), None),
        ([0.5, 0.51, 0.5, 0.5, 0.49, 0.5], "no_difference", (0.5, 0.5, 0.0), None),
        # mean 0.05, standard deviation 0.217: (1.96 + 0.842)^2 (0.217 / 0.05)^2 = 148 pairs
        # and two for Student, of which 6 exist
        ([0.8, 0.2, 0.7, 0.4, 0.6, 0.6], "undecided", (0.55, 0.5, 0.05), 144),
    ],
)
def test_a_difference_has_its_means_and_the_seeds_that_would_decide(
    make_trials: Make,
    accuracy: Metric,
    noisy: list[float],
    verdict: str,
    means: tuple[float, float, float],
    further: int | None,
) -> None:
    design, trials = make_trials({"baseline": [0.5] * 6, "noisy": noisy})
    rows = seed_rows(design, accuracy, trials)
    difference = judge(design, accuracy, rows, "noisy", p=p_value(design, rows, "noisy"))
    assert (difference.verdict, difference.no_verdict) == (verdict, None)
    assert (difference.mean, difference.baseline_mean, difference.difference) == pytest.approx(
        means, abs=5e-5
    )
    assert difference.further_seeds == further
