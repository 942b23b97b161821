"""An arm's search: Optuna stores exactly what ran, and a restart continues the search."""

import contextlib
import io
import json
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from optuna_dashboard import wsgi

from gradnoise_service.domain.search import Pruner, SamplerName
from gradnoise_service.domain.space import Choices, Range, Space, Value
from gradnoise_service.search import ArmSearch, Storage, arm_search, publish

SPACE: Space = {
    "lr": Range(low=0.003, high=0.3, log=True),
    "eta": Choices(choices=[0.01, 0.3, 1.0]),
    "depth": Range(low=2, high=6, integer=True),
    "lr_schedule": Choices(choices=["constant", "cosine"]),
    "clip_norm": 10,
}


def search(
    storage: Storage,
    *,
    sampler: SamplerName = "tpe",
    pruner: Pruner | None = None,
    lag: int | None = None,
    space: Space = SPACE,
) -> ArmSearch:
    return ArmSearch(
        storage,
        "s · noisy",
        direction="maximize",
        space=space,
        sampler=sampler,
        pruner=pruner,
        lag=lag,
        seed=5,
    )


def stored_trials(storage: Storage) -> list[optuna.trial.FrozenTrial]:
    """Return the trials as Optuna stores them."""
    return optuna.load_study(study_name="s · noisy", storage=storage).trials


@pytest.mark.parametrize("sampler", ["random", "tpe", "qmc", "grid"])
def test_every_proposal_is_a_point_of_its_range(storage: Storage, sampler: SamplerName) -> None:
    """A sum of steps as floats is 0.6000000000000001, and may exceed the end of the range."""
    stepped = Range(low=0.3, high=0.9, step=0.1)
    arm = search(storage, sampler=sampler, space={"x": stepped, "y": Range(low=0, high=1, step=1)})
    found = set()
    for number in range(14):
        found.add(arm.ask(number)["x"])
        arm.tell(number, "complete", 0.5)
    arm.save()
    assert 0.6 in found
    assert found <= set(stepped.points())
    assert {trial.params["x"] for trial in stored_trials(storage)} == found


@pytest.mark.parametrize("sampler", ["random", "tpe", "cmaes", "grid"])
def test_values_of_any_json_type_are_searched_and_kept(
    storage: Storage, sampler: SamplerName
) -> None:
    """Optuna knows lists and objects as text; values of a given setting are attributes."""
    choices: list[Value] = [True, None, "mixup", [3, 3], [5, [5.0]], {"name": "cut", "at": [1]}]
    space: Space = {"augment": Choices(choices=choices), "betas": [0.9, 0.98]}
    found = search(storage, sampler=sampler, space=space, lag=1)
    settings = []
    for number in range(30):
        settings.append(found.ask(number))
        found.tell(number, "complete", float(choices.index(settings[-1]["augment"])))
    found.save()
    assert all(choice in [setting["augment"] for setting in settings] for choice in choices)
    assert all(setting["betas"] == [0.9, 0.98] for setting in settings)
    again = search(storage, sampler=sampler, space=space, lag=1)
    assert [again.ask(i) for i in range(30)] == settings
    later = ArmSearch(storage, "later", direction="maximize", space={}, seed=5)
    later.ask_for(0, {"augment": [3, 3], "bias": True, "lr": 0.1})
    later.save()
    [trial] = optuna.load_study(study_name="later", storage=storage).trials
    assert (trial.params, trial.user_attrs) == ({"lr": 0.1}, {"augment": [3, 3], "bias": True})


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp", "cmaes"])
def test_settings_lie_in_the_space_and_optuna_stores_their_results(
    storage: Storage, sampler: SamplerName
) -> None:
    arm = search(storage, sampler=sampler, lag=1)
    settings = []
    for number in range(12):
        settings.append(arm.ask(number, seed=number))
        arm.tell(number, "complete", number / 7)
    arm.save()
    for i, (trial, setting) in enumerate(zip(stored_trials(storage), settings, strict=True)):
        assert setting == {**trial.params, "clip_norm": 10}
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


def test_a_trial_is_proposed_once_also_across_a_restart(storage: Storage) -> None:
    arm = search(storage)
    setting = arm.ask(0)
    assert arm.ask(0) == setting
    arm.save()
    restarted = search(storage)
    assert restarted.running() == [0]
    assert restarted.ask(0) == setting != restarted.ask(1)
    restarted.save()
    assert len(stored_trials(storage)) == 2
    with pytest.raises(IndexError):
        restarted.ask(3)


def test_a_proposal_of_a_former_holder_is_not_doubled(storage: Storage) -> None:
    """Its lease may end between its proposals and the transaction that would start them."""
    former, holder = search(storage), search(storage)
    settings = [former.ask(number) for number in range(2)]
    former.save()
    for number in range(3):
        settings[number:] = [holder.ask(number)]
    holder.tell(2, "complete", 0.5)
    holder.save()
    restarted = search(storage)
    assert [restarted.ask(number) for number in range(3)] == settings
    assert [trial.state.name for trial in stored_trials(storage)] == [
        "RUNNING",
        "RUNNING",
        "COMPLETE",
    ]


def test_a_trial_is_due_when_all_that_it_sees_have_ended(storage: Storage) -> None:
    arm, free = search(storage, lag=2), search(storage)
    for number in range(3):
        assert arm.is_due(number)
        arm.ask(number)
    assert not arm.is_due(3)
    arm.tell(1, "complete", 0.5)
    assert not arm.is_due(3)
    arm.tell(0, "failed", None)
    arm.save()
    assert [arm.is_due(number) for number in (3, 4, 5)] == [True, True, False]
    assert search(storage, lag=2).is_due(4)
    assert free.is_due(100)


def test_a_lost_trial_counts_as_worse_than_every_measured_one(storage: Storage) -> None:
    """Its declared worst value, 0, is above every measured value; a restart keeps that."""
    space: Space = {name: Range(low=0, high=1) for name in ("x", "y")}
    lost: list[bool] = []
    for numbers in (range(25), range(25, 45)):
        arm = search(storage, lag=1, space=space)
        for number in numbers:
            x = arm.ask(number)["x"]
            assert isinstance(x, float)
            lost.append(x > 0.5)
            arm.tell(number, "complete", 0.0 if lost[-1] else -5000.0 - x, is_lost=lost[-1])
        arm.save()
    assert sum(lost[25:]) < 5  # 20 uniform draws have fewer than 5 with probability 0.006
    recorded = stored_trials(storage)
    assert [trial.state.name == "FAIL" for trial in recorded] == lost
    best = optuna.load_study(study_name="s · noisy", storage=storage).best_trial
    assert best.value is not None
    assert best.value < -5000


def test_tpe_learns_from_earlier_results_across_a_restart(storage: Storage) -> None:
    """After 30 trials in which only eta = 1 has a high value, a restarted TPE prefers it."""
    etas = []
    for numbers in (range(30), range(30, 50)):
        arm = search(storage, lag=1)
        for number in numbers:
            etas.append(arm.ask(number)["eta"])
            arm.tell(number, "complete", 1.0 if etas[-1] == 1.0 else 0.0)
        arm.save()
    assert etas[30:].count(1.0) > 12  # 20 uniform draws have more than 12 with probability 0.004


def test_a_second_result_of_a_trial_is_ignored(storage: Storage) -> None:
    arm = search(storage)
    arm.ask(0)
    arm.save()
    former = search(storage)
    for each, value in ((arm, 0.5), (arm, 0.7), (former, 0.9)):
        each.tell(0, "complete", value)
        each.save()
    assert [(trial.value, trial.state.name) for trial in stored_trials(storage)] == [
        (0.5, "COMPLETE")
    ]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("write", range(12))
def test_a_crash_while_trials_are_reopened_loses_none(
    storage: Storage, write: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The crash is before each of the writes."""
    arm = search(storage, pruner=Pruner(name="median"))
    for number in range(3):
        arm.ask(number)
        arm.should_prune(number, 1, 0.1 * number)
        arm.tell(number, "failed" if number == 1 else "complete", 0.5)
    arm.save()
    settings = [trial.params for trial in stored_trials(storage)]
    arm.ask(3)  # and dropped
    arm.save()
    n_writes = 0

    def crashing(owner: object, name: str) -> None:
        made = getattr(owner, name)

        def crash(*arguments: Any, **options: Any) -> Any:
            nonlocal n_writes
            n_writes += 1
            if n_writes > write:
                raise KeyboardInterrupt
            return made(*arguments, **options)

        monkeypatch.setattr(owner, name, crash)

    for method in ("create_new_study", "delete_study", "set_study_user_attr"):
        crashing(Storage, method)
    crashing(arm_search, "write")
    with contextlib.suppress(KeyboardInterrupt):
        arm.reopen([1], 3)
    monkeypatch.undo()
    again = search(storage, pruner=Pruner(name="median"))
    if again.running() != [1]:
        assert again.running() == [3]
        again.reopen([1], 3)
    again.tell(1, "complete", 0.75)
    again.save()
    trials = stored_trials(storage)
    assert [trial.params for trial in trials] == settings
    assert [trial.value for trial in trials] == [0.5, 0.75, 0.5]
    assert [trial.intermediate_values for trial in trials] == [{1: 0.0}, {1: 0.1}, {1: 0.2}]
    assert optuna.get_all_study_names(storage) == ["s · noisy"]


def test_a_grid_suggests_every_point_and_then_repeats(storage: Storage) -> None:
    space: Space = {
        "lr": Choices(choices=[0.1, 0.2]),
        "depth": Range(low=2, high=4, integer=True),
        "clip_norm": 10,
    }
    arm = search(storage, sampler="grid", space=space)
    points = [tuple(arm.ask(number).values()) for number in range(4)]
    arm.save()
    arm = search(storage, sampler="grid", space=space)  # a restart continues
    points += [tuple(arm.ask(number).values()) for number in range(4, 8)]
    assert points[:6] == [(lr, depth, 10) for lr in (0.1, 0.2) for depth in (2, 3, 4)]
    assert points[6:] == points[:2]


def test_a_given_setting_is_stored_once_with_all_parameters(storage: Storage) -> None:
    arm = ArmSearch(storage, "s · noisy", direction="minimize", space={}, seed=1)
    for _ in range(2):
        setting = {"lr": 0.25, "eta": 0.3, "lr_schedule": "cosine"}
        arm.ask_for(0, setting, seed=9, arm="noisy")
    arm.tell(0, "complete", 0.125)
    arm.save()
    [trial] = stored_trials(storage)
    assert (trial.params, trial.value, trial.user_attrs) == (
        {"lr": 0.25, "eta": 0.3},
        0.125,
        {"lr_schedule": "cosine", "seed": 9, "arm": "noisy"},
    )


def test_a_pruned_trial_keeps_the_value_of_its_rung(storage: Storage) -> None:
    arm = search(
        storage,
        pruner=Pruner(name="median", startup_trials=3, warmup_epochs=2),
        sampler="random",
        lag=1,
    )
    for number, value in enumerate((0.5, 0.6, 0.7, 0.8)):
        arm.ask(number)
        assert not arm.should_prune(number, 2, value)
        arm.tell(number, "complete", value)
    arm.ask(4)
    assert arm.should_prune(4, 2, 0.55)
    arm.tell(4, "pruned", 0.55)
    arm.save()
    pruned = stored_trials(storage)[4]
    assert (pruned.state.name, pruned.intermediate_values, pruned.value) == (
        "PRUNED",
        {2: 0.55},
        0.55,
    )


def test_a_pruner_sees_the_rungs_before_a_restart_and_no_trial_within_the_lag(
    storage: Storage,
) -> None:
    pruner = Pruner(name="asha", warmup_epochs=1, reduction_factor=3)
    arm = search(storage, sampler="random", pruner=pruner, lag=2)
    for number, value in enumerate((0.9, 0.8, 0.7, 0.99, 0.99)):
        arm.ask(number)
        arm.should_prune(number, 1, value)
        if number < 3:
            arm.tell(number, "pruned", value)
    arm.save()
    # trial 4 sees 0.9 and 0.8, and not 0.99 of trial 3
    decisions = [
        search(storage, sampler="random", pruner=pruner, lag=2).should_prune(4, 1, value)
        for value in (0.95, 0.85)
    ]
    assert decisions == [False, True]


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
