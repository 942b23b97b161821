"""The Optuna Dashboard is given the report's figures as Plotly describes them."""

import json
from collections.abc import Callable

from gradnoise_service.compare import compare
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import EpochMean, Metric, Trial
from gradnoise_service.report import plots

MakeTrials = Callable[..., tuple[StudySpec, list[Trial]]]


def test_every_plot_holds_the_comparison_s_numbers(
    make_trials: MakeTrials, accuracy: Metric
) -> None:
    spec, trials = make_trials({"baseline": [0.1, 0.2, 0.15], "noisy": [0.8, "failed", 0.9]})
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
        for name, text in plots(compare(spec, accuracy, trials, protocol={}, epochs=epochs)).items()
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


def test_of_a_study_without_results_there_are_no_plots(
    make_trials: MakeTrials, accuracy: Metric
) -> None:
    spec, _ = make_trials({"baseline": [0.1], "noisy": [0.8]})
    assert plots(compare(spec, accuracy, [], protocol={})) == {}


def test_of_many_trials_at_most_a_thousand_are_drawn(
    make_trials: MakeTrials, make_trial: Callable[..., Trial], accuracy: Metric
) -> None:
    spec, trials = make_trials(
        {"baseline": [0.1], "noisy": [0.2]}, search={"n_trials": 2500, "epochs": 3}
    )
    trials += [make_trial(spec, "search", "baseline", number, 0.2) for number in range(4, 2500)]
    drawn = json.loads(plots(compare(spec, accuracy, trials, protocol={}))["learning_rate"])
    assert [len(trace["x"]) for trace in drawn["data"]] == [834, 4]


def test_what_explains_the_values_is_drawn_by_name_beside_what_noise_alone_reaches(
    make_trials: MakeTrials, make_trial: Callable[..., Trial], accuracy: Metric
) -> None:
    spec, trials = make_trials(
        {"baseline": [0.1], "noisy": [0.2]}, search={"n_trials": 40, "epochs": 3}
    )
    trials += [make_trial(spec, "search", "noisy", number, number / 100) for number in range(4, 40)]
    comparison = compare(spec, accuracy, trials, protocol={})
    alone = [one for one in comparison.diagnostics.importances if one.arm == "noisy"]
    pairs = [one for one in comparison.diagnostics.interactions if one.arm == "noisy"]
    assert alone
    names = [*(one.name for one in alone), *(" with ".join(one.names) for one in pairs)]
    drawn = json.loads(plots(comparison)["importance"])
    share, reach = (trace for trace in drawn["data"] if trace["name"].startswith("noisy"))
    assert (share["y"], share["x"]) == (names, [one.share for one in (*alone, *pairs)])
    assert (reach["y"], reach["x"]) == (names, [one.chance for one in (*alone, *pairs)])
    assert "type" not in drawn["layout"]["yaxis"]
