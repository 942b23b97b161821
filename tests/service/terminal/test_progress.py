"""Progress: a line at each tenth of the trials without a terminal, bars on a terminal."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from gradnoise_service.domain.progress import ArmProgress, NoiseRatio, Progress, QueuePlace
from gradnoise_service.domain.spec import Phase
from gradnoise_service.domain.trial_errors import ArmError
from gradnoise_service.terminal.progress import bars, follow
from rendered import rendered


def arm(
    name: str, phase: Phase, n_ended: int, n_trials: int, best_value: float | None = None
) -> ArmProgress:
    return ArmProgress(
        arm=name,
        phase=phase,
        n_trials=n_trials,
        n_ended=n_ended,
        n_running=1,
        n_pruned=0,
        n_failed=0,
        n_diverged=min(n_ended, 2),
        best_value=best_value,
    )


def progress(n_ended: int) -> Progress:
    """A study of 20 search and 5 confirm trials per arm, of which n_ended in all have ended."""
    searched, confirmed = min(20, n_ended // 2), max(0, n_ended // 2 - 20)
    best = 0.5 + searched / 100 if searched else None
    arms = [arm(name, "search", searched, 20, best) for name in ("baseline", "noisy")]
    arms += [arm(name, "confirm", confirmed, 5) for name in ("baseline", "noisy")]
    return Progress(
        study_id=1,
        name="demo",
        state="running",
        arms=tuple(arms),
        seconds_left=95.0,
        verdict=None,
        error=None,
    )


def events() -> Iterator[Progress]:
    for place in (2, 2, 1):
        yield dataclasses.replace(
            progress(0),
            state="queued",
            seconds_left=None,
            queue=QueuePlace(place=place, n_running=1, n_dispatchers=1),
        )
    for n_ended in range(51):
        yield progress(n_ended)
    yield dataclasses.replace(progress(50), state="complete", verdict="helps")


def test_without_a_terminal_there_is_a_line_at_each_tenth(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """There is a line for each state and place in the queue too, with counts and the time left."""
    follow(events())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 11 + 1
    queued = "demo  queued  search: baseline 0/20, noisy 0/20"
    assert lines[:2] == [
        f"{queued}  place 2 in the queue, waits for the one before it",
        f"{queued}  next in the queue, waits for a running study to end",
    ]
    assert lines[3] == (
        "demo  running  search: baseline 3/20 best 0.53, noisy 3/20 best 0.53  about 1 min 35 "
        "s left"
    )
    assert lines[-2] == "demo  running  confirm: baseline 5/5, noisy 5/5  about 1 min 35 s left"
    assert lines[-1] == "demo  complete  confirm: baseline 5/5, noisy 5/5"


def test_each_arm_and_phase_has_a_bar() -> None:
    """A bar has the count, the best value so far and the lost trials."""
    heading, *lines = rendered(bars(progress(10))).splitlines()
    assert heading == "demo  running  about 1 min 35 s left"
    assert [line.split()[:2] for line in lines] == [
        [phase, name] for phase in ("search", "confirm") for name in ("baseline", "noisy")
    ]
    for line in lines[:2]:
        assert all(part in line for part in ("━", "5/20", "best 0.55", "2 diverged"))


@pytest.mark.parametrize("width", [60, 80, 200])
def test_bars_fit_the_terminal(width: int) -> None:
    """No line wraps, so that the live display stays in place."""
    assert len(rendered(bars(progress(30)), width).splitlines()) == 5


def test_the_noise_and_the_first_error_of_an_arm_are_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    noise = (NoiseRatio(arm="noisy", median=0.25, n=6),)
    place: dict[str, Any] = {"arm": "noisy", "phase": "search", "number": 2, "trial_id": 9}
    error = ArmError(**place, n_failed=1, error="KeyError: 1")
    shown = dataclasses.replace(progress(4), noise=noise, errors=(error,))
    follow([progress(2), shown, dataclasses.replace(shown, state="complete")])
    lines = capsys.readouterr().out.splitlines()
    sentence = "! 1 trial of noisy failed. The first error, of search trial 2: KeyError: 1"
    assert lines.count(sentence) == 1
    assert "noise/gradient: noisy 0.25 (n=6)" in lines[-1]
    on_terminal = rendered(bars(shown))
    assert "noisy's noise is 0.25 times the gradient (median of the latest 6 trials)" in on_terminal
    assert sentence in on_terminal
