"""What our trainers cost on the paper's systems: member-steps a second, alone and stacked, beside a
plain PyTorch loop of the same model.

`python -m benchmarks.bench_workloads` takes the first row of each of the paper's tables, at full
scale where SMALLER does not say another; `... NAME ...` only those presets. An epoch is cut to 20
updates. All cores are at one side at once, one thread a process; half of the members are noisy.
From the stacks' rates follow the hours that a preset takes on this machine's cores at full scale:
each row's updates are taken to last as long as they have floating-point operations, beside those of
the row that was measured; what its trials are measured on test data for is left out. On a GPU
nothing is measured: the hours of an H200 are those operations at its published peak, so no fewer.
"""

import os
import sys
from collections.abc import Iterator

from benchmarks import sides
from benchmarks.bench_stack import EAGER, picked, workloads
from benchmarks.crew import Crew
from benchmarks.harness import Figure, ratios, report
from benchmarks.sides import Case
from gradnoise.training.epochs import n_steps
from gradnoise.workloads.registry import WORKLOADS
from gradnoise_service import presets
from gradnoise_service.domain.spec import Choices, Range, StudySpec

ROUNDS = 5
TURN_SECONDS = 1.0
ALONE_AT_LEAST, STACKED_AT_LEAST = 0.9, 0.95
H200_FLOPS = 67e12
"""Operations a second in float32 without tensor cores, as NVIDIA publishes for the H200 SXM."""
# a stack of full ones takes half a minute and more for an epoch
SMALLER = {"paper-table-5": "half", "paper-table-6": "quick"}


def main() -> bool:
    names = sys.argv[1:] or [name for name in presets.names() if presets.table(name)]
    n_cores = os.cpu_count() or 1
    with workloads(), Crew(n_cores, {"CUDA_VISIBLE_DEVICES": ""}) as crew:
        return report(
            "bench_workloads",
            [figure for name in names for figure in of_preset(name, crew, n_cores)],
        )


def of_preset(name: str, crew: Crew, n_cores: int) -> Iterator[Figure]:
    """The three ways to train a preset's first row, and what all of its rows take at full scale as
    studies train them.
    """
    studies = [StudySpec.model_validate(plain) for plain in presets.load(name)]
    case = case_of(StudySpec.model_validate(presets.load(name, SMALLER.get(name, "full"))[0]))
    chosen = picked(crew, case, on_gpu=False)
    plain: list[float] = []
    alone: list[float] = []
    stacked: list[float] = []
    for _ in range(ROUNDS):
        plain.append(sum(crew.call(sides.train_plainly, case, TURN_SECONDS)))
        alone.append(sum(crew.call(sides.train, case, EAGER, TURN_SECONDS)))
        stacked.append(sum(crew.call(sides.train, case, chosen, TURN_SECONDS)))
    crew.call(sides.forget)
    own = f"{case.name} ({studies[0].workload})"
    yield Figure(
        name=f"{own}: alone, against a plain loop",
        unit="x",
        values=ratios(alone, plain),
        at_least=ALONE_AT_LEAST,
    )
    yield Figure(
        name=f"{own}: as studies train it, against a plain loop",
        unit="x",
        values=ratios(stacked, plain),
        at_least=STACKED_AT_LEAST,
    )
    yield Figure(name="  slots picked", unit="", values=[chosen])
    for way, rates in (("a plain loop", plain), ("alone", alone), (f"slots: {chosen}", stacked)):
        yield Figure(name=f"  {way}", unit="steps/s", values=rates)
    operations = sum(n_updates(spec) * sides.flops(case_of(spec)) for spec in studies)
    hours = [operations / sides.flops(case) / rate / 3600 for rate in stacked]
    whole = f"  {name}, {sum(map(n_updates, studies)):,} updates at full scale, extrapolated"
    yield Figure(name=f"{whole} to {n_cores} cores", unit="h", values=hours)
    yield Figure(
        name=f"{whole} to an H200 at {H200_FLOPS / 1e12:.0f} TFLOP/s",
        unit="h",
        values=[operations / H200_FLOPS / 3600],
    )


def case_of(spec: StudySpec) -> Case:
    """Return the case of a study: its workload, cut short, its options and a setting of its space."""
    setting = {
        name: one.low
        if isinstance(one, Range)
        else one.choices[0]
        if isinstance(one, Choices)
        else one
        for name, one in spec.space.items()
    }
    # a schedule costs nothing
    params = {name: value for name, value in setting.items() if not name.startswith("lr_")}
    return Case(
        name=spec.name,
        workload=f"short-{spec.workload}",
        options=spec.options,
        optimizer=spec.optimizer,
        params=params,
    )


def n_updates(spec: StudySpec) -> int:
    """Return the updates that a study makes, of all its trials."""
    declared = WORKLOADS.find(spec.workload)
    assert isinstance(declared, type)
    return spec.n_epochs_total * n_steps(declared(spec.options))


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
