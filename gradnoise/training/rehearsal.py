"""Rehearsal: one update of a trial, which shows whether its model, data and loss work."""

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
        run.step(epoch_order(setup.workload, spec.seed, 0)[0])
