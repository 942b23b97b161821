"""Always-valid verdicts of studies: while they run, at their end, after an extension."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from gradnoise_service.compare.anytime import anytime_interval, anytime_p
from gradnoise_service.compare.assembly import compare
from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.compare.facts.findings import (
    EveryRunFailed,
    EveryRunLost,
    NeitherLearned,
    NoSetting,
    TooFewPairs,
    Waiting,
)
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.sequential import ALPHA
from gradnoise_service.domain.study import Metric, Trial
from gradnoise_service.report.words.verdict import sentence

Make = Callable[..., tuple[Design, list[Trial]]]
BASE = [0.1 + i / 1000 for i in range(24)]
CLEAR = [0.9 - i / 500 for i in range(24)]
MIXED = [0.4 if i % 2 else -0.2 for i in range(24)]
ANYTIME = {"confirm": {"n_seeds": 24, "anytime": True}}


@pytest.fixture
def comparison(make_trials: Make, accuracy: Metric) -> Callable[..., Comparison]:
    """A function that returns the comparison of an always-valid study with these confirm values."""

    def make(**values: list[float | str]) -> Comparison:
        design, trials = make_trials(values, **ANYTIME)
        return compare(design, accuracy, trials, protocol={})

    return make


def test_interval_and_p_are_always_valid(comparison: Callable[..., Comparison]) -> None:
    c = comparison(baseline=BASE, noisy=CLEAR)
    (d,) = c.differences
    gains = [a - b for a, b in zip(CLEAR, BASE, strict=True)]
    assert (c.verdict, c.is_final, c.anytime) == ("helps", True, True)
    assert d.p_value == anytime_p(gains)
    assert d.gain_interval == anytime_interval(gains, level=0.95)
    assert (c.false_verdict_chance, c.plan, c.pocock_level) == (ALPHA, None, None)
    assert sentence(c, d).endswith(
        " The interval and p are valid at every number of pairs and under any extension: over all "
        "looks, equal arms are called different in at most 5 % of studies, as far as the "
        "differences of equal arms are symmetric."
    )


@pytest.mark.parametrize(("n", "verdict"), [(7, "undecided"), (12, "helps"), (23, "helps")])
def test_a_running_study_has_a_verdict(
    comparison: Callable[..., Comparison], n: int, verdict: str
) -> None:
    noisy = [*CLEAR[:6], 0.2, *CLEAR[7:n]]
    c = comparison(baseline=[*BASE[:n], "running"], noisy=noisy)
    (d,) = c.differences
    assert (c.is_final, d.no_verdict, c.verdict, d.n) == (False, None, verdict, n)
    assert f" This verdict is over the first {n} of 24 pairs." in sentence(c, d)


def test_only_pairs_before_the_first_open_one_count(comparison: Callable[..., Comparison]) -> None:
    """Otherwise fast runs would be favoured; lost runs count."""
    noisy: list[float | str] = [*CLEAR]
    noisy[3], noisy[14] = "diverged", "running"
    (d,) = comparison(baseline=list(BASE), noisy=noisy).differences
    gains = [a - b for a, b in zip([*CLEAR[:3], 0.0, *CLEAR[4:14]], BASE, strict=False)]
    assert (d.n, d.n_lost, d.no_verdict) == (14, 1, None)
    assert d.p_value == anytime_p(gains)
    assert d.gain == pytest.approx(np.mean(gains))


def test_before_the_fewest_pairs_the_study_waits(comparison: Callable[..., Comparison]) -> None:
    c = comparison(baseline=list(BASE[:6]), noisy=list(CLEAR))
    (d,) = c.differences
    assert (d.no_verdict, d.n, d.gain_interval) == (Waiting(), 6, None)
    assert "So far: mean" in sentence(c, d)
    (empty,) = comparison(baseline=[], noisy=[]).differences
    assert (empty.no_verdict, empty.n, empty.p_value) == (Waiting(), 0, None)


def test_a_complete_study_of_too_few_pairs_is_undecided(
    make_trials: Make, accuracy: Metric
) -> None:
    confirm = {"n_seeds": 6, "anytime": True}
    design, trials = make_trials({"baseline": BASE[:6], "noisy": CLEAR[:6]}, confirm=confirm)
    (d,) = compare(design, accuracy, trials, protocol={}).differences
    assert (d.no_verdict, d.further_seeds) == (TooFewPairs(n_needed=7), 1)


def test_a_cancelled_study_keeps_its_verdict(comparison: Callable[..., Comparison]) -> None:
    rest = ["cancelled"] * 10
    c = comparison(baseline=[*BASE[:14], *rest], noisy=[*CLEAR[:14], *rest])
    assert (c.verdict, c.differences[0].no_verdict, c.differences[0].n) == ("helps", None, 14)


def test_lost_runs_of_a_running_study_give_no_verdict(
    comparison: Callable[..., Comparison],
) -> None:
    lost, failed = ["diverged"] * 12, ["failed"] * 12
    (d,) = comparison(baseline=lost, noisy=lost).differences
    assert d.no_verdict == EveryRunLost()
    (d,) = comparison(baseline=list(BASE[:12]), noisy=failed).differences
    assert d.no_verdict == EveryRunFailed(arm="noisy")


@pytest.mark.parametrize("n", [12, 24])
def test_arms_that_have_not_learned_have_no_verdict_at_any_time(
    make_trials: Make, accuracy: Metric, n: int
) -> None:
    rest = ["running"] * (24 - n)
    design, trials = make_trials(
        {"baseline": [*BASE[:n], *rest], "noisy": [*BASE[:n], *rest]}, **ANYTIME
    )
    protocol = {"untrained": {"best": 0.11, "n_seeds": 5}}
    (d,) = compare(design, accuracy, trials, protocol=protocol).differences
    assert (d.verdict, d.no_verdict) == ("undecided", NeitherLearned(best=0.11, n_seeds=5))


def test_an_arm_without_a_setting_has_no_verdict(
    make_trials: Make, make_trial: Callable[..., Trial], accuracy: Metric
) -> None:
    design, trials = make_trials({"baseline": list(BASE), "noisy": []}, **ANYTIME)
    others = [t for t in trials if (t.phase, t.arm) != ("search", "noisy")]
    failed = [make_trial(design, "search", "noisy", i, "failed") for i in range(4)]
    c = compare(design, accuracy, [*others, *failed], protocol={})
    assert (c.differences[0].no_verdict, c.is_final) == (NoSetting(arm="noisy"), True)


def test_several_arms_share_the_error_and_wait_for_their_own_pairs(
    comparison: Callable[..., Comparison],
) -> None:
    noisy, constant = comparison(
        baseline=list(BASE), noisy=list(CLEAR), constant=list(CLEAR[:10])
    ).differences
    assert (noisy.n, constant.n) == (24, 10)
    gains = [a - b for a, b in zip(CLEAR, BASE, strict=True)]
    assert noisy.p_value == pytest.approx(2 * anytime_p(gains))
    assert constant.p_value == pytest.approx(2 * anytime_p(gains[:10]))
    assert noisy.gain_interval == anytime_interval(gains, level=0.975)


def test_an_extension_neither_warns_nor_costs(make_trials: Make, accuracy: Metric) -> None:
    design, trials = make_trials({"baseline": BASE, "noisy": CLEAR}, **ANYTIME)
    once = compare(design, accuracy, trials, protocol={})
    extended = compare(replace(design, extended_at=(12,)), accuracy, trials, protocol={})
    assert (extended.looks, extended.false_verdict_chance) == ((), ALPHA)
    assert extended.differences == once.differences


def test_an_undecided_study_states_after_how_many_repetitions_it_decides(
    make_trials: Make, accuracy: Metric
) -> None:
    values = {"baseline": [0.0] * 24, "noisy": MIXED}
    design, trials = make_trials(values, **ANYTIME, smallest_difference=0.2)
    c = compare(design, accuracy, trials, protocol={})
    (d,) = c.differences
    assert (c.verdict, d.reason) == ("undecided", "interval_includes_zero")
    assert d.further_seeds is not None
    assert 24 < d.further_seeds < 300
    at_0 = [0.3 if i % 2 else -0.3 for i in range(24)]
    design, trials = make_trials(values | {"noisy": at_0}, **ANYTIME, smallest_difference=1e-9)
    c = compare(design, accuracy, trials, protocol={})
    assert c.differences[0].further_seeds is None
    assert "even 10,000 paired seeds would not decide" in sentence(c, c.differences[0])
