"""Rehearsal: what a trial does before its second update: whether it works, where it starts."""

from gradnoise.training.epochs import epoch_order
from gradnoise.training.setup import prepare
from gradnoise.training.single import SingleRun
from gradnoise.training.trial import TrialSpec
from gradnoise.workloads.base import Workload


def rehearse(spec: TrialSpec) -> None:
    """Make one update of a trial and discard it; raises what the trial would raise.

    A training function runs its own loop, so only its names and numbers are checked.
    """
    from gradnoise.training import device

    setup = prepare(spec)
    if isinstance(setup.workload, Workload):
        run = SingleRun(setup, setup.workload, device())
        run.step(epoch_order(setup.workload, spec, 0)[0])


def untrained(spec: TrialSpec) -> dict[str, float]:
    """Return the metrics of a trial before its first update, by `<split>_<metric>`.

    Empty for a training function, whose model is not accessible.
    """
    from gradnoise.training import device

    setup = prepare(spec)
    if not isinstance(setup.workload, Workload):
        return {}
    return SingleRun(setup, setup.workload, device()).evaluate()
