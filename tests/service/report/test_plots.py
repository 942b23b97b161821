"""The figures of the Optuna Dashboard hold the numbers of the comparison."""

import json
from collections.abc import Callable

from gradnoise_service.compare.assembly import compare
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.study import EpochMean, Metric, Trial
from gradnoise_service.report import plots

MakeTrials = Callable[..., tuple[Design, list[Trial]]]


def test_every_plot_holds_the_comparison_s_numbers(
    make_trials: MakeTrials, accuracy: Metric
) -> None:
    design, trials = make_trials({"baseline": [0.1, 0.2, 0.15], "noisy": [0.8, "failed", 0.9]})
    epochs = [
        EpochMean(
            arm=arm,
            epoch=e,
            n=3,
            value=e / 10,
            noise_to_gradient=e / 100 if arm == "noisy" else None,
        )
        for arm in ("baseline", "noisy")
        for e in (1, 2, 3)
    ]
    drawn = {
        name: json.loads(text)
        for name, text in plots.render(
            compare(design, accuracy, trials, protocol={}, epochs=epochs)
        ).items()
    }
    shown = {
        name: [(trace["name"], trace["x"], trace["y"]) for trace in plot["data"]]
        for name, plot in drawn.items()
    }
    assert shown == {
        "confirm": [
            ("baseline", [0.1, 0.2, 0.15], [1, 2, 3]),
            ("noisy", [0.8, 0.9], [1, 3]),
            ("noisy, lost", [0.0], [2]),
        ],
        "best_so_far": [
            (arm, [1, 2, 3, 4], [trial.value for trial in trials[:4]])
            for arm in ("baseline", "noisy")
        ],
        "learning_rate": [
            (arm, [0.01, 0.02, 0.03, 0.04], [trial.value for trial in trials[:4]])
            for arm in ("baseline", "noisy")
        ],
        "course": [(arm, [1, 2, 3], [0.1, 0.2, 0.3]) for arm in ("baseline", "noisy")],
        "noise_course": [("noisy", [1, 2, 3], [0.01, 0.02, 0.03])],
    }
    assert drawn["learning_rate"]["layout"]["xaxis"] == {
        "title": {"text": "Learning rate"},
        "type": "log",
    }


def test_a_study_without_results_has_no_plots(make_trials: MakeTrials, accuracy: Metric) -> None:
    design, _ = make_trials({"baseline": [0.1], "noisy": [0.8]})
    assert plots.render(compare(design, accuracy, [], protocol={})) == {}


def test_at_most_a_thousand_of_many_trials_are_drawn(
    make_trials: MakeTrials, make_trial: Callable[..., Trial], accuracy: Metric
) -> None:
    design, trials = make_trials(
        {"baseline": [0.1], "noisy": [0.2]}, search={"n_trials": 2500, "epochs": 3}
    )
    trials += [make_trial(design, "search", "baseline", number, 0.2) for number in range(4, 2500)]
    drawn = json.loads(
        plots.render(compare(design, accuracy, trials, protocol={}))["learning_rate"]
    )
    assert [len(trace["x"]) for trace in drawn["data"]] == [834, 4]


def test_importances_are_drawn_with_the_share_that_noise_alone_reaches(
    make_trials: MakeTrials, make_trial: Callable[..., Trial], accuracy: Metric
) -> None:
    design, trials = make_trials(
        {"baseline": [0.1], "noisy": [0.2]}, search={"n_trials": 40, "epochs": 3}
    )
    trials += [
        make_trial(design, "search", "noisy", number, number / 100) for number in range(4, 40)
    ]
    comparison = compare(design, accuracy, trials, protocol={})
    alone = [f for f in comparison.diagnostics.importances if f.arm == "noisy"]
    pairs = [f for f in comparison.diagnostics.interactions if f.arm == "noisy"]
    assert alone
    names = [*(f.name for f in alone), *(" with ".join(f.names) for f in pairs)]
    drawn = json.loads(plots.render(comparison)["importance"])
    share, reach = (trace for trace in drawn["data"] if trace["name"].startswith("noisy"))
    assert (share["y"], share["x"]) == (names, [f.share for f in (*alone, *pairs)])
    assert (reach["y"], reach["x"]) == (names, [f.chance for f in (*alone, *pairs)])
    assert "type" not in drawn["layout"]["yaxis"]
