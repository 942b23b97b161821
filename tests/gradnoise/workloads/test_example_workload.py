"""The package in docs/example-workload, installed as a stranger would install it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PACKAGE = Path(__file__).parents[3] / "docs" / "example-workload"

PROGRAM = """
import dataclasses, json
from gradnoise.training import open_trainer
from gradnoise.training.trial import TrialSpec
from gradnoise.workloads.catalogue import document

def train(slots, workload, lr):
    noise = {"eta": 0.01, "gamma": 0.55}
    trainer = open_trainer(slots)
    for k in range(slots):
        trial = {"workload": workload, "technique": "annealed", "params": {"lr": lr} | noise, "budget_epochs": 40, "with_test": True}
        trainer.admit(TrialSpec(key=str(k), seed=k, **trial))
    events = []
    while latest := trainer.advance():
        events += [{"kind": type(event).__name__} | dataclasses.asdict(event) for event in latest]
    return events

runs = {f"{workload} {slots}": train(slots, workload, lr) for workload, lr in (("spirals", 0.3), ("line", 0.1)) for slots in (1, 2)}
print(json.dumps({"catalogue": document(), "runs": runs}))
"""


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a process prints that finds the package installed: the catalogue, and the events of
    trials of both workloads.
    """
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
    environment = os.environ | {"PYTHONPATH": str(target), "OMP_NUM_THREADS": "1"}
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


def test_both_workloads_show_up_beside_ours(output: Any) -> None:
    workloads = {workload["name"]: workload for workload in output["catalogue"]["workloads"]}
    assert set(workloads) == {
        "line",
        "memn2n",
        "mlp",
        "neural-gpu",
        "neural-programmer",
        "nram",
        "spirals",
    }
    assert output["catalogue"]["broken"] == []
    assert workloads["spirals"]["stacks"] is True
    assert workloads["line"]["stacks"] is False
    assert set(workloads["spirals"]["options_schema"]["properties"]) == {"turns", "width"}


@pytest.mark.parametrize("run", ["spirals 1", "spirals 2", "line 1", "line 2"])
def test_both_train_to_their_end_alone_and_side_by_side(output: Any, run: str) -> None:
    events = output["runs"][run]
    n_trials = int(run.split()[1])
    assert [event["kind"] for event in events].count("Measurement") == 40 * n_trials
    assert [event["kind"] for event in events].count("Finished") == n_trials
    losses = [
        event["values"]["train_loss"]
        for event in events
        if event["kind"] == "Measurement" and event["key"] == "0"
    ]
    assert losses[-1] < losses[0] / 1.3


def test_a_stacked_neighbour_changes_nothing(output: Any) -> None:
    for workload in ("spirals", "line"):
        alone, together = (
            [
                event["values"]
                for event in output["runs"][f"{workload} {slots}"]
                if event["kind"] == "Measurement" and event["key"] == "0"
            ]
            for slots in (1, 2)
        )
        assert all(
            one == pytest.approx(other, rel=1e-3, abs=2 / 192)
            for one, other in zip(alone, together, strict=True)
        )
