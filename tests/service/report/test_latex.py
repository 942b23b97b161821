"""The LaTeX tables hold the numbers of each arm."""

from collections.abc import Callable

from gradnoise_service.compare.assembly import compare
from gradnoise_service.compare.facts.tables import Reached
from gradnoise_service.compare.intervals import mean_interval, share_interval
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.study import Metric, Study, Trial
from gradnoise_service.report import html, latex, markdown
from gradnoise_service.report.latex import escaped

MakeTrials = Callable[..., tuple[Design, list[Trial]]]
MakeStudy = Callable[..., Study]


def test_the_latex_table_holds_the_numbers_of_each_arm(
    make_trials: MakeTrials, make_study: MakeStudy, accuracy: Metric
) -> None:
    noisy = [0.9, 0.8, 0.85, 0.9, 0.95, "diverged"]
    design, trials = make_trials({"baseline": [0.1] * 6, "noisy": noisy}, name="a study_1")
    text = latex.render(
        make_study(design, accuracy), compare(design, accuracy, trials, protocol={})
    )
    interval = mean_interval([0.9, 0.8, 0.85, 0.9, 0.95, 0.0], level=0.95, seed=design.spec.seed)
    assert (
        rf"noisy & 0.95 & 0.7333 & {interval.low:.4g} to {interval.high:.4g} & 0.875 & 6 & 1 \\"
        in text.splitlines()
    )
    assert r"\caption{a study\_1." in text
    assert text.count("{") == text.count("}")
    assert text.count(r"\begin") == text.count(r"\end") == 4
    widths = {line.count("&") for line in text.splitlines() if line.endswith(r"\\")}
    assert widths == {6, 3}  # the arms, and their recipes


def test_thresholds_have_columns(
    make_trials: MakeTrials, make_study: MakeStudy, accuracy: Metric
) -> None:
    design, trials = make_trials({"baseline": [0.1] * 6, "noisy": [0.9] * 3 + [0.5] * 3})
    comparison = compare(design, accuracy, trials, protocol={})
    ends = share_interval(0.5, 6, level=0.95)
    none = share_interval(0.0, 6, level=0.95)
    arms = [
        arm.model_copy(
            update={"reached": (Reached(threshold=0.8, n_reached=n, n=6, interval=interval),)}
        )
        for arm, n, interval in zip(comparison.arms, (0, 3), (none, ends), strict=True)
    ]
    study, shown = make_study(design, accuracy), comparison.model_copy(update={"arms": tuple(arms)})
    text = latex.render(study, shown)
    assert r"Lost & $\geq 0.8$ \\" in text
    assert rf" & 50\,\% ({100 * ends.low:.0f} to {100 * ends.high:.0f}) \\" in text
    assert "Runs at 0.8 or above" in html.render(study, shown)
    assert "| noisy | 3 of 6 (18.8 % to 81.2 %) |" in markdown.render(study, shown)


def test_too_few_runs_have_no_interval(
    make_trials: MakeTrials, make_study: MakeStudy, accuracy: Metric
) -> None:
    design, trials = make_trials({"baseline": [0.1] * 5, "noisy": []})
    lines = latex.render(
        make_study(design, accuracy), compare(design, accuracy, trials, protocol={})
    ).splitlines()
    assert r"baseline & 0.1 & 0.1 & -- & 0.1 & 5 & 0 \\" in lines
    assert r"noisy & -- & -- & -- & -- & 0 & 0 \\" in lines


def test_special_characters_are_escaped() -> None:
    assert (
        escaped("a_b^c ~ {x} <1> ±2 #")
        == r"a\_b\textasciicircum{}c \textasciitilde{} \{x\} $<$1$>$ $\pm$2 \#"
    )
