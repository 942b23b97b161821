"""What the tuning curves show, as sentences."""

from collections.abc import Callable

import pytest

from gradnoise_service.compare.assembly import compare
from gradnoise_service.compare.facts.diagnostics import BudgetComparison, Diagnostics, Lead, Tuning
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.study import Metric, Trial
from gradnoise_service.report.words.tuning_curves import tuning

Make = Callable[..., tuple[Design, list[Trial]]]
VALUES = {"baseline": [0.1], "noisy": [0.3]}
LABEL = "Median of the best of k trials, noisy against baseline"
BASELINE = Lead(arm="baseline", first=1, last=12)
NOISY = Lead(arm="noisy", first=17, last=24)
OVERLAP = (
    "the 95 % bands, over all k and arms together, overlap everywhere, so these trials do not show "
    "at which budget noisy is better (24 trials of each arm bound the median on both sides up to "
    "k = 2)"
)


@pytest.fixture
def words(make_trials: Make, accuracy: Metric) -> Callable[..., dict[str, str]]:
    """A function that returns the texts of the comparison of two curves with changed fields."""
    design, trials = make_trials(VALUES)
    comparison = compare(design, accuracy, trials, protocol={})

    def texts(**changes: object) -> dict[str, str]:
        fields: dict[str, object] = {
            "arm": "noisy",
            "baseline": "baseline",
            "n": 24,
            "reach": 2,
            "leads": (BASELINE, NOISY),
            "better": None,
            "worse": None,
        }
        found = Tuning(comparisons=(BudgetComparison.model_validate(fields | changes),))
        diagnostics = Diagnostics(tuning=found)
        return dict(tuning(design, comparison.model_copy(update={"diagnostics": diagnostics})))

    return texts


@pytest.mark.parametrize(
    ("leads", "expected"),
    [
        ((), "the estimates are equal with 1 to 24 trials"),
        ((NOISY,), "noisy's estimate is better with 17 to 24 trials"),
        (
            (BASELINE, NOISY),
            "baseline's estimate is better with 1 to 12 trials, noisy's with 17 to 24 trials",
        ),
        (
            (Lead(arm="noisy", first=1, last=1), BASELINE, NOISY),
            "the estimates cross 2 times, and noisy's is better with 17 to 24 trials",
        ),
    ],
)
def test_the_better_estimate_is_named_by_number_of_trials(
    words: Callable[..., dict[str, str]], leads: tuple[Lead, ...], expected: str
) -> None:
    assert words(leads=leads) == {LABEL: f"{expected}; {OVERLAP}"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"better": (5, 8), "reach": 8},
            "are apart: noisy's is better with 5 to 8 trials (24 trials of each arm bound the "
            "median on both sides up to k = 8)",
        ),
        (
            {"better": (2, 2), "worse": (1, 1)},
            "are apart: noisy's is better with 2 trials, noisy's is worse with 1 trial (24 "
            "trials of each arm bound the median on both sides up to k = 2)",
        ),
        (
            {"n": 4, "reach": 0},
            "overlap everywhere, so these trials do not show at which budget noisy is better (4 "
            "trials of each arm bound the median on both sides for no k)",
        ),
    ],
)
def test_the_bands_show_where_they_are_apart_and_how_far_they_reach(
    words: Callable[..., dict[str, str]], changes: dict[str, object], expected: str
) -> None:
    bands = words(**changes)[LABEL].split("; ")[1]
    assert bands == f"the 95 % bands, over all k and arms together, {expected}"


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        (
            {"sampler": "qmc"},
            "it needs independent trials (sampler random, no pruner), and the sampler was qmc",
        ),
        (
            {"sampler": "random", "pruner": "median"},
            "it needs independent trials (sampler random, no pruner), and the pruner median ends "
            "trials early",
        ),
        ({"sampler": "random", "n_trials": 9}, "not every declared search trial has ended"),
    ],
)
def test_without_a_curve_the_reason_is_given(
    make_trials: Make, accuracy: Metric, search: dict[str, object], expected: str
) -> None:
    design, trials = make_trials(VALUES, search={"n_trials": 4, "epochs": 3} | search)
    comparison = compare(design, accuracy, trials, protocol={})
    assert dict(tuning(design, comparison)) == {
        "Median of the best of k trials": f"no curve: {expected}"
    }


def test_a_comparison_that_was_stored_without_curves_has_no_sentence(
    make_trials: Make, accuracy: Metric
) -> None:
    design, trials = make_trials(VALUES)
    comparison = compare(design, accuracy, trials, protocol={})
    older = comparison.model_copy(update={"diagnostics": Diagnostics()})
    assert list(tuning(design, older)) == []
