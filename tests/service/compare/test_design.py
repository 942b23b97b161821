"""The number of seeds follows from the declared power, by the verdict's own rule."""

from collections.abc import Callable

import pytest

from service.compare.design import with_seeds
from service.compare.power import chances
from service.domain.errors import InvalidSpec
from service.domain.spec import StudySpec

Make = Callable[..., StudySpec]


@pytest.mark.parametrize("n_arms", [2, 4])
def test_the_fewest_seeds_that_reach_the_power_are_taken(make_spec: Make, n_arms: int) -> None:
    """With more arms each comparison is stricter, so that it takes more of them."""
    arms = [{"name": f"a{i}", "technique": "none"} for i in range(n_arms)]
    spec = with_seeds(make_spec(arms=arms, smallest_difference=0.05, confirm={"power": {"power": 0.9, "sd": 0.08}}))
    level = 1 - 0.05 / (n_arms - 1)

    def power(n: int) -> float:
        return chances(n, 0.05, 0.08, smallest_difference=0.05, level=level)["helps"]

    assert power(spec.confirm.n_seeds) >= 0.9 > power(spec.confirm.n_seeds - 1)
    assert with_seeds(spec) == spec


def test_without_a_power_the_study_stays_as_it_is(make_spec: Make) -> None:
    assert with_seeds(make_spec()) == make_spec()


def test_a_power_out_of_reach_is_refused(make_spec: Make) -> None:
    with pytest.raises(InvalidSpec, match="power"):
        with_seeds(make_spec(confirm={"power": {"power": 0.99, "sd": 0.1}}))
