"""Equal device seconds: how many trials each arm has, and what is refused."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gradnoise_service.domain.budget import affordable
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, Study

Make = Callable[..., StudySpec]
TIME = {"equal": "device_seconds"}
SEARCH = {"n_trials": 20, "epochs": 3, "repeats": 2}


@given(
    n_trials=st.integers(1, 1000),
    costs=st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=5),
)
def test_each_arm_s_device_time_is_that_of_the_cheapest_within_half_a_trial(
    n_trials: int, costs: list[float]
) -> None:
    by_arm = {str(i): cost for i, cost in enumerate(costs)}
    time = n_trials * min(costs)
    for arm, cost in by_arm.items():
        n = affordable(n_trials, by_arm, arm)
        assert 1 <= n <= n_trials
        assert n == 1 or abs(n * cost - time) <= 0.5 * cost * (1 + 1e-9)


def test_declared_costs_determine_the_design(
    make_spec: Make, make_design: Callable[..., Design]
) -> None:
    design = make_design(search=SEARCH, budget=TIME | {"costs": {"baseline": 0.5, "noisy": 0.625}})
    assert [design.n_searched(arm) for arm in ("baseline", "noisy")] == [20, 16]
    assert design.n_trials("search", "noisy") == 2 * 16
    # trial 16 of the dearer arm is the first of its second search
    assert design.place("search", "noisy", 16) == (1, 0)
    assert design.seed("search", "noisy", 16) == design.seed("search", "baseline", 20)


def test_arms_of_equal_device_time_train_equally_many_trials_at_once(
    make_design: Callable[..., Design],
) -> None:
    """A quarter of 8 trials is 2, of 20 trials 5."""
    costs = {"costs": {"baseline": 1, "noisy": 2.5}}
    lags = [
        [
            make_design(search=SEARCH | search, budget=budget).lag(arm)
            for arm in ("baseline", "noisy")
        ]
        for search, budget in (
            ({}, TIME | costs),
            ({}, {"equal": "trials"}),
            ({"sampler": "random"}, TIME | costs),
        )
    ]
    assert lags == [[2, 2], [5, 5], [None, None]]


def test_measured_costs_are_those_of_the_protocol(
    make_design: Callable[..., Design],
    make_study: Callable[..., Study],
    accuracy: Metric,
) -> None:
    """Until they are measured, every arm counts with the most trials that it may have."""
    study = make_study(make_design(search=SEARCH, budget=TIME), accuracy)
    assert study.design.n_searched("noisy") == 20
    measured = replace(study, protocol={"search_costs": {"baseline": 1.0, "noisy": 2.0}})
    assert measured.design.n_searched("noisy") == 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": {"equal": "time"}}, "budget.equal"),
        ({"budget": TIME | {"costs": {"baseline": 1}}}, "the cost of every arm"),
        ({"budget": TIME | {"costs": {"baseline": 1, "noisy": 0}}}, "greater than 0"),
        ({"budget": TIME | {"costs": {"baseline": 1, "noisy": 1, "x": 1}}}, "and of no other"),
        ({"budget": {"costs": {"baseline": 1, "noisy": 2}}}, "costs do not count where trials"),
        ({"budget": TIME, "search": SEARCH | {"sampler": "grid"}}, "a grid has a number"),
        (
            {
                "budget": TIME,
                "search": None,
                "space": {"lr": 0.1},
                "arms": [{"name": n, "technique": "none"} for n in "ab"],
                "confirm": {"n_seeds": 6, "epochs": 2},
            },
            "the study has none",
        ),
        (
            {
                "budget": TIME,
                "arms": [
                    {"name": "a", "technique": "none"},
                    {"name": "b", "technique": "none", "n_trials": 3},
                ],
            },
            "arms.1.n_trials",
        ),
    ],
)
def test_an_illegal_budget_is_refused(
    make_spec: Make, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        make_spec(**changes)
