"""The number of slots is measured while throughput rises, once per kind of study and machine.

A failed measurement does not prevent the study.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

import pytest

from formula_launcher import FormulaLauncher
from gradnoise.training.calibration import Rate
from gradnoise.training.setup import prepare
from gradnoise_service.domain.arm import Arm
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.store.calibrations import Calibration
from gradnoise_service.store.database import Database
from gradnoise_workers.calibration import (
    Stacking,
    calibrated,
    measured,
    probe,
    sentence,
    stacked,
)
from gradnoise_workers.launcher import NotMeasuredError

Make = Callable[..., StudySpec]
VERSIONS = {"gradnoise": "1", "torch": "2", "python": "3"}


def no_interrupt() -> None:
    """Return without an interrupt."""


def calibrate(
    database: Database, spec: StudySpec, launcher: FormulaLauncher, now: datetime
) -> Calibration:
    return calibrated(
        spec, spec.arms, 1, launcher, database, "c", VERSIONS, lambda: now, no_interrupt
    )


def measured_slots(launcher: FormulaLauncher) -> list[int]:
    """Return the measured numbers of slots, in the order of their first measurement."""
    return list(dict.fromkeys(slots for _, slots in launcher.measured))


REFUSED = Rate(slots=1, steps_per_second=90.0, bytes_per_slot=1, refusal="aten::lstm has no rule")


@pytest.mark.parametrize(
    ("speeds", "tried", "slots"),
    [
        ({1: 100.0, 2: 190.0, 4: 300.0, 8: 310.0}, 4, 4),  # the fewest within 5 % of the best
        # two consecutive rates below 0.8 of the best end the measurement
        ({1: 100.0, 2: 79.0, 4: 79.0, 8: 1000.0}, 3, 1),
        ({1: 100.0, 2: 79.0, 4: 200.0, 8: 150.0}, 4, 4),  # a single rate below 0.8 does not
        ({1: 100.0, 2: 79.0, 4: 81.0, 8: 79.0, 16: 200.0}, 5, 16),
        ({1: 100.0, 2: 190.0, 4: MemoryError()}, 3, 2),
        ({1: MemoryError(), 2: 100.0}, 1, 1),
        ({1: 100.0, 2: REFUSED, 4: 500.0}, 2, 1),
        ({1: REFUSED, 2: 100.0}, 1, 1),
    ],
)
def test_more_slots_are_tried_while_throughput_rises(
    make_spec: Make, speeds: dict[int, float | Rate | Exception], tried: int, slots: int
) -> None:
    launcher, spec = FormulaLauncher(speeds=speeds), make_spec()
    found, is_whole = measured(launcher, probe(spec, spec.arms), 1, no_interrupt)
    assert measured_slots(launcher) == list(speeds)[:tried]
    assert (found.slots, is_whole) == (slots, True)
    assert found.refusal == (
        "aten::lstm has no rule" if REFUSED in list(speeds.values())[:tried] else ""
    )


def test_why_updates_are_not_captured_does_not_keep_trials_from_stacking(make_spec: Make) -> None:
    eager = Rate(slots=2, steps_per_second=190.0, bytes_per_slot=1, eager="an update waits.")
    spec = make_spec()
    launcher = FormulaLauncher(speeds={1: 100.0, 2: eager})
    found, _ = measured(launcher, probe(spec, spec.arms), 1, no_interrupt)
    assert (found.slots, found.refusal) == (2, "an update waits.")


def test_the_second_study_of_a_kind_reuses_the_measurement(
    database: Database, make_spec: Make, now: datetime
) -> None:
    first, second, other = FormulaLauncher(), FormulaLauncher(), FormulaLauncher()
    found = calibrate(database, make_spec(), first, now)
    assert (found.slots, found.rates) == (2, {1: 100.0, 2: 150.0, 4: 151.0})
    assert (
        calibrate(
            database,
            make_spec(name="second", seed=9, search={"n_trials": 9, "epochs": 1}),
            second,
            now,
        )
        == found
    )
    assert (measured_slots(first), measured_slots(second)) == ([1, 2, 4], [])
    calibrate(database, make_spec(optimizer="adam"), other, now)
    assert measured_slots(other) == [1, 2, 4]


def test_a_failed_measurement_is_not_reused(
    database: Database, make_spec: Make, now: datetime
) -> None:
    failing = FormulaLauncher(
        speeds={1: 100.0, 2: 150.0, 4: NotMeasuredError("a worker ended"), 8: 900.0}
    )
    assert calibrate(database, make_spec(), failing, now).slots == 2
    unmeasured = FormulaLauncher(speeds={1: NotMeasuredError("a worker ended"), 2: 150.0})
    assert calibrate(database, make_spec(), unmeasured, now) == Calibration(slots=1)
    later = FormulaLauncher()
    calibrate(database, make_spec(), later, now)
    assert measured_slots(later) == [1, 2, 4]


def test_the_probe_is_a_legal_trial_of_an_arm_with_a_technique(make_spec: Make) -> None:
    space = {
        "lr": {"low": 1e-4, "high": 1.0, "log": True},
        "momentum": {"choices": [0.0, 0.5, 0.9]},
        "clip_norm": 1.0,
    }
    arms = [
        {"name": "baseline", "technique": "none"},
        {
            "name": "noisy",
            "technique": "annealed",
            "space": {
                "eta": {"low": 0.0, "high": 1.0, "step": 0.25},
                "gamma": {"low": 0, "high": 3, "integer": True},
            },
        },
    ]
    study = make_spec(space=space, arms=arms)
    spec = probe(study, study.arms)
    assert spec.params == {
        "lr": pytest.approx(0.01),
        "momentum": 0.5,
        "clip_norm": 1.0,
        "eta": 0.5,
        "gamma": 1,
    }
    assert (spec.techniques, spec.seed, spec.checkpoint) == (("annealed",), 0, "")
    prepare(spec)


@pytest.mark.parametrize(
    ("calibration", "expected"),
    [
        (
            Calibration(slots=8, rates={1: 1234.4, 2: 2000.0, 8: 2345.0}),
            "8 trials as one model on each worker: 1,234 updates a second with 1, 2,345 with 8",
        ),
        (
            Calibration(slots=1, rates={1: 900.0, 2: 800.0}),
            "one trial at a time on each worker: 900 updates a second with 1, 800 with 2",
        ),
        (
            Calibration(slots=1, rates={1: 900.0}),
            "one trial at a time on each worker: 900 updates a second with 1",
        ),
        (
            Calibration(slots=1, refusal="it has an LSTM"),
            "one trial at a time on each worker: it has an LSTM",
        ),
        (Calibration(slots=1), "one trial at a time on each worker: more could not be measured"),
        (
            Calibration(slots=4, rates={1: 900.0, 4: 3600.0}, refusal="an update waits."),
            "4 trials as one model on each worker: 900 updates a second with 1, 3,600 with 4; "
            "without a CUDA graph: an update waits.",
        ),
    ],
)
def test_the_report_has_the_number_of_slots_and_the_reason(
    calibration: Calibration, expected: str
) -> None:
    assert sentence(calibration) == expected


def test_arms_that_cannot_be_one_model_are_measured_apart(
    database: Database, make_spec: Make, now: datetime
) -> None:
    """Each measures its share of the memory: of 6 trials, 2 for each of three kinds of stacks."""
    arms = [
        {"name": "baseline", "technique": "none"},
        {"name": "adam", "technique": "none", "optimizer": "adam"},
        {"name": "noisy", "technique": "annealed", "space": {"eta": 0.3, "gamma": 0.55}},
        {"name": "deep", "technique": "none", "options": {"depth": 3}},
    ]
    spec = make_spec(arms=arms)
    launcher = FormulaLauncher(speeds={1: 100.0, 2: 150.0, 4: 300.0}, memory=6)

    def measure(spec: StudySpec, arms: Sequence[Arm], n_forms: int) -> Calibration:
        return calibrated(
            spec, arms, n_forms, launcher, database, "c", VERSIONS, lambda: now, no_interrupt
        )

    found = stacked(spec, measure)
    probes = [(p.techniques, p.optimizer, p.options) for p, n in launcher.measured if n == 2]
    digits = {"dataset": "digits"}
    forms = [
        (("annealed",), "sgd", digits),
        (("none",), "adam", digits),
        (("none",), "sgd", {**digits, "depth": 3}),
    ]
    assert [probe for k, probe in enumerate(probes) if probe not in probes[:k]] == forms
    assert found.of_arms["noisy"] is found.of_arms["baseline"]
    assert found.sentence == "; ".join(
        f"{arms}: 2 trials as one model on each worker: 100 updates a second with 1, 150 with 2"
        for arms in ("baseline, noisy", "adam", "deep")
    )
    alone = FormulaLauncher(speeds=launcher.speeds, memory=6)
    of_adam = make_spec(name="alone", optimizer="adam")
    assert calibrate(database, of_adam, alone, now).slots == 4
    n_measured = len(launcher.measured)
    assert measure(of_adam, of_adam.arms, 3) == found.of_arms["adam"]
    assert len(launcher.measured) == n_measured


@pytest.mark.parametrize(
    ("best", "slots"),
    [
        ({"a": 8, "b": 8}, 16),  # a stack of 8 for each
        ({"a": 8, "b": 1}, 16),  # trials that train alone take their share of the slots too
        ({"a": 1, "b": 1}, 1),
        ({"a": 8, "b": 3, "c": 1}, 24),
    ],
)
def test_each_arm_keeps_its_share_of_a_stack(best: dict[str, int], slots: int) -> None:
    stacking = Stacking(of_arms={arm: Calibration(slots=n) for arm, n in best.items()})
    assert (stacking.slots, stacking.together) == (slots, best)


def test_arms_of_equal_form_share_a_stack() -> None:
    shared, own = Calibration(slots=8), Calibration(slots=4)
    assert Stacking(of_arms={"a": shared, "b": shared}).slots == 8
    # a third of the 12 slots for each arm: stacks of 8 and of 4
    assert Stacking(of_arms={"a": shared, "b": shared, "c": own}).slots == 12
