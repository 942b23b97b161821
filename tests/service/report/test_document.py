"""The report has the facts of the comparison, unchanged, and words for each of them."""

import json
from collections.abc import Callable

from gradnoise_service.compare.assembly import compare
from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.study import Metric, Study, Trial
from gradnoise_service.report import json as json_report
from gradnoise_service.report.document import Report, document

MakeTrials = Callable[..., tuple[Design, list[Trial]]]
MakeStudy = Callable[..., Study]
VALUES = {"baseline": [0.1] * 7, "noisy": [0.9] * 6 + ["diverged"], "constant": [0.1] * 7}


def test_the_report_is_the_comparison_with_words(
    make_trials: MakeTrials, make_study: MakeStudy, accuracy: Metric
) -> None:
    design, trials = make_trials(VALUES)
    comparison = compare(design, accuracy, trials, protocol={"versions": {"torch": "2"}})
    report = document(make_study(design, accuracy), comparison)
    sentences = [difference.sentence for difference in report.differences]
    assert report.sentence == sentences[0]
    assert [text.split(" ")[0] for text in sentences] == ["Undecided", "At"]
    assert len(report.warnings) == len(report.findings) > 0
    assert [held.name for held in report.held_equal][:2] == ["Workload", "Data"]
    assert report.diagnostics.remarks[0].name.startswith("Usable learning")
    assert Comparison.model_validate(report.model_dump()) == comparison


def test_the_json_report_passes_through_json(
    make_trials: MakeTrials, make_study: MakeStudy, accuracy: Metric
) -> None:
    design, trials = make_trials(VALUES)
    study, comparison = (
        make_study(design, accuracy),
        compare(design, accuracy, trials, protocol={}),
    )
    text = json_report.render(study, comparison)
    assert Report.model_validate_json(text) == document(study, comparison)
    values = json.loads(text)
    assert {"sentence", "held_equal", "warnings", "findings"} <= values.keys()
    assert {"name", "value"} == values["held_equal"][0].keys()
    assert values["diagnostics"]["remarks"]
    assert values["differences"][0]["gain_interval"]["method"] == "bca"


def test_unequal_budgets_and_small_searches_lead_the_report(
    make_trials: MakeTrials, make_study: MakeStudy, accuracy: Metric
) -> None:
    noise = {"technique": "annealed", "space": {"eta": 0.3, "gamma": 0.5}, "n_trials": 9}
    arms = [{"name": "baseline", "technique": "none"}, {"name": "noisy"} | noise]
    values = {"baseline": [0.1] * 6, "noisy": [0.5] * 6}
    search = {"n_trials": 30, "epochs": 3, "sampler": "random", "rerun": {"n_seeds": 0}}
    for changes, kinds in (
        ({"search": search, "smallest_difference": 0.3}, []),
        (
            {"arms": arms, "budget": {"equal": "none"}, "smallest_difference": 0.3},
            ["unequal_budgets", "small_search", "small_search"],
        ),
        ({}, ["small_search", "small_search", "few_near_best", "few_near_best"]),
    ):
        design, trials = make_trials(values, **changes)
        comparison = compare(design, accuracy, trials, protocol={})
        report = document(make_study(design, accuracy), comparison)
        assert [finding.kind for finding in report.findings][: len(kinds)] == kinds
        assert (report.leads, report.limitations) == (
            report.warnings[: len(kinds)],
            report.warnings[len(kinds) :],
        )
        assert report.is_tuned_equally == ("unequal_budgets" not in kinds)
