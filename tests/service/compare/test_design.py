"""The number of seeds follows from the declared power, by the verdict's own rule."""

from collections.abc import Callable

import pytest

from gradnoise_service.compare.design import planned, with_seeds
from gradnoise_service.compare.power import chances
from gradnoise_service.compare.verdict import level_at
from gradnoise_service.domain.errors import InvalidSpecError
from gradnoise_service.domain.spec import StudySpec

Make = Callable[..., StudySpec]


@pytest.mark.parametrize("n_arms", [2, 4])
def test_the_fewest_seeds_that_reach_the_power_are_taken(make_spec: Make, n_arms: int) -> None:
    """With more arms each comparison is stricter, so that it takes more of them."""
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


def test_without_a_power_the_study_stays_as_it_is(make_spec: Make) -> None:
    assert with_seeds(make_spec()) == make_spec()


def test_a_power_out_of_reach_is_refused(make_spec: Make) -> None:
    with pytest.raises(InvalidSpecError, match="power"):
        with_seeds(make_spec(confirm={"power": {"power": 0.99, "sd": 0.1}}))


def test_looks_take_more_seeds_for_the_same_power(make_spec: Make) -> None:
    """The last look has less than 5 %: it finds the gain with the declared chance by itself, and
    one seed fewer would not.
    """
    confirm = {"power": {"power": 0.9, "sd": 0.08}}
    once, spec = (
        with_seeds(make_spec(smallest_difference=0.05, confirm=confirm | looks))
        for looks in ({}, {"looks": [12, 24], "boundary": "pocock"})
    )
    assert spec.confirm.n_seeds > once.confirm.n_seeds
    level = 1 - level_at(spec, spec.confirm.n_seeds)
    assert (
        chances(spec.confirm.n_seeds, 0.05, 0.08, smallest_difference=0.05, level=level)["helps"]
        >= 0.9
    )
    assert planned(spec) == spec


def test_looks_must_come_before_the_seeds_that_the_power_takes(make_spec: Make) -> None:
    with pytest.raises(InvalidSpecError) as refused:
        planned(
            make_spec(smallest_difference=0.05, confirm={"power": {"sd": 0.05}, "looks": [9, 40]})
        )
    (error,) = refused.value.errors
    assert (error.field, error.value, error.legal) == ("confirm.looks", [9, 40], "looks below 12")


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
def test_a_look_at_which_no_verdict_is_possible_is_refused(
    make_spec: Make, looks: list[int], boundary: str, legal: str | None
) -> None:
    """The exact test of n pairs reaches 2^(1 - n) at best. What is said to be legal is, and one
    seed fewer is not.
    """

    def spec(looks: list[int], boundary: str) -> StudySpec:
        return make_spec(confirm={"n_seeds": 24, "looks": looks, "boundary": boundary})

    if legal is None:
        assert planned(spec(looks, boundary)) == spec(looks, boundary)
        return
    with pytest.raises(InvalidSpecError) as refused:
        planned(spec(looks, boundary))
    (error,) = refused.value.errors
    assert (error.field, error.value, error.legal) == ("confirm.looks", looks, legal)
    if legal.startswith("at least"):
        fewest = int(legal.split()[2])
        assert planned(spec([fewest, looks[1]], boundary))
        with pytest.raises(InvalidSpecError):
            planned(spec([fewest - 1, looks[1]], boundary))
    if "pocock" in legal:
        assert planned(spec(looks, "pocock"))


@pytest.mark.parametrize("n_seeds", [5_000, 1_000_000])
def test_a_look_that_would_be_held_to_nothing_is_refused(make_spec: Make, n_seeds: int) -> None:
    """Its level is below every number there is: not even that many pairs of one sign are enough."""
    with pytest.raises(InvalidSpecError, match="no verdict is possible at 12 seeds"):
        planned(make_spec(confirm={"n_seeds": n_seeds, "looks": [12]}))


@pytest.mark.parametrize("sd", [5e-324, 1e-300, 1e-12])
def test_differences_that_hardly_vary_take_the_fewest_pairs_that_decide(
    make_spec: Make, sd: float
) -> None:
    assert with_seeds(make_spec(confirm={"power": {"sd": sd}})).confirm.n_seeds == 6
