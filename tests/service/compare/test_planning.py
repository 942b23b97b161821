"""The number of seeds follows from the declared power, by the rule of the verdict."""

import math
from collections.abc import Callable

import pytest

from gradnoise_service.compare.planning import planned, with_seeds
from gradnoise_service.compare.power import chances, chances_of_searches
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.errors import InvalidSpecError
from gradnoise_service.domain.sequential import fewest_pairs
from gradnoise_service.domain.spec import StudySpec

Make = Callable[..., StudySpec]


@pytest.mark.parametrize("n_arms", [2, 4])
def test_the_fewest_seeds_that_reach_the_power_are_taken(make_spec: Make, n_arms: int) -> None:
    """With more arms each comparison is stricter, so it requires more seeds."""
    arms = [{"name": f"a{i}", "technique": "none"} for i in range(n_arms)]
    spec = with_seeds(
        make_spec(
            arms=arms, smallest_difference=0.05, confirm={"power": {"power": 0.9, "sd": 0.08}}
        )
    )
    level = 1 - 0.05 / (n_arms - 1)

    def power(n: int) -> float:
        return chances(n, 0.05, 0.08, smallest_difference=0.05, level=level)["helps"]

    assert power(spec.confirm.n_seeds) >= 0.9 > power(spec.confirm.n_seeds - 1)
    assert with_seeds(spec) == spec


def test_without_a_power_the_spec_is_unchanged(make_spec: Make) -> None:
    assert with_seeds(make_spec()) == make_spec()


def test_an_unreachable_power_is_rejected(make_spec: Make) -> None:
    with pytest.raises(InvalidSpecError, match="power"):
        with_seeds(make_spec(confirm={"power": {"power": 0.99, "sd": 0.1}}))


def test_looks_require_more_seeds_for_the_same_power(make_spec: Make) -> None:
    """The last look has less than 5 %, and detects the gain with the declared probability."""
    confirm = {"power": {"power": 0.9, "sd": 0.08}}
    once, spec = (
        with_seeds(make_spec(smallest_difference=0.05, confirm=confirm | looks))
        for looks in ({}, {"looks": [12, 24], "boundary": "pocock"})
    )
    assert spec.confirm.n_seeds > once.confirm.n_seeds
    level = 1 - Design.of(spec).level_at(spec.confirm.n_seeds)
    assert (
        chances(spec.confirm.n_seeds, 0.05, 0.08, smallest_difference=0.05, level=level)["helps"]
        >= 0.9
    )
    assert planned(spec) == spec


def test_looks_must_be_below_the_seeds_that_the_power_requires(make_spec: Make) -> None:
    with pytest.raises(InvalidSpecError) as rejected:
        planned(
            make_spec(smallest_difference=0.05, confirm={"power": {"sd": 0.05}, "looks": [9, 40]})
        )
    (error,) = rejected.value.errors
    assert (error.field, error.value, error.legal) == ("confirm.looks", [9, 40], "looks below 11")


@pytest.mark.parametrize(
    ("looks", "boundary", "legal"),
    [
        ([6, 18], "obrien_fleming", "at least 11 seeds at this look"),
        ([7, 18], "obrien_fleming", "at least 11 seeds at this look, or the boundary pocock"),
        ([6, 7], "obrien_fleming", "no look so early before 7 seeds"),
        ([13, 18], "obrien_fleming", None),
        ([6, 12], "pocock", "at least 7 seeds at this look"),
        ([7, 12], "pocock", None),
    ],
)
def test_a_look_without_a_possible_verdict_is_rejected(
    make_spec: Make, looks: list[int], boundary: str, legal: str | None
) -> None:
    """The exact test of n pairs reaches p = 2^(1 - n) at best.

    The legal number of seeds is accepted, and a seed fewer is not.
    """

    def spec(looks: list[int], boundary: str) -> StudySpec:
        return make_spec(confirm={"n_seeds": 24, "looks": looks, "boundary": boundary})

    if legal is None:
        assert planned(spec(looks, boundary)) == spec(looks, boundary)
        return
    with pytest.raises(InvalidSpecError) as rejected:
        planned(spec(looks, boundary))
    (error,) = rejected.value.errors
    assert (error.field, error.value, error.legal) == ("confirm.looks", looks, legal)
    if legal.startswith("at least"):
        fewest = int(legal.split()[2])
        assert planned(spec([fewest, looks[1]], boundary))
        with pytest.raises(InvalidSpecError):
            planned(spec([fewest - 1, looks[1]], boundary))
    if "pocock" in legal:
        assert planned(spec(looks, "pocock"))


@pytest.mark.parametrize("n_seeds", [5_000, 1_000_000])
def test_a_look_at_the_least_level_is_rejected(make_spec: Make, n_seeds: int) -> None:
    """Its level is so low that not even 12 pairs of equal sign reach it."""
    with pytest.raises(InvalidSpecError, match="no verdict is possible at 12 seeds"):
        planned(make_spec(confirm={"n_seeds": n_seeds, "looks": [12]}))


@pytest.mark.parametrize("sd", [5e-324, 1e-300, 1e-12])
def test_differences_that_hardly_vary_require_the_fewest_pairs_of_a_verdict(
    make_spec: Make, sd: float
) -> None:
    assert with_seeds(make_spec(confirm={"power": {"sd": sd}})).confirm.n_seeds == 6


@pytest.mark.parametrize("n_comparisons", range(1, 10))
def test_the_fewest_pairs_are_the_first_whose_smallest_p_is_small_enough(
    n_comparisons: int,
) -> None:
    alpha = 0.05 / n_comparisons
    n = fewest_pairs(alpha)
    assert 2 ** (1 - n) <= alpha < 2 ** (2 - n)


REPEATED = {"n_trials": 4, "epochs": 3, "repeats": 4}


def test_the_power_of_repeated_searches_determines_their_seeds(make_spec: Make) -> None:
    """sd^2 / 2 is the variance of a run in one arm, search_sd^2 that between searches."""
    declared = {"power": 0.8, "sd": 0.04, "search_sd": 0.01}
    spec = with_seeds(
        make_spec(smallest_difference=0.05, search=REPEATED, confirm={"power": declared})
    )

    def power(n_seeds: int) -> float:
        sd = math.sqrt(0.01**2 + 0.04**2 / 2 * 4 / n_seeds)
        return chances_of_searches(4, 0.05, sd, smallest_difference=0.05, level=0.95)["helps"]

    assert power(spec.confirm.n_seeds) >= 0.8 > power(spec.confirm.n_seeds - 1)
    assert planned(spec) == spec


@pytest.mark.parametrize(
    ("search_sd", "field", "message"),
    [
        (None, "confirm.power.search_sd", "search_sd is missing"),
        (0.2, "confirm.power", "no number of seeds reaches this power with 4 searches"),
    ],
)
def test_a_power_that_repeated_searches_cannot_have_is_rejected(
    make_spec: Make, search_sd: float | None, field: str, message: str
) -> None:
    confirm = {"power": {"power": 0.8, "sd": 0.04, "search_sd": search_sd}}
    with pytest.raises(InvalidSpecError) as refused:
        planned(make_spec(smallest_difference=0.05, search=REPEATED, confirm=confirm))
    (fault,) = refused.value.errors
    assert fault.field == field
    assert message in fault.message
