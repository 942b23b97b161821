"""Worker: an actor as its launcher sees it, with its trials and the trace that it leaves."""

import contextlib
import math
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from gradnoise.training.trace import Traced
from gradnoise.training.trial import Event, Measurement, TrialSpec
from gradnoise_workers.cluster import Location
from gradnoise_workers.health import Slot
from gradnoise_workers.launcher import CheckInterrupt, WorkerLost
from gradnoise_workers.placement import Held, Load

POLL_SECONDS = 0.5
LAST_WORDS = 16_384


@dataclass(kw_only=True, eq=False)
class Worker:
    """An actor with its trials, its unsent orders and its pending reply.

    Args:
        actor: The actor.
        reply: Its pending reply; None: it has nothing to do.
        node: Id of its Ray node.
        on_gpu: Whether it trains on a GPU, else on a core.
        trace: The file of its trace; None: it leaves none.
        location: Where it runs; None until it has started.
        trials: Its trials, by key.
        admit: Trials to be admitted with the next order.
        release: Trials to be released with it.
        resume: Trials to be resumed with it.
    """

    actor: Any
    reply: Any
    node: str
    on_gpu: bool
    trace: Path | None = None
    location: Location | None = None
    trials: dict[str, Held] = field(default_factory=dict)
    admit: list[TrialSpec] = field(default_factory=list)
    release: list[str] = field(default_factory=list)
    resume: list[str] = field(default_factory=list)
    _limits: dict[str, float] = field(default_factory=dict)
    _alive_at: float = 0.0
    _beat: int = 0

    @property
    def place(self) -> Slot:
        """Its GPU, or the cores of its node."""
        return self.node, self.location.gpu if self.location else ""

    @property
    def keys(self) -> set[str]:
        return set(self.trials)

    def advance(self, slots: int) -> None:
        """Send the orders; the reply is pending from now on."""
        kept = {key: limit for key, limit in self._limits.items() if key in self.keys}
        self._limits = kept | {spec.key: stall_limit(spec) for spec in self.admit}
        self._alive_at = time.monotonic()
        self.reply = self.actor.advance.remote(slots, self.admit, self.release, self.resume)
        self.admit, self.release, self.resume = [], [], []

    def load(self, slots: int) -> Load:
        """Return what it has left to train, in so many slots."""
        left = sum(held.share_left for held in self.trials.values()) / max(1, slots)
        return Load(left, slots - len(self.trials), slots)

    def take(self, events: Iterable[Event]) -> bool:
        """Take the epochs of a reply; return whether a trial waits at a rung."""
        is_waiting = False
        for event in events:
            if isinstance(event, Measurement) and event.key in self.trials:
                is_waiting |= self.trials[event.key].measured(event)
        return is_waiting

    def stall(self) -> float | None:
        """Return the limit, if the actor has given no sign of life for longer; None if it has."""
        if self.trace is None or self.location is None or self.reply is None:
            return None
        traced, now = Traced.read(self.trace), time.monotonic()
        if traced.beat != self._beat:
            self._beat, self._alive_at = traced.beat, now
        keys = self._limits.keys() & traced.keys or self._limits.keys()
        limit = max((self._limits[key] for key in keys), default=math.inf)
        return limit if traced.beat and now > self._alive_at + limit else None

    def suspects(self) -> set[str]:
        """Return the trials that may have ended the process: those that trained, or all."""
        if self.trace is None:
            return set(self.keys)
        return self.keys.intersection(Traced.read(self.trace).keys)

    def last_words(self) -> str:
        """Return what the process printed last, past Python, such as where it crashed."""
        if self.trace is None:
            return ""
        with contextlib.suppress(OSError):
            printed = printed_beside(self.trace).read_bytes()
            return printed[-LAST_WORDS:].decode(errors="replace").strip()
        return ""

    def losses(self, reason: str, *, has_left: bool) -> list[WorkerLost]:
        """Return the loss of each of its trials.

        Args:
            reason: Why its process ended.
            has_left: Whether its node has left the cluster, so that no trial is to blame.
        """
        suspects = set() if has_left else self.suspects()
        words = self.last_words() if suspects else ""
        printed = f"The process printed last:\n{words}\n\n" if words else ""
        return [
            WorkerLost(
                key=key,
                reason=f"{printed if key in suspects else ''}the worker died: {reason}",
                n_suspects=len(suspects) if key in suspects else 0,
            )
            for key in sorted(self.keys)
        ]

    def delete_trace(self) -> None:
        """Delete the files of a process that has ended."""
        for path in (self.trace, printed_beside(self.trace)) if self.trace else ():
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def started_worker(
    kind: type[Any],
    node: str,
    on_gpu: bool,
    n_shares: int,
    arguments: Sequence[Any],
    traces: Path | None,
) -> Worker:
    """Start an actor on a node.

    Args:
        kind: Its class.
        node: Id of the node.
        on_gpu: Whether it is on a GPU, else on a core.
        n_shares: How many actors share the GPU or the core.
        arguments: Those of its class, before the file of its trace.
        traces: Folder of its trace; None: it leaves none.
    """
    share = math.floor(1e4 / n_shares) / 1e4  # Ray counts in ten-thousandths
    trace = traces / secrets.token_hex(8) if traces else None
    actor = (
        ray.remote(kind)
        .options(
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
            num_cpus=0 if on_gpu else share,  # a node may have fewer cores than GPUs
            num_gpus=share if on_gpu else 0,
        )
        .remote(*arguments, trace)
    )
    reply = actor.locate.remote()
    return Worker(actor=actor, reply=reply, node=node, on_gpu=on_gpu, trace=trace)


def devices_text(locations: Sequence[Location], n_studies: int) -> str:
    """Return the devices of actors, as in `2 x H200, each shared by 3 studies`."""
    names = Counter(location.device for location in locations)
    shares = f", each shared by {n_studies} studies" if n_studies > 1 else ""
    return ", ".join(f"{n} x {name}" for name, n in sorted(names.items())) + shares


def await_replies(
    replies: Sequence[Any], check_interrupt: CheckInterrupt, seconds: float = math.inf
) -> bool:
    """Wait for replies, at most so many seconds; return whether all have arrived."""
    pending, until = list(replies), time.monotonic() + seconds
    while pending and time.monotonic() < until:
        _, pending = ray.wait(
            pending, num_returns=len(pending), timeout=POLL_SECONDS, fetch_local=False
        )
        check_interrupt()
    return not pending


def reason_of(error: RayError) -> str:
    """Return why a process was lost; for lack of memory without Ray's list of other processes."""
    text = f"{type(error).__name__}: {error}".strip()
    return text.partition("\n")[0] if isinstance(error, OutOfMemoryError) else text


def stall_limit(spec: TrialSpec) -> float:
    """Return the seconds that a process of a trial may take without a sign of life."""
    return math.inf if spec.stall_seconds is None else spec.stall_seconds


def kill(actors: Iterable[Any]) -> None:
    """Kill actors, dead or alive."""
    for actor in actors:
        with contextlib.suppress(RayError):
            ray.kill(actor)


def printed_beside(trace: Path) -> Path:
    """Return the file of what a process prints, beside its trace."""
    return trace.with_suffix(".out")
