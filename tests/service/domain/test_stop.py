"""A stop keeps the largest share of the searches that all of them have started."""

import math
from collections.abc import Callable

from gradnoise_service.domain.looks import crossing_chance, two_sided_bound
from gradnoise_service.domain.sequential import chance_at_any
from gradnoise_service.domain.stop import started_share


def test_a_share_ends_before_the_first_trial_that_has_not_started() -> None:
    def started(*numbers: int) -> Callable[[int], bool]:
        return numbers.__contains__

    assert started_share([(4, started(0, 1, 3)), (4, started(0, 1, 2))]) == (2, 4)
    assert started_share([(10, started(0, 1, 2)), (4, started(0))]) == (1, 4)
    assert started_share([(4, started()), (4, started(0))]) == (0, 4)


def test_the_chance_at_any_number_of_seeds_bounds_that_at_each_of_them() -> None:
    """It is that of a continuous time, so it exceeds the exact one by little."""
    for n in (6, 12, 20):
        looks = list(range(6, n + 1))
        exact = crossing_chance(looks, [two_sided_bound(0.05)] * len(looks))
        assert exact < chance_at_any(6, n, 0.05) < exact + 0.1
    assert math.isclose(chance_at_any(6, 6, 0.05), 4 * 0.05844 / 1.95996, rel_tol=1e-3)
