from collections.abc import Sequence
from dataclasses import replace

import pytest

from gradnoise_service.domain.study import Trial
from gradnoise_service.store.attempts import WaitingTrial
from gradnoise_workers.study.decisions import Attempt, Ending
from gradnoise_workers.study.first_failures import ENOUGH, FirstFailures

TRIAL = Trial(
    id=0,
    study_id=1,
    phase="search",
    arm="noisy",
    number=0,
    seed=1,
    budget_epochs=9,
    state="running",
)


def ending(trial: int, error: str = "boom", outcome: str = "failed") -> Ending:
    waiting = WaitingTrial(
        trial=replace(TRIAL, id=trial), optuna_number=None, n_counted=0, n_measured=0
    )
    attempt = Attempt(waiting=waiting, token=str(trial), optuna_number=0, rungs=())
    text = f"Traceback of trial {trial}\nValueError: {error}"
    return Ending(attempt=attempt, state=None, outcome=outcome, error=text)


def reason(endings: Sequence[Ending], *, measured: bool = False) -> str | None:
    failures = FirstFailures()
    found = None
    for end in endings:
        attempt = replace(end.attempt, epoch=1) if measured else end.attempt
        found = found or failures.add([attempt], [end])
    return found


def test_the_same_error_of_the_first_trials_ends_the_study_with_the_first_traceback() -> None:
    assert reason([ending(k) for k in range(ENOUGH)]) == (
        "Every trial of noisy fails with the same error before its first measurement. The first "
        "error:\nTraceback of trial 0\nValueError: boom"
    )


@pytest.mark.parametrize(
    ("endings", "measured"),
    [
        ([ending(k) for k in range(ENOUGH - 1)], False),
        ([ending(0)] * ENOUGH, False),  # attempts of a single trial
        ([ending(k, error=f"{k}") for k in range(ENOUGH)], False),
        ([ending(k, outcome="worker_lost") for k in range(ENOUGH)], False),
        ([ending(9, outcome="complete"), *(ending(k) for k in range(ENOUGH))], False),
        ([ending(k) for k in range(ENOUGH)], True),
    ],
)
def test_other_failures_do_not_end_the_study(endings: list[Ending], measured: bool) -> None:
    assert reason(endings, measured=measured) is None
