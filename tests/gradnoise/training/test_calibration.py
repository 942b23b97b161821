import dataclasses
import time
from collections.abc import Collection
from typing import Any

import pytest
import torch

from gradnoise.training import calibration
from gradnoise.training.calibration import Measurer, Rate, best, candidates, explore, fits
from gradnoise.training.stacked_model import StackedModel
from trial_runs import spec


@pytest.fixture(autouse=True)
def _probes(probes: None) -> None:
    """Every test here uses the probe workloads."""


def rate(slots: int, steps_per_second: float) -> Rate:
    return Rate(slots=slots, steps_per_second=steps_per_second, bytes_per_slot=100)


@pytest.mark.parametrize("slots", [1, 2, 8])
@pytest.mark.parametrize("technique", ["none", "annealed"])
def test_updates_are_counted_over_all_slots(
    slots: int, technique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that goes on by a second at each update: as many a second as there are slots, for
    more updates than an epoch has.
    """
    now = 0.0

    def tick(*arguments: Any, of: Any) -> Any:
        nonlocal now
        now += 1.0
        return of(*arguments)

    update, step = StackedModel.update, calibration.SingleRun.step
    monkeypatch.setattr(StackedModel, "update", lambda *arguments: tick(*arguments, of=update))
    monkeypatch.setattr(calibration.SingleRun, "step", lambda *arguments: tick(*arguments, of=step))
    monkeypatch.setattr(calibration.time, "thread_time", lambda: now)
    params = {"lr": 0.05} | ({"eta": 0.3, "gamma": 0.55} if technique == "annealed" else {})
    found = Measurer(spec(technique=technique, params=params)).measure(slots, seconds=20.0)
    assert found == Rate(slots=slots, steps_per_second=slots, bytes_per_slot=found.bytes_per_slot)
    assert now == 22  # two to warm up


def test_a_machine_that_does_something_else_is_no_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    """Updates that each wait 50 ms, as for a core that another process has: by the wall clock there
    would be at most 20 a second.
    """
    step = calibration.SingleRun.step

    def waiting(*arguments: Any) -> Any:
        time.sleep(0.05)
        return step(*arguments)

    monkeypatch.setattr(calibration.SingleRun, "step", waiting)
    assert Measurer(spec()).measure(1, seconds=0.01).steps_per_second > 40


def test_each_slot_needs_at_least_its_own_numbers() -> None:
    """Adam in float64 keeps 50 weights and 100 moments twice, in the run and in its row, and the
    row of the gradient.
    """
    assert Measurer(spec(optimizer="adam")).measure(4).bytes_per_slot >= 8 * (2 * 50 + 2 * 100 + 50)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"workload": "lone", "options": {"why": "unused"}},
            "extra takes no part in its loss, and such a parameter must stay as it is.",
        ),
        ({"workload": "misbehaving"}, "a training function has a loop of its own."),
    ],
)
def test_what_does_not_stack_is_told_with_the_rate_of_one(
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
    """Explore slots whose true rates are the curve's; the measurements counted in `disturbed` come
    out at half. Return rates and calls.
    """
    calls: list[int] = []

    def measured(slots: int, before: Rate | None) -> Rate:
        if before is not None and not before.bytes_per_slot * slots <= room:
            raise MemoryError
        calls.append(slots)
        return rate(slots, curve[slots] * (0.5 if len(calls) in disturbed else 1.0))

    return {one.slots: one.steps_per_second for one in explore(curve, measured)}, calls


def test_more_slots_are_tried_while_that_pays_and_contenders_again() -> None:
    """At 8 and 16 the rate is below 0.8 of the best, and is so again; 2 and 4 may be best, and 1 is
    what they are held against.
    """
    curve = {1: 100.0, 2: 190.0, 4: 200.0, 8: 120.0, 16: 110.0, 32: 300.0}
    rates, calls = explored(curve)
    assert calls == [1, 2, 4, 8, 16, *[8, 16], *[1, 2, 4] * 2]
    assert rates == {slots: curve[slots] for slots in (1, 2, 4, 8, 16)}


def test_a_disturbed_measurement_is_made_up_for() -> None:
    """The second, of two slots, and the fourth."""
    curve = {1: 100.0, 2: 160.0, 4: 100.0, 8: 90.0, 16: 80.0}
    rates, _ = explored(curve, disturbed=[2, 4])
    assert best([rate(slots, own) for slots, own in rates.items()]).slots == 2


def test_two_disturbed_measurements_in_a_row_do_not_end_the_trying() -> None:
    """Of two and of four slots, where one trial alone was measured undisturbed."""
    curve = {1: 100.0, 2: 90.0, 4: 120.0, 8: 150.0, 16: 200.0, 32: 210.0}
    rates, _ = explored(curve, disturbed=[2, 3])
    assert best([rate(slots, own) for slots, own in rates.items()]).slots == 16


def test_what_does_not_fit_ends_the_trying() -> None:
    rates, calls = explored({1: 100.0, 2: 200.0, 4: 400.0, 8: 800.0}, room=400)
    assert list(rates) == [1, 2, 4]
    assert 8 not in calls


@pytest.mark.parametrize("n_calls", [4, 5, 6])
def test_memory_that_is_short_as_contenders_are_measured_again_leaves_what_is_known(
    n_calls: int,
) -> None:
    """Another process may have taken it, or the measuring itself may hold it."""
    calls: list[int] = []

    def measured(slots: int, _before: Rate | None) -> Rate:
        calls.append(slots)
        if len(calls) >= n_calls:
            raise MemoryError
        return rate(slots, 100.0 * slots)

    assert {one.slots: one.steps_per_second for one in explore((1, 2, 4), measured)} == {
        1: 100.0,
        2: 200.0,
        4: 400.0,
    }
    assert max(calls) == 4


def test_a_refusal_ends_the_trying() -> None:
    found = list(
        explore(
            (1, 2, 4),
            lambda slots, _: dataclasses.replace(
                rate(slots, 100), refusal="no." if slots > 1 else ""
            ),
        )
    )
    assert [(one.slots, one.refusal) for one in found] == [(1, ""), (2, "no.")]


def test_four_fifths_of_the_free_memory_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "free_bytes", lambda: 1_000)
    one = rate(1, 100)
    assert fits(one, 8)
    assert not fits(one, 9)
    assert fits(one, 4, n_processes=2)
    assert not fits(dataclasses.replace(one, bytes_per_slot=101), 4, n_processes=2)


def test_the_free_memory_is_that_of_this_machine() -> None:
    """At least what torch can be given now, and less than a petabyte."""
    room = torch.zeros(10_000_000)
    assert room.nbytes < calibration.free_bytes() < 2**50


def test_candidates_begin_with_one_and_rise() -> None:
    for on_gpu in (False, True):
        found = candidates(on_gpu=on_gpu)
        assert found[0] == 1
        assert list(found) == sorted(set(found))
