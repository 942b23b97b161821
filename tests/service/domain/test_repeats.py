"""The number of searches has a default, and each search a confirm seed."""

from collections.abc import Callable

import pytest

from gradnoise_service.domain.errors import InvalidSpecError
from gradnoise_service.domain.repeats import with_repeats
from gradnoise_service.domain.spec import StudySpec

Make = Callable[..., StudySpec]
SEARCH = {"n_trials": 4, "epochs": 3}


@pytest.mark.parametrize(
    ("confirm", "expected"),
    [
        ({"n_seeds": 6}, 3),
        ({"n_seeds": 5}, 1),
        ({"n_seeds": 24, "looks": [5, 12]}, 1),
        ({"n_seeds": 24, "looks": [6, 12]}, 3),
        ({"n_seeds": 24, "anytime": True}, 1),
        ({"power": {"sd": 0.1}}, 1),
        ({"power": {"sd": 0.1, "search_sd": 0.1}}, 3),
    ],
)
def test_each_search_has_two_confirm_seeds_by_default(
    make_spec: Make, confirm: dict[str, object], expected: int
) -> None:
    found = with_repeats(make_spec(search=SEARCH, confirm=confirm))
    assert found.search is not None
    assert found.search.repeats == expected
    assert with_repeats(found) == found


def test_a_study_without_a_search_has_no_repeats(make_spec: Make) -> None:
    spec = make_spec(
        search=None,
        space={"lr": {"choices": [0.1, 0.01]}},
        arms=[{"name": "a", "technique": "none"}, {"name": "b", "technique": "none"}],
        confirm={"n_seeds": 9, "epochs": 3},
    )
    assert with_repeats(spec) is spec


@pytest.mark.parametrize(
    ("confirm", "legal", "where"),
    [
        ({"n_seeds": 4}, "1 to 4, a seed for each search", "in the confirm phase"),
        ({"n_seeds": 20, "looks": [3, 9]}, "1 to 3, a seed for each search", "at the first look"),
    ],
)
def test_more_searches_than_seeds_are_rejected(
    make_spec: Make, confirm: dict[str, object], legal: str, where: str
) -> None:
    with pytest.raises(InvalidSpecError) as refused:
        with_repeats(make_spec(search=SEARCH | {"repeats": 5}, confirm=confirm))
    (fault,) = refused.value.errors
    assert (fault.field, fault.value, fault.legal) == ("search.repeats", 5, legal)
    assert where in fault.message
