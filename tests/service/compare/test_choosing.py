"""Each arm's best setting is chosen on validation, independently of the other arms."""

import random
import statistics
from collections.abc import Callable

import pytest

from gradnoise_service.compare.choosing import (
    as_counted,
    choices,
    finalists,
    outcome,
    reruns,
)
from gradnoise_service.compare.tables import seed_rows, summary
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.spec import Phase
from gradnoise_service.domain.study import Metric, Trial

Make = Callable[..., Trial]


def test_the_best_value_wins_by_the_metric_s_direction_and_of_equals_the_earlier(
    make_design: Callable[..., Design], make_trial: Make, accuracy: Metric, loss: Metric
) -> None:
    design = make_design()
    values = [0.5, 0.9, 0.2, 0.9, 0.2]
    trials = [
        make_trial(design, "search", arm.name, i, value)
        for arm in design.spec.arms
        for i, value in enumerate(values)
    ]
    random.Random(1).shuffle(trials)
    assert {
        name: c and c.trial.number for name, c in choices(design, accuracy, trials).items()
    } == {
        "baseline": 1,
        "noisy": 1,
    }
    assert {name: c and c.trial.number for name, c in choices(design, loss, trials).items()} == {
        "baseline": 2,
        "noisy": 2,
    }


def test_only_complete_search_trials_are_chosen_or_a_diverged_one_without_any(
    make_design: Callable[..., Design], make_trial: Make, loss: Metric
) -> None:
    design = make_design(search={"n_trials": 5, "epochs": 3})
    trials = [
        make_trial(design, "search", "baseline", 0, 0.1, state="pruned"),
        make_trial(design, "search", "baseline", 1, 0.2, state="failed"),
        make_trial(design, "search", "baseline", 2, 0.3, diverged=True),
        make_trial(design, "search", "baseline", 3, float("nan")),
        make_trial(design, "search", "baseline", 4, 7.0),
        make_trial(design, "confirm", "baseline", 0, 0.0),
        make_trial(design, "search", "noisy", 0, "failed"),
        make_trial(design, "search", "noisy", 2, "diverged"),
        make_trial(design, "search", "noisy", 1, "diverged"),
    ]
    assert {name: c and c.trial.number for name, c in choices(design, loss, trials).items()} == {
        "baseline": 4,
        "noisy": 1,
    }


def test_an_arm_without_a_complete_trial_has_no_choice(
    make_design: Callable[..., Design], make_trial: Make, accuracy: Metric
) -> None:
    design = make_design()
    assert choices(design, accuracy, [make_trial(design, "search", "noisy", 0, "failed")]) == {
        "baseline": None,
        "noisy": None,
    }


RERUN = {"n_trials": 4, "epochs": 3, "rerun": {"top": 2, "n_seeds": 2}}


def test_the_best_mean_over_the_reruns_wins_once_all_have_ended(
    make_design: Callable[..., Design], make_trial: Make, accuracy: Metric
) -> None:
    design = make_design(search=RERUN)
    searched = [
        make_trial(design, "search", "noisy", i, value)
        for i, value in enumerate([0.6, 0.9, 0.1, 0.8])
    ]
    rerun = [
        make_trial(design, "rerun", "noisy", i, value)
        for i, value in enumerate([0.5, 0.6, 0.7, "diverged"])
    ]
    better = [*rerun[:3], make_trial(design, "rerun", "noisy", 3, 0.7)]
    running = [*rerun[:3], make_trial(design, "rerun", "noisy", 3, "running")]

    def chosen(trials: list[Trial]) -> int | None:
        choice = choices(design, accuracy, [*searched, *trials])["noisy"]
        return choice and choice.trial.number

    assert [t.number for t in finalists(design, accuracy, searched)["noisy"]] == [1, 3]
    assert (chosen([]), chosen(running), chosen(rerun), chosen(better)) == (1, 1, 1, 3)
    best = finalists(design, accuracy, searched)["noisy"]
    found = reruns(design, accuracy, [*searched, *rerun], best)
    assert found.means == (pytest.approx(0.55), 0.35)  # the lost run counts as 0
    assert (found.ranks, found.n_seeds) == ((0, 1), 2)
    assert reruns(design, accuracy, [*searched, *running], best).means is None


def test_finalists_have_different_settings(
    make_design: Callable[..., Design], make_trial: Make, accuracy: Metric
) -> None:
    design = make_design(search=RERUN)
    trials = [
        make_trial(design, "search", "noisy", i, 0.9 - i / 10, params={"lr": lr})
        for i, lr in enumerate([0.1, 0.1, 0.2, 0.3])
    ]
    assert [t.number for t in finalists(design, accuracy, trials)["noisy"]] == [0, 2]
    assert finalists(design, accuracy, trials)["baseline"] == []


def test_selecting_and_judging_on_the_same_seeds_is_biased_and_confirming_is_not(
    make_design: Callable[..., Design], make_trial: Make, accuracy: Metric
) -> None:
    """The biases are the expected maxima of normal samples (Harter 1961).

    For equal settings, the best of 20 values is biased by 1.8675 standard deviations, and the best
    of three means of three reruns by 0.8463 / sqrt(3). The confirm mean is unbiased.
    """
    design = make_design(search={"n_trials": 20, "epochs": 3}, confirm={"n_seeds": 4})
    rng = random.Random(5)
    n, true, sd = 600, 0.5, 0.01
    found: dict[str, list[float]] = {"search": [], "rerun": [], "confirm": []}

    def runs(phase: Phase, n_runs: int) -> list[Trial]:
        return [make_trial(design, phase, "noisy", i, rng.gauss(true, sd)) for i in range(n_runs)]

    for _ in range(n):
        trials = [*runs("search", 20), *runs("rerun", 9), *runs("confirm", 4)]
        arm = summary(
            design,
            accuracy,
            "noisy",
            [choices(design, accuracy, trials)["noisy"]],
            seed_rows(design, accuracy, trials),
            trials,
        )
        for phase, value in (("rerun", arm.chosen[0].value), ("confirm", arm.mean)):
            assert value is not None
            found[phase].append((value - true) / sd)
        found["search"].append(
            (max(t.value or 0.0 for t in trials if t.phase == "search") - true) / sd
        )
    for phase, expected in (("search", 1.8675), ("rerun", 0.8463 / 3**0.5), ("confirm", 0.0)):
        error = statistics.stdev(found[phase]) / n**0.5
        assert abs(statistics.fmean(found[phase]) - expected) < 5 * error, phase
        assert error < 0.05  # small enough to distinguish the three


def test_reruns_choose_better_settings_than_the_search_alone(
    make_design: Callable[..., Design], make_trial: Make, accuracy: Metric
) -> None:
    """If settings vary half as much as seeds, the chosen setting is better on average."""
    design = make_design(search={"n_trials": 20, "epochs": 3, "rerun": {"top": 5, "n_seeds": 5}})
    rng = random.Random(6)
    gains = []
    for _ in range(400):
        true = [rng.gauss(0.5, 0.005) for _ in range(20)]
        searched = [
            make_trial(design, "search", "noisy", i, rng.gauss(true[i], 0.01)) for i in range(20)
        ]
        best = finalists(design, accuracy, searched)["noisy"]
        reruns = [
            make_trial(design, "rerun", "noisy", k, rng.gauss(true[best[k // 5].number], 0.01))
            for k in range(25)
        ]
        choice = choices(design, accuracy, [*searched, *reruns])["noisy"]
        assert choice is not None
        gains.append(true[choice.trial.number] - true[best[0].number])
    assert statistics.fmean(gains) > 5 * statistics.stdev(gains) / 400**0.5


@pytest.mark.parametrize(
    ("state", "value", "diverged", "expected"),
    [
        ("complete", 0.5, False, "complete"),
        ("complete", 0.5, True, "diverged"),
        ("complete", float("inf"), False, "diverged"),
        ("complete", None, False, "diverged"),
        ("waiting", None, False, "open"),
        ("running", None, False, "open"),
        ("pruned", 0.5, False, "pruned"),
        ("failed", 0.0, False, "failed"),
        ("cancelled", None, False, "cancelled"),
    ],
)
def test_each_state_has_an_outcome(
    make_design: Callable[..., Design],
    make_trial: Make,
    state: str,
    value: float | None,
    diverged: bool,
    expected: str,
) -> None:
    assert (
        outcome(
            make_trial(
                make_design(),
                "search",
                "noisy",
                0,
                0.0,
                state=state,
                value=value,
                diverged=diverged,
            )
        )
        == expected
    )


def test_a_lost_trial_counts_as_worse_than_every_measured_trial_of_its_phase(
    make_design: Callable[..., Design], make_trial: Make, accuracy: Metric, loss: Metric
) -> None:
    """A loss of 5,000 is worse than the declared worst loss, 100; the smallest difference is 0.02.

    The values of all arms in the phase count, in any order of the trials.
    """
    design = make_design(search=RERUN)
    trials = [
        make_trial(design, "search", "noisy", 0, 7_000.0),
        make_trial(design, "rerun", "noisy", 0, 3.0),
        make_trial(design, "confirm", "baseline", 0, 5_000.0),
        make_trial(design, "confirm", "baseline", 1, 4_000.0),
        make_trial(design, "confirm", "baseline", 2, 1e200),
        make_trial(design, "confirm", "noisy", 0, "diverged"),
        make_trial(design, "confirm", "noisy", 1, 0.5),
    ]
    for ordered in (trials, trials[::-1]):
        assert [
            as_counted(design, loss, ordered, phase).worst
            for phase in ("search", "rerun", "confirm")
        ] == [7_000.02, 100.0, 5_000.02]
        assert as_counted(design, accuracy, ordered, "confirm") is accuracy


def test_a_lost_rerun_counts_as_worse_than_every_measured_rerun(
    make_design: Callable[..., Design], make_trial: Make, loss: Metric
) -> None:
    design = make_design(search=RERUN)
    searched = [make_trial(design, "search", "noisy", i, 5_000.0 + i) for i in range(2)]
    rerun = [
        make_trial(design, "rerun", "noisy", i, value)
        for i, value in enumerate(["diverged", "diverged", 6_000.0, 6_001.0])
    ]
    choice = choices(design, loss, [*searched, *rerun])["noisy"]
    assert choice is not None
    assert choice.trial.number == 1
    best = finalists(design, loss, searched)["noisy"]
    assert reruns(design, loss, rerun, best).means == (6_001.02, 6_000.5)


@pytest.mark.parametrize(
    ("epochs", "value", "expected"),
    [(2, 0.5, "complete"), (0, 0.0, "diverged"), (2, float("nan"), "diverged")],
)
def test_where_the_best_epoch_is_judged_a_later_divergence_loses_no_trial(
    make_design: Callable[..., Design], make_trial: Make, epochs: int, value: float, expected: str
) -> None:
    trial = make_trial(make_design(), "search", "noisy", 0, value, diverged=True, epochs=epochs)
    assert outcome(trial, "best_validation_epoch") == expected
    assert outcome(trial, "last_epoch") == "diverged"
