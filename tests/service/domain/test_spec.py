"""A spec is refused when it could not run, and derives all that its trials need."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gradnoise_service.domain.spec import Arm, Choices, Pruner, Range, StudySpec

Make = Callable[..., StudySpec]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"low": 0.3, "high": 0.003}, "low must be below high"),
        ({"low": 0.3, "high": 0.3}, "low must be below high"),
        ({"low": 0.0, "high": 0.3, "log": True}, "low above 0"),
        ({"low": 0.1, "high": 0.3, "log": True, "step": 0.1}, "exclude each other"),
        ({"low": 0.0, "high": 1.0, "step": 0.3}, "whole number of steps"),
        ({"low": 1.5, "high": 3, "integer": True}, "whole numbers"),
        ({"low": 0.0, "high": 1e308, "step": 1e-308}, "at most 2"),
        ({"low": False, "high": 3}, "valid number"),
        ({"low": 0.1, "high": float("inf")}, "finite"),
        ({"low": 0.1, "high": 0.3, "lg": True}, "lg"),
    ],
)
def test_a_range_that_is_none_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Range.model_validate(values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": [{"name": "a", "technique": "none"}]}, "at least 2"),
        ({"arms": [{"name": "a", "technique": "none"}] * 2}, "different names"),
        (
            {
                "arms": [
                    {"name": "a", "technique": "none"},
                    {"name": "confirm", "technique": "none"},
                ]
            },
            "must not be named",
        ),
        (
            {
                "arms": [
                    {"name": "a", "technique": "none"},
                    {"name": "b", "technique": "none", "space": {"lr": 0.1}},
                ]
            },
            "one space for all arms",
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
            {
                "arms": [
                    {"name": "a", "technique": "none"},
                    {"name": "rerun", "technique": "none"},
                ],
                "search": {"n_trials": 4, "epochs": 3},
            },
            "must not be named 'rerun'",
        ),
        ({"smallest_difference": 0}, "greater than 0"),
        ({"search": {"n_trials": 0, "epochs": 3}}, "greater than or equal to 1"),
        ({"confirm": {"n_seeds": 1}}, "greater than or equal to 2"),
        ({"confirm": {"n_seeds": 0, "power": {"sd": 0.1}}}, "greater than or equal to 2"),
        ({"confirm": {}}, "n_seeds is missing"),
        (
            {"confirm": {"n_seeds": 9, "looks": [6, 6]}},
            "confirm.looks: looks must rise from one to the next",
        ),
        (
            {"confirm": {"n_seeds": 9, "looks": [6, 9]}},
            "confirm.looks: 9 is no look before the last, at n_seeds = 9",
        ),
        ({"confirm": {"n_seeds": 9, "looks": [1, 6]}}, "confirm.looks: looks must rise"),
        ({"confirm": {"n_seeds": 9, "looks": [6], "boundary": "haybittle"}}, "obrien_fleming"),
        ({"confirm": {"power": {"power": 1.0, "sd": 0.1}}}, "less than 1"),
        ({"confirm": {"power": {"sd": 0}}}, "greater than 0"),
        ({"confirm": {"n_seeds": 3, "thresholds": [0.5, 0.5]}}, "only once"),
        ({"confirm": {"n_seeds": 3, "thresholds": [float("nan")]}}, "finite"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"space": {}}, "at least 1"),
        ({"name": "a/b"}, "pattern"),
        ({"space": {"lr": True}}, "valid number"),
        ({"smallest_difference": True}, "valid number"),
        ({"search": {"n_trials": True, "epochs": 3}}, "valid integer"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_spec_that_could_not_run_is_refused(
    make_spec: Make, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        make_spec(**changes)


def test_an_unequal_budget_must_be_declared(make_spec: Make) -> None:
    arms = [
        {"name": "baseline", "technique": "none"},
        {"name": "noisy", "technique": "none", "n_trials": 9},
    ]
    with pytest.raises(
        ValidationError, match=r"arm 'noisy' has n_trials=9 of its own.*budget: unequal"
    ):
        make_spec(arms=arms)
    spec = make_spec(arms=arms, budget="unequal")
    assert [spec.n_searched(arm.name) for arm in spec.arms] == [4, 9]
    assert spec.n_trials_total == 4 + 9 + 2 * 5


def test_a_seed_must_be_given(make_spec: Make) -> None:
    values = make_spec().model_dump()
    del values["seed"]
    with pytest.raises(ValidationError, match="seed"):
        StudySpec.model_validate(values)


def test_a_spec_survives_json(make_spec: Make) -> None:
    spec = make_spec(search={"n_trials": 3, "epochs": 9, "pruner": "asha"})
    assert StudySpec.model_validate_json(spec.model_dump_json()) == spec


def test_arms_share_the_common_space_and_add_their_own(make_spec: Make) -> None:
    spec = make_spec()
    assert list(spec.arm_space("baseline")) == ["lr"]
    assert list(spec.arm_space("noisy")) == ["lr", "eta", "gamma"]
    assert spec.arm("noisy") == Arm(
        name="noisy",
        technique="annealed",
        space={"eta": Choices(choices=[0.01, 0.3, 1.0]), "gamma": Range(low=0.3, high=0.9)},
    )


@given(seed=st.integers(0, 2**48 - 1), number=st.integers(0, 10_000))
def test_trial_seeds_are_stable_and_differ_between_phases(seed: int, number: int) -> None:
    spec = StudySpec.model_validate(
        {
            "name": "s",
            "workload": "mlp",
            "smallest_difference": 0.1,
            "space": {"lr": 0.1},
            "search": {"n_trials": 1, "epochs": 1},
            "confirm": {"n_seeds": 2},
            "seed": seed,
        }
    )
    assert (
        spec.trial_seed("search", number)
        == spec.trial_seed("search", number)
        != spec.trial_seed("confirm", number)
    )
    assert 0 <= spec.trial_seed("search", number) < 2**48


@pytest.mark.parametrize(
    ("rerun", "n_reruns"),
    [
        ({}, 9),
        ({"top": 9}, 12),
        ({"top": 2, "n_seeds": 5}, 10),
        ({"top": 1}, 0),
        ({"n_seeds": 0}, 0),
    ],
)
def test_reruns_count_among_the_trials(
    make_spec: Make, rerun: dict[str, int], n_reruns: int
) -> None:
    """Never more settings than there are trials; one setting, or no seed, leaves them out."""
    spec = make_spec(search={"n_trials": 4, "epochs": 3, "rerun": rerun})
    assert (spec.n_rerun("noisy"), spec.search.rerun.is_on) == (n_reruns, n_reruns > 0)
    assert spec.n_trials_total == 2 * (4 + n_reruns + 5)


def test_an_extended_study_has_more_seeds_that_follow_from_no_power(make_spec: Make) -> None:
    spec = make_spec(confirm={"n_seeds": 12, "power": {"sd": 0.05}, "thresholds": [0.5]})
    assert spec.at_seeds(12) == spec
    assert spec.at_seeds(20) == make_spec(confirm={"n_seeds": 20, "thresholds": [0.5]})


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


def test_without_a_search_every_combination_of_the_shared_space_is_run(make_spec: Make) -> None:
    spec = make_spec(**GRID)
    assert (spec.n_points, spec.n_pairs, spec.n_trials_total, spec.epochs, spec.confirm_epochs) == (
        6,
        30,
        60,
        7,
        7,
    )
    assert (spec.n_searched("a"), spec.n_rerun("a"), spec.rerun.is_on) == (0, 0, False)
    points = [(point["lr"], point["momentum"]) for point in spec.points()]
    assert points == [(0.1, 0.0), (0.1, 0.45), (0.1, 0.9), (0.01, 0.0), (0.01, 0.45), (0.01, 0.9)]
    assert spec.points("b")[1] == {
        "lr": 0.1,
        "momentum": 0.45,
        "lr_every_epochs": 2,
        "eta": 0.3,
        "gamma": 0.5,
    }
    assert spec.at_seeds(8).n_pairs == 48
    assert StudySpec.model_validate_json(spec.model_dump_json()) == spec
    assert (make_spec().n_points, make_spec().n_pairs) == (1, 5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"confirm": {"n_seeds": 5}}, "confirm.epochs: is missing"),
        (
            {"space": {"lr": {"low": 0.1, "high": 0.3}}},
            "space.lr: without a search every value of lr is run",
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
            "arms.1.space.eta: without a search an arm has one value",
        ),
        (
            {
                "budget": "unequal",
                "arms": [GRID["arms"][0], {"name": "b", "technique": "none", "n_trials": 3}],
            },
            "arms.1.n_trials",
        ),  # type: ignore[index]
    ],
)
def test_what_cannot_be_run_without_a_search_is_refused(
    make_spec: Make, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        make_spec(**(GRID | changes))


@pytest.mark.parametrize(
    ("pruner", "epochs", "rungs"),
    [
        (Pruner(), 10, ()),
        (Pruner(name="median", warmup_epochs=3, every_epochs=3), 10, (3, 6, 9)),
        (Pruner(name="median"), 1, ()),
        (Pruner(name="asha", warmup_epochs=2, reduction_factor=3), 20, (2, 6, 18)),
        (Pruner(name="asha", warmup_epochs=9), 9, ()),
    ],
)
def test_rungs_lie_below_the_budget(pruner: Pruner, epochs: int, rungs: tuple[int, ...]) -> None:
    assert pruner.rungs(epochs) == rungs


def test_points_of_a_stepped_range_reach_both_ends() -> None:
    assert list(Range(low=0.1, high=0.3, step=0.1).points()) == pytest.approx([0.1, 0.2, 0.3])
    assert list(Range(low=2, high=6, step=2, integer=True).points()) == [2, 4, 6]
    assert list(Range(low=2, high=4, integer=True).points()) == [2, 3, 4]
    assert Range(low=0.1, high=0.3).n_points is None
    assert Range(low=0.0, high=1e15, step=1.0).n_points == 10**15 + 1  # counted, not listed
    with pytest.raises(ValueError, match="without a step"):
        list(Range(low=0.1, high=0.3).points())
