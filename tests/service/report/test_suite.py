"""The report of a suite: sentences, tables and the forest plot."""

from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from gradnoise_service.compare.facts.suite import SuiteComparison
from gradnoise_service.compare.suite import compare_suite
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.report import suite as report
from gradnoise_service.report.figures.forest import forest
from suite_studies import as_study, suite_of

Make = Callable[..., StudySpec]


@pytest.fixture
def compared(make_spec: Make) -> SuiteComparison:
    """Four complete studies and a failed one."""
    failed = as_study(make_spec(name="no data", suite="several"), 9, state="failed")
    studies = suite_of(make_spec, 0.06, 0.07, 0.08, 0.0)
    return compare_suite("several", [*studies, (failed, None)])


def test_the_sentence_states_mean_interval_prediction_and_verdicts(
    compared: SuiteComparison,
) -> None:
    assert report.document(compared).sentence == (
        "Undecided whether noisy helps or hurts on average over these workloads: mean effect "
        "+2.625 times the smallest difference that matters (95 % interval −0.2344 to +5.484) over "
        "4 workloads; the interval includes both 0 and effects that matter (1 or more). The effect "
        "on a further workload of this kind is predicted between −6.007 and +11.26 (95 %); 99.6 % "
        "of the variance of the effects is between workloads. Verdicts of the 4 studies: 3 helps "
        "and 1 no difference; share helped 75 % (30.1 % to 95.4 %). Left out: no data (failed)."
    )


@pytest.mark.parametrize(
    ("means", "start", "reason"),
    [
        ([0.06, 0.07, 0.08], "noisy helps on average", "the whole interval lies beyond 1"),
        ([-0.06, -0.07, -0.08], "noisy hurts on average", "the whole interval lies beyond 1"),
        ([0.0, 0.001, 0.002], "noisy makes no difference that matters", "lies within ±1"),
        ([0.01, 0.2, -0.1], "Undecided whether noisy helps or hurts", "includes both 0 and"),
        ([0.01, 0.05, 0.02, 0.03, 0.04, 0.01], "noisy helps on", "excludes 0 but not effects"),
    ],
)
def test_each_verdict_has_its_sentence(
    make_spec: Make, means: list[float], start: str, reason: str
) -> None:
    sentence = report.document(compare_suite("several", suite_of(make_spec, *means))).sentence
    assert sentence.startswith(start)
    assert reason in sentence


def test_a_suite_without_a_verdict_says_why(make_spec: Make) -> None:
    running = (as_study(make_spec(name="b"), 9, state="running"), None)
    waiting = compare_suite("several", [*suite_of(make_spec, 0.06, 0.07), running])
    sentence = report.document(waiting).sentence
    assert sentence.startswith(
        "No verdict: it is given once every study has ended; 2 of 3 studies have ended. So far: "
        "mean effect +3.25 times"
    )
    only = report.document(compare_suite("several", [running])).sentence
    assert only == "No verdict: it is given once every study has ended; 0 of 1 study has ended."
    [alone] = suite_of(make_spec, 0.06)
    assert report.document(compare_suite("several", [alone])).sentence == (
        "No verdict: a suite needs the effects of at least 2 studies, and has 1."
    )


def test_markdown_has_a_row_for_each_study(compared: SuiteComparison) -> None:
    text = report.markdown(compared)
    assert text.startswith("# several\n\n**undecided** (noisy against baseline): Undecided")
    assert "| workload 1 | mlp | +0.06 accuracy | 0.02 | +3 |" in text
    assert "| no data | mlp | – | 0.02 | – | – | failed |" in text
    assert "- p: " in text


def test_the_page_is_well_formed_and_self_contained(compared: SuiteComparison) -> None:
    class Outline(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.opened: list[str] = []
            self.loaded: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.loaded += [str(v) for k, v in attrs if k in ("src", "href") and v and v[0] != "#"]
            if tag not in ("meta", "path", "use", "circle"):
                self.opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            if tag not in ("path", "use", "circle"):
                assert self.opened.pop() == tag

    text = report.html(compared)
    outline = Outline()
    outline.feed(text)
    assert (outline.opened, outline.loaded) == ([], [])
    assert text.count("<figure") == 1
    assert "noisy against baseline on each workload" in text


def test_the_forest_plot_describes_every_study_and_the_mean(compared: SuiteComparison) -> None:
    picture = forest(compared.answers[0])
    assert picture.name == "forest-noisy"
    assert picture.alt.startswith("workload 1: +3 (+2.75 to +3.2")
    assert "workload 4: 0 (" in picture.alt
    assert "no data: failed. mean +2.625 (" in picture.alt
