"""An actor measures rates within its memory, and reports the error that a trial would raise."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from gradnoise.training import calibration
from gradnoise.training.graphs import CaptureError
from gradnoise.training.rehearsal import Rehearsal
from gradnoise.training.stacked_model import StackedModel
from gradnoise.training.trial import Event, Failed, Finished, Measurement, TrialSpec
from gradnoise.workloads.registry import WORKLOADS
from gradnoise_service.domain.source import Source
from gradnoise_workers.actor import Slice, TrialActor, checked

OPTIONS = {"dataset": "digits", "depth": 2, "width": 16, "init": "he"}


@pytest.fixture(autouse=True)
def _hidden_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore after the test what an actor on a core hides from its process."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def trial(key: str = "trial", **changes: object) -> TrialSpec:
    plain: dict[str, object] = {
        "key": key,
        "workload": "mlp",
        "options": OPTIONS,
        "techniques": ("annealed",),
        "params": {"lr": 0.05, "eta": 0.01, "gamma": 0.55},
        "seed": 1,
        "budget_epochs": 3,
    }
    return TrialSpec(**(plain | changes))  # type: ignore[arg-type]  # fields by name


def test_preparation_reports_the_error_of_each_trial_by_key() -> None:
    actor = TrialActor(on_gpu=False, checkpoints=None)
    too_large = trial("large", options=OPTIONS | {"batch_size": 5000})
    done = actor.prepare([trial("fine"), too_large, trial("typo", workload="mpl")])
    assert done["fine"].error == ""
    assert "batch_size=5000" in done["large"].error
    assert "'mpl'" in done["typo"].error


def test_a_trial_is_measured_before_its_first_update() -> None:
    """Equal seeds give equal values; of ten digits, fewer than half are recognised."""
    actor = TrialActor(on_gpu=False, checkpoints=None)
    seeds = {"fresh": 1, "again": 1, "other": 2}
    trials = [trial(name, seed=seed, with_test=True) for name, seed in seeds.items()]
    found = actor.untrained([*trials, trial("typo", workload="mpl")])
    assert set(found) == {"fresh", "again", "other"}
    assert found["fresh"] == found["again"] != found["other"]
    assert {"validation_accuracy", "test_accuracy"} <= set(found["fresh"])
    assert all(values["test_accuracy"] < 0.5 for values in found.values())


def test_a_number_of_slots_beyond_the_memory_is_not_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The estimate is skipped for a number of slots that fitted before; shares are equal.

    On a CPU, only the message of torch's RuntimeError names the lack of memory.
    """
    update, actor = StackedModel.update, TrialActor(on_gpu=False, checkpoints=None)
    monkeypatch.setattr(calibration, "free_bytes", lambda _device: 0)
    first = actor.measure(trial(), 1, None, 1)
    assert first is not None
    # in a process that used more memory before, a trial may show no increase
    small = replace(first, bytes_per_slot=1)
    assert actor.measure(trial(), 2, small, 1) is None
    enough = 3 * 2 / calibration.MARGIN  # for 2 slots in each of three shares
    monkeypatch.setattr(calibration, "free_bytes", lambda _device: math.ceil(enough))
    assert actor.measure(trial(), 2, small, 4) is None
    assert actor.measure(trial(), 2, small, 3) is not None
    monkeypatch.setattr(calibration, "free_bytes", lambda _device: 0)
    doubled = actor.measure(trial(), 2, replace(small, slots=2), 1)
    assert doubled is not None
    assert doubled.steps_per_second > 0

    def raise_out_of_memory(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(StackedModel, "update", raise_out_of_memory)
    assert actor.measure(trial(), 4, replace(small, slots=4), 1) is None
    monkeypatch.setattr(StackedModel, "update", update)
    assert actor.measure(trial(), 2, doubled, 1) is not None


def test_a_capture_that_broke_off_is_no_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The launcher must learn of it, also if memory ran out in the capture."""

    def broken(*_: object) -> None:
        try:
            raise MemoryError
        except MemoryError:
            raise CaptureError("it broke off.") from None

    update = StackedModel.update
    monkeypatch.setattr(StackedModel, "update", broken)
    with pytest.raises(CaptureError, match="it broke off"):
        TrialActor(on_gpu=False, checkpoints=None).measure(trial(), 2, None, 1)
    monkeypatch.setattr(StackedModel, "update", update)
    replaced = TrialActor(on_gpu=False, checkpoints=None, eager="it broke off.")
    rate = replaced.measure(trial(), 2, None, 1)
    assert rate is not None
    assert rate.eager == "it broke off."


TRAIN = """
from pathlib import Path
from gradnoise.workloads import function

assert Path("data.txt").read_text() == "1"

@function(metrics={"accuracy": "maximize"})
def of_a_file(trial):
    for epoch in range(1, trial.budget_epochs + 1):
        trial.report(epoch=epoch, validation_accuracy=0.5, test_accuracy=0.5)
"""


def source_in(folder: Path, text: str) -> Source:
    """Return a source in a folder that contains its data, but not its file."""
    (folder / "data.txt").write_text("1", encoding="utf-8")
    files = {"train.py": text}
    return Source(name="train.py", files=files, folder=str(folder), announced={})


def test_an_actor_trains_the_stored_code_in_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path.cwd())  # restored afterwards, as are the registries
    source = source_in(tmp_path, TRAIN)
    actor = TrialActor(on_gpu=False, checkpoints=None, source=source)
    spec = trial(workload="of_a_file", options={}, techniques=("none",), params={"lr": 0.1})
    try:
        assert actor.prepare([spec])["trial"] == Rehearsal(unread=("lr",))
        events = [*actor.advance(1, [spec], [], []).events]
        while not any(isinstance(event, Finished | Failed) for event in events):
            events += actor.advance(1, [], [], []).events
    finally:
        actor.close()
    assert [type(event).__name__ for event in events] == ["Measurement"] * 3 + ["Finished"]
    assert "of_a_file" not in WORKLOADS.names()


def test_code_that_cannot_be_imported_is_an_error_with_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path.cwd())
    source = source_in(tmp_path, TRAIN.replace("data.txt", "missing.txt"))
    error = TrialActor(on_gpu=False, checkpoints=None, source=source).import_source()
    assert error.splitlines()[0].endswith('train.py", line 5, in <module>')
    assert "\ntrain.py, line 5: FileNotFoundError: " in error


MEASURED = Measurement(key="a", epoch=1, values={}, seconds=0.0)
FAILED = Failed(key="b", error="...", summary="...")


@pytest.mark.parametrize(
    ("fault", "events", "is_lost"),
    [
        ("", [MEASURED, FAILED], False),
        ("CUDA error: device-side assert triggered", [MEASURED, FAILED], False),
        ("CUDA error: an illegal memory access was encountered", [MEASURED, FAILED], False),
        ("CUDA error: unspecified launch failure", [MEASURED], True),
        ("CUDA error: no CUDA-capable device is detected", [MEASURED], True),
        ("CUDA error: uncorrectable ECC error encountered", [MEASURED], True),
    ],
)
def test_a_lost_gpu_fails_no_trial_and_a_fault_of_a_trial_ends_the_process(
    fault: str, events: list[Event], is_lost: bool
) -> None:
    found = checked([MEASURED, FAILED], fault)
    assert found == Slice(events=events, broken=fault, lost_gpu=is_lost)


class Broken(TrialActor):
    """An actor whose GPU answers no further call."""

    def _device_fault(self) -> str:
        return "CUDA error: unspecified launch failure"


def test_an_actor_checks_its_gpu_after_a_failed_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_fault(*_: object) -> None:
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(StackedModel, "update", raise_fault)
    done = Broken(on_gpu=True, checkpoints=None).advance(2, [trial("a"), trial("b")], [], [])
    assert (done.events, done.lost_gpu) == ([], True)


def test_a_gpu_that_is_lost_in_the_preparation_is_no_fault_of_the_study() -> None:
    """The launcher then takes another worker."""
    actor = Broken(on_gpu=True, checkpoints=None)
    assert actor.prepare([trial("fine")])["fine"].error == ""
    with pytest.raises(RuntimeError, match=r"^CUDA error: unspecified launch failure$"):
        actor.prepare([trial("fine"), trial("typo", workload="mpl")])
