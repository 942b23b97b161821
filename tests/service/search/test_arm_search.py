"""An arm's search: Optuna stores exactly what ran, and a restart continues the search."""

import io
import json
from collections.abc import Iterator
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from optuna_dashboard import wsgi

from gradnoise_service.domain.space import Choices, Range, Space
from gradnoise_service.domain.spec import Pruner, SamplerName
from gradnoise_service.search import ArmSearch, Storage, open_storage, publish

SPACE: Space = {
    "lr": Range(low=0.003, high=0.3, log=True),
    "eta": Choices(choices=[0.01, 0.3, 1.0]),
    "depth": Range(low=2, high=6, integer=True),
    "lr_schedule": Choices(choices=["constant", "cosine"]),
    "clip_norm": 10,
}


@pytest.fixture
def storage(database_url: str) -> Iterator[Storage]:
    storage = open_storage(database_url)
    yield storage
    storage.remove_session()
    storage.engine.dispose()


def search(
    storage: Storage,
    *,
    sampler: SamplerName = "tpe",
    pruner: Pruner | None = None,
    space: Space = SPACE,
) -> ArmSearch:
    return ArmSearch(
        storage,
        "s · noisy",
        direction="maximize",
        space=space,
        sampler=sampler,
        pruner=pruner,
        seed=5,
    )


def stored_trials(storage: Storage) -> list[optuna.trial.FrozenTrial]:
    """Return the trials as Optuna stores them."""
    return optuna.load_study(study_name="s · noisy", storage=storage).trials


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp", "cmaes"])
def test_suggestions_lie_in_the_space_and_optuna_stores_their_results(
    storage: Storage, sampler: SamplerName
) -> None:
    arm = search(storage, sampler=sampler)
    suggestions = []
    for seed in range(12):
        suggestion = arm.ask(seed=seed)
        arm.tell(suggestion.number, "complete", seed / 7)
        suggestions.append(suggestion)
    for i, (trial, suggestion) in enumerate(zip(stored_trials(storage), suggestions, strict=True)):
        assert suggestion.params == {**trial.params, "clip_norm": 10}
        assert 0.003 <= trial.params["lr"] <= 0.3
        assert trial.params["eta"] in (0.01, 0.3, 1.0)
        assert trial.params["depth"] in range(2, 7)
        assert trial.params["lr_schedule"] in ("constant", "cosine")
        assert (trial.number, trial.value, trial.user_attrs, trial.state.name) == (
            i,
            i / 7,
            {"seed": i},
            "COMPLETE",
        )
    assert optuna.load_study(study_name="s · noisy", storage=storage).user_attrs == {
        "fixed": {"clip_norm": 10}
    }


def test_equal_seeds_give_equal_suggestions_and_a_restart_repeats_none(storage: Storage) -> None:
    suggestion = search(storage, sampler="random").ask()
    restarted = search(storage, sampler="random")
    assert restarted.running() == [0]
    assert restarted.suggestion(0) == suggestion
    assert restarted.ask().params != suggestion.params
    other = ArmSearch(
        storage, "t · noisy", direction="maximize", space=SPACE, sampler="random", seed=5
    )
    assert other.ask().params == suggestion.params


def test_a_restart_learns_from_earlier_results(storage: Storage) -> None:
    """After 30 trials in which only eta = 1 has a high value, a restarted TPE prefers it."""
    arm = search(storage)
    for _ in range(30):
        suggestion = arm.ask()
        arm.tell(suggestion.number, "complete", 1.0 if suggestion.params["eta"] == 1.0 else 0.0)
    restarted = search(storage)
    etas = []
    for _ in range(20):
        suggestion = restarted.ask()
        etas.append(suggestion.params["eta"])
        restarted.tell(
            suggestion.number, "complete", 1.0 if suggestion.params["eta"] == 1.0 else 0.0
        )
    assert etas.count(1.0) > 12  # 20 uniform draws have more than 12 with probability 0.004


def test_a_second_result_of_a_trial_is_ignored(storage: Storage) -> None:
    arm = search(storage)
    number = arm.ask().number
    arm.tell(number, "complete", 0.5)
    arm.tell(number, "failed", None)
    search(storage).tell(number, "complete", 0.9)
    assert [(trial.value, trial.state.name) for trial in stored_trials(storage)] == [
        (0.5, "COMPLETE")
    ]


def test_a_grid_suggests_every_point_and_then_repeats(storage: Storage) -> None:
    space: Space = {
        "lr": Choices(choices=[0.1, 0.2]),
        "depth": Range(low=2, high=4, integer=True),
        "clip_norm": 10,
    }
    arm = search(storage, sampler="grid", space=space)
    points = [tuple(arm.ask().params.values()) for _ in range(4)]
    arm = search(storage, sampler="grid", space=space)  # a restart continues
    points += [tuple(arm.ask().params.values()) for _ in range(4)]
    assert points[:6] == [(lr, depth, 10) for lr in (0.1, 0.2) for depth in (2, 3, 4)]
    assert points[6:] == points[:2]


def test_a_given_setting_is_stored_with_all_parameters(storage: Storage) -> None:
    arm = ArmSearch(storage, "s · noisy", direction="minimize", space={}, seed=1)
    suggestion = arm.ask_for({"lr": 0.25, "eta": 0.3}, seed=9, arm="noisy")
    arm.tell(suggestion.number, "complete", 0.125)
    [trial] = stored_trials(storage)
    assert (trial.params, trial.value, trial.user_attrs) == (
        {"lr": 0.25, "eta": 0.3},
        0.125,
        {"seed": 9, "arm": "noisy"},
    )


def test_the_median_pruner_prunes_trials_below_the_median(storage: Storage) -> None:
    arm = search(
        storage, sampler="random", pruner=Pruner(name="median", startup_trials=3, warmup_epochs=2)
    )
    for value in (0.5, 0.6, 0.7):
        number = arm.ask().number
        assert not arm.should_prune(number, 2, value)
        arm.tell(number, "complete", value)
    above, below = arm.ask().number, arm.ask().number
    assert not arm.should_prune(above, 2, 0.65)
    assert arm.should_prune(below, 2, 0.55)
    arm.tell(below, "pruned", 0.55)
    pruned = stored_trials(storage)[below]
    assert (pruned.state.name, pruned.intermediate_values, pruned.value) == (
        "PRUNED",
        {2: 0.55},
        0.55,
    )


def test_successive_halving_remembers_its_rungs_across_a_restart(storage: Storage) -> None:
    pruner = Pruner(name="asha", warmup_epochs=1, reduction_factor=3)
    arm = search(storage, sampler="random", pruner=pruner)
    numbers = [arm.ask().number for _ in range(4)]
    for number, value in zip(numbers[:3], (0.9, 0.8, 0.7), strict=True):
        arm.should_prune(number, 1, value)
    assert search(storage, sampler="random", pruner=pruner).should_prune(numbers[3], 1, 0.1)
    assert not search(storage, sampler="random", pruner=pruner).should_prune(numbers[3], 1, 0.95)


def test_the_dashboard_shows_the_plots_published_last(storage: Storage) -> None:
    """It is read from the dashboard's answer; a plot may be longer than an attribute of Optuna."""
    search(storage)
    long_plot = {
        "data": [{"type": "scatter", "x": list(range(2000)), "y": [0.5] * 2000}],
        "layout": {"title": {"text": "a · b"}},
    }
    publish(
        storage,
        "s · noisy",
        note="",
        plots={"confirm": json.dumps(long_plot), "course": json.dumps({"data": [], "layout": {}})},
    )
    short_plot = long_plot | {"data": []}
    publish(storage, "s · noisy", note="", plots={"confirm": json.dumps(short_plot)})
    publish(storage, "s · noisy", note="", plots={"course": json.dumps(long_plot)})
    environment = {
        "PATH_INFO": f"/api/studies/{storage.get_study_id_from_name('s · noisy')}",
        "QUERY_STRING": "after=0",
    }
    setup_testing_defaults(environment)
    body = b"".join(wsgi(storage)(environment | {"wsgi.errors": io.StringIO()}, lambda *_: None))
    shown = {
        plot["id"]: json.loads(plot["graph_object"])
        for plot in json.loads(body)["plotly_graph_objects"]
    }
    assert shown == {"confirm": short_plot, "course": long_plot}
