"""The paper's five systems, trained by the whole service on PostgreSQL.

They are submitted through REST, the command line and Python.
"""

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gradnoise_service.client import Client
from processes import WAIT_SECONDS
from service_up import Up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TINY: dict[str, dict[str, Any]] = {
    "mlp": {"dataset": "digits", "depth": 2, "width": 8},
    "memn2n": {"task": 1, "dim": 4, "hops": 1, "sentences": 5},
    "neural-programmer": {"train_examples": 100, "dim": 4},
    "nram": {
        "task": "increment",
        "longest": 1,
        "size": 4,
        "steps": 2,
        "hidden": 4,
        "batch_size": 1000,
    },
    "neural-gpu": {"longest": 2, "maps": 4, "batch_size": 1000},
}
"""Options with which an epoch takes well under a second."""


def submit_by_rest(up: Up, spec: dict[str, Any]) -> int:
    return int(str(up.get("/v1/studies", spec)["id"]))


def submit_by_command(up: Up, spec: dict[str, Any]) -> int:
    file = up.home / "study.json"
    file.write_text(json.dumps(spec))
    command = [
        Path(sys.executable).parent / "gradnoise",
        "submit",
        file,
        "--url",
        f"http://127.0.0.1:{up.port}",
        "--json",
    ]
    run = subprocess.run(command, check=True, capture_output=True, text=True, timeout=WAIT_SECONDS)
    return int(json.loads(run.stdout)["id"])


def submit_by_python(up: Up, spec: dict[str, Any]) -> int:
    with Client(f"http://127.0.0.1:{up.port}") as client:
        return client.submit(spec).id


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_every_workload_trains_by_each_kind_of_submission(up: Up) -> None:
    submissions = itertools.cycle((submit_by_rest, submit_by_command, submit_by_python))
    studies = {}
    for (workload, options), submit in zip(TINY.items(), submissions, strict=False):
        spec = {
            "name": workload,
            "workload": workload,
            "options": options,
            "smallest_difference": 0.01,
            "space": {"lr": 0.001},
            "arms": [
                {"name": "baseline", "technique": "none"},
                {"name": "noisy", "technique": "annealed", "space": {"eta": 0.01, "gamma": 0.55}},
            ],
            "confirm": {"n_seeds": 2, "epochs": 1},
            "seed": 1,
        }
        studies[workload] = submit(up, spec)
    for workload, study in studies.items():
        up.until(
            lambda study=study: (
                up.get(f"/v1/studies/{study}")["state"] not in ("queued", "running")
            ),
            f"the end of {workload}",
        )  # type: ignore[misc]
        assert up.get(f"/v1/studies/{study}")["state"] == "complete", up.tail()
        page: Any = up.get(f"/v1/studies/{study}/trials")
        assert [
            (trial["state"], trial["epochs"], trial["diverged"]) for trial in page["items"]
        ] == [("complete", 1, False)] * 4
