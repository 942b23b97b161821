"""The verdict on an arm as sentences."""

import re
from collections.abc import Callable

import pytest

from gradnoise_service.compare.assembly import compare
from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.compare.facts.findings import EveryTrialLost
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.study import Metric, Trial
from gradnoise_service.report.words.verdict import sentence
from gradnoise_service.report.words.warnings import warning

Make = Callable[..., tuple[Design, list[Trial]]]
Compare = Callable[..., Comparison]
GOOD = [0.9, 0.8, 0.85, 0.9, 0.95, 0.9]
BAD = [0.1, 0.2, 0.15, 0.1, 0.05, 0.1]


@pytest.fixture
def compared(make_trials: Make, accuracy: Metric) -> Compare:
    """A function that compares an arm `noisy` with a baseline, from their confirm values."""

    def make(
        noisy: list[float | str], baseline: list[float | str], **changes: object
    ) -> Comparison:
        design, trials = make_trials({"baseline": baseline, "noisy": noisy}, **changes)
        return compare(design, accuracy, trials, protocol={})

    return make


def verdict(comparison: Comparison) -> str:
    return sentence(comparison, comparison.differences[0])


@pytest.mark.parametrize(
    ("noisy", "claim", "reason"),
    [
        (
            GOOD,
            "At these settings, noisy helps: "
            "mean accuracy 0.8833 against baseline's 0.5, a difference of +0.3833 (95 "
            "% interval +0.",
            " over 6 paired seeds, better in 6; the whole interval lies beyond 0.02, the smallest "
            "difference that matters.",
        ),
        (
            BAD,
            "At these settings, noisy hurts: "
            "mean accuracy 0.1167 against baseline's 0.5, a difference of −0.3833 (95 "
            "% interval −0.",
            " better in 0; the whole interval lies beyond 0.02, the smallest difference that "
            "matters.",
        ),
        (
            [0.5, 0.51, 0.5, 0.5, 0.49, 0.5],
            "At these settings, noisy makes no difference that matters if runs are not lost: "
            "mean accuracy 0.5 against baseline's 0.5, ",
            " better in 1, tied in 4; the interval lies within ±0.02, the smallest difference that "
            "matters (an equivalence test, 2.5 % on each side). With none of noisy's 6 runs lost, "
            "its loss rate is at most 39.3 % (95 % confidence); from 4 % on, the difference "
            "matters. With none of baseline's 6 runs lost, its loss rate is at most 39.3 % (95 % "
            "confidence); from 4 % on, the difference matters.",
        ),
        (
            [0.8, 0.2, 0.7, 0.4, 0.6, 0.6],
            "Undecided whether noisy helps or hurts at these settings: "
            "mean accuracy 0.55 against baseline's 0.5, ",
            " the interval includes both 0 and differences that matter (0.02 or more); if mean and "
            "spread stay as they are, about 144 more paired seeds would decide.",
        ),
        (
            [0.51, 0.53, 0.52, 0.53, 0.52, 0.53],
            "At these settings, noisy helps if runs are not lost: mean accuracy 0.5233 against "
            "baseline's 0.5, a difference of +0.02333 ",
            " the interval excludes 0 but not differences below 0.02, the smallest difference that "
            "matters. With none of noisy's 6 runs lost, its loss rate is at most 39.3 % (95 % "
            "confidence); from 4.46 % on, noisy no longer helps.",
        ),
    ],
)
def test_a_sentence_has_the_verdict_its_numbers_and_their_meaning(
    compared: Compare, noisy: list[float | str], claim: str, reason: str
) -> None:
    text = verdict(compared(noisy, [0.5] * 6))
    assert text.startswith(claim)
    assert text.endswith(reason)


def test_an_interval_that_the_test_does_not_confirm_is_undecided(compared: Compare) -> None:
    text = verdict(compared(["diverged"] * 5 + [0.5], [0.5] * 6))
    assert "; the interval excludes 0, but the sign-flip test is not significant" in text
    assert " (p = 0.062); if mean and spread stay as they are, about 1 more paired seed" in text


def test_lost_runs_are_counted(compared: Compare) -> None:
    text = verdict(compared(["failed"] * 5 + [0.9], [0.1] * 5 + ["diverged"]))
    assert text.endswith(
        " 1 of baseline's 6 runs was lost and counts as 0. 5 of noisy's 6 runs were lost and count "
        "as 0."
    )


def test_equal_differences_are_the_same_in_every_pair(compared: Compare) -> None:
    text = verdict(compared([0.2] * 6, [0.1] * 6))
    assert "a difference of +0.1 (the same in every pair) over 6 paired seeds, better in 6" in text


def test_a_metric_to_be_minimized_is_named(make_trials: Make, loss: Metric) -> None:
    design, trials = make_trials({"baseline": BAD, "noisy": GOOD})
    text = verdict(compare(design, loss, trials, protocol={}))
    assert text.startswith(
        "At these settings, noisy hurts if runs are not lost: mean loss (smaller is better) "
        "0.8833 against baseline's"
    )
    assert text.endswith(
        " With none of baseline's 6 runs lost, its loss rate is at most 39.3 % (95 % confidence); "
        "from 0.768 % on, noisy no longer hurts."
    )


def test_a_verdict_with_lost_runs_holds_if_no_more_are_lost(compared: Compare) -> None:
    text = verdict(compared([0.58] * 12, [0.5] * 11 + ["failed"]))
    assert text.startswith(
        "At these settings, noisy helps if no more runs are lost: mean accuracy 0.58 against "
    )
    assert text.endswith(
        " 1 of baseline's 12 runs was lost and counts as 0. With none of noisy's 12 runs lost, its "
        "loss rate is at most 22.1 % (95 % confidence); from 21 % on, noisy no longer helps."
    )


@pytest.mark.parametrize(
    ("noisy", "expected"),
    [
        (
            GOOD[:5],
            "Undecided: 5 paired seeds cannot distinguish a difference from chance; at least 6 are "
            "needed. So far: mean accuracy 0.88 against baseline's 0.12, a difference of +0.76 "
            "over 5 paired seeds, better in 5.",
        ),
        (["failed"] * 5, "No verdict: every confirm run of noisy failed with an error."),
    ],
)
def test_without_a_verdict_the_sentence_has_the_reason(
    compared: Compare, noisy: list[float | str], expected: str
) -> None:
    assert verdict(compared(noisy, BAD[:5])) == expected


def test_arms_with_only_lost_runs_have_no_verdict(compared: Compare) -> None:
    text = verdict(compared(["diverged"] * 6, ["diverged"] * 6))
    assert text == "No verdict: every confirm run of baseline and of noisy was lost."


def test_an_arm_without_a_setting_has_no_verdict(
    make_trials: Make, make_trial: Callable[..., Trial], accuracy: Metric
) -> None:
    design, trials = make_trials({"baseline": BAD, "noisy": []})
    others = [t for t in trials if (t.phase, t.arm) != ("search", "noisy")]
    failed = [make_trial(design, "search", "noisy", i, "failed") for i in range(4)]
    text = verdict(compare(design, accuracy, [*others, *failed], protocol={}))
    assert text == (
        "No verdict: no search trial of noisy is complete, so noisy has no setting to confirm."
    )


@pytest.mark.parametrize(
    ("outcome", "why", "warnings"),
    [
        (
            "failed",
            "1 of noisy's 3 searches found no setting to confirm, because no trial is complete",
            [],
        ),
        (
            "diverged",
            "every trial in 1 of noisy's 3 searches diverged or failed, so its setting is not a "
            "tuned one",
            [
                "Every ended trial in 1 of noisy's 3 searches diverged: its setting is the first "
                "that was tried, not a tuned one."
            ],
        ),
    ],
)
def test_a_search_without_a_tuned_setting_is_counted(
    make_trials: Make,
    make_trial: Callable[..., Trial],
    accuracy: Metric,
    outcome: str,
    why: str,
    warnings: list[str],
) -> None:
    repeated = {"n_trials": 2, "epochs": 3, "repeats": 3, "rerun": {"top": 1}}
    values: dict[str, list[float | str]] = {"baseline": list(BAD), "noisy": list(GOOD)}
    design, trials = make_trials(values, n_search=6, search=repeated)
    lost = [make_trial(design, "search", "noisy", i, outcome) for i in (2, 3)]
    others = [t for t in trials if (t.phase, t.arm, t.number // 2) != ("search", "noisy", 1)]
    comparison = compare(design, accuracy, [*others, *lost], protocol={})
    assert verdict(comparison) == f"No verdict: {why}."
    untuned = [f for f in comparison.findings if f.kind == "untuned_setting"]
    assert [warning(design, comparison, finding) for finding in untuned] == warnings


@pytest.mark.parametrize(("phase", "kind"), [("search", "search trial"), ("rerun", "rerun")])
def test_an_arm_that_lost_every_trial_of_its_selection_has_no_verdict(
    compared: Compare, phase: str, kind: str
) -> None:
    comparison = compared(GOOD, BAD)
    lost = EveryTrialLost.model_validate({"arm": "noisy", "phase": phase})
    difference = comparison.differences[0].model_copy(update={"no_verdict": lost})
    assert sentence(comparison, difference) == (
        f"No verdict: every {kind} of noisy diverged or failed, so its setting is not a tuned one."
    )


def test_arms_that_have_not_learned_are_named(make_trials: Make, accuracy: Metric) -> None:
    design, trials = make_trials({"baseline": [0.5] * 6, "noisy": [0.5] * 6})
    protocol = {"untrained": {"best": 0.5133, "n_seeds": 5}}
    assert verdict(compare(design, accuracy, trials, protocol=protocol)) == (
        "Undecided: neither baseline nor noisy learned. No run is better by 0.02, the smallest "
        "difference that matters, than the untrained model: accuracy 0.5133, the best of 5 seeds. "
        "So far: mean accuracy 0.5 against baseline's 0.5, a difference of 0 (the same in every "
        "pair) over 6 paired seeds, better in 0, tied in 6."
    )


@pytest.mark.parametrize(
    ("late", "cancelled"),
    [
        (["running"], ""),
        (["cancelled"], "; 1 trial was cancelled"),
        (["cancelled"] * 2, "; 2 trials were cancelled"),
    ],
)
def test_before_the_declared_end_the_sentence_counts_the_ended_trials(
    compared: Compare, late: list[float | str], cancelled: str
) -> None:
    text = verdict(compared([*GOOD[: -len(late)], *late], BAD))
    n_ended = 12 - len(late)
    assert text.startswith(
        "No verdict: it is given once every declared trial has ended; 8 of 8 search trials and "
        f"{n_ended} of 12 confirm runs have ended{cancelled}. So far: mean accuracy "
    )


def test_without_a_search_the_pairs_are_of_settings_and_seeds(
    make_grid: Make, accuracy: Metric
) -> None:
    base = [0.10, 0.50, 0.20, 0.55, 0.15, 0.60, 0.12, 0.58]
    mixed = [value + (0.3 if i % 4 < 2 else -0.2) for i, value in enumerate(base)]
    design, trials = make_grid({"baseline": base, "noisy": mixed})
    comparison = compare(design, accuracy, trials, protocol={})
    further = comparison.differences[0].further_seeds
    assert further is not None
    text = verdict(comparison)
    assert "over 8 pairs of runs (2 settings, 4 seeds), better in 4; " in text
    assert text.endswith(f"about {further} more paired seeds of every setting would decide.")


def test_repeated_searches_are_about_the_budget(make_trials: Make, accuracy: Metric) -> None:
    """The number of searches and trials is part of the claim, and more searches would decide."""
    repeated = {"n_trials": 4, "epochs": 3, "repeats": 2, "rerun": {"top": 1}}

    def text(noisy: list[float | str]) -> str:
        values = {"baseline": BAD, "noisy": noisy}
        design, trials = make_trials(values, n_search=8, search=repeated)
        return verdict(compare(design, accuracy, trials, protocol={}))

    assert text(GOOD).startswith("Tuned by 4 trials, noisy helps: mean accuracy 0.8833 against")
    assert " over 2 searches of each arm (6 paired seeds), better in 6; the whole" in text(GOOD)
    mixed = text([0.9, 0.1, 0.8, 0.2, 0.9, 0.1])
    assert mixed.startswith("Undecided whether noisy, tuned by 4 trials, helps or hurts: mean")
    assert re.search(r"about \d+ more searches of each arm would decide \(`repeats: \d+`\)", mixed)
