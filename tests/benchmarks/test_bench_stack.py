"""The benchmark of stacks: its imports, the slots it picks, its figures and their picture."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import bench_stack, draw_stack
from benchmarks.crew import Crew
from benchmarks.harness import Figure, report
from benchmarks.sides import Case
from gradnoise.training.calibration import candidates

ROOT = Path(__file__).resolve().parents[2]
OTHER_PACKAGES = (
    "ray",
    "sklearn",
    "pooch",
    "numba",
    "triton",
    "matplotlib",
    "pydantic",
    "sqlalchemy",
    "optuna",
    "httpx2",
    "fastapi",
    "gradnoise_service",
    "gradnoise_workers",
)


@pytest.mark.slow
def test_it_needs_torch_alone() -> None:
    """Its networks train on random images where torch and numpy are the only packages."""
    program = f"""
import sys
sys.modules.update(dict.fromkeys({OTHER_PACKAGES!r}))
from benchmarks import bench_stack, sides
with bench_stack.workloads():
    for case in (*bench_stack.CPU_CASES[:1], bench_stack.GROWTH_CASE):
        print(case.open().data().train[0].shape[1], sides.train(case, 2, 0.0) > 0)
"""
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.stdout == "64 True\n64 True\n", run.stderr


@pytest.mark.slow
def test_without_a_gpu_it_exits_with_a_message() -> None:
    command = [sys.executable, "-m", "benchmarks.bench_stack", "--gpu"]
    run = subprocess.run(
        command,
        cwd=ROOT,
        env={"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (run.returncode, run.stderr) == (1, "--gpu needs a GPU that torch sees.\n")


@pytest.mark.slow
def test_the_slots_picked_are_candidates_of_a_study(workloads: None) -> None:
    case = Case(
        name="few digits",
        workload="dense",
        options={"dataset": "digits", "depth": 2, "width": 5, "train_examples": 100},
    )
    with Crew(1) as crew:
        assert bench_stack.picked(crew, case, on_gpu=False) in candidates(on_gpu=False)


def test_a_comparison_has_the_slots_the_rates_and_the_share_of_the_limit(workloads: None) -> None:
    """The share is the operations per second over those of the limit."""
    case = Case(
        name="few digits", workload="dense", options={"dataset": "digits", "depth": 1, "width": 10}
    )
    operations = 2 * 100 * (2 * 64 * 10 + 3 * 10 * 10)
    figures = {
        figure.name: figure
        for figure in bench_stack.parts(
            case, {0: [10.0, 12.0], 4: [20.0, 30.0]}, 4, [operations * 100.0] * 2
        )
    }
    assert figures["  slots picked"].values == [4]
    assert figures["  the limit's share that it reaches"].values == pytest.approx([20.0, 30.0])
    assert figures["  one eager process a core"].values == [10.0, 12.0]


def test_the_picture_shows_every_stack_that_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The curve is throughput over slots; each number of eager processes has a horizontal line."""
    monkeypatch.setattr("benchmarks.harness.RESULTS", tmp_path)
    stacks = [
        Figure(name=bench_stack.rate_name(n), unit="steps/s", values=[1_000.0 * n])
        for n in (1, 64, 2_048)
    ]
    eager = [
        Figure(name=bench_stack.sharing_name(n), unit="steps/s", values=[900.0 + n])
        for n in (1, *bench_stack.N_SHARING)
    ]
    report("bench_stack", [*stacks, *eager], "bench_stack_cuda")
    (axes,) = draw_stack.draw(tmp_path / "bench_stack_cuda.json").axes
    curve, *horizontal = axes.lines
    assert list(zip(*curve.get_data(), strict=True)) == [(1, 1e3), (64, 64e3), (2_048, 2_048e3)]
    assert [line.get_ydata()[0] for line in horizontal] == [901.0, 904.0, 908.0, 916.0]
