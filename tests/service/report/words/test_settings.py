"""Settings and search spaces as text."""

import pytest

from gradnoise_service.compare.facts.findings import BestSetting
from gradnoise_service.domain.space import Choices, Range, SpaceEntry
from gradnoise_service.report.words.settings import best_mean, space


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (Range(low=1, high=9, step=2, integer=True), "1 to 9, in steps of 2, whole numbers"),
        (Range(low=-1.0, high=0.5), "−1 to 0.5"),
        (Choices(choices=[0.01, 1, "relu"]), "one of 0.01, 1, relu"),
        (0.9, "fixed at 0.9"),
        ([0.9, 0.98], "fixed at [0.9, 0.98]"),
        (Choices(choices=[[3, 3], {"k": 5}]), 'one of [3, 3], {"k": 5}'),
    ],
)
def test_a_space_is_described(entry: SpaceEntry, expected: str) -> None:
    assert space(entry) == expected


def test_a_best_mean_has_its_setting() -> None:
    best = BestSetting(arm="noisy", mean=0.95812, params={"lr": 0.1, "depth": 5})
    assert best_mean(best) == "0.9581 at lr 0.1, depth 5"
