"""Markdown has the content of the page, in well-formed tables; foreign text is escaped."""

from collections.abc import Callable

import pytest

from gradnoise_service.compare.assembly import compare
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.study import Metric, Study, Trial
from gradnoise_service.report.markdown import render

MakeTrials = Callable[..., tuple[Design, list[Trial]]]


def test_the_report_has_verdict_arms_differences_runs_and_spec(
    make_trials: MakeTrials, make_study: Callable[..., Study], accuracy: Metric
) -> None:
    design, trials = make_trials(
        {"baseline": [0.1] * 8, "noisy": [0.9] * 7 + ["diverged"]}, description="a | b\n# c"
    )
    protocol = {"formulas": {"none": "g_t", "annealed": "x_t"}, "versions": {"torch": "2"}}
    text = render(
        make_study(design, accuracy), compare(design, accuracy, trials, protocol=protocol)
    )
    lines = text.splitlines()
    assert lines[:3] == ["# a study", "", r"a \| b \# c"]
    assert (
        "**helps** (noisy against baseline): At these settings, noisy helps: "
        "mean accuracy 0.7875 against baseline's "
        "0.1" in text
    )
    assert (
        "| noisy | annealed | lr 0.04, eta 0.3, gamma 0.3 | 0.4 | 0.7875 | 0.9 | 0 – 0.9 | 1 of 8 "
        "| 24 s |" in lines
    )
    # no correlation with equal values; bounds of 1 and of 0 lost runs of 8
    assert "| – | 47.1 % | 31.2 % |" in text
    assert f"| 8 | {design.seed('confirm', 'noisy', 7)} | 0.1 | 0 (diverged) |" in lines
    assert (
        lines.index(r"- formula of baseline: g\_t") == lines.index(r"- formula of noisy: x\_t") - 1
    )
    assert "smallest_difference: 0.02" in lines


@pytest.mark.parametrize("results", [[], ["running", 0.5], ["failed"] * 6])
def test_every_table_is_as_wide_as_its_header(
    make_trials: MakeTrials,
    make_study: Callable[..., Study],
    accuracy: Metric,
    results: list[float | str],
) -> None:
    design, trials = make_trials({"baseline": results, "noisy": results})
    for table in ([], trials):
        width = None
        for line in render(
            make_study(design, accuracy, error="boom"),
            compare(design, accuracy, table, protocol={}),
        ).splitlines():
            width = (width or line.count("|")) if line.startswith("|") else None
            assert width is None or line.count("|") == width
