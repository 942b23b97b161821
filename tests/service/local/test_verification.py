"""The verification compares every stored value and names the largest difference."""

import pytest

from gradnoise_service.domain.spec import Phase
from gradnoise_service.domain.study import Trial
from gradnoise_service.local.verification import Verification, chosen, compared


def trial(id: int, phase: Phase, arm: str, number: int, **changes: object) -> Trial:
    known = {"seed": 1, "budget_epochs": 2, "state": "complete", "epochs": 2}
    names = {"id": id, "study_id": 1, "phase": phase, "arm": arm, "number": number}
    return Trial(**{**names, **known, **changes})  # type: ignore[arg-type]


def test_the_first_confirm_run_of_each_arm_is_chosen_then_others_by_the_seed() -> None:
    trials = [trial(n, "search", "noisy", n) for n in range(20)]
    trials += [trial(20 + n, "confirm", arm, n) for arm in ("noisy", "baseline") for n in range(3)]
    lost = [
        trial(90, "search", "baseline", 0, state="failed"),
        trial(91, "search", "a", 0, epochs=0),
    ]
    five = chosen([*trials, *lost], 5, seed=3)
    assert [(t.phase, t.arm, t.number) for t in five[:2]] == [
        ("confirm", "baseline", 0),
        ("confirm", "noisy", 0),
    ]
    assert chosen(reversed([*trials, *lost]), 5, seed=3) == five
    assert chosen(trials, 5, seed=4)[2:] != five[2:]
    assert len(chosen([*trials, *lost], 99, seed=3)) == len(trials)


VALUES = {1: {"loss": 0.5, "ratio": None}, 2: {"loss": 0.25, "ratio": 1.0}}


def test_equal_values_are_identical() -> None:
    same = compared(trial(1, "confirm", "noisy", 0), VALUES, VALUES)
    assert same.is_identical
    assert (same.trial, str(same)) == ("confirm noisy 0", "identical: 4 values")


@pytest.mark.parametrize(
    ("after", "error", "text"),
    [
        (
            {1: {"loss": 0.5 + 2**-40, "ratio": None}, 2: {"loss": 0.375, "ratio": 1.0}},
            "",
            "2 of 4 values differ; largest difference 0.125 (loss, epoch 2)",
        ),
        (
            {1: {"loss": 0.75, "ratio": 1.0}, 2: {"loss": 0.25, "ratio": 1.0}},
            "",
            "2 of 4 values differ; a value is missing (ratio, epoch 1)",
        ),
        ({}, "ValueError: boom", "ValueError: boom"),
    ],
)
def test_the_largest_difference_is_named(
    after: dict[int, dict[str, float | None]], error: str, text: str
) -> None:
    different = compared(trial(1, "search", "noisy", 4), VALUES, after, error)
    assert not different.is_identical
    assert str(different) == text


def test_changed_results_are_not_identical() -> None:
    same = compared(trial(1, "confirm", "noisy", 0), VALUES, VALUES)
    verification = Verification(trials=(same,), same_code=False, results_hash_holds=False)
    assert not verification.is_identical
    assert [is_same for _, is_same, _ in verification.lines()] == [False, False, True]
