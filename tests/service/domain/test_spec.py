"""A spec that could not run is rejected."""

from collections.abc import Callable

import pytest
from pydantic import ValidationError

from gradnoise_service.domain.arm import Arm
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.space import Choices, Range
from gradnoise_service.domain.spec import StudySpec

Make = Callable[..., StudySpec]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": [{"name": "a", "technique": "none"}]}, "at least 2"),
        ({"arms": [{"name": "a", "technique": "none"}] * 2}, "different names"),
        (
            {
                "arms": [
                    {"name": "a", "technique": "none"},
                    {"name": "b", "technique": "none", "space": {"lr": 0.1}},
                ]
            },
            "lr is in the shared space and in that of the arm",
        ),
        (
            {"search": {"n_trials": 4, "epochs": 3, "rerun": {"top": 0}}},
            "greater than or equal to 1",
        ),
        (
            {"search": {"n_trials": 4, "epochs": 3, "rerun": {"n_seeds": -1}}},
            "greater than or equal to 0",
        ),
        (
            {"search": {"n_trials": 4, "epochs": 3, "rerun": {"n_seeds": 1, "race": True}}},
            "race: a setting can be dropped after 2 seeds at the earliest",
        ),
        (
            {"search": {"n_trials": 4, "epochs": 3, "rerun": {"top": 1, "race": True}}},
            "race: a race needs reruns",
        ),
        ({"smallest_difference": 0}, "greater than 0"),
        ({"search": {"n_trials": 0, "epochs": 3}}, "greater than or equal to 1"),
        ({"confirm": {"n_seeds": 1}}, "greater than or equal to 2"),
        ({"confirm": {"n_seeds": 0, "power": {"sd": 0.1}}}, "greater than or equal to 2"),
        ({"confirm": {}}, "n_seeds and power are both missing"),
        (
            {"confirm": {"n_seeds": 24, "looks": [12], "anytime": True}},
            "anytime and looks exclude each other",
        ),
        ({"confirm": {"power": {"sd": 0.1}, "anytime": True}}, "too few for anytime"),
        (
            {
                "search": {"n_trials": 4, "epochs": 3, "repeats": 2},
                "confirm": {"n_seeds": 24, "anytime": True},
            },
            "anytime is a verdict on pairs, but repeats makes it one on searches",
        ),
        (
            {
                "search": None,
                "space": {"lr": {"choices": [0.1, 0.2]}},
                "confirm": {"n_seeds": 24, "epochs": 2, "anytime": True},
            },
            "anytime needs one pair a seed, but every seed has each value of lr",
        ),
        (
            {"confirm": {"n_seeds": 9, "looks": [6, 6]}},
            "looks: looks must rise",
        ),
        (
            {"confirm": {"n_seeds": 24, "looks": [12], "drop": True}},
            "confirm.drop: with two arms, the look that decides an arm ends the study",
        ),
        (
            {
                "arms": [{"name": name, "technique": "none"} for name in "abc"],
                "confirm": {"n_seeds": 24, "drop": True},
            },
            "confirm.drop: arms are dropped at declared looks, but the study declares none",
        ),
        (
            {"confirm": {"n_seeds": 9, "looks": [6, 9]}},
            "looks: looks must be below n_seeds, but got 9",
        ),
        ({"confirm": {"n_seeds": 9, "looks": [1, 6]}}, "looks: looks must rise"),
        ({"confirm": {"n_seeds": 9, "looks": [6], "boundary": "haybittle"}}, "obrien_fleming"),
        ({"confirm": {"power": {"power": 1.0, "sd": 0.1}}}, "less than 1"),
        ({"confirm": {"power": {"sd": 0}}}, "greater than 0"),
        ({"confirm": {"n_seeds": 3, "thresholds": [0.5, 0.5]}}, "unique"),
        ({"confirm": {"n_seeds": 3, "thresholds": [float("nan")]}}, "finite"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"name": "a/b"}, "pattern"),
        ({"space": {"lr": {"a": 0.1}}}, "valid number"),
        ({"smallest_difference": True}, "valid number"),
        ({"search": {"n_trials": True, "epochs": 3}}, "valid integer"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_an_illegal_spec_is_rejected(
    make_spec: Make, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        make_spec(**changes)


def test_an_unequal_budget_must_be_declared(make_spec: Make) -> None:
    arms = [
        {"name": "baseline", "technique": "none"},
        {"name": "noisy", "technique": "none", "n_trials": 9},
    ]
    with pytest.raises(ValidationError, match=r"arms.1.n_trials: a fair comparison .*equal: none"):
        make_spec(arms=arms)
    assert make_spec(arms=arms, budget={"equal": "none"}).arms[1].n_trials == 9


def test_the_default_seed_is_stored(make_spec: Make) -> None:
    """The same file gives the same study."""
    values = make_spec().model_dump()
    del values["seed"]
    assert StudySpec.model_validate(values).model_dump()["seed"] == 0


def test_a_spec_survives_json(make_spec: Make) -> None:
    spec = make_spec(search={"n_trials": 3, "epochs": 9, "pruner": "asha"})
    assert StudySpec.model_validate_json(spec.model_dump_json()) == spec


def test_the_default_arms_are_plain_training_and_annealed_noise(make_spec: Make) -> None:
    baseline, noisy = make_spec().arms
    assert (baseline.name, baseline.techniques) == ("baseline", ["none"])
    assert noisy == Arm(
        name="noisy",
        techniques=["annealed"],
        space={"eta": Choices(choices=[0.01, 0.3, 1.0]), "gamma": Range(low=0.3, high=0.9)},
    )


def test_a_technique_is_the_short_form_of_a_list_of_one() -> None:
    short = Arm.model_validate({"name": "a", "technique": "dropout", "space": {"rate": 0.5}})
    assert short.techniques == ["dropout"]
    assert Arm.model_validate(short.model_dump()) == short
    for values in ({"technique": "x", "techniques": ["x"]}, {"techniques": ["x", "x"]}, {}):
        with pytest.raises(ValidationError):
            Arm.model_validate({"name": "a"} | values)


def search(**changes: object) -> dict[str, object]:
    return {"n_trials": 40, "epochs": 3} | changes


@pytest.mark.parametrize(
    ("changes", "lag"),
    [
        ({}, 8),
        ({"n_trials": 12}, 3),
        ({"n_trials": 2, "sampler": "gp"}, 1),
        ({"lag": 39, "sampler": "cmaes"}, 39),
        ({"sampler": "random"}, None),
        ({"sampler": "qmc", "pruner": "none"}, None),
        ({"sampler": "random", "pruner": "asha"}, 8),
        ({"sampler": "grid", "pruner": "median", "lag": 1}, 1),
    ],
)
def test_trials_see_earlier_ones_where_these_count(
    make_spec: Make, changes: dict[str, object], lag: int | None
) -> None:
    spec = make_spec(search=search(**changes))
    assert spec.search is not None
    assert spec.search.lag_of(spec.search.n_trials) == lag
    assert spec.search.lag_of(5) in (lag if spec.search.lag else 1, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lag": 0}, "greater than or equal to 1"),
        ({"lag": 40}, "search.lag: a lag of 40 leaves none of 40 trials"),
        ({"lag": 1, "n_trials": 1}, "search.lag: a lag of 1 leaves none of 1 trials"),
        ({"lag": 2, "sampler": "random"}, "search.lag: random without a pruner learns nothing"),
        ({"lag": 2, "sampler": "grid"}, "search.lag: grid without a pruner learns nothing"),
    ],
)
def test_a_lag_without_effect_or_beyond_the_budget_is_rejected(
    make_spec: Make, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        make_spec(search=search(**changes))


def test_the_lag_is_below_the_smallest_budget_of_an_arm(make_spec: Make) -> None:
    arms = [{"name": "a", "technique": "none"}, {"name": "b", "technique": "none", "n_trials": 5}]
    make_spec(search=search(lag=4), arms=arms, budget={"equal": "none"})
    with pytest.raises(ValidationError, match=r"search.lag: a lag of 5 leaves none of 5 trials"):
        make_spec(search=search(lag=5), arms=arms, budget={"equal": "none"})


GRID = {
    "search": None,
    "space": {
        "lr": {"choices": [0.1, 0.01]},
        "momentum": {"low": 0.0, "high": 0.9, "step": 0.45},
        "lr_every_epochs": 2,
    },
    "confirm": {"n_seeds": 5, "epochs": 7},
    "arms": [
        {"name": "a", "technique": "none"},
        {"name": "b", "technique": "annealed", "space": {"eta": 0.3, "gamma": 0.5}},
    ],
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"confirm": {"n_seeds": 5}}, "confirm.epochs: `confirm.epochs` is required"),
        (
            {"space": {"lr": {"low": 0.1, "high": 0.3}}},
            "space.lr: without `search` every value of lr is run",
        ),
        (
            {"space": {"lr": {"low": 1, "high": 8, "log": True, "integer": True}}},
            "space.lr: without",
        ),
        (
            {
                "arms": [
                    GRID["arms"][0],
                    {"name": "b", "technique": "annealed", "space": {"eta": {"choices": [0.3]}}},
                ]
            },  # type: ignore[index]
            "arms.1.space.eta: without `search` an arm",
        ),
        (
            {
                "budget": {"equal": "none"},
                "arms": [GRID["arms"][0], {"name": "b", "technique": "none", "n_trials": 3}],
            },
            "arms.1.n_trials",
        ),  # type: ignore[index]
    ],
)
def test_an_infinite_grid_is_rejected(
    make_spec: Make, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        make_spec(**(GRID | changes))


def test_a_budget_in_steps_counts_its_reports(make_spec: Make) -> None:
    """A measurement counts as an epoch: in every phase, for the pruner, and in a grid."""
    steps = {"steps": 20_000, "report_every": 500}
    search = {"n_trials": 4, "sampler": "random", "pruner": {"name": "median", "every_epochs": 10}}
    design = Design.of(make_spec(budget=steps, search=search))
    assert [design.epochs(phase) for phase in design.phases] == [40, 40, 40]
    assert max(design.rungs("search")) < 40
    grid = Design.of(make_spec(**(GRID | {"confirm": {"n_seeds": 5}, "budget": steps})))
    assert grid.epochs("confirm") == 40


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": {"steps": 100}}, "report_every: with steps, report_every is missing"),
        ({"budget": {"report_every": 10}}, "report_every: report_every counts steps"),
        (
            {"budget": {"steps": 100, "report_every": 30}},
            "report_every: report_every must divide the 100 steps",
        ),
        (
            {"budget": {"steps": 100, "report_every": 10}},
            "search.epochs: the budget is in steps, but search.epochs is given",
        ),
        ({"search": {"n_trials": 4}}, "search.epochs: search.epochs is missing"),
        (
            {
                "budget": {"steps": 100, "report_every": 10},
                "search": {"n_trials": 4},
                "confirm": {"n_seeds": 5, "epochs": 3},
            },
            "confirm.epochs: the budget is in steps, but confirm.epochs is given",
        ),
    ],
)
def test_a_length_in_both_epochs_and_steps_is_rejected(
    make_spec: Make, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        make_spec(**changes)
