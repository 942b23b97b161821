"""Tables and notes that several formats show."""

from collections.abc import Callable

import pytest

from gradnoise_service.compare.assembly import compare
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.study import Metric, Trial
from gradnoise_service.report.tables import noise_map_note


@pytest.mark.parametrize(
    ("repeats", "spread"),
    [
        (1, "The chosen setting alone varies from seed to seed with a standard deviation of 0.238"),
        (2, "A chosen setting alone varies from seed to seed with a standard deviation of 0.07071"),
    ],
)
def test_the_map_s_note_has_the_spread_between_seeds_without_that_between_searches(
    make_trials: Callable[..., tuple[Design, list[Trial]]],
    accuracy: Metric,
    repeats: int,
    spread: str,
) -> None:
    """Runs 0.5, 0.6 of one search and 0.9, 1.0 of the other have a variance of 0.005 each."""
    search = {"n_trials": 4, "epochs": 3, "repeats": repeats, "rerun": {"top": 1}}
    values = {"baseline": [0.5] * 4, "noisy": [0.5, 0.9, 0.6, 1.0]}
    design, trials = make_trials(values, n_search=4 * repeats, search=search)
    note = noise_map_note(compare(design, accuracy, trials, protocol={}))
    assert f"{spread} (4 runs)" in note
