"""Throughput of the trainers on modules and the paper's systems, against a plain PyTorch loop.

`python -m benchmarks.bench_workloads [NAME ...]` measures a training function against the same loop
without gradnoise, the modules of MODULES, and the first row of each table of the paper, at full
scale unless SMALLER gives another; or only the modules and presets named. An epoch is cut to 10
updates of a module and 20 of a system. The sides take turns, each with all cores and one thread per
process. Half of the members have noise.

The hours that a whole preset takes at full scale on these cores are extrapolated from the stacks'
rates: the time of an update is proportional to its floating-point operations, and measurements on
test data are left out. The hours on an H200 are the same operations at its published peak, which is
a lower bound; no GPU is measured.
"""

import os
import sys
from collections.abc import Iterator

from benchmarks import function_loop, sides
from benchmarks.bench_stack import EAGER, picked, workloads
from benchmarks.crew import Crew
from benchmarks.harness import Figure, ratios, report
from benchmarks.sides import Case
from gradnoise.training.epochs import n_steps
from gradnoise.workloads.registry import WORKLOADS
from gradnoise_service import presets
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.space import Choices, Range, SpaceEntry, Value
from gradnoise_service.domain.spec import StudySpec

ROUNDS = 5
TURN_SECONDS = 0.6
ALONE_AT_LEAST, STACKED_AT_LEAST, FUNCTION_AT_LEAST = 0.9, 2.5, 0.95
OTHERS_AT_LEAST = {"memn2n": 1.5, "module": 1.2}
H200_FLOPS = 67e12
"""NVIDIA's peak of the H200 SXM in float32 without tensor cores, operations per second."""
MODULES = tuple(
    Case(name=name, workload="module", optimizer="adam", options=options)
    for name, options in (
        ("gru", {"module": "gru", "side": 28}),
        ("encoder-64", {"module": "encoder", "width": 64}),
        ("encoder-128", {"module": "encoder", "width": 128}),
        ("encoder-256", {"module": "encoder", "width": 256}),
        ("cnn-8", {"module": "cnn", "side": 8}),
        ("cnn-28", {"module": "cnn", "side": 28}),
    )
)
# at full scale an epoch of a stack takes over half a minute
SMALLER = {"paper-table-5": "half", "paper-table-6": "quick"}


def main() -> bool:
    named = sys.argv[1:]
    modules = [case for case in MODULES if not named or case.name in named]
    tables = [name for name in presets.names() if presets.find_table(name)]
    names = [name for name in named or tables if name not in {case.name for case in modules}]
    n_cores = os.cpu_count() or 1
    with workloads(), Crew(n_cores, {"CUDA_VISIBLE_DEVICES": ""}) as crew:
        return report(
            "bench_workloads",
            [
                *(() if named else of_function(crew)),
                *(figure for case in modules for figure in of_case(case, case.workload, crew)[0]),
                *(figure for name in names for figure in of_preset(name, crew, n_cores)),
            ],
        )


def of_function(crew: Crew) -> Iterator[Figure]:
    """Measure a training function, without and with noise, against the same loop by itself."""
    bare: list[float] = []
    functions: list[float] = []
    for _ in range(ROUNDS):
        bare.append(sum(crew.call(function_loop.train_bare, TURN_SECONDS)))
        functions.append(sum(crew.call(function_loop.train_function, TURN_SECONDS)))
    yield Figure(
        name="a training function, against the same loop by itself",
        unit="x",
        values=ratios(functions, bare),
        at_least=FUNCTION_AT_LEAST,
    )
    for way, rates in (("the loop by itself", bare), ("the function", functions)):
        yield Figure(name=f"  {way}", unit="steps/s", values=rates)


def of_preset(name: str, crew: Crew, n_cores: int) -> Iterator[Figure]:
    """Measure three ways to train a preset's first row, and extrapolate to all of its rows."""
    studies = [StudySpec.model_validate(plain) for plain in presets.load(name)]
    case = case_of(StudySpec.model_validate(presets.load(name, SMALLER.get(name, "full"))[0]))
    figures, stacked = of_case(case, studies[0].workload, crew)
    yield from figures
    operations = sum(n_updates(spec) * sides.flops(case_of(spec)) for spec in studies)
    hours = [operations / sides.flops(case) / rate / 3600 for rate in stacked]
    whole = f"  {name}, {sum(map(n_updates, studies)):,} updates at full scale, extrapolated"
    yield Figure(name=f"{whole} to {n_cores} cores", unit="h", values=hours)
    yield Figure(
        name=f"{whole} to an H200 at {H200_FLOPS / 1e12:.0f} TFLOP/s",
        unit="h",
        values=[operations / H200_FLOPS / 3600],
    )


def of_case(case: Case, workload: str, crew: Crew) -> tuple[list[Figure], list[float]]:
    """Measure three ways to train a case.

    Returns:
        The figures, and the updates per second of the stack in each round.
    """
    chosen = picked(crew, case, on_gpu=False)
    plain: list[float] = []
    eager: list[float] = []
    stacked: list[float] = []
    for _ in range(ROUNDS):
        plain.append(sum(crew.call(sides.train_plainly, case, TURN_SECONDS)))
        eager.append(sum(crew.call(sides.train, case, EAGER, TURN_SECONDS)))
        stacked.append(sum(crew.call(sides.train, case, chosen, TURN_SECONDS)))
    crew.call(sides.forget)
    label = f"{case.name} ({workload})"
    ways = (("a plain loop", plain), ("alone", eager), (f"slots: {chosen}", stacked))
    return [
        Figure(
            name=f"{label}: alone, against a plain loop",
            unit="x",
            values=ratios(eager, plain),
            at_least=ALONE_AT_LEAST,
        ),
        Figure(
            name=f"{label}: as studies train it, against a plain loop",
            unit="x",
            values=ratios(stacked, plain),
            at_least=OTHERS_AT_LEAST.get(workload, STACKED_AT_LEAST),
        ),
        Figure(name="  slots picked", unit="", values=[chosen]),
        *(Figure(name=f"  {way}", unit="steps/s", values=rates) for way, rates in ways),
    ], stacked


def case_of(spec: StudySpec) -> Case:
    """Return the case of a study: its shortened workload, its options, a setting of its space.

    The setting omits the learning rate's schedule, which takes no time.
    """
    space = {name: entry for name, entry in spec.space.items() if not name.startswith("lr_")}
    params = {name: first_value(entry) for name, entry in space.items()}
    return Case(
        name=spec.name,
        workload=f"short-{spec.workload}",
        options=spec.options,
        optimizer=spec.optimizer,
        params=params,
    )


def first_value(entry: SpaceEntry) -> Value:
    """Return the lowest value of a range, the first choice, or the fixed value."""
    match entry:
        case Range():
            return entry.low
        case Choices():
            return entry.choices[0]
    return entry


def n_updates(spec: StudySpec) -> int:
    """Return the number of updates of all trials of a study."""
    declared = WORKLOADS.find(spec.workload)
    assert isinstance(declared, type)
    return Design.of(spec).n_epochs_total * n_steps(declared(spec.options))


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
