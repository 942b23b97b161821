"""The package in docs/example-package, installed by pip, as a user installs it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

PACKAGE = Path(__file__).parents[3] / "docs" / "example-package"

PROGRAM = """
import dataclasses, json
from gradnoise.training import open_trainer
from gradnoise.training.trial import TrialSpec
from gradnoise.workloads.catalogue import document

ANNEALED = {"techniques": ("annealed",), "params": {"eta": 0.01, "gamma": 0.55}}
BOTH = {
    "techniques": ("exponential", "dropout", "normalised"),
    "optimizer": "signum",
    "params": {"std": 0.1, "rate": 0.1},
}
RUNS = {
    "spirals": ("spirals", ANNEALED, 0.3),
    "line": ("line", ANNEALED, 0.1),
    "own": ("spirals", BOTH, 0.01),
}

def train(slots, workload, arm, lr):
    trainer = open_trainer(slots)
    for k in range(slots):
        spec = {**arm, "params": arm["params"] | {"lr": lr}}
        trainer.admit(
            TrialSpec(
                key=str(k), workload=workload, seed=k, budget_epochs=40, with_test=True, **spec
            )
        )
    events = []
    while latest := trainer.advance():
        events += [{"kind": type(event).__name__} | dataclasses.asdict(event) for event in latest]
    return events

runs = {
    f"{name} {slots}": train(slots, *run) for name, run in RUNS.items() for slots in (1, 2)
}
print(json.dumps({"catalogue": document(), "runs": runs}))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that finds the package installed."""
    target = tmp_path_factory.mktemp("site")
    flags = [
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--disable-pip-version-check",
        "--target",
        str(target),
    ]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *flags, str(PACKAGE)], check=True, timeout=120
    )
    paths = [str(target), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def output(environment: dict[str, str]) -> Any:
    """The catalogue, and the events of trials with the package's declarations."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_its_declarations_are_announced_beside_ours(output: Any) -> None:
    catalogue = output["catalogue"]
    workloads = {workload["name"]: workload for workload in catalogue["workloads"]}
    assert set(workloads) == {
        "char-lm",
        "line",
        "memn2n",
        "mlp",
        "neural-gpu",
        "neural-programmer",
        "nram",
        "spirals",
    }
    assert catalogue["broken"] == []
    assert workloads["spirals"]["stacks"] is True
    assert workloads["line"]["stacks"] is False
    assert set(workloads["spirals"]["options_schema"]["properties"]) == {"turns", "width"}
    techniques = {technique["name"]: technique for technique in catalogue["techniques"]}
    assert techniques["exponential"]["formula"].endswith("sigma_t = std 2^(-t / half_life)")
    assert techniques["exponential"]["required"] == ["std"]
    assert "exponential" in workloads["line"]["techniques"]
    assert "signum" in {optimizer["name"] for optimizer in catalogue["optimizers"]}


@pytest.mark.parametrize("slots", [1, 2])
@pytest.mark.parametrize("name", ["spirals", "line", "own"])
def test_its_trials_train_to_their_end_alone_and_side_by_side(
    output: Any, name: str, slots: int
) -> None:
    events = output["runs"][f"{name} {slots}"]
    assert [event["kind"] for event in events].count("Measurement") == 40 * slots
    assert [event["kind"] for event in events].count("Finished") == slots
    losses = [
        event["values"]["train_loss"]
        for event in events
        if event["kind"] == "Measurement" and event["key"] == "0"
    ]
    assert losses[-1] < losses[0] / 1.3


@pytest.mark.parametrize("name", ["spirals", "line"])
def test_a_neighbour_in_the_stack_does_not_change_a_trial(output: Any, name: str) -> None:
    alone, together = (
        [
            event["values"]
            for event in output["runs"][f"{name} {slots}"]
            if event["kind"] == "Measurement" and event["key"] == "0"
        ]
        for slots in (1, 2)
    )
    for values, others in zip(alone, together, strict=True):
        assert values == pytest.approx(others, rel=1e-3, abs=2 / 192)


def test_its_conformance_tests_pass(environment: dict[str, str], tmp_path: Path) -> None:
    shutil.copy(PACKAGE / "tests" / "test_conformance.py", tmp_path)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert "50 passed" in run.stdout
