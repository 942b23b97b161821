"""The workloads of the paper pass the conformance checks, with small models on few examples."""

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from gradnoise.testing import WORKLOAD_CHECKS, WorkloadCase
from gradnoise.workloads import Splits, Workload
from gradnoise.workloads.registry import WORKLOADS

HAS_BABI = Path(os.environ.get("GRADNOISE_DATA", ""), "babi", "en-valid").is_dir()
CASES: Mapping[str, dict[str, Any]] = {
    "mlp": {
        "options": {"depth": 3, "width": 10, "train_examples": 100, "batch_size": 50},
        "params": {"lr": 0.05},
    },
    "memn2n": {
        "options": {"batch_size": 150, "hops": 2, "sentences": 10},
        "params": {"lr": 0.001, "clip_norm": 40.0},
    },
    "neural-gpu": {
        "options": {"longest": 2, "maps": 4, "width": 2, "batch_size": 150},
        "params": {"lr": 0.01},
        "optimizer": "adam",
    },
    "neural-programmer": {
        "options": {"train_examples": 100, "dim": 4, "steps": 2},
        "params": {"lr": 0.01},
        "optimizer": "adam",
    },
    "char-lm": {
        "options": {"layers": 1, "heads": 2, "head_width": 4, "context": 4, "batch_size": 150},
        "params": {"lr": 0.01},
        "optimizer": "adamw",
    },
    "nram": {
        "options": {"longest": 2, "size": 4, "steps": 2, "hidden": 4, "batch_size": 150},
        "params": {"lr": 0.01},
        "optimizer": "adam",
    },
}
N_EXAMPLES = 300


@functools.lru_cache(maxsize=4)
def shortened(splits: Splits) -> Splits:
    train, validation, test = (
        tuple(part[:N_EXAMPLES] for part in split)
        for split in (splits.train, splits.validation, splits.test)
    )
    return Splits(train=train, validation=validation, test=test)


@pytest.mark.parametrize("check", WORKLOAD_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name != "mlp" else []) for name in CASES],
)
def test_it_conforms(
    name: str, check: Callable[[WorkloadCase], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "mlp":
        pytest.importorskip("sklearn")  # for its digits
    if name == "memn2n" and not HAS_BABI:
        pytest.skip("needs a folder babi/en-valid in $GRADNOISE_DATA")
    workload = WORKLOADS.find(name)
    assert isinstance(workload, type)
    data: Callable[[Workload], Splits] = workload.data
    monkeypatch.setattr(workload, "data", lambda opened: shortened(data(opened)))
    check(WorkloadCase(workload=workload, **CASES[name]))


def test_every_workload_is_checked() -> None:
    assert set(CASES) == set(WORKLOADS.names())
