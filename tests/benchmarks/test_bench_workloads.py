"""The benchmark of modules and the paper's systems: its cases, its counts and its figures."""

import pytest

from benchmarks import bench_workloads, sides
from benchmarks.crew import Crew
from benchmarks.sides import Case
from benchmarks.workloads import N_UPDATES
from gradnoise.training import calibration
from gradnoise.training.calibration import Measurer
from gradnoise.training.epochs import n_steps
from gradnoise.training.setup import prepare
from gradnoise.workloads.registry import WORKLOADS
from gradnoise_service import presets
from gradnoise_service.domain.spec import StudySpec

TABLES = [name for name in presets.names() if presets.find_table(name)]


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in TABLES
        if presets.load(name)[0]["workload"] in ("nram", "neural-programmer", "neural-gpu")
    ],
)
def test_a_preset_is_measured_on_short_epochs_of_its_first_row(name: str, workloads: None) -> None:
    """The model has the row's options and a setting of the row's space.

    An epoch has 20 updates, and the validation examples are cut by the same factor.
    """
    spec = StudySpec.model_validate(presets.load(name, "quick")[0])
    case = bench_workloads.case_of(spec)
    short, declared = case.open(), WORKLOADS.find(spec.workload)
    assert isinstance(declared, type)
    whole = declared(spec.options)
    assert short.options == whole.options
    assert case.params.keys() == spec.space.keys()
    assert prepare(case.spec("a", "annealed", seed=1)).spec.params.items() >= case.params.items()
    assert n_steps(short) == N_UPDATES
    validation, whole_validation = (
        len(workload.data().validation[0]) for workload in (short, whole)
    )
    assert abs(validation - whole_validation * N_UPDATES / n_steps(whole)) <= max(
        0.5, 1 - whole_validation / n_steps(whole)
    )
    assert short.data() is case.open().data()


def test_the_updates_of_a_preset_are_counted() -> None:
    """12 settings and 3 seeds in 5 arms, with 5 epochs of 2,500 questions in batches of 50."""
    (plain,) = presets.load("paper-table-3", "quick")
    assert bench_workloads.n_updates(StudySpec.model_validate(plain)) == 12 * 3 * 5 * 5 * 50


@pytest.mark.parametrize("case", bench_workloads.MODULES, ids=lambda case: case.name)
def test_a_module_stacks_and_trains_in_a_plain_loop(case: Case, workloads: None) -> None:
    assert Measurer(case.spec("a", "annealed", seed=1)).measure(2, seconds=0.0).refusal == ""
    assert next(sides.plain_loop(case, is_noisy=True)).keys() == {"train_loss", "validation_loss"}


@pytest.mark.slow
def test_a_preset_gives_ratios_and_hours(workloads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ratios are those of the rates; the hours of other rows are proportional to operations."""
    monkeypatch.setattr(bench_workloads, "ROUNDS", 1)
    monkeypatch.setattr(bench_workloads, "TURN_SECONDS", 0.0)
    monkeypatch.setattr(calibration, "ON_CPU", (1, 2))
    with Crew(1) as crew:
        alone, stacked, slots, *rates, hours, on_gpu = bench_workloads.of_preset(
            "paper-table-6", crew, 1
        )
    plain, single, stack = (figure.median for figure in rates)
    assert (
        alone.name == "paper-table-6 multiplication quick (neural-gpu): alone, against a plain loop"
    )
    assert alone.median == single / plain
    assert stacked.median == stack / plain
    assert rates[-1].name == f"  slots: {slots.median:g}"
    quick, full = (
        StudySpec.model_validate(presets.load("paper-table-6", scale)[0])
        for scale in ("quick", "full")
    )
    operations = sides.flops(bench_workloads.case_of(full))
    longer = operations / sides.flops(bench_workloads.case_of(quick))
    assert longer > 100
    assert hours.median == pytest.approx(bench_workloads.n_updates(full) * longer / stack / 3600)
    assert on_gpu.median == bench_workloads.n_updates(full) * operations / 67e12 / 3600
