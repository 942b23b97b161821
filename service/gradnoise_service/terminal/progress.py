"""Progress of a study: live bars on a terminal, a line at each tenth of the trials elsewhere."""

from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gradnoise_service.domain.progress import ArmProgress, Progress
from gradnoise_service.domain.study import STUDY_ENDED
from gradnoise_service.report.words.noise_ratio import noise_ratio
from gradnoise_service.report.words.numbers import duration, number
from gradnoise_service.report.words.queue import waits_for
from gradnoise_service.report.words.trial_errors import arm_error
from gradnoise_service.terminal.console import out
from gradnoise_service.terminal.tables import STATE_STYLES

BAR_WIDTH = 36


def follow(events: Iterable[Progress], console: Console = out) -> None:
    """Show each event until the events end."""
    if not console.is_terminal:
        last_shown: tuple[object, ...] = ()
        failed: set[str] = set()
        for progress in events:
            mark = (progress.state, _tenths(progress), progress.queue)
            if mark != last_shown:
                last_shown = mark
                console.out(summary(progress), highlight=False)
            for error in progress.errors:
                if error.arm not in failed:
                    failed.add(error.arm)
                    console.out(f"! {arm_error(error)}", highlight=False)
        return
    with Live(Text("Waiting for progress ..."), console=console) as live:
        for progress in events:
            live.update(bars(progress), refresh=True)


def bars(progress: Progress) -> RenderableType:
    """Return a heading with state and time left, a bar for each arm in each phase, and below how
    strong the noise is and the first error of each arm.
    """
    table = Table.grid(padding=(0, 2, 0, 0))
    for arm in progress.arms:
        bar = ProgressBar(
            total=arm.n_trials,
            completed=arm.n_ended,
            width=BAR_WIDTH,
            complete_style="cyan",
            finished_style="green",
        )
        is_done = arm.n_ended == arm.n_trials
        count = Text(f"{arm.n_ended}/{arm.n_trials}", style="green" if is_done else "")
        losses = Text(_losses(arm), style="yellow")
        table.add_row(Text(arm.phase, style="dim"), Text(arm.arm), bar, count, _best(arm), losses)
    state = (progress.state, STATE_STYLES[progress.state])
    heading = Text.assemble((progress.name, "bold"), "  ", state, "  ", (_left(progress), "dim"))
    noise = (Text(noise_ratio(found), style="dim") for found in progress.noise)
    errors = (Text.assemble(("! ", "yellow"), arm_error(error)) for error in progress.errors)
    return Group(heading, table, *noise, *errors)


def summary(progress: Progress) -> str:
    """Return the progress of the current phase in one line."""
    unfinished = (arm.phase for arm in progress.arms if arm.n_ended < arm.n_trials)
    phase = next(unfinished, progress.arms[-1].phase)  # the arms are ordered by phase
    arms = [
        f"{arm.arm} {arm.n_ended}/{arm.n_trials} {_best(arm)}".rstrip()
        for arm in progress.arms
        if arm.phase == phase
    ]
    noise = (f"{found.arm} {number(found.median)} (n={found.n})" for found in progress.noise)
    ratios = f"noise/gradient: {', '.join(noise)}" if progress.noise else ""
    parts = (progress.name, progress.state, f"{phase}: {', '.join(arms)}", ratios, _left(progress))
    return "  ".join(part for part in parts if part)


def _tenths(progress: Progress) -> int:
    n_trials = sum(arm.n_trials for arm in progress.arms)
    return 10 * sum(arm.n_ended for arm in progress.arms) // max(1, n_trials)


def _best(arm: ArmProgress) -> Text:
    return Text("" if arm.best_value is None else f"best {number(arm.best_value)}")


def _losses(arm: ArmProgress) -> str:
    counts = {"pruned": arm.n_pruned, "diverged": arm.n_diverged, "failed": arm.n_failed}
    return ", ".join(f"{n} {name}" for name, n in counts.items() if n)


def _left(progress: Progress) -> str:
    if progress.state in STUDY_ENDED:
        return ""
    if progress.state == "queued":
        return "" if progress.queue is None else waits_for(progress.queue)
    if progress.state in ("pausing", "paused"):
        return ""
    if progress.seconds_left is None:
        return "estimating the time left"
    return f"about {duration(progress.seconds_left)} left"
