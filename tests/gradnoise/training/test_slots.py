"""What trials print comes with their events, and an epoch that takes long does not hold them."""

import gc
import hashlib
import itertools
import os
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

import probe_functions
import probe_workloads
from gradnoise.training.checkpoint import Checkpoints
from gradnoise.training.files import Files
from gradnoise.training.single import SingleTrainer
from gradnoise.training.stack import StackTrainer
from gradnoise.training.trainer import Trainer
from gradnoise.training.trial import Event, Failed, Finished, Measurement, Printed, Saved
from gradnoise.workloads.registry import WORKLOADS
from trial_runs import curve, run, spec


@pytest.fixture(autouse=True)
def _probes(probes: None) -> None:
    """Every test here uses the probe workloads."""


def printed(events: list[Event], key: str) -> str:
    """Return what a trial has printed, whose texts must follow one another."""
    texts = [event for event in events if isinstance(event, Printed) and event.key == key]
    for text, following in itertools.pairwise(texts):
        assert following.position == text.position + len(text.text)
    return "".join(text.text for text in texts)


def until(trainer: Trainer, kind: type[Event]) -> list[Event]:
    """Advance until an event of a kind arrives, and return all events."""
    events: list[Event] = []
    while not any(isinstance(event, kind) for event in events):
        events += trainer.advance([], 0.02)
        assert not any(isinstance(event, Failed) for event in events), events
    return events


def test_a_function_prints_while_it_trains_and_others_wait_for_their_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)
    monkeypatch.setenv(probe_functions.GO, str(go))
    trainer = SingleTrainer(2)
    for key, seed in (("a", 1), ("b", 2)):
        trainer.admit(spec(key, workload="telling", seed=seed, budget_epochs=2))
    events = until(trainer, Printed)
    assert printed(events, "a") == "epoch 1 of seed 1\n"
    assert trainer.advance([], 0.0) == []
    go.write_text("")
    events += until(trainer, Measurement)
    assert [event.key for event in events[:2]] == ["a", "a"]
    assert events[1].seconds > 0
    while not printed(events, "b"):
        events += trainer.advance([], 0.02)
    trainer.release("b")
    monkeypatch.delenv(probe_functions.GO)
    events += until(trainer, Finished)
    assert printed(events, "a") == "epoch 1 of seed 1\nepoch 2 of seed 1\nno end\n"
    assert printed(events, "b") == "epoch 1 of seed 2\n"
    assert isinstance(events[-1], Finished)
    assert trainer.advance() == []


def test_what_was_printed_before_a_crash_comes_before_the_failure() -> None:
    events = run(SingleTrainer(1), spec(workload="misbehaving", options={"how": "crashes"}))
    assert isinstance(events[-2], Printed)
    assert isinstance(events[-1], Failed)
    assert printed(events, "a").startswith("before the crash\n")


def test_trials_that_train_as_one_model_share_what_they_print() -> None:
    """Each has what it printed when it was opened; a line says what was printed together."""
    together = run(
        StackTrainer(2),
        *(spec(key, workload="printing", seed=seed) for key, seed in (("a", 1), ("b", 2))),
    )
    opened, shared = printed(together, "b").split("[printed by 2 trials that train as one model]\n")
    assert opened == "seed 2\n"
    assert set(shared.splitlines()) == {"loss"}
    assert printed(together, "a").endswith(f"one model]\n{shared}")
    assert "seed 2" not in printed(together, "a")
    alone = printed(run(SingleTrainer(1), spec(workload="printing", seed=1)), "a")
    assert set(alone.splitlines()) == {"seed 1", "loss"}
    trainer = StackTrainer(2)
    trainer.admit(spec("a", workload="printing", seed=1, budget_epochs=2))
    trainer.admit(spec("b", workload="printing", seed=2, budget_epochs=1))
    left = printed([event for _ in range(2) for event in trainer.advance()], "a")
    assert "[printed by this trial alone]\nloss\n" in left


def test_a_function_s_files_come_with_its_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its hundred and first file fails it. Without a place for them, they are only checked."""
    monkeypatch.setenv(probe_functions.ENDED, str(tmp_path / "file"))
    trial = spec(workload="saving", checkpoint="1/2", budget_epochs=2)
    events = run(SingleTrainer(1, files=Files(url=str(tmp_path / "kept"))), trial)
    contents = [
        (event.file.name, event.file.sha256) for event in events if isinstance(event, Saved)
    ]
    assert contents[:2] == [
        ("result.txt", hashlib.sha256(f"epoch {epoch}".encode()).hexdigest()) for epoch in (1, 2)
    ]
    assert len(contents) == 2 + 99
    assert isinstance(events[-1], Failed)
    assert events[-1].summary == (
        "ValueError: a trial saves at most 100 files, but got '99.txt' as well."
    )
    assert (tmp_path / "kept" / "1" / "2" / "result.txt").read_text() == "epoch 2"
    unkept = run(SingleTrainer(1), trial)
    assert not any(isinstance(event, Saved) for event in unkept)
    assert isinstance(unkept[-1], Failed)


def kept_weights(trainer: Trainer, folder: Path, **changes: Any) -> Any:
    """Train a trial whose weights are kept, and return them with the events."""
    trial = spec(checkpoint="1/2", keep_weights=True, budget_epochs=2, **changes)
    events = run(trainer, trial)
    assert isinstance(events[-1], Finished)
    names = [event.file.name for event in events if isinstance(event, Saved)]
    path = folder / "1" / "2" / "weights.pt"
    assert names == (["weights.pt"] if path.exists() else [])
    return (torch.load(path, weights_only=True) if path.exists() else None), events


@pytest.mark.parametrize("techniques", [("none",), ("ema",)])
def test_the_kept_weights_are_those_that_were_measured(
    tmp_path: Path, techniques: tuple[str, ...]
) -> None:
    """As a separate model and in a stack, where a technique averages the weights too."""
    params = {"lr": 0.05} | ({"ema_decay": 0.9} if techniques == ("ema",) else {})
    found = {}
    for name, trainer in (
        ("alone", SingleTrainer(1, files=Files(url=str(tmp_path / "alone")))),
        ("stacked", StackTrainer(2, files=Files(url=str(tmp_path / "stacked")))),
    ):
        if name == "stacked":
            trainer.admit(spec("beside", seed=2))
        weights, events = kept_weights(
            trainer, tmp_path / name, techniques=techniques, params=params
        )
        measured = curve(events)[-1]["validation_error"]
        workload = WORKLOADS.find("exact")({}, {})
        model = workload.model()
        model.load_state_dict(weights)
        with torch.no_grad():
            error = workload.measure(model.eval(), workload.data().validation)["error"]
        assert float(error) == pytest.approx(measured, rel=1e-12)
        found[name] = weights
    for name, tensor in found["alone"].items():
        torch.testing.assert_close(tensor, found["stacked"][name], rtol=1e-10, atol=1e-12)


def test_a_function_s_kept_weights_are_its_last_state(tmp_path: Path) -> None:
    """Its checkpoints are not due. A function that gives no state has a line in its log."""
    trainer = SingleTrainer(
        1, checkpoints=Checkpoints(url=str(tmp_path / "state")), files=Files(url=str(tmp_path))
    )
    state, events = kept_weights(trainer, tmp_path, workload="resuming")
    assert state["epoch"] == 2
    assert float(state["model"]["weight"].sum()) == pytest.approx(curve(events)[-1]["validation_x"])
    other = tmp_path / "other"
    none, events = kept_weights(
        SingleTrainer(1, files=Files(url=str(other))), other, workload="counting"
    )
    assert none is None
    assert "no checkpoint was given after the last report" in printed(events, "a")


def test_a_function_that_hangs_fails_at_its_limit_and_others_go_on() -> None:
    trainer = SingleTrainer(2)
    trainer.admit(spec("hangs", workload="sleeping", time_limit_seconds=0.3))
    trainer.admit(spec("b", workload="counting", time_limit_seconds=1e6))
    events: list[Event] = []
    while Finished(key="b") not in events:
        events += trainer.advance([], 0.05)
    [failed] = [event for event in events if isinstance(event, Failed)]
    assert failed.summary.endswith(
        "the trial has not ended within its limit of 0.3 s of training (trial_time_limit)."
    )
    assert (failed.key, failed.may_retry) == ("hangs", False)
    assert failed.seconds > 0.3


@pytest.mark.parametrize("trainer", [SingleTrainer(3), StackTrainer(3)])
def test_a_declared_workload_that_exits_fails_alone_and_changes_nothing(trainer: Trainer) -> None:
    before = torch.get_num_threads()
    events = run(trainer, *(spec(f"{seed}", workload="exiting", seed=seed) for seed in (1, 7, 2)))
    [failed] = [event for event in events if isinstance(event, Failed)]
    assert failed.key == "7"
    assert failed.summary.endswith("ExitError: the trial ended by SystemExit(3).")
    assert Finished(key="1") in events
    assert Finished(key="2") in events
    assert torch.get_num_threads() == before


def test_what_a_trial_leaves_in_reference_cycles_is_freed_when_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without Python's own collector, which counts objects and not the bytes of their tensors."""
    left: list[weakref.ref[torch.nn.Module]] = []
    make = probe_workloads.exact.model

    def model(self: probe_workloads.exact) -> torch.nn.Module:
        made = make(self)
        made.cycle = [made]  # type: ignore[assignment]
        left.append(weakref.ref(made))
        return made

    monkeypatch.setattr(probe_workloads.exact, "model", model)
    monkeypatch.setattr("gradnoise.training.slots.GARBAGE_SECONDS", 0.0)
    gc.disable()
    try:
        run(SingleTrainer(1), spec())
    finally:
        gc.enable()
    assert left
    assert [each() for each in left] == [None] * len(left)


def test_a_function_without_a_sign_of_life_fails_with_the_line_where_it_hangs() -> None:
    trainer = SingleTrainer(2)
    events = run(trainer, spec("a", workload="sleeping", stall_seconds=0.3), spec("b"))
    [failed] = [event for event in events if isinstance(event, Failed)]
    assert failed.summary == (
        "gradnoise.training.faults.StallError: the trial has shown no sign of life for 0.3 s "
        "(trial_stall_limit): no report, print, checkpoint or file of a training function, no "
        "update of a declared workload."
    )
    assert "in sleeping" in failed.error
    assert (failed.key, failed.may_retry, events[-1]) == ("a", True, Finished(key="b"))


def test_a_function_that_prints_without_end_fails_and_its_prints_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A print is a sign of life, so the stall limit does not end it."""
    monkeypatch.setattr("gradnoise.training.function_run.MOST_PRINTED", 3_000_000)
    trainer = SingleTrainer(2)
    trainer.admit(spec("a", workload="chattering", stall_seconds=60.0))
    trainer.admit(spec("b"))
    events: list[Event] = []
    while Finished(key="b") not in events:
        events += trainer.advance([], 0.05)
    [failed] = [event for event in events if isinstance(event, Failed)]
    assert failed.summary.endswith("printed more than 3,000,000 bytes since its last report.")
    assert sum(len(event.text) for event in events if isinstance(event, Printed)) < 3_000_000


@pytest.mark.parametrize("trainer", [SingleTrainer(1), StackTrainer(2)])
def test_a_declared_workload_fails_after_the_epoch_that_exceeds_its_limit(
    trainer: Trainer,
) -> None:
    """A trial that has trained its budget has finished."""
    *_, measured, failed = run(trainer, spec(time_limit_seconds=1e-9))
    assert isinstance(measured, Measurement)
    assert (measured.epoch, type(failed)) == (1, Failed)
    whole = run(trainer, spec("b", time_limit_seconds=1e-9, budget_epochs=1))
    assert whole[-1] == Finished(key="b")
