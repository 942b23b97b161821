"""Sentences on declared looks and on verdicts before an extension."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from gradnoise_service.compare.assembly import compare
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.study import Metric, Trial
from gradnoise_service.report.words.verdict import sentence
from gradnoise_service.report.words.warnings import warning

Make = Callable[..., tuple[Design, list[Trial]]]
CONFIRM = {"n_seeds": 24, "looks": [12, 18]}
BASE = [0.1 + i / 1000 for i in range(24)]
CLEAR = [0.9 - i / 500 for i in range(24)]
MIXED = [0.4 if i % 2 else -0.2 for i in range(24)]


def verdict(design: Design, metric: Metric, trials: list[Trial]) -> str:
    comparison = compare(design, metric, trials, protocol={})
    return sentence(comparison, comparison.differences[0])


def test_an_early_end_names_look_level_and_spared_seeds(
    make_trials: Make, accuracy: Metric
) -> None:
    design, trials = make_trials({"baseline": BASE[:12], "noisy": CLEAR[:12]}, confirm=CONFIRM)
    assert verdict(design, accuracy, trials).endswith(
        " This is look 1 of the 3 declared looks, at 12 of 24 seeds: interval and test use O'Brien "
        "and Fleming's level of 0.42 %, so that over all looks equal arms are called different in "
        "at most 5 % of studies. The study ended early: the other 12 paired seeds were not needed."
    )


def test_the_last_look_spares_no_seeds(make_trials: Make, accuracy: Metric) -> None:
    design, trials = make_trials({"baseline": BASE, "noisy": MIXED}, confirm=CONFIRM)
    text = verdict(design, accuracy, trials)
    assert " This is look 3 of the 3 declared looks, at 24 of 24 seeds: " in text
    assert text.endswith("in at most 5 % of studies.")


def test_an_undecided_look_is_named_while_the_study_continues(
    make_trials: Make, accuracy: Metric
) -> None:
    design, trials = make_trials({"baseline": BASE[:17], "noisy": MIXED[:17]}, confirm=CONFIRM)
    assert "; undecided so far, at 12 seeds. So far: mean" in verdict(design, accuracy, trials)


def test_several_comparisons_have_a_level_each(make_trials: Make, accuracy: Metric) -> None:
    values = {"baseline": BASE[:12], "noisy": CLEAR[:12], "constant": BASE[:12]}
    design, trials = make_trials(values, confirm=CONFIRM)
    assert (
        "level of 0.12 % for each of 2 comparisons (p, multiplied by 2, must be at most 0.0024), so"
        in verdict(design, accuracy, trials)
    )


def test_a_dropped_arm_names_its_look_and_spared_seeds(make_trials: Make, accuracy: Metric) -> None:
    values = {"baseline": BASE, "noisy": CLEAR[:12], "constant": MIXED}
    design, trials = make_trials(values, confirm=CONFIRM)
    text = verdict(design, accuracy, trials)
    assert text.startswith("At these settings, noisy helps: ")
    assert "over 12 paired seeds" in text
    assert " This is look 1 of the 3 declared looks, at 12 of 24 seeds: " in text
    assert "level of 0.12 % for each of 2 comparisons" in text
    assert text.endswith(" noisy was dropped early: the other 12 paired seeds were not needed.")
    extended = verdict(design.at(24).extended(2), accuracy, trials)
    assert extended == text
    comparison = compare(design, accuracy, trials, protocol={})
    warnings = [warning(design, comparison, f) for f in comparison.findings]
    assert any(w.startswith("noisy was dropped early, at 12 of 24 seeds") for w in warnings)


def test_an_arm_without_a_gain_that_matters_is_undecided_between_two_verdicts(
    make_trials: Make, accuracy: Metric
) -> None:
    below = [base - (0.06 if i % 2 else -0.03) for i, base in enumerate(BASE[:12])]
    values = {"baseline": BASE[:12], "noisy": below, "constant": BASE[:12]}
    design, trials = make_trials(values, confirm=CONFIRM, smallest_difference=0.05)
    text = verdict(design, accuracy, trials)
    assert text.startswith(
        "Undecided whether noisy hurts or makes no difference that matters at these settings: "
    )
    assert "; the interval excludes a gain of 0.05, the smallest difference that matters." in text
    assert "would decide" not in text


def test_a_strict_level_is_not_rounded_to_100_percent(make_trials: Make, accuracy: Metric) -> None:
    values = {
        "baseline": [0.5 + 0.001 * (i % 7) for i in range(40)],
        "noisy": [0.6 + 0.001 * (i % 5) for i in range(40)],
    }
    design, trials = make_trials(values, confirm={"n_seeds": 400, "looks": [40]})
    text = verdict(design, accuracy, trials)
    assert "(99.999999943 % interval" in text
    assert "100 %" not in text


def test_an_extended_study_has_the_probability_of_a_false_verdict(
    make_trials: Make, accuracy: Metric
) -> None:
    design, trials = make_trials({"baseline": BASE, "noisy": CLEAR})
    once = verdict(design, accuracy, trials)
    text = verdict(replace(design, extended_at=(12,)), accuracy, trials)
    assert text == once + (
        " This is verdict 2 of the study, after a verdict at 12 seeds: over these looks equal arms "
        "are called different in about 8.31 % of studies, not in 5 %; had the looks been declared, "
        "each would require p of at most 0.029 (Pocock), which this verdict meets."
    )


def test_a_verdict_beyond_pocock_s_level_does_not_meet_it(
    make_trials: Make, accuracy: Metric
) -> None:
    design, trials = make_trials({"baseline": BASE, "noisy": MIXED})
    text = verdict(replace(design, extended_at=(12, 18)), accuracy, trials)
    assert " This is verdict 3 of the study, after verdicts at 12 and 18 seeds: " in text
    assert text.endswith(" (Pocock), which this verdict does not meet.")


@pytest.mark.parametrize("extended_at", [(12,), (18,)])
def test_an_extension_of_declared_looks_is_beyond_them(
    make_trials: Make, accuracy: Metric, extended_at: tuple[int, ...]
) -> None:
    design, trials = make_trials({"baseline": BASE[:20], "noisy": CLEAR[:20]}, confirm=CONFIRM)
    extended = replace(design, n_seeds=20, extended_at=extended_at)
    text = verdict(extended, accuracy, trials)
    assert text.endswith("; the study was extended beyond its declared looks.")
