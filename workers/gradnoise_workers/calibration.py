"""How many trials each worker trains as one model: as configured, as stored, or as measured now.

Trials with other options or another optimizer are no copies of one model: arms that differ in
these train in stacks of their own, side by side in each worker.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from gradnoise.training.calibration import Rate, best, explore
from gradnoise.training.trial import TrialSpec
from gradnoise_service.domain.arm import Arm
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.space import Choices, Range, SpaceEntry, Value, is_number
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.store import calibrations
from gradnoise_service.store.calibrations import Calibration, Subject
from gradnoise_service.store.database import Database
from gradnoise_workers.launcher import CheckInterrupt, Launcher, NotMeasuredError, trial_spec

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Stacking:
    """The calibration of each arm; arms whose trials can train as one model share theirs."""

    of_arms: Mapping[str, Calibration]

    @property
    def slots(self) -> int:
        """Slots of each worker: as many as leave the trials of each arm their share of a stack."""
        if all(found.slots == 1 for found in self.of_arms.values()):
            return 1
        n_arms, groups = len(self.of_arms), Counter(map(id, self.of_arms.values()))
        return max(-(-found.slots * n_arms // groups[id(found)]) for found in self.of_arms.values())

    @property
    def together(self) -> dict[str, int]:
        """Most trials that train as one model, by arm."""
        return {arm: found.slots for arm, found in self.of_arms.items()}

    @property
    def sentence(self) -> str:
        """How many trials train as one model, and why, for the report's protocol."""
        by_group: dict[int, list[str]] = {}
        for arm, found in self.of_arms.items():
            by_group.setdefault(id(found), []).append(arm)
        if len(by_group) == 1:
            return sentence(next(iter(self.of_arms.values())))
        return "; ".join(
            f"{', '.join(arms)}: {sentence(self.of_arms[arms[0]])}" for arms in by_group.values()
        )


def stacked(
    spec: StudySpec, measure: Callable[[StudySpec, Sequence[Arm], int], Calibration]
) -> Stacking:
    """Return the calibrations of a study's arms.

    Args:
        spec: The study.
        measure: Returns the calibration of arms of equal options and optimizer, in stacks beside
            those of the other arms; the last argument counts these kinds of stacks.
    """
    groups: list[list[Arm]] = []
    for arm in spec.arms:
        recipe = spec.recipe(arm)
        for group in groups:
            other = spec.recipe(group[0])
            if (other.optimizer, other.options) == (recipe.optimizer, recipe.options):
                group.append(arm)
                break
        else:
            groups.append([arm])
    found = [(group, measure(spec, group, len(groups))) for group in groups]
    by_name = {arm.name: calibration for group, calibration in found for arm in group}
    return Stacking(of_arms={arm.name: by_name[arm.name] for arm in spec.arms})


def calibrated(
    spec: StudySpec,
    arms: Sequence[Arm],
    n_forms: int,
    launcher: Launcher,
    database: Database,
    code: str,
    versions: Mapping[str, str],
    now: Callable[[], datetime],
    check_interrupt: CheckInterrupt,
) -> Calibration:
    """Return the best number of slots for arms of equal options and optimizer.

    Stacks of `n_forms` kinds share the memory of a device. It is measured once for all
    dispatchers, and again if the workload's code, whose hash is given, changes.
    """
    device = launcher.start(check_interrupt)
    subject = _subject(spec, arms[0], n_forms, device, code, versions)
    with database.session() as session:
        stored = calibrations.find(session, subject)
    if stored is not None:
        return stored
    found, is_whole = measured(launcher, probe(spec, arms), n_forms, check_interrupt)
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
    launcher: Launcher, probe: TrialSpec, n_forms: int, check_interrupt: CheckInterrupt
) -> tuple[Calibration, bool]:
    """Measure on all workers; return the result, and whether the measurement was complete."""
    rates: dict[int, Rate] = {}
    refusal, eager, is_whole = "", "", True

    def measure(slots: int, before: Rate | None) -> Rate:
        return launcher.measure(probe, slots, before, n_forms, check_interrupt)

    try:
        for rate in explore(launcher.candidates(), measure):
            if rate.refusal:
                refusal = rate.refusal
            else:
                rates[rate.slots] = rate
                eager = rate.eager or eager
    except NotMeasuredError as error:
        log.warning("measurement stopped early", measured=list(rates), reason=str(error))
        is_whole = False
    chosen = best(rates.values()).slots if rates and not refusal else 1
    per_second = {slots: rate.steps_per_second for slots, rate in rates.items()}
    return Calibration(slots=chosen, rates=per_second, refusal=refusal or eager), is_whole


def sentence(calibration: Calibration) -> str:
    """Return how many trials train as one model, and why, for the report's protocol."""
    rates, slots = calibration.rates, calibration.slots
    together = "one trial at a time" if slots == 1 else f"{slots} trials as one model"
    head = f"{together} on each worker"
    stacked = [n for n in rates if n != 1]
    if not rates or (calibration.refusal and not stacked):
        return f"{head}: {calibration.refusal or 'more could not be measured'}"
    fastest = slots if slots != 1 else max(stacked, key=lambda n: rates[n], default=1)
    shown = dict.fromkeys((1, fastest))
    first, *others = (f"{rates[n]:,.0f}{' updates a second' * (n == 1)} with {n}" for n in shown)
    without_graph = f"; without a CUDA graph: {calibration.refusal}" if calibration.refusal else ""
    return f"{head}: {', '.join([first, *others])}{without_graph}"


def probe(spec: StudySpec, arms: Sequence[Arm]) -> TrialSpec:
    """Return the trial to measure: the first arm with a technique, at the middle of its space."""
    with_technique = (arm for arm in arms if arm.techniques != ["none"])
    return trial_of(spec, next(with_technique, arms[0]), key="probe")


def trial_of(spec: StudySpec, arm: Arm, key: str, lowest: Collection[str] = ()) -> TrialSpec:
    """Return a trial of an arm with values from the middle of its space, or the lowest of some."""
    design = Design.of(spec)
    return trial_spec(
        spec,
        arm,
        key=key,
        params={
            name: _lowest(entry) if name in lowest else _middle(entry)
            for name, entry in design.space(arm.name).items()
        },
        seed=0,
        budget_epochs=design.epochs(design.phases[0]),
    )


def _subject(
    spec: StudySpec, arm: Arm, n_forms: int, device: str, code: str, versions: Mapping[str, str]
) -> Subject:
    recipe = spec.recipe(arm)
    return Subject(
        workload=spec.workload,
        code=code,
        options=recipe.options,
        optimizer=recipe.optimizer,
        n_forms=n_forms,
        device=device,
        versions={name: versions[name] for name in ("gradnoise", "torch")},
    )


def _lowest(entry: SpaceEntry) -> Value:
    if isinstance(entry, Choices) and all(map(is_number, entry.choices)):
        return min(entry.choices)  # type: ignore[type-var]  # numbers
    return entry.low if isinstance(entry, Range) else _middle(entry)


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
