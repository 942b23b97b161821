"""A suite has one answer over its studies, or an honest reason why it has none."""

import dataclasses
import statistics
from collections.abc import Callable

import pytest
from scipy import stats

from gradnoise_service.compare.suite import compare_selection, compare_suite
from gradnoise_service.domain.spec import StudySpec
from suite_studies import LOSS, SPREAD, Member, around, as_study, member, suite_of

Make = Callable[..., StudySpec]
ERROR = statistics.stdev(SPREAD) / 8**0.5


def test_effects_are_gains_in_units_of_the_smallest_difference(make_spec: Make) -> None:
    """Of every study its own, with the metric's sign, and standard error s / sqrt(n)."""
    studies = [
        member(make_spec, 1, around(0.06), smallest_difference=0.02),
        member(make_spec, 2, around(0.06), smallest_difference=0.03, metric=LOSS),
    ]
    found = compare_suite("several", studies)
    first, second = found.answers[0].effects
    assert (first.effect, second.effect) == (pytest.approx(3), pytest.approx(2))
    assert first.standard_error == pytest.approx(ERROR / 0.02)
    assert second.standard_error == pytest.approx(ERROR / 0.03)
    assert (first.gain, second.gain) == (pytest.approx(0.06), pytest.approx(0.06))
    comparison = studies[1][1]
    assert comparison is not None
    whole = comparison.differences[0].gain_interval
    assert second.interval is not None
    assert whole is not None
    assert (second.interval.low, second.interval.high) == (whole.low / 0.03, whole.high / 0.03)


def test_repeated_searches_have_the_standard_error_of_their_means(make_spec: Make) -> None:
    search = {"n_trials": 2, "repeats": 4, "epochs": 3, "rerun": {"n_seeds": 0}}
    study = member(make_spec, 1, around(0.06), search=search, smallest_difference=0.02, n_search=8)
    [effect] = compare_suite("several", [study]).answers[0].effects
    assert study[1] is not None
    searches = study[1].differences[0].searches
    assert searches is not None
    assert effect.standard_error == pytest.approx(searches.standard_error / 0.02)


@pytest.mark.parametrize(
    ("means", "verdict", "reason"),
    [
        ([0.06, 0.07, 0.08, 0.065, 0.075, 0.07], "helps", "interval_beyond"),
        ([-0.06, -0.07, -0.08, -0.065, -0.075, -0.07], "hurts", "interval_beyond"),
        ([0.001, -0.002, 0.0, 0.002, -0.001, 0.001], "no_difference", "interval_within"),
        ([0.01, 0.09, -0.06, 0.2, -0.1, 0.03], "undecided", "interval_includes_zero"),
        ([0.01, 0.05, 0.02, 0.03, 0.04, 0.01], "helps", "interval_excludes_zero"),
    ],
)
def test_the_verdict_is_on_the_mean_effect(
    make_spec: Make, means: list[float], verdict: str, reason: str
) -> None:
    """By the rule of a study, with 1 as the smallest difference; p is Student's on the effects."""
    found = compare_suite("several", suite_of(make_spec, *means))
    [answer] = found.answers
    assert (found.verdict, answer.reason, answer.no_verdict) == (verdict, reason, None)
    assert answer.pooled is not None
    assert answer.pooled.mean == pytest.approx(statistics.fmean(means) / 0.02)
    if statistics.stdev(means) > ERROR:
        assert answer.p_value == pytest.approx(stats.ttest_1samp(means, 0).pvalue)


def test_verdicts_of_the_studies_are_counted(make_spec: Make) -> None:
    [answer] = compare_suite("several", suite_of(make_spec, 0.1, 0.09, -0.1, 0.0)).answers
    assert (answer.n_complete, answer.n_helps, answer.n_hurts, answer.n_no_difference) == (
        *(4, 2, 1, 1),
    )
    wilson = stats.binomtest(2, 4).proportion_ci(method="wilson")
    assert answer.helped is not None
    assert (answer.helped.low, answer.helped.high) == pytest.approx(tuple(wilson))


def test_there_is_no_verdict_before_every_study_has_ended(make_spec: Make) -> None:
    """The mean so far is given."""
    studies: list[Member] = suite_of(make_spec, 0.06, 0.07, 0.08)
    running = as_study(make_spec(suite="several"), 9, state="running")
    found = compare_suite("several", [*studies, (running, None)])
    [answer] = found.answers
    assert (found.verdict, answer.no_verdict) == ("undecided", "waiting")
    assert (found.n_studies, found.n_ended) == (4, 3)
    assert answer.effects[-1].left_out == "waiting"
    assert answer.pooled is not None


@pytest.mark.parametrize("n", [0, 1])
def test_a_suite_with_fewer_than_two_effects_has_no_verdict(make_spec: Make, n: int) -> None:
    failed = as_study(make_spec(suite="several"), 9, state="failed")
    [answer] = compare_suite("several", [*suite_of(make_spec, *[0.06] * n), (failed, None)]).answers
    assert (answer.verdict, answer.no_verdict, answer.pooled) == ("undecided", "too_few", None)
    assert [effect.left_out for effect in answer.effects] == [None] * n + ["failed"]


def test_studies_without_an_effect_are_left_out_by_reason(make_spec: Make) -> None:
    """Cancelled, failed, too few pairs for an interval, other arms; the others are pooled."""
    other = member(make_spec, 7, around(0.06))
    assert other[1] is not None
    renamed = other[1].differences[0].model_copy(update={"arm": "dropout"})
    studies = [
        *suite_of(make_spec, 0.06, 0.07),
        (as_study(make_spec(), 4, state="cancelled"), None),
        (as_study(make_spec(), 5, state="failed"), None),
        member(make_spec, 6, [0.05, 0.06, 0.07]),
        (other[0], other[1].model_copy(update={"differences": (renamed,)})),
    ]
    [answer] = compare_suite("several", studies).answers
    assert [effect.left_out for effect in answer.effects] == [
        *(None, None, "cancelled", "failed", "no_verdict", "other_arms"),
    ]
    assert answer.pooled is not None
    assert (answer.pooled.n, answer.n_complete) == (2, 3)


def test_several_arms_share_the_error_probability(make_spec: Make) -> None:
    """Each interval is at 97.5 %, and p is doubled."""
    first = member(make_spec, 1, around(0.06), smallest_difference=0.02)
    arms = [*first[0].spec.arms, first[0].spec.arms[1].model_copy(update={"name": "other"})]
    spec = first[0].spec.model_copy(update={"arms": arms})
    studies = [
        (dataclasses.replace(study, spec=spec), comparison)
        for study, comparison in suite_of(make_spec, 0.06, 0.07, 0.09)
    ]
    noisy, other = compare_suite("several", studies).answers
    assert noisy.pooled is not None
    assert noisy.pooled.interval.level == pytest.approx(0.975)
    assert noisy.p_value == pytest.approx(2 * noisy.pooled.p_value)
    assert other.no_verdict == "too_few"


def test_a_workload_where_all_runs_are_equal_counts_as_no_effect(make_spec: Make) -> None:
    """Its standard error is 0; leaving it out would favour the other workloads."""
    studies = [*suite_of(make_spec, 0.06, 0.07), member(make_spec, 3, [0.0] * 8)]
    [answer] = compare_suite("several", studies).answers
    assert (answer.effects[2].effect, answer.effects[2].standard_error) == (0.0, 0.0)
    assert answer.pooled is not None
    assert answer.pooled.n == 3


def test_picked_studies_are_compared_on_every_pair_of_arms(make_spec: Make) -> None:
    """A study counts for the pairs of arms that it compares, with the level of all pairs."""
    other = [{"name": "plain", "technique": "none"}, {"name": "noisy", "technique": "annealed"}]
    members = suite_of(make_spec, 0.1, 0.101, 0.099)
    lone = as_study(make_spec(name="lone", arms=other), 9, state="running")
    found = compare_selection([*members, (lone, None)])
    assert found.varies_over == "study"
    assert [(a.arm, a.baseline, len(a.effects)) for a in found.answers] == [
        ("noisy", "baseline", 3),
        ("noisy", "plain", 1),
    ]
    first, second = found.answers
    assert (first.verdict, second.no_verdict) == ("helps", "waiting")
    assert first.pooled is not None
    assert first.pooled.interval.level == 1 - 0.05 / 2
