"""Decisions: from the events of running attempts to what is stored, pruned, retried and ended.

Everything here is a pure function of values: no database, no Optuna, no launcher.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from gradnoise.training.files import SavedFile
from gradnoise.training.trial import Failed, Finished, Printed, Saved
from gradnoise.training.trial import Measurement as EpochResult
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Measurement, Metric, Trial, TrialFile, TrialState
from gradnoise_service.store.attempts import WaitingTrial
from gradnoise_service.store.logs import NewText
from gradnoise_workers.launcher import LauncherEvent, WorkerLost

SUSPICIONS = 2
"""Times that a worker dies while a trial trains in a stack, before the trial trains apart."""
MOST_UNCOUNTED = 100
"""Lost attempts of a trial that do not count; those that follow do."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A running attempt.

    Args:
        waiting: Its trial, with what earlier attempts left.
        token: Its lease token, which its events carry as their key.
        optuna_number: Number of its trial in Optuna.
        rungs: Epochs at which the pruner decides.
        epoch: Epochs measured so far.
        judged: The epoch whose value counts so far.
        unrecorded_seconds: Device time that is not stored yet.
    """

    waiting: WaitingTrial
    token: str
    optuna_number: int
    rungs: tuple[int, ...]
    epoch: int = 0
    judged: EpochResult | None = None
    unrecorded_seconds: float = 0.0

    @property
    def trial(self) -> Trial:
        return self.waiting.trial

    @property
    def is_apart(self) -> bool:
        """Whether it trains apart from other trials."""
        return self.waiting.n_suspected >= SUSPICIONS

    def recorded(self) -> "Attempt":
        """Return the attempt after its device time was stored."""
        return replace(self, unrecorded_seconds=0.0)


@dataclass(frozen=True, kw_only=True)
class Ending:
    """The end of an attempt; `state` is None where its trial waits for another attempt."""

    attempt: Attempt
    state: TrialState | None
    outcome: str
    value: float | None = None
    diverged: bool = False
    is_lost: bool = False
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The declared rules by which attempts are judged."""

    spec: StudySpec
    metric: Metric

    def value(self, attempt: Attempt) -> float:
        """Return the objective of an attempt with at least one measurement.

        On test in the confirm phase, if the metric is measured there, else on validation; of the
        epoch that the spec's `judge` selects.
        """
        assert attempt.judged is not None
        return attempt.judged.values[f"{self._splits(attempt)[-1]}_{self.metric.name}"]

    def prune(self, attempt: Attempt) -> Ending:
        return Ending(attempt=attempt, state="pruned", outcome="pruned", value=self.value(attempt))

    def finish(self, attempt: Attempt, *, diverged: bool) -> Ending:
        """End an attempt that trained to its end, or diverged.

        A diverged attempt has no value, unless the best epoch on validation is judged and an epoch
        was measured.
        """
        if not diverged and attempt.judged is None:
            return self.fail(attempt, "failed", "the trial ended without a measurement")
        is_best_judged = self.spec.judge == "best_validation_epoch"
        has_value = not diverged or (is_best_judged and attempt.judged is not None)
        value = self.value(attempt) if has_value else None
        return Ending(
            attempt=attempt,
            state="complete",
            outcome="complete",
            value=value,
            diverged=diverged,
            is_lost=not has_value,
        )

    def fail(self, attempt: Attempt, outcome: str, error: str, *, may_retry: bool = True) -> Ending:
        """End a failed attempt; its trial may be retried, or fails after `max_attempts`."""
        if may_retry and attempt.waiting.n_counted + 1 < self.spec.max_attempts:
            return Ending(attempt=attempt, state=None, outcome=outcome, error=error)
        return Ending(
            attempt=attempt,
            state="failed",
            outcome=outcome,
            error=error,
        )

    def lose(self, attempt: Attempt, loss: WorkerLost) -> Ending:
        """End an attempt whose worker died; it counts if the attempt alone trained then.

        Of several that trained as one model, each is suspected, and trains apart after SUSPICIONS.
        """
        if loss.n_suspects == 1 or attempt.waiting.n_uncounted >= MOST_UNCOUNTED:
            return self.fail(attempt, "worker_lost", loss.reason)
        outcome = "stack_lost" if loss.n_suspects else "displaced"
        return Ending(attempt=attempt, state=None, outcome=outcome, error=loss.reason)

    def measure(self, attempt: Attempt, result: EpochResult) -> Attempt:
        """Return the attempt after another epoch."""
        judged = result
        if self.spec.judge == "best_validation_epoch" and attempt.judged is not None:
            name = f"validation_{self.metric.name}"
            gain = self.metric.sign * (result.values[name] - attempt.judged.values[name])
            judged = result if gain > 0 else attempt.judged
        return replace(attempt, epoch=result.epoch, judged=judged)

    def missing(self, attempt: Attempt, result: EpochResult) -> list[str]:
        """Return the values that an epoch must have and lacks."""
        needed = {f"{split}_{self.metric.name}" for split in self._splits(attempt)}
        return sorted(needed - result.values.keys())

    def _splits(self, attempt: Attempt) -> tuple[str, ...]:
        is_tested = attempt.trial.phase == "confirm" and self.metric.has_test
        return ("validation", "test") if is_tested else ("validation",)


@dataclass(kw_only=True)
class Decisions:
    """What follows from some events.

    Args:
        attempts: The attempts with events, updated, by token.
        measurements: What to store.
        printed: What the attempts have printed.
        saved: The files that they have saved.
        endings: The attempts that ended, by token.
        at_rung: Tokens of the attempts that reached a rung: the pruner decides.
        evicted: Tokens of the attempts to be taken out of their slots.
    """

    attempts: dict[str, Attempt] = field(default_factory=dict)
    measurements: list[Measurement] = field(default_factory=list)
    printed: list[NewText] = field(default_factory=list)
    saved: list[TrialFile] = field(default_factory=list)
    endings: dict[str, Ending] = field(default_factory=dict)
    at_rung: list[str] = field(default_factory=list)
    evicted: list[str] = field(default_factory=list)


def decide(
    rules: Rules, running: Mapping[str, Attempt], events: Iterable[LauncherEvent]
) -> Decisions:
    """Return what follows from the events, in order; events of unknown attempts are ignored."""
    decisions = Decisions()
    for event in events:
        attempt = decisions.attempts.get(event.key) or running.get(event.key)
        if attempt is not None and event.key not in decisions.endings:
            _decide(rules, attempt, event, decisions)
    return decisions


def _decide(rules: Rules, attempt: Attempt, event: LauncherEvent, decisions: Decisions) -> None:
    token = attempt.token
    if not isinstance(event, WorkerLost | Printed | Saved):
        seconds = attempt.unrecorded_seconds + event.seconds
        attempt = replace(attempt, unrecorded_seconds=seconds)
    match event:
        case Printed():
            new = NewText(token=token, position=event.position, text=event.text)
            decisions.printed.append(new)
        case Saved(file=file):
            decisions.saved.append(_file(attempt, file))
        case EpochResult() if missing := rules.missing(attempt, event):
            error = _incomplete(event, missing)
            decisions.endings[token] = rules.fail(attempt, "failed", error)
            decisions.evicted.append(token)
        case EpochResult(is_finite=False):
            decisions.endings[token] = rules.finish(attempt, diverged=True)
            decisions.evicted.append(token)
        case EpochResult():
            attempt = rules.measure(attempt, event)
            decisions.measurements.append(_measurement(attempt, event))
            if event.epoch in attempt.rungs:
                decisions.at_rung.append(token)
        case Finished():
            decisions.endings[token] = rules.finish(attempt, diverged=event.diverged)
        case Failed():
            decisions.endings[token] = rules.fail(
                attempt, "failed", event.error, may_retry=event.may_retry
            )
        case WorkerLost():
            decisions.endings[token] = rules.lose(attempt, event)
    decisions.attempts[token] = attempt


def _measurement(attempt: Attempt, result: EpochResult) -> Measurement:
    return Measurement(
        trial_id=attempt.trial.id,
        epoch=result.epoch,
        values=result.values,
        seconds=result.seconds,
    )


def _file(attempt: Attempt, file: SavedFile) -> TrialFile:
    return TrialFile(
        trial_id=attempt.trial.id, name=file.name, n_bytes=file.n_bytes, sha256=file.sha256
    )


def _incomplete(result: EpochResult, missing: list[str]) -> str:
    measured = ", ".join(sorted(result.values)) or "nothing"
    return f"epoch {result.epoch} measured {measured}, but not {', '.join(missing)}"
