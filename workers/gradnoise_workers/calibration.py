"""How many trials each of a study's workers trains as one model: as configured, as measured before,
or as measured now.
"""

import math
from collections.abc import Callable, Mapping
from datetime import datetime

import structlog

from gradnoise.training.calibration import Rate, best, explore
from gradnoise.training.trial import TrialSpec
from gradnoise_service.domain.spec import Choices, Parameter, Range, StudySpec, Value
from gradnoise_service.store import calibrations
from gradnoise_service.store.calibrations import Calibration, Subject
from gradnoise_service.store.database import Database
from gradnoise_workers.launcher import Launcher, NotMeasuredError

log = structlog.get_logger()


def calibrated(
    spec: StudySpec,
    launcher: Launcher,
    database: Database,
    versions: Mapping[str, str],
    now: Callable[[], datetime],
    carry_on: Callable[[], None],
) -> Calibration:
    """Return the number of slots that is best for a study on the launcher's workers; measured once,
    then known to all dispatchers.
    """
    device = launcher.start(carry_on)
    its_own = {name: versions[name] for name in ("gradnoise", "torch")}
    subject = Subject(
        workload=spec.workload,
        options=spec.options,
        optimizer=spec.optimizer,
        device=device,
        versions=its_own,
    )
    with database.session() as session:
        known = calibrations.find(session, subject)
    if known is not None:
        return known
    found, is_whole = measured(launcher, probe(spec), carry_on)
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
    launcher: Launcher, probe: TrialSpec, carry_on: Callable[[], None]
) -> tuple[Calibration, bool]:
    """Measure on all workers; return what was found, and whether the measuring came to its end
    undisturbed.
    """
    rates: dict[int, Rate] = {}
    refusal, is_whole = "", True
    try:
        for rate in explore(
            launcher.candidates(),
            lambda slots, before: launcher.measure(probe, slots, before, carry_on),
        ):
            if rate.refusal:
                refusal = rate.refusal
            else:
                rates[rate.slots] = rate
    except NotMeasuredError as error:
        log.warning("measuring stopped early", measured=list(rates), reason=str(error))
        is_whole = False
    chosen = best(rates.values()).slots if rates and not refusal else 1
    return Calibration(
        slots=chosen,
        rates={slots: one.steps_per_second for slots, one in rates.items()},
        refusal=refusal,
    ), is_whole


def sentence(calibration: Calibration) -> str:
    """Say for the report how many trials train as one model, and why."""
    rates = calibration.rates
    head = (
        f"{'one trial at a time' if calibration.slots == 1 else f'{calibration.slots} trials as one model'} "
        "on each worker"
    )
    if calibration.refusal or not rates:
        return f"{head}: {calibration.refusal or 'more could not be measured'}"
    others = [slots for slots in rates if slots != 1]
    shown = (
        [
            1,
            calibration.slots
            if calibration.slots != 1
            else max(others, key=lambda slots: rates[slots]),
        ]
        if others
        else [1]
    )
    first, *rest = (
        f"{rates[slots]:,.0f}{' updates a second' if slots == 1 else ''} with {slots}"
        for slots in shown
    )
    return f"{head}: {', '.join([first, *rest])}"


def probe(spec: StudySpec) -> TrialSpec:
    """Return a trial to measure with: of the first arm that does something, with values from the
    middle of its space.
    """
    arm = next((arm for arm in spec.arms if arm.technique != "none"), spec.arms[0])
    return TrialSpec(
        key="probe",
        workload=spec.workload,
        options=spec.options,
        techniques=(arm.technique,),
        optimizer=spec.optimizer,
        params={name: _middle(parameter) for name, parameter in spec.arm_space(arm.name).items()},
        seed=0,
        budget_epochs=spec.epochs,
    )


def _middle(parameter: Parameter) -> Value:
    if not isinstance(parameter, Range | Choices):
        return parameter
    if isinstance(parameter, Choices):
        return parameter.choices[len(parameter.choices) // 2]
    if parameter.step is not None:
        value = parameter.low + ((parameter.n_points or 1) // 2) * parameter.step
    else:
        value = (
            math.sqrt(parameter.low * parameter.high)
            if parameter.log
            else (parameter.low + parameter.high) / 2
        )
    return int(value) if parameter.integer else value
