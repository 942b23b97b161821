"""The power sentence names the difference that the searches and seeds can detect."""

import re
from collections.abc import Callable

import pytest

from gradnoise_service.compare.planning import planned
from gradnoise_service.compare.power import chances, chances_of_searches
from gradnoise_service.domain.design import Design
from gradnoise_service.report.words.power import power

Make = Callable[..., Design]
SEARCH = {"n_trials": 30, "epochs": 3, "sampler": "random"}


@pytest.mark.parametrize(("repeats", "n_seeds"), [(1, 12), (3, 12), (5, 40)])
def test_without_a_declared_power_the_largest_standard_deviation_is_named(
    make_design: Make, repeats: int, n_seeds: int
) -> None:
    """At this standard deviation the probability of detection is 0.8."""
    design = make_design(search=SEARCH | {"repeats": repeats}, confirm={"n_seeds": n_seeds})
    text, delta = power(design), design.spec.smallest_difference
    assert text.startswith("No power was declared. With ")
    assert f"a gain of {delta:g}, the smallest difference that matters," in text
    sd = float(re.findall(r"at most ([0-9.e-]+)\.$", text)[0])
    n, of = (n_seeds, chances) if repeats == 1 else (repeats, chances_of_searches)
    found = of(n, delta, sd, smallest_difference=delta, level=0.95)
    assert found["helps"] == pytest.approx(0.8, abs=0.01)


def test_a_declared_power_is_stated_as_it_is_reached(make_design: Make) -> None:
    """The seeds are a whole number, so it is reached or exceeded."""
    declared = {"power": 0.9, "sd": 0.02, "search_sd": 0.004}
    spec = make_design(search=SEARCH | {"repeats": 3}, confirm={"power": declared}).spec
    text = power(Design.of(planned(spec)))
    reached = float(re.findall(r"with probability ([0-9.]+), if", text)[0])
    assert 0.9 <= reached < 0.95


def test_a_study_with_too_few_seeds_detects_nothing(make_design: Make) -> None:
    assert "cannot be detected reliably" in power(make_design(confirm={"n_seeds": 5}))
    assert "always-valid" in power(make_design(confirm={"n_seeds": 9, "anytime": True}))
