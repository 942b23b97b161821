"""Twenty updates of each workload with each technique: by CUDA graph, eagerly, and on the CPU.

The reference on the CPU is the single trainer, plain torch. Differences are those of the weights,
relative to how far training moved them. Without a GPU a few pairs train on the CPU, as a stack and
as the reference.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch

from benchmarks import bench_stack
from benchmarks.crew import on_each
from benchmarks.first_gpu.running import Finding
from benchmarks.harness import Figure
from gradnoise.techniques.registry import TECHNIQUES
from gradnoise.training.precision import exact_float32
from gradnoise.training.setup import Setup, prepare
from gradnoise.training.single import SingleRun
from gradnoise.training.stack_check import declared_refusal, refusal
from gradnoise.training.stacked_epoch import StackedEpoch
from gradnoise.training.stacked_model import StackedModel
from gradnoise.training.stacked_run import StackedRun
from gradnoise.training.trial import ParamValue, TrialSpec
from gradnoise.workloads import Workload
from gradnoise.workloads.registry import OPTIMIZERS, WORKLOADS, techniques_for

N_UPDATES = 20
N_PROCESSES = 6
GRAPH_AT_MOST = 1e-5
"""A replay makes the operations of an eager update; only atomic sums differ in their order."""
CPU_AT_MOST = 1e-3
"""Of float32 roundings, 6e-8 each, over twenty updates that amplify them."""
OPTIMIZERS_AT_MOST = 0.05
"""Signs and quotients of gradients near 0 may differ entirely after a rounding."""

WORKLOAD_OPTIONS: Mapping[str, Mapping[str, object]] = {
    "dense": {"dataset": "mnist", "train_examples": 2_000},
    "convolutions": {},
    "char-lm": {"layers": 1, "characters": 20_000},
    "memn2n": {},
    "neural-gpu": {"longest": 4, "test_bits": 4, "maps": 8},
    "neural-programmer": {"train_examples": 1_000, "dim": 32},
    "nram": {},
}
TECHNIQUE_PARAMS: Mapping[str, Mapping[str, ParamValue]] = {
    "adaptive_clipping": {"clip_ratio": 0.01},
    "annealed": {"eta": 0.01, "gamma": 0.55},
    "anticorrelated": {"std": 0.1},
    "constant": {"std": 0.1},
    "dropout": {"rate": 0.2},
    "ema": {"ema_decay": 0.9},
    "gradient_centralisation": {},
    "grokfast": {},
    "label_smoothing": {"smoothing": 0.1},
    "none": {},
    "preconditioned": {"eta": 1e-4, "gamma": 0.55, "damping": 0.01},
    "sam": {"rho": 0.05},
    "weight_noise": {"eta": 1e-4, "gamma": 0.55},
}
LR: Mapping[str, float] = {"muon": 0.01, "lion": 0.001}
DEFAULT_LR = 0.01


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What two members train with; the second is clipped too."""

    workload: str
    technique: str
    optimizer: str = "sgd"
    options: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.workload}, {self.technique}, {self.optimizer}"

    def setups(self) -> list[Setup]:
        params = {
            "lr": LR.get(self.optimizer, DEFAULT_LR),
            **TECHNIQUE_PARAMS.get(self.technique, {}),
        }
        return [
            prepare(
                TrialSpec(
                    key=f"{seed}",
                    workload=self.workload,
                    options=self.options,
                    techniques=(self.technique,),
                    optimizer=self.optimizer,
                    params=params | clip,
                    seed=seed,
                    budget_epochs=1,
                    report_every=N_UPDATES,
                )
            )
            for seed, clip in ((1, {}), (2, {"clip_norm": 1.0}))
        ]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The largest differences of a pair's members.

    Args:
        graph: Between captured and eager updates; None if they were not captured.
        cpu: Between eager updates on the device and the single trainer on the CPU.
        reason: Why they were not captured, or do not stack at all.
    """

    graph: float | None
    cpu: float | None
    reason: str = ""


def findings() -> Iterator[Finding]:
    is_on_gpu = torch.cuda.is_available()
    if not is_on_gpu:
        yield "no GPU: a few pairs train on the CPU, where nothing is captured"
    n_uncaptured = 0
    with bench_stack.workloads():
        chosen = pairs() if is_on_gpu else few_pairs()
        n = min(N_PROCESSES, (os.cpu_count() or 2) // 2) if is_on_gpu else 1
        for pair, found in on_each(compare, chosen, n):
            if isinstance(found, RuntimeError):
                n_uncaptured += 1
                yield f"{pair}: {found}"
                continue
            if found.reason:
                n_uncaptured += 1
                yield f"{pair}: {found.reason}"
            yield from figures(pair, found)
    if is_on_gpu:
        yield Figure(
            name="pairs that failed or were not captured",
            unit="",
            values=[n_uncaptured],
            at_most=0,
        )


def pairs() -> list[Pair]:
    """Return each workload with each technique that it supports, and each optimizer once."""
    found = []
    for workload, options in WORKLOAD_OPTIONS.items():
        supported = techniques_for(WORKLOADS.find(workload)) or TECHNIQUES.names()
        found += [
            Pair(workload=workload, technique=technique, options=options)
            for technique in supported
            if workload != "convolutions" or technique != "dropout"  # it has no place for it
        ]
    found += [
        Pair(
            workload="dense",
            technique="annealed",
            optimizer=optimizer,
            options=WORKLOAD_OPTIONS["dense"],
        )
        for optimizer in OPTIMIZERS.names()
        if optimizer != "sgd"
    ]
    return found


def few_pairs() -> list[Pair]:
    options = {"dataset": "digits", "depth": 2, "width": 8, "train_examples": 200, "batch_size": 10}
    return [
        Pair(workload="dense", technique=technique, options=options)
        for technique in ("annealed", "sam")
    ]


def figures(pair: Pair, found: Comparison) -> Iterator[Figure]:
    if found.graph is not None:
        yield Figure(
            name=f"{pair}: graph against eager updates",
            unit="of the way",
            values=[found.graph],
            at_most=GRAPH_AT_MOST,
        )
    if found.cpu is not None:
        yield Figure(
            name=f"{pair}: against the single trainer on the CPU",
            unit="of the way",
            values=[found.cpu],
            at_most=CPU_AT_MOST if pair.optimizer == "sgd" else OPTIMIZERS_AT_MOST,
        )


@exact_float32()
def compare(pair: Pair) -> Comparison:
    """Train a pair in the three ways."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    setups = pair.setups()
    workload = setups[0].workload
    assert isinstance(workload, Workload)
    runs = [StackedRun(setup, workload, device) for setup in setups]
    reason = declared_refusal(setups[0], workload) or refusal(runs[0])
    if reason:
        return Comparison(graph=None, cpu=None, reason=f"does not stack: {reason}")
    before = _weights(runs)
    eager, _ = _trained(runs, may_capture=False)
    graphed, model = _trained(
        [StackedRun(setup, workload, device) for setup in setups], may_capture=True
    )
    reference = torch.stack([_reference(setup, workload) for setup in setups])
    is_captured = model.is_captured
    return Comparison(
        graph=_difference(graphed, eager, before) if is_captured else None,
        cpu=_difference(eager, reference, before),
        reason="" if is_captured or device.type == "cpu" else f"not captured: {model.eager}",
    )


def _trained(runs: list[StackedRun], *, may_capture: bool) -> tuple[torch.Tensor, StackedModel]:
    epoch = StackedEpoch(runs, len(runs))
    model = StackedModel(epoch, may_capture=may_capture)
    model.train(epoch)
    return _weights(runs), model


def _reference(setup: Setup, workload: Workload) -> torch.Tensor:
    run = SingleRun(setup, workload, torch.device("cpu"))
    run.train_epoch()
    weights: torch.Tensor = run.state()["weights"]
    return weights


def _weights(runs: list[StackedRun]) -> torch.Tensor:
    return torch.stack([run.weights for run in runs]).cpu().double()


def _difference(found: torch.Tensor, other: torch.Tensor, before: torch.Tensor) -> float:
    """Return the largest distance of two members, relative to how far the second one moved."""
    distances = torch.linalg.vector_norm(found - other, dim=1)
    return float((distances / torch.linalg.vector_norm(other - before, dim=1)).max())
