import dataclasses
import functools
from collections.abc import Collection
from typing import Any

import pytest
import torch

import recorded_graphs
from gradnoise.training import calibration, clock
from gradnoise.training.calibration import (
    Measurer,
    Rate,
    best,
    candidates,
    estimates,
    explore,
    fits,
)
from gradnoise.training.stacked_model import StackedModel
from trial_runs import spec


@pytest.fixture(autouse=True)
def _probes(probes: None) -> None:
    """Every test here uses the probe workloads."""


def _called(instance: Any, function: Any, *arguments: Any) -> Any:
    return function(instance, *arguments)


def rate(slots: int, steps_per_second: float) -> Rate:
    return Rate(slots=slots, steps_per_second=steps_per_second, bytes_per_slot=100)


@pytest.mark.parametrize("slots", [1, 2, 8])
@pytest.mark.parametrize("technique", ["none", "annealed"])
def test_updates_are_counted_over_all_slots(
    slots: int, technique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that advances a second at each update, the rate is the number of slots, over more
    updates than an epoch has.
    """
    now = 0.0

    def tick(*arguments: Any, of: Any) -> Any:
        nonlocal now
        now += 1.0
        return of(*arguments)

    update, step = StackedModel.update, calibration.SingleRun.step
    monkeypatch.setattr(StackedModel, "update", lambda *arguments: tick(*arguments, of=update))
    monkeypatch.setattr(calibration.SingleRun, "step", lambda *arguments: tick(*arguments, of=step))
    monkeypatch.setattr(clock.time, "thread_time", lambda: now)
    params = {"lr": 0.05} | ({"eta": 0.3, "gamma": 0.55} if technique == "annealed" else {})
    found = Measurer(spec(technique=technique, params=params)).measure(slots, seconds=20.0)
    assert found == Rate(slots=slots, steps_per_second=slots, bytes_per_slot=found.bytes_per_slot)
    assert now == 22  # two to warm up


@pytest.mark.parametrize("slots", [1, 4])
def test_on_a_gpu_the_rate_is_that_of_whole_epochs(
    slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that advances one second at each of the three updates of an epoch, and six at each
    evaluation, an update takes three.
    """
    now = 0.0

    def tick(*arguments: Any, of: Any, seconds: float) -> Any:
        nonlocal now
        now += seconds
        return of(*arguments)

    for declared, name, seconds in (
        (StackedModel, "update", 1.0),
        (StackedModel, "finish", 6.0),
        (calibration.SingleRun, "step", 1.0),
        (calibration.SingleRun, "evaluate", 6.0),
    ):
        ticking = functools.partial(tick, of=getattr(declared, name), seconds=seconds)
        monkeypatch.setattr(declared, name, functools.partialmethod(_called, ticking))
    monkeypatch.setattr(clock.time, "thread_time", lambda: now)
    measurer = Measurer(spec())
    monkeypatch.setattr(measurer, "_counts_epochs", True)
    for _ in range(2):
        found = measurer.measure(slots, seconds=20.0)
        assert found.steps_per_second == pytest.approx(slots / 3)


def test_the_memory_of_a_number_of_slots_is_estimated_from_the_number_before() -> None:
    found = list(estimates(spec(optimizer="adam"), (1, 2, 4)))
    assert [each.slots for each in found] == [2, 4]
    least = 8 * (2 * 50 + 2 * 100 + 50)  # as below
    assert found[1].estimated >= 4 * least
    assert all(each.real >= 0 for each in found)


def test_an_update_that_cannot_be_captured_is_reported_with_the_rate() -> None:
    """The reason is the form's, or was given because an earlier capture broke off."""
    with recorded_graphs.on_cpu():
        assert Measurer(spec()).measure(2, seconds=0.0).eager == ""
        found = Measurer(spec(workload="copies")).measure(2, seconds=0.0)
        given = Measurer(spec(), eager="it broke off.").measure(2, seconds=0.0)
    assert found.eager.startswith("an update waits for the device: ")
    assert (given.eager, given.refusal, found.refusal) == ("it broke off.", "", "")


def test_the_load_of_other_processes_does_not_lower_the_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An update takes 10 ms of the thread's CPU time and 1 s of wall-clock time, as on a machine
    whose cores serve other processes.
    """
    cpu = wall = 0.0
    step = calibration.SingleRun.step

    def waiting(*arguments: Any) -> Any:
        nonlocal cpu, wall
        cpu, wall = cpu + 0.01, wall + 1.0
        return step(*arguments)

    monkeypatch.setattr(calibration, "device", lambda: torch.device("cpu"))
    monkeypatch.setattr(calibration.SingleRun, "step", waiting)
    monkeypatch.setattr(clock.time, "thread_time", lambda: cpu)
    monkeypatch.setattr(clock.time, "perf_counter", lambda: wall)
    assert Measurer(spec()).measure(1, seconds=0.1).steps_per_second == pytest.approx(100)


def test_each_slot_needs_at_least_its_own_numbers() -> None:
    """Adam in float64 keeps 50 weights and 100 moments twice, in the run and in its row, and a row
    of gradients.
    """
    assert Measurer(spec(optimizer="adam")).measure(4).bytes_per_slot >= 8 * (2 * 50 + 2 * 100 + 50)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"workload": "lone", "options": {"why": "unused"}},
            "extra takes no part in its loss, and a stack would update such a parameter.",
        ),
        ({"workload": "misbehaving"}, "a training function writes its own loop."),
    ],
)
def test_what_does_not_stack_is_reported_with_the_rate_of_one_trial(
    changes: dict[str, Any], reason: str
) -> None:
    found = Measurer(spec(**changes)).measure(8)
    assert (found.slots, found.refusal) == (1, reason)
    assert (found.steps_per_second > 0) == (changes["workload"] == "lone")


def test_an_illegal_trial_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"lr must be a finite number in \(0, inf\), but got lr=-1"
    ):
        Measurer(spec(params={"lr": -1.0}))


def test_the_best_is_the_fewest_slots_within_five_percent_of_the_highest() -> None:
    rates = [rate(1, 100), rate(2, 180), rate(4, 192), rate(8, 200), rate(16, 190), rate(32, 150)]
    assert best(rates) == rates[2]
    assert best(rates[:1]) == rates[0]


def explored(
    curve: dict[int, float], disturbed: Collection[int] = (), room: int = 2**60
) -> tuple[dict[int, float], list[int]]:
    """Explore slots whose true rates are the curve's; the measurements whose count is in
    `disturbed` give half of that. Return the rates and the measured slots.
    """
    calls: list[int] = []

    def measured(slots: int, before: Rate | None) -> Rate:
        if before is not None and not before.bytes_per_slot * slots <= room:
            raise MemoryError
        calls.append(slots)
        return rate(slots, curve[slots] * (0.5 if len(calls) in disturbed else 1.0))

    return {found.slots: found.steps_per_second for found in explore(curve, measured)}, calls


def test_more_slots_are_measured_while_they_are_faster_and_the_fastest_again() -> None:
    """At 8 and 16 the rate is below 0.8 of the highest, also when remeasured; then 2 and 4 are
    remeasured, whose rates are near the highest, and 1.
    """
    curve = {1: 100.0, 2: 190.0, 4: 200.0, 8: 120.0, 16: 110.0, 32: 300.0}
    rates, calls = explored(curve)
    assert calls == [1, 2, 4, 8, 16, *[8, 16], *[1, 2, 4] * 2]
    assert rates == {slots: curve[slots] for slots in (1, 2, 4, 8, 16)}


def test_a_disturbed_measurement_is_corrected() -> None:
    """The second, of two slots, and the fourth."""
    curve = {1: 100.0, 2: 160.0, 4: 100.0, 8: 90.0, 16: 80.0}
    rates, _ = explored(curve, disturbed=[2, 4])
    assert best([rate(slots, found) for slots, found in rates.items()]).slots == 2


def test_two_disturbed_measurements_in_a_row_do_not_end_the_search() -> None:
    """Of two and of four slots; the measurement of one slot is undisturbed."""
    curve = {1: 100.0, 2: 90.0, 4: 120.0, 8: 150.0, 16: 200.0, 32: 210.0}
    rates, _ = explored(curve, disturbed=[2, 3])
    assert best([rate(slots, found) for slots, found in rates.items()]).slots == 16


def test_lack_of_memory_ends_the_search() -> None:
    rates, calls = explored({1: 100.0, 2: 200.0, 4: 400.0, 8: 800.0}, room=400)
    assert list(rates) == [1, 2, 4]
    assert 8 not in calls


@pytest.mark.parametrize("n_calls", [4, 5, 6])
def test_lack_of_memory_while_remeasuring_keeps_the_known_rates(
    n_calls: int,
) -> None:
    """Another process may use the memory, or the measurer itself."""
    calls: list[int] = []

    def measured(slots: int, _before: Rate | None) -> Rate:
        calls.append(slots)
        if len(calls) >= n_calls:
            raise MemoryError
        return rate(slots, 100.0 * slots)

    assert {found.slots: found.steps_per_second for found in explore((1, 2, 4), measured)} == {
        1: 100.0,
        2: 200.0,
        4: 400.0,
    }
    assert max(calls) == 4


def test_a_refusal_ends_the_search() -> None:
    found = list(
        explore(
            (1, 2, 4),
            lambda slots, _: dataclasses.replace(
                rate(slots, 100), refusal="no." if slots > 1 else ""
            ),
        )
    )
    assert [(each.slots, each.refusal) for each in found] == [(1, ""), (2, "no.")]


def test_four_fifths_of_the_free_memory_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "free_bytes", lambda _device: 1_000)
    measured = rate(1, 100)
    assert fits(measured, 8)
    assert not fits(measured, 9)
    assert fits(measured, 4, n_shares=2)
    assert not fits(dataclasses.replace(measured, bytes_per_slot=101), 4, n_shares=2)


def test_candidates_rise_from_one() -> None:
    for on_gpu in (False, True):
        found = candidates(on_gpu=on_gpu)
        assert found[0] == 1
        assert list(found) == sorted(set(found))
