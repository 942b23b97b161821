"""Runs that cannot be trained on are refused with the reason."""

from collections.abc import Callable
from typing import Any

import pytest

from gradnoise_service.domain.design import Design
from gradnoise_service.domain.errors import InvalidSpecError
from gradnoise_service.domain.lengthening import check_lengthening
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Trial

LOOKS = {"confirm": {"n_seeds": 12, "looks": [8]}}


def run(lr_schedule: str = "constant") -> Trial:
    fields: dict[str, Any] = {"id": 1, "study_id": 1, "phase": "confirm", "arm": "noisy"}
    fields |= {"number": 0, "seed": 1, "budget_epochs": 3, "state": "complete"}
    return Trial(**fields, params={"lr": 0.1, "lr_schedule": lr_schedule})


@pytest.mark.parametrize(
    ("changes", "runs", "n_epochs", "message"),
    [
        ({}, [run("step"), run("cosine")], 1, "noisy follows a schedule that has ended"),
        ({}, [], 1, "no confirm run has finished"),
        (LOOKS, [run()], 1, "the declared looks have decided"),
        ({}, [run()], 999_998, "each run would have 1000001 epochs"),
    ],
)
def test_runs_that_cannot_be_trained_on_are_refused(
    make_spec: Callable[..., StudySpec],
    changes: dict[str, object],
    runs: list[Trial],
    n_epochs: int,
    message: str,
) -> None:
    design = Design.of(make_spec(**changes))
    with pytest.raises(InvalidSpecError, match=message) as caught:
        check_lengthening(design, n_epochs, runs)
    [fault] = caught.value.errors
    assert (fault.field, fault.value) == ("epochs", n_epochs)


def test_runs_with_a_schedule_of_fixed_epochs_are_trained_on(
    make_spec: Callable[..., StudySpec],
) -> None:
    check_lengthening(Design.of(make_spec()), 999_997, [run(), run("halving")])
