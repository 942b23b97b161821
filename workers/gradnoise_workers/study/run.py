"""StudyRun: the loop of one study, from its first trial to its comparison.

Each step stores the events of the trials in one transaction that first checks the lease; only then
is Optuna updated. After a crash at any point the next holder continues from the stored trials.
"""

from collections.abc import Mapping, Sequence

import structlog

from gradnoise.training.files import WEIGHTS_NAME, Files
from gradnoise.training.trial import TrialSpec
from gradnoise_service.compare.assembly import compare, untrained_of
from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.hashes import with_results_hash
from gradnoise_service.domain.planned_trial import PlannedTrial, Setting, Stage
from gradnoise_service.domain.spec import Phase
from gradnoise_service.domain.study import Trial
from gradnoise_service.report import markdown, plots
from gradnoise_service.store.attempts import WaitingTrial
from gradnoise_workers.launcher import Launcher, LauncherEvent, trial_spec
from gradnoise_workers.study.decisions import Attempt, Decisions, Ending, Rules, decide
from gradnoise_workers.study.first_failures import FirstFailures
from gradnoise_workers.study.ledger import Ledger, StopRequestedError
from gradnoise_workers.study.optuna_sync import OptunaSync
from gradnoise_workers.study.phases import (
    confirm_trials,
    design_at_look,
    due_trials,
    failure,
    runs_but_the_best,
    stage_of,
)
from gradnoise_workers.study.waiting import WaitingLines

log = structlog.get_logger()

ADMITTED_AT_ONCE = 32
"""Proposing settings takes time: a large stack starts training while the rest are proposed."""


class StudyRun:
    """One study under a lease; call `step` until it returns True: then the study has ended.

    Args:
        ledger: The study's stored state.
        optuna: The study's Optuna studies.
        launcher: Where trials train; the caller closes it.
        protocol: Stored with the study: formulas, order of clipping, unit of t, versions, device.
        together: Most trials of an arm that train as one model, by phase and arm; missing: all in a
            worker.
        files: Where the trials keep files; None: nowhere.
    """

    def __init__(
        self,
        ledger: Ledger,
        optuna: OptunaSync,
        launcher: Launcher,
        protocol: Mapping[str, object],
        together: Mapping[Phase, Mapping[str, int]] | None = None,
        files: Files | None = None,
    ) -> None:
        self._study = ledger.study
        self._design: Design = ledger.study.design
        self._rules = Rules(spec=self._study.spec, metric=self._study.metric)
        self._ledger = ledger
        self._optuna = optuna
        self._launcher = launcher
        self._protocol = protocol
        self._together = together or {}
        self._files = files
        self._attempts: dict[str, Attempt] = {}
        self._waiting = WaitingLines(self._stage, optuna.is_due)
        self._open: tuple[set[Stage], bool] | None = None
        self._first_failures = FirstFailures()

    def resume(self) -> None:
        """Declare the trials that may run and continue what an earlier holder left.

        Raises:
            LeaseLostError: If the study has another holder, or was ended.
        """
        self._ledger.describe(self._protocol)
        stored = self._ledger.trials()
        self._declare(self._due(stored))
        self._update_optuna(stored)

    def _update_optuna(self, stored: Sequence[Trial]) -> None:
        numbers = self._ledger.optuna_numbers()
        self._optuna.reopen(stored, numbers, is_stopped=bool(self._study.stops))
        self._optuna.settle(stored, numbers)

    def step(self, timeout_seconds: float) -> bool:
        """Process events, start what can start, and return whether the study has ended.

        Raises:
            LeaseLostError: If the study has another holder, or was ended.
            PausedError: If the study is to be paused.
        """
        try:
            return self._step(timeout_seconds)
        except StopRequestedError:
            self._stop()
            return False

    def _stop(self) -> None:
        """Take the study as it is after a stop: fewer trials wait."""
        self._ledger = self._ledger.stopped()
        self._study = self._ledger.study
        self._design = self._study.design
        stored = self._ledger.trials()
        self._update_optuna(stored)
        self._declare(self._due(stored))
        log.info("the study was stopped")

    def _step(self, timeout_seconds: float) -> bool:
        if self._open_stages() != self._open:
            self._declare(self._due(self._ledger.trials()))
        if not self._attempts and not self._waiting:
            return self._end()
        self._describe_faults()
        self._admit()
        can_admit = self._launcher.n_free(len(self._waiting)) > 0 and self._waiting.has_due()
        events = self._launcher.events(0.0 if can_admit else timeout_seconds)
        if not events:
            self._ledger.check()
            return False
        reason = self._process(events)
        return reason is not None and self._give_up(reason)

    def _describe_faults(self) -> None:
        """Store which GPUs are not used, which the page of the study shows."""
        faults = list(self._launcher.device_faults)
        if faults != self._protocol.get("device_faults", []):
            self._protocol = {**self._protocol, "device_faults": faults}
            self._ledger.describe(self._protocol)

    def _open_stages(self) -> tuple[set[Stage], bool]:
        """Return the stages that have not ended, and whether search trials wait.

        The due trials change only when these do.
        """
        waiting = self._waiting.stages
        running = {self._stage(attempt.trial) for attempt in self._attempts.values()}
        return waiting | running, any(phase == "search" for phase, _, _ in waiting)

    def _stage(self, trial: Trial) -> Stage:
        return stage_of(self._design, trial)

    def _due(self, stored: Sequence[Trial]) -> list[PlannedTrial]:
        trials, untrained = self._counted(stored), untrained_of(self._protocol)
        return due_trials(self._design, self._study.metric, trials, untrained)

    def _declare(self, planned: Sequence[PlannedTrial]) -> None:
        waiting = self._ledger.declare(planned)
        self._waiting = WaitingLines(self._stage, self._optuna.is_due, waiting)
        self._open = self._open_stages()

    def _admit(self) -> None:
        n = min(self._launcher.n_free(len(self._waiting)), ADMITTED_AT_ONCE)
        proposals: list[tuple[WaitingTrial, int, Setting]] = []
        while len(proposals) < n and self._waiting.has_due():
            waiting = self._waiting.take()
            proposals.append((waiting, *self._optuna.propose(waiting)))
        if not proposals:
            return
        self._optuna.save()
        tokens = self._ledger.start(proposals)
        for token, (waiting, number, params) in zip(tokens, proposals, strict=True):
            rungs = self._design.rungs(waiting.trial.phase)
            attempt = Attempt(waiting=waiting, token=token, optuna_number=number, rungs=rungs)
            self._attempts[token] = attempt
            self._launcher.admit(self._order(attempt, params))

    def _order(self, attempt: Attempt, params: Setting) -> TrialSpec:
        trial, is_confirm = attempt.trial, attempt.trial.phase == "confirm"
        return trial_spec(
            self._study.spec,
            self._design.arm(trial.arm),
            key=attempt.token,
            params=params,
            seed=trial.seed,
            budget_epochs=trial.budget_epochs,
            phase=trial.phase,
            number=trial.number,
            rungs=attempt.rungs,
            with_test=is_confirm,
            together=self._together.get(trial.phase, {}).get(trial.arm, 0),
            time_limit_seconds=self._study.spec.trial_time_limit,
            apart=attempt.is_apart,
            keep_weights=is_confirm and self._study.spec.confirm.keeps_weights,
            keep_checkpoint=is_confirm,
            earlier_budgets=self._design.confirm_lengths[:-1] if is_confirm else (),
            checkpoint=f"{self._study.id}/{trial.id}",
        )

    def _process(self, events: Sequence[LauncherEvent]) -> str | None:
        """Process events and return why the study cannot succeed, or None."""
        decisions = decide(self._rules, self._attempts, events)
        for token in decisions.evicted:
            self._launcher.release(token)
        self._prune(decisions)
        if decisions.attempts:
            retried = self._ledger.record(decisions)
            self._update_attempts(decisions)
            self._waiting.add(retried)
        for token in decisions.at_rung:
            if token in decisions.endings:
                self._launcher.release(token)
            else:
                self._launcher.resume(token)
        return self._first_failures.add(decisions.attempts.values(), decisions.endings.values())

    def _prune(self, decisions: Decisions) -> None:
        for token in decisions.at_rung:
            attempt = decisions.attempts[token]
            if token in decisions.endings or attempt.epoch < attempt.waiting.n_measured:
                continue  # an earlier attempt passed this rung
            if self._optuna.should_prune(attempt, self._rules.value(attempt)):
                decisions.endings[token] = self._rules.prune(attempt)

    def _update_attempts(self, decisions: Decisions) -> None:
        for token, attempt in decisions.attempts.items():
            self._attempts[token] = attempt.recorded()
        for token, end in decisions.endings.items():
            del self._attempts[token]
            self._optuna.tell(end)
            _log_end(end)
        self._optuna.save()

    def _end(self) -> bool:
        """End the study, all trials of which have ended; or declare those up to the next look."""
        trials = self._counted(self._ledger.trials())
        reason = failure(self._design, trials)
        return self._conclude(trials) if reason is None else self._give_up(reason)

    def _counted(self, trials: Sequence[Trial]) -> list[Trial]:
        return [t for t in trials if self._design.counts(t.phase, t.arm, t.number)]

    def _give_up(self, reason: str) -> bool:
        self._ledger.fail(reason)
        log.error("study failed", reason=reason)
        return True

    def _conclude(self, trials: Sequence[Trial]) -> bool:
        busy = self._ledger.busy(self._launcher.n_devices)
        protocol = {**self._protocol, **({"busy": busy} if busy else {})}
        comparison = compare(
            self._design,
            self._study.metric,
            trials,
            protocol=with_results_hash(protocol, trials),
            epochs=self._ledger.mean_curves(),
        )
        if not comparison.is_final:
            following = design_at_look(self._design, trials).after_look()
            metric, untrained = self._study.metric, untrained_of(self._protocol)
            self._declare(confirm_trials(following, metric, trials, untrained))
            log.info("undecided at this look", next_look=following.n_seeds)
            return False
        self._ledger.complete(comparison)
        log.info("study complete", verdict=comparison.verdict)
        self._publish(comparison)
        if self._study.spec.confirm.keep_weights == "best":
            self._keep_best_weights(trials)
        return True

    def _keep_best_weights(self, trials: Sequence[Trial]) -> None:
        """Delete the weights of all confirm runs but each arm's best; a fault is logged."""
        others = [run.id for run in runs_but_the_best(self._study.metric, trials)]
        try:
            for file in self._ledger.forget_files(others, WEIGHTS_NAME):
                if self._files is not None:
                    self._files.delete(f"{self._study.id}/{file.trial_id}", file.name)
        except Exception:
            log.exception("weights that are not the best of their arm were not deleted")

    def _publish(self, comparison: Comparison) -> None:
        """Show the report in the Optuna Dashboard; the study is complete, so a fault is logged."""
        try:
            self._optuna.publish(markdown.render(self._study, comparison), plots.render(comparison))
        except Exception:
            log.exception("the Optuna Dashboard does not show the report")


def _log_end(end: Ending) -> None:
    trial = end.attempt.trial
    facts = {
        "trial": trial.id,
        "arm": trial.arm,
        "phase": trial.phase,
        "number": trial.number,
        "attempt": end.attempt.token[:8],
    }
    if end.error is None:
        log.debug("trial ended", **facts, state=end.state, value=end.value, diverged=end.diverged)
        return
    message = "trial failed" if end.state else "attempt failed; the trial is retried"
    last_line = end.error.strip().rsplit("\n", 1)[-1]
    log.warning(message, **facts, outcome=end.outcome, error=last_line)
