"""Drives one study from its first trial to its comparison: ask, admit, measure, prune, tell, rerun,
confirm, compare; without a search from the confirm phase on.

Each step writes what the slots have told in one transaction that first checks the lease; only then
does Optuna hear of it. After a crash at any point the next holder finds the truth in our tables and
brings Optuna up to it.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from gradnoise.training.trial import Failed, Finished, Measurement, TrialSpec
from gradnoise_service.compare import at_look, choose, compare, finalists
from gradnoise_service.domain.spec import Phase, StudySpec, Value
from gradnoise_service.domain.study import Metric, Study, Trial, TrialState
from gradnoise_service.report import markdown, plots
from gradnoise_service.search import ArmSearch, Storage
from gradnoise_service.store import leases, trials
from gradnoise_service.store import measurements as stored
from gradnoise_service.store.database import Database, Session
from gradnoise_service.store.leases import Lease
from gradnoise_service.store.measurements import MeasurementRow
from gradnoise_service.store.trials import Opening
from gradnoise_workers.launcher import Launcher, News, WorkerLost

log = structlog.get_logger()

RERUN: Phase = "rerun"
CONFIRM: Phase = "confirm"
ADMITTED_AT_ONCE = 32
"""Asking for settings takes a while: the first trials of a large stack train while the rest are
asked for.
"""


@dataclass(kw_only=True)
class Attempt:
    """A running trial as its StudyRun sees it."""

    opening: Opening
    token: str
    optuna_number: int
    rungs: tuple[int, ...]
    history: list[Measurement] = field(default_factory=list)
    unwritten_seconds: float = 0.0

    @property
    def trial(self) -> Trial:
        return self.opening.trial


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How an attempt ended; `state` None: its trial waits for another attempt."""

    attempt: Attempt
    state: TrialState | None
    outcome: str
    value: float | None = None
    diverged: bool = False
    error: str | None = None


class StudyRun:
    """One study under a lease; `step` until it returns True, then the study has ended.

    Args:
        study: As `leases.acquire` returned it.
        lease: The lease that came with it.
        database: The service's database.
        storage: Optuna's storage in it.
        launcher: Where trials train; the caller closes it.
        protocol: What is stored with the study: formula, clip order, unit of t, versions, device.
        lease_duration: By which every step extends the lease.
        now: The clock.
    """

    def __init__(
        self,
        study: Study,
        lease: Lease,
        *,
        database: Database,
        storage: Storage,
        launcher: Launcher,
        protocol: Mapping[str, object],
        lease_duration: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        self._study = study
        self._spec: StudySpec = study.spec
        self._metric: Metric = study.metric
        self._lease = lease
        self._database = database
        self._launcher = launcher
        self._protocol = protocol
        self._duration = lease_duration
        self._now = now
        self._searches = open_searches(study, storage)
        self._attempts: dict[str, Attempt] = {}
        self._waiting: deque[Opening] = deque()
        self._orphans: dict[str, deque[int]] = {}
        self._phase: Phase = "search"

    def begin(self) -> None:
        """Declare the search's trials, and take up whatever an earlier holder has left.

        Raises:
            LeaseLostError: If the study has passed to another holder, or was ended.
        """
        with self._database.session(write=True) as session:
            self._extend(session)
            leases.describe(session, self._lease, self._protocol)
            if self._spec.search is not None:
                trials.declare(session, self._study.id, self._spec, "search")
            known = trials.table(session, self._study.id)
            numbers = trials.optuna_numbers(session, self._study.id)
            reached = {trial.phase for trial in known}
            self._phase = (
                CONFIRM
                if CONFIRM in reached or self._spec.search is None
                else RERUN
                if RERUN in reached
                else "search"
            )
            # an extended study has more seeds than it had, and a look may just have been undecided
            if self._phase == CONFIRM:
                trials.declare(
                    session, self._study.id, self._at_look(known), CONFIRM, self._confirmed(known)
                )
            self._waiting.extend(trials.openings(session, self._study.id, self._phase))
        self._orphans = settle(self._searches, known, numbers)

    def step(self, timeout_seconds: float) -> bool:
        """Take in what happened, decide, start what can start; return whether the study has ended.

        Raises:
            LeaseLostError: If the study has passed to another holder, or was ended.
        """
        if not self._attempts and not self._waiting:
            return self._conclude() if self._phase == CONFIRM else self._next_phase()
        self._admit()
        can_admit = self._waiting and self._launcher.n_free() > 0
        news = self._launcher.measurements(0.0 if can_admit else timeout_seconds)
        if news:
            self._take_in(news)
        else:
            with self._database.session() as session:
                leases.check(session, self._lease)
        return False

    def _admit(self) -> None:
        n = min(self._launcher.n_free(), len(self._waiting), ADMITTED_AT_ONCE)
        if n <= 0:
            return
        openings = [self._waiting.popleft() for _ in range(n)]
        settings = [self._setting(opening) for opening in openings]
        specs = []
        with self._database.session(write=True) as session:
            self._extend(session)
            for opening, (number, params) in zip(openings, settings, strict=True):
                trial = opening.trial
                token = trials.start(session, trial.id, params, number, self._now())
                search = self._spec.search if trial.phase == "search" else None
                rungs = search.pruner.rungs(trial.budget_epochs) if search else ()
                self._attempts[token] = Attempt(
                    opening=opening, token=token, optuna_number=number, rungs=rungs
                )
                specs.append(self._order(trial, token, params, rungs))
        for spec in specs:
            self._launcher.admit(spec)

    def _setting(self, opening: Opening) -> tuple[int, Mapping[str, Value]]:
        trial = opening.trial
        if opening.optuna_number is not None and trial.params is not None:
            return opening.optuna_number, trial.params
        search = self._search(trial)
        if self._orphans[_key(trial)]:
            suggestion = search.suggestion(self._orphans[_key(trial)].popleft())
        elif trial.params is not None:
            suggestion = search.ask_for(trial.params, seed=trial.seed, arm=trial.arm)
        else:
            suggestion = search.ask(seed=trial.seed)
        return suggestion.number, trial.params or suggestion.params

    def _order(
        self, trial: Trial, token: str, params: Mapping[str, Value], rungs: tuple[int, ...]
    ) -> TrialSpec:
        return TrialSpec(
            key=token,
            workload=self._spec.workload,
            options=self._spec.options,
            techniques=(self._spec.arm(trial.arm).technique,),
            optimizer=self._spec.optimizer,
            params=params,
            seed=trial.seed,
            budget_epochs=trial.budget_epochs,
            rungs=rungs,
            with_test=trial.phase == CONFIRM,
            checkpoint=f"{self._study.id}/{trial.id}",
        )

    def _take_in(self, news: Sequence[News]) -> None:
        rows: list[MeasurementRow] = []
        heard: dict[str, Attempt] = {}
        endings: dict[str, Ending] = {}
        at_rung: list[Attempt] = []
        for one in news:
            attempt = self._attempts.get(one.key)
            if attempt is None or one.key in endings:
                continue
            heard[one.key] = attempt
            match one:
                case Measurement() if one.is_finite and self._needed(attempt) <= one.values.keys():
                    attempt.history.append(one)
                    attempt.unwritten_seconds += one.seconds
                    rows.append(
                        MeasurementRow(
                            trial_id=attempt.trial.id,
                            epoch=one.epoch,
                            values=one.values,
                            seconds=one.seconds,
                        )
                    )
                    if one.epoch in attempt.rungs:
                        at_rung.append(attempt)
                case Measurement():
                    attempt.unwritten_seconds += one.seconds
                    self._launcher.release(one.key)
                    endings[one.key] = self._unusable(attempt, one)
                case Finished():
                    attempt.unwritten_seconds += one.seconds
                    endings[one.key] = self._finished(attempt, one.diverged)
                case Failed():
                    attempt.unwritten_seconds += one.seconds
                    endings[one.key] = self._failed(attempt, "failed", one.error)
                case WorkerLost():
                    endings[one.key] = self._failed(attempt, "worker_lost", one.reason)
        for attempt in at_rung:
            epoch = attempt.history[-1].epoch
            if epoch < attempt.opening.n_measured:  # an earlier attempt went on from here
                continue
            if self._search(attempt.trial).should_prune(
                attempt.optuna_number, epoch, self._value(attempt)
            ):
                endings[attempt.token] = Ending(
                    attempt=attempt, state="pruned", outcome="pruned", value=self._value(attempt)
                )
        if heard:
            self._write(rows, heard, list(endings.values()))
        for attempt in at_rung:
            (self._launcher.release if attempt.token in endings else self._launcher.go_on)(
                attempt.token
            )

    def _needed(self, attempt: Attempt) -> set[str]:
        return {
            f"{split}_{self._metric.name}"
            for split in (
                ("validation", "test") if attempt.trial.phase == CONFIRM else ("validation",)
            )
        }

    def _unusable(self, attempt: Attempt, measurement: Measurement) -> Ending:
        missing = sorted(self._needed(attempt) - measurement.values.keys())
        if missing:
            measured = ", ".join(sorted(measurement.values)) or "nothing"
            return self._failed(
                attempt,
                "failed",
                f"epoch {measurement.epoch} measured {measured}, but not {', '.join(missing)}",
            )
        return self._finished(attempt, diverged=True)

    def _finished(self, attempt: Attempt, diverged: bool) -> Ending:
        if diverged:
            return Ending(
                attempt=attempt,
                state="complete",
                outcome="complete",
                value=self._metric.worst,
                diverged=True,
            )
        if not attempt.history:
            return self._failed(attempt, "failed", "the trial ended without a measurement")
        return Ending(
            attempt=attempt, state="complete", outcome="complete", value=self._value(attempt)
        )

    def _failed(self, attempt: Attempt, outcome: str, error: str) -> Ending:
        if attempt.opening.n_counted + 1 < self._spec.max_attempts:
            return Ending(attempt=attempt, state=None, outcome=outcome, error=error)
        return Ending(
            attempt=attempt, state="failed", outcome=outcome, value=self._metric.worst, error=error
        )

    def _write(
        self,
        rows: Sequence[MeasurementRow],
        heard: Mapping[str, Attempt],
        endings: Sequence[Ending],
    ) -> None:
        now = self._now()
        with self._database.session(write=True) as session:
            self._extend(session)
            stored.record(session, rows)
            trials.spend(
                session,
                {
                    token: (len(attempt.history), attempt.unwritten_seconds)
                    for token, attempt in heard.items()
                },
            )
            for end in endings:
                if end.state is None:
                    trials.retry(session, end.attempt.token, end.outcome, now, end.error or "")
                else:
                    trials.end(
                        session,
                        end.attempt.token,
                        end.state,
                        now,
                        value=end.value,
                        diverged=end.diverged,
                        error=end.error,
                    )
            again = {end.attempt.trial.id for end in endings if end.state is None}
            reopened = (
                [
                    one
                    for one in trials.openings(session, self._study.id, self._phase)
                    if one.trial.id in again
                ]
                if again
                else []
            )
        for attempt in heard.values():
            attempt.unwritten_seconds = 0.0
        for end in endings:
            del self._attempts[end.attempt.token]
            if end.state is not None:
                self._search(end.attempt.trial).tell(
                    end.attempt.optuna_number, end.state, end.value
                )
            _log(end)
        self._waiting.extendleft(reversed(reopened))

    def _value(self, attempt: Attempt) -> float:
        """Return the trial's objective by the declared rule: of the last epoch, or of the one that
        was best on validation.
        """
        split = "test" if attempt.trial.phase == CONFIRM else "validation"
        chosen = attempt.history[-1]
        if self._spec.judge == "best_validation_epoch":
            chosen = max(
                attempt.history,
                key=lambda one: self._metric.sign * one.values[f"validation_{self._metric.name}"],
            )
        return chosen.values[f"{split}_{self._metric.name}"]

    def _next_phase(self) -> bool:
        # asked for by a holder that had already lost the study
        for key, numbers in self._orphans.items():
            while numbers:
                self._searches[key].tell(numbers.popleft(), "cancelled", None)
        with self._database.session() as session:
            table = trials.table(session, self._study.id)
        if self._phase == "search" and self._spec.rerun.is_on:
            following, best = RERUN, finalists(self._spec, self._metric, table)
        else:
            following, best = (
                CONFIRM,
                {
                    arm: [one]
                    for arm, one in choose(self._spec, self._metric, table).items()
                    if one is not None
                },
            )
        params = {
            arm: [one.params or {} for one in of_arm] for arm, of_arm in best.items() if of_arm
        }
        with self._database.session(write=True) as session:
            self._extend(session)
            if not params:
                return self._fail(session, table, "Every trial of the search failed.")
            trials.declare(session, self._study.id, self._at_look(table), following, params)
            self._waiting.extend(trials.openings(session, self._study.id, following))
        self._phase = following
        log.info("the next phase begins", phase=following, settings=params)
        return False

    def _conclude(self) -> bool:
        with self._database.session() as session:
            table = trials.table(session, self._study.id)
            epochs = stored.confirm_courses(session, self._study.id, self._metric.name)
        if self._spec.search is None and all(trial.state == "failed" for trial in table):
            with self._database.session(write=True) as session:
                self._extend(session)
                return self._fail(session, table, "Every trial failed.")
        if self._goes_on(table):
            return False
        comparison = compare(
            self._spec,
            self._metric,
            table,
            protocol=self._protocol,
            epochs=epochs,
            looks=self._study.looks,
        )
        for search in self._searches.values():
            search.note(markdown(self._study, comparison))
        self._searches[CONFIRM].draw(plots(comparison))
        with self._database.session(write=True) as session:
            leases.complete(
                session,
                self._lease,
                self._now(),
                comparison.model_dump(mode="json"),
                comparison.verdict,
            )
        log.info("study complete", verdict=comparison.verdict)
        return True

    def _goes_on(self, table: Sequence[Trial]) -> bool:
        """Declare the seeds up to the next look where this one was undecided, and return whether
        there are any.
        """
        here = self._at_look(table)
        if len(here.confirm.plan) == 1:
            return False
        with self._database.session(write=True) as session:
            self._extend(session)
            trials.declare(session, self._study.id, here, CONFIRM, self._confirmed(table))
            self._waiting.extend(trials.openings(session, self._study.id, CONFIRM))
        if self._waiting:
            log.info("undecided at this look", next_look=here.confirm.n_seeds)
        return bool(self._waiting)

    def _confirmed(self, table: Sequence[Trial]) -> dict[str, list[Mapping[str, Value]]]:
        """Return the settings that each arm runs on the confirm seeds: the one it chose, or every
        one of a study without a search.
        """
        if self._spec.search is None:
            return {arm.name: list(self._spec.points(arm.name)) for arm in self._spec.arms}
        return {trial.arm: [trial.params or {}] for trial in table if trial.phase == CONFIRM}

    def _fail(self, session: Session, table: Sequence[Trial], reason: str) -> bool:
        error = next(
            (trial.error for trial in sorted(table, key=lambda trial: trial.id) if trial.error), ""
        )
        leases.fail(session, self._lease, self._now(), f"{reason} The first error:\n{error}")
        log.error("study failed", reason=reason)
        return True

    def _at_look(self, table: Sequence[Trial]) -> StudySpec:
        return at_look(self._spec, self._metric, table, self._study.looks)

    def _search(self, trial: Trial) -> ArmSearch:
        return self._searches[_key(trial)]

    def _extend(self, session: Session) -> None:
        leases.extend(session, self._lease, self._now(), self._duration)


def open_searches(study: Study, storage: Storage) -> dict[str, ArmSearch]:
    """Return the study's Optuna studies: one for each arm by its name, and one for each later
    phase.
    """
    spec = study.spec
    direction = study.metric.direction
    searches = {
        arm.name: ArmSearch(
            storage,
            f"{spec.name} · {arm.name}",
            direction=direction,
            space=spec.arm_space(arm.name),
            sampler=spec.search.sampler,
            pruner=spec.search.pruner,
            seed=spec.trial_seed("search", index) % 2**32,
        )
        for index, arm in enumerate(spec.arms)
        if spec.search is not None
    }
    later: tuple[Phase, ...] = (RERUN, CONFIRM) if spec.rerun.is_on else (CONFIRM,)
    for phase in later:
        searches[phase] = ArmSearch(
            storage, f"{spec.name} · {phase}", direction=direction, space={}, seed=spec.seed
        )
    return searches


def settle(
    searches: Mapping[str, ArmSearch], known: Sequence[Trial], numbers: Mapping[int, int]
) -> dict[str, deque[int]]:
    """Tell Optuna how trials ended that it still takes for running, and return the numbers it gave
    out that no trial of ours bears.

    The latter were asked for just before a crash; the next trials of the arm take them, in order,
    so that none is left over.
    """
    by_number = {(_key(trial), numbers[trial.id]): trial for trial in known if trial.id in numbers}
    orphans: dict[str, deque[int]] = {key: deque() for key in searches}
    for key, search in searches.items():
        for number in search.running():
            trial = by_number.get((key, number))
            if trial is None:
                orphans[key].append(number)
            elif trial.has_ended:
                search.tell(number, trial.state, trial.value)
    return orphans


def _key(trial: Trial) -> str:
    return trial.arm if trial.phase == "search" else trial.phase


def _log(end: Ending) -> None:
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
    else:
        last_line = end.error.strip().rsplit("\n", 1)[-1]
        log.warning(
            "trial failed" if end.state else "attempt failed; the trial is tried again",
            **facts,
            outcome=end.outcome,
            error=last_line,
        )
