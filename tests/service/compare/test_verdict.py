"""The verdict follows from the interval, the smallest difference that matters and the exact test, and says so in words."""

from collections.abc import Callable

import numpy as np
import pytest

from service.compare.comparison import Interval
from service.compare.tables import seed_rows
from service.compare.verdict import decide, judge, p_value
from service.domain.spec import StudySpec
from service.domain.study import Metric, Trial

Make = Callable[..., tuple[StudySpec, list[Trial]]]


@pytest.mark.parametrize(
    ("low", "high", "p", "expected"),
    [
        (0.03, 0.05, 0.01, "helps"),
        (0.01, 0.05, 0.05, "helps"),  # above 0 and reaching beyond 0.02
        (0.01, 0.05, 0.051, "undecided"),  # the exact test does not agree
        (-0.05, -0.01, 0.01, "hurts"),
        (0.001, 0.019, 0.001, "no_difference"),  # there is one, but none that matters
        (-0.019, 0.019, 1.0, "no_difference"),
        (0.0, 0.0, 1.0, "no_difference"),
        (-0.02, 0.01, 1.0, "undecided"),
        (-0.01, 0.05, 0.04, "undecided"),
        (0.0, 0.05, 0.04, "undecided"),
        (-0.5, 0.5, 1.0, "undecided"),
    ],
)
def test_an_interval_decides_against_the_smallest_difference(low: float, high: float, p: float, expected: str) -> None:
    assert decide(Interval(low=low, high=high, level=0.95, method=""), 0.02, p) == expected


@pytest.mark.parametrize(
    ("noisy", "start", "further"),
    [
        ([0.9, 0.8, 0.85, 0.9, 0.95, 0.9], "noisy helps: mean accuracy 0.883 against baseline's 0.5, a difference of +0.383 (95 % ", None),
        ([0.1, 0.2, 0.15, 0.1, 0.05, 0.1], "noisy hurts: mean accuracy 0.117 against baseline's 0.5, a difference of −0.383 (95 % ", None),
        ([0.5, 0.51, 0.5, 0.5, 0.49, 0.5], "noisy makes no difference that matters: mean accuracy 0.5 against baseline's 0.5, ", None),
        # mean 0.05, standard deviation 0.217: (1.96 + 0.842)^2 (0.217 / 0.05)^2 pi / 3 = 155 pairs and two for Student, 6 are there
        ([0.8, 0.2, 0.7, 0.4, 0.6, 0.6], "Undecided whether noisy helps or hurts: mean accuracy 0.55 against baseline's 0.5, ", 151),
    ],
)
def test_the_sentence_names_verdict_means_difference_and_what_would_decide(
    make_trials: Make, accuracy: Metric, noisy: list[float], start: str, further: int | None
) -> None:
    spec, trials = make_trials({"baseline": [0.5] * 6, "noisy": noisy})
    rows = seed_rows(spec, accuracy, trials)
    difference = judge(spec, accuracy, rows, "noisy", p=p_value(spec, rows, "noisy"), lacking=None)
    assert difference.sentence.startswith(start)
    assert difference.further_seeds == further
    if further:
        assert difference.sentence.endswith(f"about {further} more paired seeds would decide, if the differences go on like this.")


def test_of_two_equal_arms_one_is_called_better_in_at_most_5_percent_of_studies(make_trials: Make, accuracy: Metric) -> None:
    """Within three standard errors of the simulation. Normal noise, where a bootstrap alone would err in some 7 %."""
    rng = np.random.default_rng(3)
    n_studies = 150
    wrong = 0
    for _ in range(n_studies):
        values = {arm: rng.normal(0.5, 0.1, size=8).tolist() for arm in ("baseline", "noisy")}
        spec, trials = make_trials(values)
        rows = seed_rows(spec, accuracy, trials)
        verdict = judge(spec, accuracy, rows, "noisy", p=p_value(spec, rows, "noisy"), lacking=None).verdict
        wrong += verdict in ("helps", "hurts")
    assert wrong / n_studies <= 0.05 + 3 * (0.05 * 0.95 / n_studies) ** 0.5


def test_an_effect_of_two_standard_deviations_is_found_in_most_studies(make_trials: Make, accuracy: Metric) -> None:
    """12 pairs, d = 2: a paired t test has power above 99.9 %; Wilcoxon's efficiency of 0.955 leaves it above 99 %."""
    rng = np.random.default_rng(4)
    found = 0
    for _ in range(40):
        base = rng.normal(0.4, 0.02, size=12)
        spec, trials = make_trials({"baseline": base.tolist(), "noisy": (base + rng.normal(0.1, 0.05, size=12)).tolist()})
        rows = seed_rows(spec, accuracy, trials)
        found += judge(spec, accuracy, rows, "noisy", p=p_value(spec, rows, "noisy"), lacking=None).verdict == "helps"
    assert found >= 38
