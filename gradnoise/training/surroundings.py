"""What surrounds the code of a workload while it runs in the trainer's process.

What it prints is collected, other processes see which trials it belongs to, and what it changes of
the process is restored.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

from gradnoise.training.member import Member
from gradnoise.training.output import Output, collecting, joined
from gradnoise.training.process_state import unchanged_process
from gradnoise.training.trace import Trace


@contextmanager
def surrounded(members: Sequence[Member], trace: Trace | None) -> Iterator[None]:
    """Run code of a workload for some trials within the block.

    Args:
        members: The trials: one, or those that train as one model.
        trace: Where other processes see them; None: nowhere.
    """
    keys = [member.spec.key for member in members]
    with (
        trace.training(keys) if trace else nullcontext(),
        collecting_for(members),
        unchanged_process(),
    ):
        yield


@contextmanager
def collecting_for(members: Sequence[Member]) -> Iterator[None]:
    """Add what this process prints within the block to the output of each of the members.

    What trials that train as one model print cannot be told apart: a line before it says so.
    """
    if len(members) == members[0].n_printing == 1:
        with collecting(members[0].output):
            yield
        return
    shared = Output()
    try:
        with collecting(shared):
            yield
    finally:
        text = joined(shared.take(is_last=True))
        for member in members if text else ():
            if member.n_printing != len(members):
                member.n_printing = len(members)
                member.output.add(_heading(member.n_printing))
            member.output.add(text)


def _heading(n: int) -> str:
    if n == 1:
        return "[printed by this trial alone]\n"
    return f"[printed by {n} trials that train as one model]\n"
