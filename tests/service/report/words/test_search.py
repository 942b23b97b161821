"""Sentences on the size and the luck of a search."""

from collections.abc import Callable

import pytest

from gradnoise_service.compare.assembly import compare
from gradnoise_service.compare.facts.base import Interval
from gradnoise_service.compare.facts.findings import Finding
from gradnoise_service.compare.facts.luck import (
    FewNearBest,
    RepeatedSearch,
    SearchLuck,
    SmallSearch,
    UnknownLuck,
)
from gradnoise_service.compare.search_size import ignored_by_sampler as found_of
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.study import Metric, Trial
from gradnoise_service.report.words.search import declared_limits, ignored_by_sampler
from gradnoise_service.report.words.warnings import warning

Make = Callable[..., tuple[Design, list[Trial]]]
NEAR = "The search is too small, or its space too wide."
MOVED = (
    "noisy and baseline were each tuned once. Repeating both searches could move their difference "
    "by ±0.012: with this, its 95 % interval is "
)


def repeated(low: float, high: float, sampler: str = "random") -> Finding:
    interval = Interval(low=low, high=high, level=0.95, method="search_luck")
    luck = SearchLuck(sd=0.003, baseline_sd=0.004, reach=0.012, interval=interval)
    return RepeatedSearch.model_validate(
        {"arm": "noisy", "baseline": "baseline", "sampler": sampler, "luck": luck}
    )


@pytest.mark.parametrize(
    ("finding", "expected"),
    [
        (
            SmallSearch(arm="noisy", n_trials=10, n_parameters=3, n_needed=30),
            "The search of noisy is small: 10 trials for 3 searched parameters, where at least 30 "
            "are needed (10 for each). Another search of this size may choose a much better or "
            "worse setting.",
        ),
        (
            FewNearBest(arm="noisy", n_near=1, n_complete=20, best=0.9),
            "The search of noisy may have missed better settings: no other of its 20 complete "
            f"trials came within 0.02 of its best value (0.9). {NEAR}",
        ),
        (
            FewNearBest(arm="noisy", n_near=2, n_complete=20, best=0.9),
            "The search of noisy may have missed better settings: only 1 other of its 20 complete "
            f"trials came within 0.02 of its best value (0.9). {NEAR}",
        ),
        (
            UnknownLuck(arm="noisy", n_complete=9, n_needed=14),
            "How far repeating the search of noisy could move the difference cannot be estimated: "
            "it has 9 complete trials, and at least 14 are needed.",
        ),
        (
            UnknownLuck(arm="noisy", n_complete=30, n_needed=14),
            "How far repeating the search of noisy could move the difference cannot be estimated: "
            "the better half of its trials has the same value.",
        ),
    ],
)
def test_a_search_s_size_is_stated(
    make_trials: Make, accuracy: Metric, finding: Finding, expected: str
) -> None:
    design, trials = make_trials({"baseline": [0.1], "noisy": [0.2]})
    assert warning(design, compare(design, accuracy, trials, protocol={}), finding) == expected


SPREAD = [0.01, 0.02, 0.03, 0.01, 0.02, 0.03, 0.02, 0.02]


@pytest.mark.parametrize(
    ("gain", "delta", "finding", "expected"),
    [
        (
            0.3,
            0.02,
            repeated(-0.004, 0.031),
            "−0.004 to +0.031, which includes 0: the difference may be due to the searches.",
        ),
        (0.3, 0.02, repeated(0.004, 0.031), "+0.004 to +0.031, which still excludes 0."),
        (-0.3, 0.02, repeated(-0.3, -0.1), "−0.3 to −0.1, which still excludes 0."),
        (0.0, 0.5, repeated(-0.4, 0.1), "−0.4 to +0.1, still within ±0.5."),
        (
            0.0,
            0.5,
            repeated(-0.6, 0.1),
            "−0.6 to +0.1, which is not within ±0.5: other searches may find a difference.",
        ),
        (-0.02, 0.001, repeated(-0.6, 0.1), "−0.6 to +0.1."),
        (
            0.3,
            0.02,
            repeated(0.004, 0.031, "tpe"),
            "+0.004 to +0.031, which still excludes 0. The estimate treats the settings as drawn "
            "at random; with tpe the searches may vary less.",
        ),
    ],
)
def test_the_luck_of_both_searches_is_stated_with_its_consequence(
    make_trials: Make,
    accuracy: Metric,
    gain: float,
    delta: float,
    finding: Finding,
    expected: str,
) -> None:
    values = {"baseline": [0.4] * 8, "noisy": [0.4 + gain + x for x in SPREAD]}
    design, trials = make_trials(values, smallest_difference=delta)
    comparison = compare(design, accuracy, trials, protocol={})
    assert warning(design, comparison, finding) == MOVED + expected


def test_a_declaration_states_what_it_cannot_show(
    make_design: Callable[..., Design],
) -> None:
    assert declared_limits(make_design()) == (
        "The search of baseline is small: 4 trials for 1 searched parameter, where at least 10 are "
        "needed (10 for each). Another search of this size may choose a much better or worse "
        "setting.",
        "The search of noisy is small: 4 trials for 3 searched parameters, where at least 30 are "
        "needed (10 for each). Another search of this size may choose a much better or worse "
        "setting.",
        "5 confirm seeds cannot give a verdict: at least 6 pairs of runs are needed, but there are "
        "5.",
    )


def test_a_sampler_states_what_it_does_not_use(make_design: Callable[..., Design]) -> None:
    """At submission and as a warning of the report; TPE uses choices and pruned trials."""

    def stated(**search: object) -> tuple[str, ...]:
        design = make_design(
            search={"n_trials": 60, "epochs": 3, "repeats": 1} | search, confirm={"n_seeds": 6}
        )
        assert [ignored_by_sampler(found) for found in found_of(design)] == list(
            declared_limits(design)
        )
        return declared_limits(design)

    assert stated(sampler="tpe", pruner="median") == stated(sampler="random") == ()
    assert stated(sampler="cmaes", pruner="asha") == (
        "cmaes draws choices at random: eta of noisy. cmaes learns from complete trials and "
        "ignores pruned ones.",
    )
    assert stated(sampler="gp", lag=50) == (
        "gp draws all 60 trials of a search at random: a search of this size ends before it learns "
        "from earlier trials.",
    )


def test_a_look_that_hardly_decides_on_searches_is_named(
    make_design: Callable[..., Design],
) -> None:
    """t(4 degrees) at half the level of the first look, over that at 2.5 %, is above 2."""
    search = {"n_trials": 60, "epochs": 3, "sampler": "random", "repeats": 3}
    confirm = {"n_seeds": 24, "looks": [6, 12]}
    (found,) = declared_limits(make_design(search=search, confirm=confirm))
    assert found == (
        "The look at 6 seeds hardly decides: at its level, 0.0076 %, 3 searches need a "
        "difference 6.0 times as large as for a single verdict. Declare more repeats, a later "
        "look, or the boundary pocock."
    )
    evenly = make_design(search=search, confirm=confirm | {"boundary": "pocock"})
    assert declared_limits(evenly) == ()


def test_a_grid_states_that_it_has_too_few_seeds(make_design: Callable[..., Design]) -> None:
    arms = [{"name": name, "technique": "none"} for name in ("a", "b")]
    space = {"lr": {"choices": [0.01, 0.1]}}
    grid = make_design(search=None, arms=arms, space=space, confirm={"n_seeds": 2, "epochs": 3})
    assert declared_limits(grid) == (
        "2 confirm seeds of 2 settings cannot give a verdict: at least 6 pairs of runs are needed, "
        "but there are 4.",
    )
