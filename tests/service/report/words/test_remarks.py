"""Remarks on usable learning rates and on the importance of hyperparameters."""

import dataclasses
import itertools
from collections.abc import Callable

import pytest

from chosen_outcomes import points
from gradnoise_service.compare.assembly import compare
from gradnoise_service.compare.diagnostics import diagnose
from gradnoise_service.compare.importance import chance_share
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.study import Metric, Trial
from gradnoise_service.report.words.remarks import remarks

Make = Callable[..., tuple[Design, list[Trial]]]


@pytest.mark.parametrize(
    ("delta", "expected"),
    [
        (
            0.35,
            "0.01 to 0.04, a factor of 4; wider than baseline's factor of 2: 4 of the 4 trials in "
            "this range came within 0.35 of its best value (0.4)",
        ),
        (0.05, "0.04 only: no other trial came within 0.05 of its best value (0.4)"),
        (
            0.15,
            "0.03 to 0.04, a factor of 1.33; too few trials came so close to compare it with "
            "baseline's: 2 of the 2 trials in this range came within 0.15 of its best value (0.4)",
        ),
    ],
)
def test_the_range_of_rates_is_compared_with_the_baseline_s(
    make_trials: Make, accuracy: Metric, delta: float, expected: str
) -> None:
    design, trials = make_trials(
        {"baseline": [0.1, 0.2], "noisy": [0.3, 0.2]}, smallest_difference=delta
    )
    first = next(t for t in trials if (t.phase, t.arm, t.number) == ("search", "baseline", 0))
    trials[trials.index(first)] = dataclasses.replace(first, value=0.0)
    comparison = compare(design, accuracy, trials, protocol={})
    assert dict(remarks(design, comparison))["Usable learning rates of noisy"] == expected


@pytest.mark.parametrize(
    ("sampler", "bias"),
    [("random", ""), ("tpe", "; tpe sampled mostly good settings, which lowers the shares")],
)
def test_shares_are_given_with_the_share_that_noise_alone_reaches(
    make_trials: Make, accuracy: Metric, sampler: str, bias: str
) -> None:
    """40 trials in 2 x 2 cells, with the exclusive or of eta and gamma as value."""
    design, trials = make_trials(
        {"baseline": [0.1, 0.2], "noisy": [0.3, 0.2]},
        search={"n_trials": 4, "epochs": 3, "sampler": sampler},
    )
    cells = list(itertools.product((0, 1), (0, 1))) * 10
    search = points(
        [float(eta != gamma) for eta, gamma in cells],
        eta=[eta for eta, _ in cells],
        gamma=[gamma for _, gamma in cells],
    )
    comparison = compare(design, accuracy, trials, protocol={})
    found = diagnose(design, accuracy, comparison.arms, search, [])
    texts = dict(remarks(design, comparison.model_copy(update={"diagnostics": found})))
    alone, pairs = round(100 * chance_share(1, 38)), round(100 * chance_share(1, 36))
    assert texts["Variance of noisy's values explained"] == (
        "eta 0 %, gamma 0 % (share of the variance of ranks, each alone, over 40 trials; noise "
        f"alone reaches {alone} %{bias})"
    )
    assert texts["Variance of noisy's values explained by pairs"] == (
        "eta with gamma 100 % beyond what each explains alone (over 40 trials; noise alone "
        f"reaches {pairs} %)"
    )
