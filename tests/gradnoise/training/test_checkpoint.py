"""Checkpoints, and trials that resume from them, with any number of slots and with the results of
an uninterrupted trial.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch

import trial_runs
from gradnoise.training.checkpoint import Checkpoints
from gradnoise.training.single import SingleTrainer
from gradnoise.training.slots import SlotTrainer
from gradnoise.training.stack import StackTrainer
from gradnoise.training.trial import Event, Failed, Finished, Measurement, TrialSpec
from gradnoise.workloads.registry import OPTIMIZERS
from trial_runs import curve

TECHNIQUES: Mapping[str, dict[str, float]] = {
    "none": {},
    "annealed": {"eta": 0.3, "gamma": 0.55},
    "anticorrelated": {"std": 0.1},
    "preconditioned": {"eta": 0.001, "gamma": 0.55, "damping": 0.01},
    "weight_noise": {"eta": 0.01, "gamma": 0.55},
    "dropout": {"rate": 0.3},
    "preconditioned dropout": {"eta": 0.001, "gamma": 0.55, "damping": 0.01, "rate": 0.3},
}
OPTIMIZERS_WITH_TECHNIQUES = [
    pytest.param(
        optimizer,
        technique,
        marks=[] if optimizer == "sgd" or technique == "none" else [pytest.mark.slow],
    )
    for i, optimizer in enumerate(OPTIMIZERS.names())
    for j, technique in enumerate(TECHNIQUES)
    if optimizer == "sgd" or technique == "none" or (i + j) % 3 == 0
]
TRAINERS: Mapping[str, Callable[[Checkpoints | None], SlotTrainer]] = {
    "single": lambda checkpoints: SingleTrainer(2, checkpoints=checkpoints),
    "stack of 3": lambda checkpoints: StackTrainer(3, checkpoints=checkpoints),
    "stack of 8": lambda checkpoints: StackTrainer(8, checkpoints=checkpoints),
}


@pytest.fixture(autouse=True)
def _probes(probes: None) -> None:
    """Every test here uses the probe workloads."""


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(url=str(tmp_path / "kept"), every_seconds=0.0)


def spec(key: str = "a", **changes: Any) -> TrialSpec:
    return trial_runs.spec(key, **{"budget_epochs": 6, "checkpoint": f"7/{key}"} | changes)


def advance(trainer: SlotTrainer, n: int) -> list[Event]:
    return [event for _ in range(n) for event in trainer.advance()]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("single", "stack of 3"),
        pytest.param("stack of 3", "single", marks=pytest.mark.slow),
        pytest.param("stack of 3", "stack of 8", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(("optimizer", "technique"), OPTIMIZERS_WITH_TECHNIQUES)
def test_a_resumed_trial_gives_the_results_of_an_uninterrupted_one(
    optimizer: str, technique: str, before: str, after: str, checkpoints: Checkpoints
) -> None:
    """The trial is killed after four epochs, with the state of the fourth written; in float64 both
    trainers agree up to rounding.
    """
    momentum = {"momentum": 0.9} if optimizer in ("sgd", "rmsprop") else {}
    params = {"lr": 0.01, "lr_schedule": "cosine"} | momentum | TECHNIQUES[technique]
    trial = spec(
        optimizer=optimizer, techniques=tuple(technique.split()), params=params, with_test=True
    )
    killed = TRAINERS[before](checkpoints)
    killed.admit(trial)
    advance(killed, 4)
    resumed = TRAINERS[after](checkpoints)
    resumed.admit(spec("n", optimizer=optimizer, seed=5, budget_epochs=9, with_test=True))
    resumed.admit(trial)
    events = advance(resumed, 6)
    uninterrupted = SingleTrainer(1)
    uninterrupted.admit(trial)
    expected = curve(advance(uninterrupted, 6))
    assert len(expected) == len(curve(events)) == 6
    for found, values in zip(curve(events), expected, strict=True):
        assert found == pytest.approx(values, rel=1e-10, abs=1e-12)
    seconds = [
        event.seconds for event in events if isinstance(event, Measurement) and event.key == "a"
    ]
    assert seconds[:4] == [0.0] * 4  # replayed, not trained again
    assert min(seconds[4:]) > 0
    assert Finished(key="a") in events


@pytest.mark.parametrize("name", TRAINERS)
def test_buffers_and_the_global_generators_are_restored_too(
    name: str, checkpoints: Checkpoints
) -> None:
    for key, workload, options in (("normed", "normed", {}), ("draws", "lone", {"why": "draws"})):
        trial = spec(key, workload=workload, options=options)
        whole, killed, resumed = (
            TRAINERS[name](None),
            TRAINERS[name](checkpoints),
            TRAINERS[name](checkpoints),
        )
        whole.admit(trial)
        killed.admit(trial)
        advance(killed, 3)
        resumed.admit(trial)
        assert curve(advance(resumed, 6), key) == curve(advance(whole, 6), key)


@pytest.mark.parametrize("name", TRAINERS)
def test_a_replayed_trial_waits_at_its_rungs(name: str, checkpoints: Checkpoints) -> None:
    trial = spec(rungs=(2,))
    killed, resumed = TRAINERS[name](checkpoints), TRAINERS[name](checkpoints)
    killed.admit(trial)
    killed.advance()
    killed.advance()
    killed.advance(["a"])
    resumed.admit(trial)
    assert [event.epoch for event in advance(resumed, 4) if isinstance(event, Measurement)] == [
        1,
        2,
    ]
    assert [event.epoch for event in resumed.advance(["a"]) if isinstance(event, Measurement)] == [
        3
    ]


@pytest.mark.parametrize("name", TRAINERS)
def test_a_trial_that_ended_and_is_released_leaves_no_checkpoint(
    name: str, checkpoints: Checkpoints
) -> None:
    trainer = TRAINERS[name](checkpoints)
    trainer.admit(spec("pruned"))
    trainer.admit(spec("finished", budget_epochs=2))
    trainer.advance()
    assert sorted(path.name for path in Path(checkpoints.url).rglob("*.pt")) == [
        "finished.pt",
        "pruned.pt",
    ]
    trainer.release("pruned")
    trainer.advance()
    trainer.admit(spec("wild", workload="blind", params={"lr": 1e200}))
    trainer.advance()
    trainer.admit(spec("failed", workload="misbehaving", options={"how": "raises"}))
    assert [type(event) for event in advance(trainer, 2)] == [Measurement, Failed]
    assert [path.name for path in Path(checkpoints.url).rglob("*.*")] == ["finished.pt"]
    trainer.release("finished")
    assert not list(Path(checkpoints.url).rglob("*.*"))


@pytest.mark.parametrize("name", TRAINERS)
def test_a_finished_trial_is_trained_on_from_the_state_that_it_left(
    name: str, checkpoints: Checkpoints
) -> None:
    """With a larger budget that names the smaller one; without, the trial starts over."""
    seldom = Checkpoints(url=checkpoints.url, every_seconds=1e6)
    noise = {"techniques": ("annealed",), "params": {"lr": 0.01, **TECHNIQUES["annealed"]}}
    first = TRAINERS[name](seldom)
    first.admit(spec(budget_epochs=4, keep_checkpoint=True, **noise))
    assert Finished(key="a") in advance(first, 4)
    first.release("a")
    whole, longer = TRAINERS[name](None), TRAINERS[name](seldom)
    whole.admit(spec(budget_epochs=6, **noise))
    longer.admit(spec(budget_epochs=6, earlier_budgets=(2, 4), **noise))
    events = advance(longer, 6)
    assert curve(events) == curve(advance(whole, 6))
    seconds = [event.seconds for event in events if isinstance(event, Measurement)]
    assert [second > 0 for second in seconds] == [False] * 4 + [True] * 2
    longer.release("a")
    assert not list(Path(checkpoints.url).rglob("*.*"))


@pytest.mark.parametrize("name", TRAINERS)
def test_a_finished_trial_that_was_not_released_is_replayed(
    name: str, checkpoints: Checkpoints
) -> None:
    """Its worker was killed before the caller got the events; only the epoch after the last
    checkpoint is trained again.
    """
    trial = spec(budget_epochs=3)
    killed, resumed = TRAINERS[name](checkpoints), TRAINERS[name](checkpoints)
    killed.admit(trial)
    events = advance(killed, 3)
    resumed.admit(trial)
    again = advance(resumed, 3)
    assert curve(again) == curve(events)
    assert again[-1] == events[-1] == Finished(key="a")
    assert [event.seconds == 0.0 for event in again if isinstance(event, Measurement)] == [
        True,
        True,
        False,
    ]


def test_a_state_is_written_when_it_is_due_and_only_for_a_trial_that_names_a_checkpoint(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "kept"
    for kept, name in (
        (Checkpoints(url=str(folder), every_seconds=3_600.0), "7/a"),
        (Checkpoints(url=str(folder), every_seconds=0.0), ""),
    ):
        trainer = SingleTrainer(1, checkpoints=kept)
        trainer.admit(spec(checkpoint=name))
        advance(trainer, 3)
    assert not folder.exists()
    with pytest.raises(
        ValueError, match=r"every_seconds must be at least 0, but got every_seconds=-1"
    ):
        Checkpoints(url=str(tmp_path), every_seconds=-1)


@pytest.mark.parametrize("name", ["single", "stack of 3"])
def test_save_writes_the_state_of_every_member_that_has_trained_at_once(
    name: str, tmp_path: Path
) -> None:
    """A trial that is saved and continued elsewhere trains no epoch twice."""
    rare = Checkpoints(url=str(tmp_path / "kept"), every_seconds=1e9)
    trainer = TRAINERS[name](rare)
    trainer.admit(spec("a"))
    before = advance(trainer, 4)
    trainer.admit(spec("b"))
    trainer.save()
    state = rare.load(spec("a"))
    assert state is not None
    assert (state["epoch"], len(state["curve"])) == (4, 4)
    assert rare.load(spec("b")) is None  # it has not trained
    after = TRAINERS[name](rare)
    after.admit(spec("a"))
    assert curve(advance(after, 4)) == curve(before)


def test_a_trial_continues_from_a_checkpoint_at_a_url() -> None:
    """Here the memory of the process, as fsspec offers it beside object stores."""
    kept = Checkpoints(url="memory://kept", every_seconds=0.0)
    whole, killed = SingleTrainer(1), SingleTrainer(1, checkpoints=kept)
    whole.admit(spec())
    killed.admit(spec())
    advance(killed, 3)
    resumed = SingleTrainer(1, checkpoints=kept)
    resumed.admit(spec())
    assert curve(advance(resumed, 6)) == curve(advance(whole, 6))
    resumed.release("a")
    assert kept.load(spec()) is None


@pytest.mark.parametrize("fault", ["torn", "empty", "of another trial", "pickled code"])
def test_a_checkpoint_that_cannot_be_used_is_logged_and_the_trial_starts_over(
    fault: str, checkpoints: Checkpoints, caplog: pytest.LogCaptureFixture
) -> None:
    trial = spec()
    killed = SingleTrainer(1, checkpoints=checkpoints)
    killed.admit(trial)
    advance(killed, 2)
    path = Path(checkpoints.url) / "7/a.pt"
    if fault == "of another trial":
        trial = spec(seed=2)
    elif fault == "pickled code":
        torch.save({"format": 1, "trial": Path.home}, path)
    else:
        path.write_bytes(path.read_bytes()[:100] if fault == "torn" else b"")
    resumed = SingleTrainer(1, checkpoints=checkpoints)
    resumed.admit(trial)
    (event,) = resumed.advance()
    assert isinstance(event, Measurement)
    assert event.seconds > 0
    assert "cannot be used, the trial starts over" in caplog.text


def test_a_failed_write_keeps_the_last_state_and_the_trial_continues(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trial = spec()
    checkpoints.save(trial, {"curve": [], "t": 1})

    def full(_state: object, file: BinaryIO) -> None:
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full)
    checkpoints.save(trial, {"curve": [], "t": 2})
    assert (
        "cannot be written, the trial continues without it: no space left on device" in caplog.text
    )
    assert [path.name for path in Path(checkpoints.url).rglob("*.*")] == ["a.pt"]
    state = checkpoints.load(trial)
    assert state is not None
    assert state["t"] == 1
