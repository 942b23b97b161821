import dataclasses
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import probe_functions
from gradnoise.techniques.contribution import Contribution
from gradnoise.techniques.masks import DropoutMasks
from gradnoise.training import function_process
from gradnoise.training.checkpoint import Checkpoints
from gradnoise.training.function_run import FunctionRun
from gradnoise.training.setup import prepare
from gradnoise.training.single import SingleTrainer
from gradnoise.training.trial import Event, Failed, Finished, Measurement, TrialSpec
from trial_runs import curve, run


@pytest.fixture(autouse=True)
def _probes(probes: None) -> None:
    """Every test here uses the probe workloads."""


def spec(key: str = "a", how: str = "", **changes: Any) -> TrialSpec:
    options = {"how": how} if how else {}
    workload = "misbehaving" if how else "counting"
    return TrialSpec(
        **{
            "key": key,
            "workload": workload,
            "options": options,
            "params": {"lr": 1.0},
            "seed": 1,
            "budget_epochs": 3,
        }
        | changes
    )


def test_a_function_gets_one_epoch_at_a_time() -> None:
    trainer = SingleTrainer(2)
    trainer.admit(spec())
    trainer.admit(spec("b"))
    for epoch in (1, 2):
        events = trainer.advance()
        assert [(event.key, event.epoch) for event in events if isinstance(event, Measurement)] == [
            ("a", epoch),
            ("b", epoch),
        ]
    assert Finished(key="a") in trainer.advance()


def test_functions_side_by_side_draw_as_if_alone() -> None:
    """Each trial has global generators of its own, seeded with its seed."""

    def drawn(events: list[Event], key: str) -> list[float]:
        return [values["validation_x"] for values in curve(events, key)]

    together = run(SingleTrainer(2), spec(seed=1), spec("b", seed=2))
    assert drawn(together, "a") == drawn(run(SingleTrainer(1), spec(seed=1)), "a")
    assert drawn(together, "a") != drawn(together, "b")
    assert len(set(drawn(together, "a"))) == 3


def test_a_function_that_splits_by_its_seed_has_the_same_split_in_both_arms() -> None:
    """Seeds give different splits, in any order of training; the noise affects the weights and not
    the split.
    """

    def splits_and_errors(
        technique: str, seeds: tuple[int, ...], **params: float
    ) -> dict[int, tuple[list[float], float]]:
        shared = {
            "workload": "splitting",
            "techniques": (technique,),
            "params": {"lr": 0.01, **params},
        }
        events = run(SingleTrainer(3), *(spec(f"{seed}", seed=seed, **shared) for seed in seeds))
        last = {event.key: event.values for event in events if isinstance(event, Measurement)}
        return {
            int(key): ([values[f"place_{i}"] for i in range(8)], values["validation_x"])
            for key, values in last.items()
        }

    baseline = splits_and_errors("none", (1, 2, 3))
    noisy = splits_and_errors("annealed", (3, 1, 2), eta=0.3, gamma=0.55)
    for seed in (1, 2, 3):
        assert baseline[seed][0] == noisy[seed][0]
        assert baseline[seed][1] != noisy[seed][1]
    assert len({tuple(split) for split, _ in baseline.values()}) == 3


@pytest.mark.parametrize("with_test", [False, True])
def test_test_values_are_reported_only_if_requested(with_test: bool) -> None:
    events = run(SingleTrainer(1), spec(with_test=with_test))
    assert isinstance(events[0], Measurement)
    assert ("test_x" in events[0].values) is with_test


@pytest.mark.parametrize(
    ("how", "summary"),
    [
        ("raises", "OSError: no more"),
        ("exits", "RuntimeError: the function ended by SystemExit(3)."),
        ("crashes", "RuntimeError: the process of the function ended by SIGSEGV."),
        (
            "stops early",
            "RuntimeError: the function ended after 1 of 3 reports: every arm must train its whole "
            "budget, unless the function is declared with early_stopping=True and has reported.",
        ),
        ("skips", "ValueError: epoch must be 2, of 3 in all, but got epoch=3."),
        ("reports too often", "ValueError: epoch must be 4, of 3 in all, but got epoch=4."),
        ("raises at the end", "OSError: no end"),
    ],
)
def test_a_function_that_breaks_the_rules_fails_with_the_rule(how: str, summary: str) -> None:
    events = run(SingleTrainer(1), spec(how=how))
    failed = events[-1]
    assert isinstance(failed, Failed)
    assert failed.summary == summary


def test_a_crash_ends_its_trial_alone_and_shows_what_was_printed() -> None:
    """The trial beside it, and one after it, have the results that they have alone."""
    trainer = SingleTrainer(2)
    events = run(trainer, spec("crashed", "crashes"), spec("b"))
    failed = next(event for event in events if isinstance(event, Failed))
    assert failed.error.startswith("The function printed last:\nbefore the crash\n")
    assert "Segmentation fault" in failed.error
    assert curve(events, "b") == curve(run(trainer, spec("b")), "b")


@pytest.fixture
def limited_group(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A control group of little memory, for functions to join."""
    limits = ("/sys/fs/cgroup/{}/memory.max", "/sys/fs/cgroup/memory/{}/memory.limit_in_bytes")
    for limit in (Path(path.format(f"gradnoise-{os.getpid()}")) for path in limits):
        try:
            limit.parent.mkdir()
        except OSError:
            continue
        try:
            if not limit.exists():
                continue
            limit.write_text(str(probe_functions.GROUP_BYTES))
            monkeypatch.setenv(probe_functions.GROUP, str(limit.with_name("cgroup.procs")))
            yield
        finally:
            limit.parent.rmdir()
        return
    pytest.skip("control groups of memory cannot be made")


@pytest.mark.usefixtures("limited_group")
def test_a_function_that_the_system_kills_for_memory_fails_alone_with_the_reason() -> None:
    trainer = SingleTrainer(2)
    events = run(trainer, spec("hungry", "exhausts memory"), spec("b"))
    failed = next(event for event in events if isinstance(event, Failed))
    assert (failed.key, failed.summary) == (
        "hungry",
        "RuntimeError: the process of the function ended by SIGKILL, as the system ends a process "
        "when memory runs out.",
    )
    assert curve(events, "b") == curve(run(trainer, spec("b")), "b")


@pytest.mark.slow
@pytest.mark.parametrize("has_just_been_killed", [False, True])
def test_a_killed_server_is_replaced(
    has_just_been_killed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The functions that it has forked go on; a server that is ending still looks alive."""
    if has_just_been_killed:
        monkeypatch.setattr(function_process.ForkServer, "is_alive", True)
    trainer = SingleTrainer(1)
    for key, how in (("first", "kills its server"), ("second", "")):
        assert isinstance(run(trainer, spec(key, how))[-1], Finished)


def test_a_value_that_is_not_finite_ends_the_trial_as_diverged() -> None:
    assert run(SingleTrainer(1), spec(how="diverges")) == [Finished(key="a", diverged=True)]


@pytest.mark.parametrize("how", ["well", "swallows"])
def test_a_released_function_ends_and_cleans_up(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler of Exception in the function does not catch ReleasedError."""
    ended = tmp_path / "ended"
    monkeypatch.setenv(probe_functions.ENDED, str(ended))
    trainer = SingleTrainer(1)
    trainer.admit(spec("gone", how))
    trainer.advance()
    assert not ended.exists()
    trainer.release("gone")
    assert ended.read_text() == "cleaned up"


def test_a_function_runs_on_the_main_thread_of_a_clean_process() -> None:
    """Signals and DataLoader workers behave, and nothing leaks into the next trial.

    Each holds 100 MB for ever.
    """
    trainer = SingleTrainer(1)
    for key in ("first", "second"):
        values = curve(run(trainer, spec(key, workload="leaking", with_test=True)), key)
        assert values == [{"validation_x": 1.0, "test_x": 7.0}] * 3


@pytest.mark.parametrize(
    ("technique", "params"),
    [
        ("grokfast", {}),
        ("preconditioned", {"eta": 0.001, "gamma": 0.55, "damping": 0.01}),
    ],
)
def test_a_killed_and_resumed_function_has_the_results_of_an_undisturbed_one(
    technique: str, params: dict[str, float], tmp_path: Path
) -> None:
    """The noise, the state of a technique and the global generators continue too; the epochs before
    are replayed.
    """
    trial = spec(
        workload="resuming",
        techniques=(technique,),
        params={"lr": 0.1, "momentum": 0.9, **params},
        budget_epochs=5,
        checkpoint="trial",
    )
    checkpoints = Checkpoints(url=str(tmp_path), every_seconds=0.0)
    undisturbed = curve(run(SingleTrainer(1), trial))
    killed = SingleTrainer(1, checkpoints=checkpoints)
    killed.admit(trial)
    for _ in range(3):
        killed.advance()
    resumed = curve(run(SingleTrainer(1, checkpoints=checkpoints), trial))
    killed.release(trial.key)
    assert [values["resumed_after"] for values in resumed] == [0.0, 0.0, 2.0, 2.0, 2.0]
    assert [values["validation_x"] for values in resumed] == [
        values["validation_x"] for values in undisturbed
    ]


def test_a_finished_function_is_trained_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    longer = spec(workload="resuming", params={"lr": 0.1}, budget_epochs=5, checkpoint="trial")
    seldom = Checkpoints(url=str(tmp_path), every_seconds=1e6)
    finished = dataclasses.replace(longer, budget_epochs=3, keep_checkpoint=True)
    run(SingleTrainer(1, checkpoints=seldom), finished)
    trained_on = dataclasses.replace(longer, earlier_budgets=(3,))
    values = curve(run(SingleTrainer(1, checkpoints=seldom), trained_on))
    assert [each["resumed_after"] for each in values] == [0.0, 0.0, 0.0, 3.0, 3.0]
    undisturbed = curve(run(SingleTrainer(1), longer))
    assert [each["validation_x"] for each in values] == [
        each["validation_x"] for each in undisturbed
    ]


def test_the_last_report_stands_for_those_that_early_stopping_leaves_out() -> None:
    events = run(SingleTrainer(1), spec(workload="stopping", budget_epochs=4, with_test=True))
    last = {"validation_x": 0.75, "stopped_early": 1.0}
    assert curve(events) == [{"validation_x": 0.5}, {"validation_x": 0.75}, last, last]
    assert events[-1] == Finished(key="a")


def test_a_technique_that_does_not_act_through_the_optimizer_is_refused() -> None:
    """The run checks what `prepare` has checked already."""
    setup = prepare(spec(techniques=("constant",), params={"lr": 1.0, "std": 0.1}))
    with pytest.raises(
        ValueError,
        match=(
            r"techniques must contribute to gradient alone on counting, but got 'dropout', which "
            r"also contributes to activations"
        ),
    ):
        FunctionRun(
            dataclasses.replace(
                setup,
                spec=dataclasses.replace(setup.spec, techniques=("dropout",)),
                contribution=Contribution(activations=DropoutMasks(rate=0.5)),
            ),
            probe_functions.counting,
        )


def test_a_function_that_never_applies_the_noise_fails() -> None:
    events = run(
        SingleTrainer(1),
        spec(techniques=("annealed",), params={"lr": 1.0, "eta": 0.1, "gamma": 0.5}),
    )
    assert isinstance(events[0], Failed)
    assert events[0].summary.startswith(
        "RuntimeError: the arm's techniques reached no update: make the optimizer with"
    )


def test_the_ratio_of_noise_to_gradient_is_measured() -> None:
    """Of the first update of each epoch; twice the noise is twice the ratio at the first."""
    first = [
        curve(
            run(
                SingleTrainer(1),
                spec(
                    workload="splitting", techniques=("constant",), params={"lr": 0.01, "std": std}
                ),
            )
        )[0]["noise_to_gradient"]
        for std in (0.1, 0.2)
    ]
    assert math.isclose(first[1], 2 * first[0], rel_tol=1e-6)


def test_a_technique_that_transforms_the_gradient_acts_in_a_function() -> None:
    """Centred, the gradient of a unit sums to 0, so the sum of its weights stays."""
    sums = [
        values["validation_x"]
        for values in curve(
            run(
                SingleTrainer(1),
                spec(
                    workload="resuming",
                    techniques=("gradient_centralisation",),
                    params={"lr": 0.1},
                    budget_epochs=4,
                ),
            )
        )
    ]
    assert sums == pytest.approx([sums[0]] * 4, abs=1e-5)
    plain = curve(run(SingleTrainer(1), spec(workload="resuming", params={"lr": 0.1})))
    assert abs(plain[-1]["validation_x"] - sums[0]) > 0.01
