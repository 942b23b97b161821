"""Markdown says what the page says, in tables that hold, and shows foreign text as text."""

from collections.abc import Callable

import pytest

from gradnoise_service.compare import compare
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, Study, Trial
from gradnoise_service.report import markdown
from gradnoise_service.report.markdown_text import escaped, fenced

MakeTrials = Callable[..., tuple[StudySpec, list[Trial]]]


def test_the_report_has_verdict_arms_differences_runs_and_spec(
    make_trials: MakeTrials, make_study: Callable[..., Study], accuracy: Metric
) -> None:
    spec, trials = make_trials(
        {"baseline": [0.1] * 8, "noisy": [0.9] * 7 + ["diverged"]}, description="a | b\n# c"
    )
    protocol = {"formulas": {"none": "g_t", "annealed": "x_t"}, "versions": {"torch": "2"}}
    text = markdown(make_study(spec, accuracy), compare(spec, accuracy, trials, protocol=protocol))
    lines = text.splitlines()
    assert lines[:3] == ["# a study", "", r"a \| b \# c"]
    assert (
        "**helps** (noisy against baseline): noisy helps: mean accuracy 0.787 against baseline's "
        "0.1" in text
    )
    assert (
        "| noisy | annealed | lr 0.04, eta 0.3, gamma 0.3 | 0.4 | 0.7875 | 0.9 | 0 – 0.9 | 1 of 8 "
        "| 24 s |" in lines
    )
    assert f"| 8 | {spec.trial_seed('confirm', 7)} | 0.1 | 0 (diverged) |" in lines
    assert (
        lines.index(r"- formula of baseline: g\_t") == lines.index(r"- formula of noisy: x\_t") - 1
    )
    assert "smallest_difference: 0.02" in lines


@pytest.mark.parametrize("results", [[], ["running", 0.5], ["failed"] * 6])
def test_every_table_is_as_wide_as_its_head(
    make_trials: MakeTrials,
    make_study: Callable[..., Study],
    accuracy: Metric,
    results: list[float | str],
) -> None:
    spec, trials = make_trials({"baseline": results, "noisy": results})
    for table in ([], trials):
        width = None
        for line in markdown(
            make_study(spec, accuracy, error="boom"), compare(spec, accuracy, table, protocol={})
        ).splitlines():
            width = (width or line.count("|")) if line.startswith("|") else None
            assert width is None or line.count("|") == width


def test_markup_in_text_is_escaped() -> None:
    assert escaped("[x](http://y) <b> `c`\n|") == r"\[x\](http://y) \<b\> \`c\` \|"


def test_a_fence_is_longer_than_any_in_its_text() -> None:
    assert fenced("a ```` b", "yaml") == ["`````yaml", "a ```` b", "`````"]
