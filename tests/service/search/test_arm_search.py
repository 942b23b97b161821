"""An arm's search: Optuna reads from outside exactly what ran, and a restart goes on where the last
one stopped.
"""

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


def outside(storage: Storage) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="s · noisy", storage=storage).trials


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp", "cmaes"])
def test_suggestions_lie_in_the_space_and_optuna_reads_what_was_told(
    storage: Storage, sampler: SamplerName
) -> None:
    arm = search(storage, sampler=sampler)
    asked = []
    for seed in range(12):
        suggestion = arm.ask(seed=seed)
        arm.tell(suggestion.number, "complete", seed / 7)
        asked.append(suggestion)
    for i, (trial, suggestion) in enumerate(zip(outside(storage), asked, strict=True)):
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


def test_equal_seeds_suggest_alike_and_a_restart_does_not_repeat(storage: Storage) -> None:
    first = search(storage, sampler="random").ask()
    restarted = search(storage, sampler="random")
    assert restarted.running() == [0]
    assert restarted.suggestion(0) == first
    assert restarted.ask().params != first.params
    other = ArmSearch(
        storage, "t · noisy", direction="maximize", space=SPACE, sampler="random", seed=5
    )
    assert other.ask().params == first.params


def test_a_restart_learns_from_what_was_told_before(storage: Storage) -> None:
    """After 30 trials of which only those near eta = 1 are good, a restarted TPE prefers it."""
    arm = search(storage)
    for _ in range(30):
        suggestion = arm.ask()
        arm.tell(suggestion.number, "complete", 1.0 if suggestion.params["eta"] == 1.0 else 0.0)
    again = search(storage)
    etas = []
    for _ in range(20):
        suggestion = again.ask()
        etas.append(suggestion.params["eta"])
        again.tell(suggestion.number, "complete", 1.0 if suggestion.params["eta"] == 1.0 else 0.0)
    assert etas.count(1.0) > 12  # of 20 uniform draws, 13 or more happen once in a thousand times


def test_telling_twice_changes_nothing(storage: Storage) -> None:
    arm = search(storage)
    number = arm.ask().number
    arm.tell(number, "complete", 0.5)
    arm.tell(number, "failed", None)
    search(storage).tell(number, "complete", 0.9)
    assert [(trial.value, trial.state.name) for trial in outside(storage)] == [(0.5, "COMPLETE")]


def test_a_grid_visits_every_point_then_starts_over(storage: Storage) -> None:
    space: Space = {
        "lr": Choices(choices=[0.1, 0.2]),
        "depth": Range(low=2, high=4, integer=True),
        "clip_norm": 10,
    }
    arm = search(storage, sampler="grid", space=space)
    points = [tuple(arm.ask().params.values()) for _ in range(4)]
    arm = search(storage, sampler="grid", space=space)  # a restart goes on
    points += [tuple(arm.ask().params.values()) for _ in range(4)]
    assert points[:6] == [(lr, depth, 10) for lr in (0.1, 0.2) for depth in (2, 3, 4)]
    assert points[6:] == points[:2]


def test_a_setting_chosen_elsewhere_is_recorded_whole(storage: Storage) -> None:
    arm = ArmSearch(storage, "s · noisy", direction="minimize", space={}, seed=1)
    suggestion = arm.ask_for({"lr": 0.25, "eta": 0.3}, seed=9, arm="noisy")
    arm.tell(suggestion.number, "complete", 0.125)
    [trial] = outside(storage)
    assert (trial.params, trial.value, trial.user_attrs) == (
        {"lr": 0.25, "eta": 0.3},
        0.125,
        {"seed": 9, "arm": "noisy"},
    )


def test_the_median_pruner_ends_what_lies_below_the_median(storage: Storage) -> None:
    arm = search(
        storage, sampler="random", pruner=Pruner(name="median", startup_trials=3, warmup_epochs=2)
    )
    for value in (0.5, 0.6, 0.7):
        number = arm.ask().number
        assert not arm.should_prune(number, 2, value)
        arm.tell(number, "complete", value)
    good, bad = arm.ask().number, arm.ask().number
    assert not arm.should_prune(good, 2, 0.65)
    assert arm.should_prune(bad, 2, 0.55)
    arm.tell(bad, "pruned", 0.55)
    pruned = outside(storage)[bad]
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


def test_the_dashboard_shows_the_plots_that_were_drawn_last(storage: Storage) -> None:
    """As the Optuna Dashboard itself answers; a plot may be longer than one of its attributes."""
    search(storage)
    long = {
        "data": [{"type": "scatter", "x": list(range(2000)), "y": [0.5] * 2000}],
        "layout": {"title": {"text": "a · b"}},
    }
    publish(
        storage,
        "s · noisy",
        note="",
        plots={"confirm": json.dumps(long), "course": json.dumps({"data": [], "layout": {}})},
    )
    short = long | {"data": []}
    publish(storage, "s · noisy", note="", plots={"confirm": json.dumps(short)})
    publish(storage, "s · noisy", note="", plots={"course": json.dumps(long)})
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
    assert shown == {"confirm": short, "course": long}
