"""Searches that are too small, and trials that are far from the best."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from gradnoise_service.compare.assembly import compare
from gradnoise_service.compare.facts.luck import FewNearBest, SmallSearch, TooFewSeeds
from gradnoise_service.compare.search_size import few_near_best, limits
from gradnoise_service.compare.tables import tabulate
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.stop import Stop
from gradnoise_service.domain.study import Metric, Trial

Make = Callable[..., tuple[Design, list[Trial]]]


def search(n_trials: int, sampler: str = "random") -> dict[str, object]:
    return {"n_trials": n_trials, "epochs": 3, "sampler": sampler, "rerun": {"n_seeds": 0}}


@pytest.mark.parametrize(
    ("n_trials", "expected"),
    [
        (9, [("baseline", 9, 1, 10), ("noisy", 9, 3, 30)]),
        (10, [("noisy", 10, 3, 30)]),
        (30, []),
    ],
)
def test_a_search_needs_ten_trials_for_each_parameter(
    make_design: Callable[..., Design], n_trials: int, expected: list[tuple[str, int, int, int]]
) -> None:
    found = limits(make_design(search=search(n_trials), confirm={"n_seeds": 6}))
    assert list(found) == [
        SmallSearch(arm=arm, n_trials=n, n_parameters=k, n_needed=needed)
        for arm, n, k, needed in expected
    ]


def test_a_grid_and_a_study_without_a_search_are_never_too_small(
    make_design: Callable[..., Design],
) -> None:
    space = {"lr": {"choices": [0.01, 0.1]}}
    arms = [{"name": name, "technique": "none"} for name in ("a", "b")]
    fields = {"space": space, "arms": arms}
    grid = make_design(search=search(2, "grid"), confirm={"n_seeds": 6}, **fields)
    untuned = make_design(search=None, confirm={"n_seeds": 3, "epochs": 3}, **fields)
    assert list(limits(grid)) == list(limits(untuned)) == []


def test_fewer_pairs_than_a_verdict_needs_are_named(make_design: Callable[..., Design]) -> None:
    """6 pairs for one comparison, 7 for two, because each has half the error probability."""
    arms = [{"name": name, "technique": "none"} for name in ("a", "b", "c")]
    for of_arms, n_needed in ((arms[:2], 6), (arms, 7)):
        design = make_design(search=search(10), arms=of_arms, confirm={"n_seeds": n_needed - 1})
        assert list(limits(design)) == [TooFewSeeds(n_pairs=n_needed - 1, n_needed=n_needed)]
        assert list(limits(design.at(n_needed))) == []


def test_a_stopped_search_is_not_said_to_lack_seeds(make_spec: Callable[..., StudySpec]) -> None:
    arms = [{"name": name, "technique": "none"} for name in ("a", "b")]
    spec = make_spec(search=search(20), arms=arms, confirm={"n_seeds": 6})
    stopped_at = datetime(2026, 1, 2, tzinfo=UTC)
    stop = Stop(stopped_at=stopped_at, phase="search", n=10, n_declared=20)
    design = Design.of(spec, stops=[stop])
    assert design.n_seeds == 0
    assert list(limits(design)) == []


def test_an_always_valid_verdict_needs_more_pairs(make_design: Callable[..., Design]) -> None:
    arms = [{"name": name, "technique": "none"} for name in ("a", "b")]
    confirm = {"n_seeds": 6, "anytime": True}
    design = make_design(search=search(10), arms=arms, confirm=confirm)
    assert list(limits(design)) == [TooFewSeeds(n_pairs=6, n_needed=7)]
    assert list(limits(design.at(7))) == []


@pytest.mark.parametrize(
    ("delta", "expected"), [(0.05, 1), (0.15, 2), (0.25, None)], ids=["one", "two", "three"]
)
def test_fewer_than_three_trials_close_to_the_best_are_found(
    make_trials: Make, accuracy: Metric, delta: float, expected: int | None
) -> None:
    """The search values are 0.1, 0.2, 0.3 and 0.4."""
    design, trials = make_trials(
        {"baseline": [0.1, 0.2], "noisy": [0.2, 0.3]}, smallest_difference=delta
    )
    tables = tabulate(design, accuracy, trials)
    found = list(few_near_best(design, accuracy, tables.arms, tables.search))
    assert found == [
        FewNearBest(arm=arm, n_near=expected, n_complete=4, best=0.4)
        for arm in ("baseline", "noisy")
        if expected is not None
    ]


def test_a_search_that_has_not_ended_or_has_no_complete_trial_is_left_out(
    make_trials: Make, make_trial: Callable[..., Trial], accuracy: Metric
) -> None:
    design, trials = make_trials({"baseline": [0.1], "noisy": [0.2]})
    changed = [t for t in trials if t.phase != "search"]
    changed += [make_trial(design, "search", "baseline", i, "diverged") for i in range(4)]
    changed += [make_trial(design, "search", "noisy", i, 0.1) for i in range(3)]
    tables = tabulate(design, accuracy, changed)
    assert list(few_near_best(design, accuracy, tables.arms, tables.search)) == []


def test_small_searches_and_few_near_the_best_are_the_first_findings(
    make_trials: Make, accuracy: Metric
) -> None:
    design, trials = make_trials({"baseline": [0.1] * 6, "noisy": [0.1] * 6})
    kinds = [finding.kind for finding in compare(design, accuracy, trials, protocol={}).findings]
    assert kinds[:4] == ["small_search"] * 2 + ["few_near_best"] * 2
    assert kinds[-1] != "few_near_best"
