"""What the command line shows, where a test can see it without a service."""

import dataclasses
import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from gradnoise_service import terminal
from gradnoise_service.client import ApiError
from gradnoise_service.domain.study import ArmProgress, Progress


def arm(
    name: str, phase: str, n_ended: int, n_trials: int, best_value: float | None = None
) -> ArmProgress:
    return ArmProgress(
        arm=name,
        phase=phase,  # type: ignore[arg-type]  # one of the two phases
        n_trials=n_trials,
        n_ended=n_ended,
        n_running=1,
        n_pruned=0,
        n_failed=0,
        n_diverged=min(n_ended, 2),
        best_value=best_value,
    )


def progress(n_ended: int) -> Progress:
    """A study of 20 search and 5 confirm trials an arm, of which n_ended in all have ended."""
    searched, confirmed = min(20, n_ended // 2), max(0, n_ended // 2 - 20)
    arms = [
        arm(name, "search", searched, 20, 0.5 + searched / 100 if searched else None)
        for name in ("baseline", "noisy")
    ]
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
    yield dataclasses.replace(progress(0), state="queued", seconds_left=None)
    for n_ended in range(51):
        yield progress(n_ended)
    yield dataclasses.replace(progress(50), state="complete", verdict="helps")


def shown(renderable: object, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(renderable)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]  # the StringIO of above
    return text


def test_progress_without_a_terminal_is_a_line_at_each_tenth(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One when it is queued, one at each tenth of the trials, one at its end; with counts, best
    values and the time left.
    """
    terminal.follow(events())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 11 + 1
    assert lines[0] == "demo  queued  search: baseline 0/20, noisy 0/20  waiting for a worker"
    assert lines[2] == (
        "demo  running  search: baseline 3/20 best 0.53, noisy 3/20 best 0.53  about 1 min 35 "
        "s left"
    )
    assert lines[-2] == "demo  running  confirm: baseline 5/5, noisy 5/5  about 1 min 35 s left"
    assert lines[-1] == "demo  complete  confirm: baseline 5/5, noisy 5/5"


def test_progress_on_a_terminal_has_a_bar_for_each_arm_and_phase() -> None:
    """With the count, the best value so far and what was lost."""
    head, *bars = shown(terminal.bars(progress(10))).splitlines()
    assert head == "demo  running  about 1 min 35 s left"
    assert [line.split()[:2] for line in bars] == [
        [phase, name] for phase in ("search", "confirm") for name in ("baseline", "noisy")
    ]
    assert all(
        "━" in line and "5/20" in line and "best 0.55" in line and "2 diverged" in line
        for line in bars[:2]
    )


@pytest.mark.parametrize("width", [60, 80, 200])
def test_bars_fit_the_terminal(width: int) -> None:
    """No line wraps, so that the live display stays in place."""
    assert len(shown(terminal.bars(progress(30)), width).splitlines()) == 5


def test_a_refusal_names_every_fault() -> None:
    """Field and value, what is wrong, what is legal; the hint stands last."""
    faults = [
        {
            "field": "space.lr.low",
            "value": -1,
            "message": "low must be above 0",
            "legal": "a number in (0, inf)",
        },
        {
            "field": "seed",
            "value": None,
            "message": "this field is missing",
            "legal": "a whole number, at least 0",
        },
    ]
    error = ApiError(
        422,
        {
            "title": "The study cannot be run",
            "detail": "two faults",
            "hint": "Correct the fields.",
            "errors": faults,
        },
    )
    assert shown(terminal.problem(error)).splitlines() == [
        "✗ The study cannot be run",
        "",
        "  space.lr.low = -1",
        "    low must be above 0",
        "    legal: a number in (0, inf)",
        "",
        "  seed",
        "    this field is missing",
        "    legal: a whole number, at least 0",
        "",
        "  Correct the fields.",
    ]


def test_markup_in_what_the_service_says_is_only_text() -> None:
    """Square brackets in a name or an error are shown as they are."""
    error = ApiError(
        409, {"title": "taken", "detail": "[bold red]not markup[/]", "hint": "[/] neither"}
    )
    assert "[bold red]not markup[/]" in shown(terminal.problem(error))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (float("nan"), "-"),
        (0.91234567, "0.9123"),
        (12345678.0, "12,345,678"),
        (1e-7, "1e-07"),
        (0.0, "0"),
    ],
)
def test_numbers_are_short(value: float | None, text: str) -> None:
    """Four significant digits are enough to read."""
    assert terminal.number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (60, "1 min 0 s"),
        (601, "10 min"),
        (3600, "1 h 0 min"),
        (-3, "0 s"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds: float, text: str) -> None:
    """Seconds matter only below ten minutes."""
    assert terminal.duration(seconds) == text
