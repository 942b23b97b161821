"""How many trials each worker trains as one model: as configured, as stored, or as measured now."""

import math
from collections.abc import Callable, Mapping
from datetime import datetime

import structlog

from gradnoise.training.calibration import Rate, best, explore
from gradnoise.training.trial import TrialSpec
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.space import Choices, Range, SpaceEntry, Value
from gradnoise_service.domain.spec import Arm, StudySpec
from gradnoise_service.store import calibrations
from gradnoise_service.store.calibrations import Calibration, Subject
from gradnoise_service.store.database import Database
from gradnoise_workers.launcher import CheckInterrupt, Launcher, NotMeasuredError, trial_spec

log = structlog.get_logger()


def calibrated(
    spec: StudySpec,
    launcher: Launcher,
    database: Database,
    versions: Mapping[str, str],
    now: Callable[[], datetime],
    check_interrupt: CheckInterrupt,
) -> Calibration:
    """Return the best number of slots for a study; measured once for all dispatchers."""
    device = launcher.start(check_interrupt)
    subject = _subject(spec, device, versions)
    with database.session() as session:
        stored = calibrations.find(session, subject)
    if stored is not None:
        return stored
    found, is_whole = measured(launcher, probe(spec), check_interrupt)
    log.info(
        "measured how many trials train best as one model",
        device=device,
        slots=found.slots,
        rates=found.rates,
        refusal=found.refusal,
    )
    if is_whole:
        with database.session(write=True) as session:
            calibrations.keep(session, subject, found, now())
    return found


def measured(
    launcher: Launcher, probe: TrialSpec, check_interrupt: CheckInterrupt
) -> tuple[Calibration, bool]:
    """Measure on all workers; return the result, and whether the measurement was complete."""
    rates: dict[int, Rate] = {}
    refusal, is_whole = "", True

    def measure(slots: int, before: Rate | None) -> Rate:
        return launcher.measure(probe, slots, before, check_interrupt)

    try:
        for rate in explore(launcher.candidates(), measure):
            if rate.refusal:
                refusal = rate.refusal
            else:
                rates[rate.slots] = rate
    except NotMeasuredError as error:
        log.warning("measurement stopped early", measured=list(rates), reason=str(error))
        is_whole = False
    chosen = best(rates.values()).slots if rates and not refusal else 1
    per_second = {slots: rate.steps_per_second for slots, rate in rates.items()}
    return Calibration(slots=chosen, rates=per_second, refusal=refusal), is_whole


def sentence(calibration: Calibration) -> str:
    """Return how many trials train as one model, and why, for the report's protocol."""
    rates, slots = calibration.rates, calibration.slots
    together = "one trial at a time" if slots == 1 else f"{slots} trials as one model"
    head = f"{together} on each worker"
    if calibration.refusal or not rates:
        return f"{head}: {calibration.refusal or 'more could not be measured'}"
    stacked = [n for n in rates if n != 1]
    fastest = slots if slots != 1 else max(stacked, key=lambda n: rates[n], default=1)
    shown = dict.fromkeys((1, fastest))
    first, *others = (f"{rates[n]:,.0f}{' updates a second' * (n == 1)} with {n}" for n in shown)
    return f"{head}: {', '.join([first, *others])}"


def probe(spec: StudySpec) -> TrialSpec:
    """Return the trial to measure: the first arm with a technique, at the middle of its space."""
    with_technique = (arm for arm in spec.arms if arm.techniques != ["none"])
    return trial_of(spec, next(with_technique, spec.arms[0]), key="probe")


def trial_of(spec: StudySpec, arm: Arm, key: str) -> TrialSpec:
    """Return a trial of an arm with values from the middle of its space."""
    design = Design.of(spec)
    return trial_spec(
        spec,
        arm,
        key=key,
        params={name: _middle(entry) for name, entry in design.space(arm.name).items()},
        seed=0,
        budget_epochs=design.epochs(design.phases[0]),
    )


def _subject(spec: StudySpec, device: str, versions: Mapping[str, str]) -> Subject:
    return Subject(
        workload=spec.workload,
        options=spec.options,
        optimizer=spec.optimizer,
        device=device,
        versions={name: versions[name] for name in ("gradnoise", "torch")},
    )


def _middle(entry: SpaceEntry) -> Value:
    if isinstance(entry, Choices):
        return entry.choices[len(entry.choices) // 2]
    if not isinstance(entry, Range):
        return entry
    if entry.step is not None:
        value = entry.low + ((entry.n_points or 1) // 2) * entry.step
    else:
        mean = (entry.low + entry.high) / 2
        value = math.sqrt(entry.low * entry.high) if entry.log else mean
    return int(value) if entry.integer else value
