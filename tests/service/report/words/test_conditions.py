"""The conditions that were equal in all arms."""

from collections.abc import Callable

import pytest

from gradnoise_service.domain.design import Design
from gradnoise_service.domain.study import Metric, Trial
from gradnoise_service.report.words.conditions import held_equal

MakeDesign = Callable[..., Design]


def conditions(design: Design, metric: Metric) -> dict[str, str]:
    return dict(held_equal(design, metric))


def test_a_tuned_study_has_a_search_budget_and_a_selection(
    make_design: MakeDesign, accuracy: Metric
) -> None:
    assert conditions(make_design(), accuracy) == {
        "Workload": "mlp (dataset digits), optimizer sgd",
        "Data": (
            "split by the workload, identically in all arms on each seed; if the split does not "
            "depend on the seed, the verdict holds for this split alone"
        ),
        "Shared space": "lr 0.003 to 0.3, logarithmic",
        "Search budget": (
            "4 trials of 3 epochs, sampler random, no pruner; trial i of every arm has the same "
            "seed"
        ),
        "Selection": (
            "each arm's best value on validation, without reruns: selected on one noisy value, so "
            "biased upwards (winner's curse)"
        ),
        "Confirmation": (
            "5 fresh seeds, the same for every arm (initialisation, data order), 3 epochs"
        ),
        "Judged by": (
            "accuracy after the last epoch, on validation data for search and selection, on "
            "held-out test data for confirmation"
        ),
    }


def test_single_counts_are_singular(make_design: MakeDesign, accuracy: Metric) -> None:
    search = {"n_trials": 1, "epochs": 1, "rerun": {"top": 3, "n_seeds": 1}, "pruner": "median"}
    found = conditions(make_design(search=search), accuracy)
    assert found["Search budget"] == (
        "1 trial of 1 epoch, sampler tpe, pruner median; trial i of every arm has the same seed; "
        "it was proposed from the trials of its search below i - 1, at random while fewer than 10 "
        "of them ended"
    )
    assert found["Selection"] == (
        "each arm's best 1 setting on validation, rerun on 1 other seed that all arms share; the "
        "best mean was chosen"
    )
    assert found["Confirmation"].endswith("(initialisation, data order), 1 epoch")


def test_an_unequal_budget_names_each_arm(make_design: MakeDesign, accuracy: Metric) -> None:
    arms = [
        {"name": "baseline", "technique": "none"},
        {"name": "noisy", "technique": "none", "n_trials": 9},
    ]
    search = {"n_trials": 4, "epochs": 3, "repeats": 2, "sampler": "random", "pruner": "asha"}
    found = conditions(make_design(arms=arms, budget={"equal": "none"}, search=search), accuracy)
    assert found["Search budget"] == (
        "2 independent searches, each of unequal numbers of trials by arm (baseline 4 trials, "
        "noisy 9 trials) of 3 epochs, sampler random, pruner asha; trial i of every arm has the "
        "same seed; it was judged by the pruner from the trials of its search below i - L (L: 1 "
        "for baseline, 2 for noisy)"
    )


def test_declared_looks_make_the_seeds_an_upper_bound(
    make_design: MakeDesign, accuracy: Metric
) -> None:
    found = conditions(make_design(confirm={"n_seeds": 24, "looks": [12, 18]}), accuracy)
    assert found["Confirmation"].startswith("up to 24 fresh seeds, ")
    assert found["Declared looks"] == (
        "at 12, 18 and 24 seeds, until every arm is decided; interval and test of each comparison "
        "use the levels 0.42 %, 1.9 %, 4.3 % (O'Brien and Fleming), so that over all looks equal "
        "arms are called different in at most 5 % of studies"
    )


def test_a_declared_power_is_named(make_design: MakeDesign, accuracy: Metric) -> None:
    confirm = {"n_seeds": 12, "power": {"power": 0.8, "sd": 0.02}}
    found = conditions(make_design(confirm=confirm, judge="best_validation_epoch"), accuracy)
    assert found["Confirmation"].startswith(
        "12 fresh seeds (for a power of 0.8 at a standard deviation of 0.02), the same"
    )
    assert found["Judged by"].startswith("accuracy at the epoch with the best validation value, ")


def test_without_a_search_nothing_was_tuned(
    make_grid: Callable[..., tuple[Design, list[Trial]]], accuracy: Metric
) -> None:
    design, _ = make_grid({"baseline": [0.1] * 8, "noisy": [0.2] * 8})
    found = conditions(design, accuracy)
    assert not {"Search budget", "Selection"} & set(found)
    assert found["Tuning"] == (
        "nothing was tuned: each arm ran the same 2 settings, every combination of the shared "
        "space's values"
    )
    assert found["Shared space"] == "lr one of 0.01, 0.1; momentum fixed at 0.9"
    assert found["Confirmation"].startswith("4 fresh seeds for each setting, the same")
    assert found["Judged by"] == "accuracy after the last epoch, on held-out test data"
    single, _ = make_grid({"baseline": [0.1] * 8, "noisy": [0.2] * 8}, rates=[0.1])
    assert conditions(single, accuracy)["Tuning"] == (
        "nothing was tuned: each arm ran the single setting of the shared space's values"
    )


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ({}, "equal device seconds, at most 4 trials of each arm, of 3 epochs, sampler random"),
        (
            {"baseline": 2, "noisy": 4},
            "equal device seconds, baseline 4 trials, noisy 2 trials (cost of a trial as declared: "
            "baseline 2, noisy 4), of 3 epochs, sampler random",
        ),
    ],
)
def test_equal_device_seconds_name_what_was_held(
    make_design: MakeDesign, accuracy: Metric, costs: dict[str, float], expected: str
) -> None:
    search = {"n_trials": 4, "epochs": 3, "sampler": "random"}
    budget = {"equal": "device_seconds", "costs": costs}
    found = conditions(make_design(search=search, budget=budget), accuracy)
    assert found["Search budget"].startswith(expected)
