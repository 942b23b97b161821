"""The training files of docs/examples learn, and give the same results every time."""

import copy
import importlib
import json
import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import files_in_process
from gradnoise import annealed
from gradnoise.workloads.function import FunctionWorkload
from gradnoise.workloads.function_host import Kept
from gradnoise.workloads.registry import OPTIMIZERS
from gradnoise_service.cli.app import app
from gradnoise_service.local import sources
from open_trial import RecordingHost, open_trial

pytestmark = [
    # few workers, few batches
    pytest.mark.filterwarnings("ignore::lightning.pytorch.utilities.warnings.PossibleUserWarning"),
    # Lightning's own use of torch
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*is deprecated:FutureWarning"),
]
FOLDER = Path(__file__).resolve().parents[1] / "docs/examples"
MAX_LINES = 60


@dataclass(frozen=True, kw_only=True)
class Example:
    """A file of docs/examples, with settings at which it learns.

    Args:
        params: The hyperparameters.
        optimizer: The optimizer.
        epochs: Reports.
        chance: Accuracy of the best constant answer.
        n: Examples on which the accuracy is measured.
    """

    params: dict[str, Any]
    optimizer: str = "sgd"
    epochs: int = 2
    chance: float = 0.1
    n: int = 397

    @property
    def learned(self) -> float:
        """An accuracy that constant answers exceed by five standard errors at most."""
        return self.chance + 5 * math.sqrt(self.chance * (1 - self.chance) / self.n)


EXAMPLES = {
    "cnn": Example(params={"lr": 0.1}),
    "gru": Example(params={"lr": 0.01}, optimizer="adam"),
    "transformer": Example(params={"lr": 0.01, "lr_warmup_steps": 10}, optimizer="adamw"),
    "lightning_cnn": Example(params={"lr": 0.1}),
    "transformers_trainer": Example(params={"lr": 0.003}, optimizer="adamw", epochs=3),
    "accelerate_mlp": Example(params={"lr": 0.2}, epochs=3),
    # 357 of the 569 tumours are benign
    "csv_table": Example(params={"lr": 0.1}, chance=357 / 569, n=171),
}


LONG = {"transformer", "lightning_cnn", "transformers_trainer", "accelerate_mlp"}
"""Those that take seconds, or import packages that do."""


@pytest.fixture(autouse=True)
def _folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The modules of the folder can be imported."""
    monkeypatch.syspath_prepend(FOLDER)


def load(name: str) -> FunctionWorkload:
    """Return the training function of a file."""
    values = vars(importlib.import_module(name)).values()
    (declared,) = (each for each in values if isinstance(each, FunctionWorkload))
    return declared


def train_example(name: str, host: RecordingHost) -> None:
    """Run the trial of an example in this process."""
    example, workload = EXAMPLES[name], load(name)
    trial = open_trial(
        host,
        optimizer=OPTIMIZERS.find(example.optimizer),
        params=example.params,
        budget_epochs=example.epochs,
        with_test=workload.has_test,
        metrics=workload.metrics,
        process=annealed(eta=1e-6, gamma=0.55),
    )
    torch.manual_seed(trial.seed)
    workload.train(trial)


def test_every_file_is_tested_and_short() -> None:
    files = {path.stem: path for path in FOLDER.glob("*.py")}
    assert files.keys() == EXAMPLES.keys()
    lengths = {name: len(path.read_text().splitlines()) for name, path in files.items()}
    assert max(lengths.values()) < MAX_LINES, lengths


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in LONG else []) for name in EXAMPLES],
)
def test_an_example_learns_with_noise(name: str) -> None:
    example, host = EXAMPLES[name], RecordingHost()
    train_example(name, host)
    assert len(host.reports) == example.epochs
    assert host.reports[-1]["validation_accuracy"] > example.learned
    assert host.reports[-1]["noise_to_gradient"] > 0
    assert host.conduct["unread"] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_passes_its_documented_check(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both arms train and the same seed gives the same values; the same options lead to a run."""
    monkeypatch.setattr(sources, "answers", files_in_process.answers)
    monkeypatch.chdir(FOLDER.parents[1])
    commands = re.findall(
        rf"^gradnoise (check|run) (docs/examples/{name}\.py.*)$",
        (FOLDER.parent / "frameworks.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    (check, words), run = commands
    assert (check, run) == ("check", ("run", words))
    checked = CliRunner().invoke(app, ["check", *shlex.split(words), "--json"])
    assert checked.exit_code == 0, checked.output
    found = json.loads(checked.stdout)
    assert (found["error"], found["repeats"], found["diverged"]) == ("", True, [])
    assert found["unread"] == {"baseline": [], "noisy": []}
    assert found["noise"]["noisy"][0]["ratio"] > 0
    has_test = any(value.startswith("test_") for value in found["values"]["baseline"])
    assert has_test == load(name).has_test


class GeneratorHost(RecordingHost):
    """Keeps the state of torch's generator with each checkpoint, as a trainer does."""

    def keep(self, kept: Kept) -> None:
        super().keep(copy.deepcopy({**kept, "generator": torch.get_rng_state()}))

    def restore_generators(self, kept: Kept) -> None:
        torch.set_rng_state(kept["generator"])


class PrunedError(BaseException):
    """What ends a pruned trial."""


class PruningHost(RecordingHost):
    """Prunes the trial at its first report."""

    def hand_over(self, values: Mapping[str, float], conduct: Mapping[str, Any]) -> None:
        super().hand_over(values, conduct)
        raise PrunedError


WITH_CALLBACKS = ["lightning_cnn", "transformers_trainer"]


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_CALLBACKS)
def test_a_resumed_trial_continues_as_the_uninterrupted_one(name: str) -> None:
    whole = GeneratorHost()
    train_example(name, whole)
    resumed = GeneratorHost(kept=whole.checkpoints[0])
    train_example(name, resumed)
    assert resumed.reports == whole.reports[1:]


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_CALLBACKS)
def test_a_pruned_trial_ends_at_its_report(name: str) -> None:
    host = PruningHost()
    with pytest.raises(PrunedError):
        train_example(name, host)
    assert len(host.reports) == 1
