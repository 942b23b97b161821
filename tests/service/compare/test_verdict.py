"""The verdict follows from the interval, the smallest difference that matters and the exact test,
and says so in words.
"""

from collections.abc import Callable

import pytest

from gradnoise_service.compare.comparison import Interval
from gradnoise_service.compare.tables import seed_rows
from gradnoise_service.compare.verdict import decide, judge, p_value
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, Trial

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
def test_an_interval_decides_against_the_smallest_difference(
    low: float, high: float, p: float, expected: str
) -> None:
    assert decide(Interval(low=low, high=high, level=0.95, method=""), 0.02, p) == expected


@pytest.mark.parametrize(
    ("noisy", "start", "further"),
    [
        (
            [0.9, 0.8, 0.85, 0.9, 0.95, 0.9],
            "noisy helps: mean accuracy 0.883 against baseline's 0.5, a difference of +0.383 (95 "
            "% ",
            None,
        ),
        (
            [0.1, 0.2, 0.15, 0.1, 0.05, 0.1],
            "noisy hurts: mean accuracy 0.117 against baseline's 0.5, a difference of −0.383 (95 "
            "% ",
            None,
        ),
        (
            [0.5, 0.51, 0.5, 0.5, 0.49, 0.5],
            "noisy makes no difference that matters: mean accuracy 0.5 against baseline's 0.5, ",
            None,
        ),
        # mean 0.05, standard deviation 0.217: (1.96 + 0.842)^2 (0.217 / 0.05)^2 pi / 3 = 155 pairs
        # and two for Student, 6 are there
        (
            [0.8, 0.2, 0.7, 0.4, 0.6, 0.6],
            "Undecided whether noisy helps or hurts: mean accuracy 0.55 against baseline's 0.5, ",
            151,
        ),
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
        assert difference.sentence.endswith(
            f"about {further} more paired seeds would decide, if the differences go on like this."
        )
