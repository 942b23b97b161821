"""Launcher: what a study run needs of the machines, slots for trials and their events."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gradnoise.training.calibration import Rate
from gradnoise.training.rehearsal import Rehearsal
from gradnoise.training.trial import Event, TrialSpec
from gradnoise_service.domain.arm import Arm
from gradnoise_service.domain.devices import DeviceChoice
from gradnoise_service.domain.planned_trial import Setting
from gradnoise_service.domain.spec import Phase, StudySpec


@dataclass(frozen=True, kw_only=True)
class WorkerLost:
    """The worker of a trial died; the attempt sends no further events.

    Args:
        key: The trial's key.
        reason: Why it died.
        n_suspects: How many trials trained when it died, this one among them; 0: this one did not,
            so that it is not to blame.
    """

    key: str
    reason: str
    n_suspects: int = 1


LauncherEvent = Event | WorkerLost

CheckInterrupt = Callable[[], None]
"""Called regularly while a launcher waits; raises to end the wait."""


class NotMeasuredError(Exception):
    """A measurement failed: a worker died, or the trial raised."""


class NoDeviceError(Exception):
    """The cluster has no device that the study can use."""

    def __init__(self, choice: DeviceChoice, faults: Sequence[str]) -> None:
        kinds = {"gpu": "no GPU", "cpu": "no CPU core"}
        found = kinds.get(choice, "neither a GPU nor a CPU core")
        sentence = f"The study waits: the workers have {found} that it can use."
        super().__init__(" ".join([sentence, *faults]))


def trial_spec(
    spec: StudySpec,
    arm: Arm,
    *,
    key: str,
    params: Setting,
    seed: int,
    budget_epochs: int,
    phase: Phase = "search",
    number: int = 0,
    rungs: tuple[int, ...] = (),
    with_test: bool = False,
    together: int = 0,
    time_limit_seconds: float | None = None,
    apart: bool = False,
    keep_weights: bool = False,
    keep_checkpoint: bool = False,
    earlier_budgets: tuple[int, ...] = (),
    checkpoint: str = "",
) -> TrialSpec:
    """Return what a worker trains for a trial of an arm; arguments as of `TrialSpec`."""
    recipe = spec.recipe(arm)
    return TrialSpec(
        key=key,
        workload=spec.workload,
        options=recipe.options,
        techniques=recipe.techniques,
        optimizer=recipe.optimizer,
        params=params,
        seed=seed,
        budget_epochs=budget_epochs,
        report_every=spec.budget.report_every,
        arm=arm.name,
        phase=phase,
        number=number,
        rungs=rungs,
        with_test=with_test,
        together=together,
        time_limit_seconds=time_limit_seconds,
        stall_seconds=spec.trial_stall_limit,
        apart=apart,
        keep_weights=keep_weights,
        keep_checkpoint=keep_checkpoint,
        earlier_budgets=earlier_budgets,
        checkpoint=checkpoint,
    )


def total(rates: Sequence[Rate | None], slots: int) -> Rate:
    """Return the rate of all workers together from that of each; None where the slots do not fit.

    Raises:
        MemoryError: If they do not fit into one of them.
    """
    fitting = [rate for rate in rates if rate is not None]
    if len(fitting) < len(rates):
        raise MemoryError(f"{slots} slots do not fit.")
    return Rate(
        slots=slots,
        steps_per_second=sum(rate.steps_per_second for rate in fitting),
        bytes_per_slot=max(rate.bytes_per_slot for rate in fitting),
        refusal=next((rate.refusal for rate in fitting if rate.refusal), ""),
        eager=next((rate.eager for rate in fitting if rate.eager), ""),
    )


class Launcher(Protocol):
    """Trains trials in slots; one launcher serves one study.

    Trials can be admitted after `open`. Every method that waits raises NoDeviceError if the last
    device is gone.
    """

    @property
    def devices(self) -> DeviceChoice:
        """Where trials train; auto only before `start` has returned."""

    @property
    def n_devices(self) -> int:
        """The number of devices on which trials train now."""

    @property
    def device_faults(self) -> Sequence[str]:
        """Why GPUs of the cluster are not used, sentences."""

    def start(self, check_interrupt: CheckInterrupt) -> str:
        """Wait for workers to start and return a description of their devices."""

    def import_source(self, seconds: float, check_interrupt: CheckInterrupt) -> str:
        """Import the study's source on a worker and return why this is impossible; empty if not.

        Args:
            seconds: An import that has not ended by then is ended.
            check_interrupt: As for `start`.
        """

    def prepare(
        self, specs: Sequence[TrialSpec], check_interrupt: CheckInterrupt
    ) -> Mapping[str, Rehearsal]:
        """Rehearse each trial on a worker and return what it did by key."""

    def untrained(
        self, specs: Sequence[TrialSpec], check_interrupt: CheckInterrupt
    ) -> Mapping[str, Mapping[str, float]]:
        """Measure each trial on a worker before its first update and return the metrics by key.

        Trials without such a measurement are left out, or have none.
        """

    def candidates(self) -> Sequence[int]:
        """Return the numbers of slots worth measuring, ascending."""

    def measure(
        self,
        probe: TrialSpec,
        slots: int,
        before: Rate | None,
        n_forms: int,
        check_interrupt: CheckInterrupt,
    ) -> Rate:
        """Train copies of a trial briefly in every worker at once and return their total rate.

        Args:
            probe: The trial.
            slots: Copies in each worker.
            before: The previous rate, which predicts whether so many slots fit.
            n_forms: Kinds of stacks that share the memory of each worker, that of the probe among
                them.
            check_interrupt: As for `start`.

        Raises:
            MemoryError: If they do not fit.
            NotMeasuredError: If a worker died, or the trial raised.
        """

    def open(self, slots: int) -> None:
        """Give every worker, present and future, so many slots."""

    def n_free(self, n_waiting: int | None = None) -> int:
        """Return how many trials could start now.

        Given the number of trials that wait, those are left out that should wait for a worker which
        will have less to train.
        """

    def admit(self, spec: TrialSpec) -> None:
        """Start a trial in a free slot."""

    def resume(self, key: str) -> None:
        """Let a trial that waits at a rung continue."""

    def events(self, timeout_seconds: float) -> Sequence[LauncherEvent]:
        """Return the events since the last call; wait for the first, up to the timeout."""

    def release(self, key: str) -> None:
        """Take a trial out of its slot, finished or not."""

    def save(self, seconds: float) -> None:
        """Checkpoint every trial under way, after its present epoch; wait at most so long."""

    def close(self) -> None:
        """Free every slot and device."""
