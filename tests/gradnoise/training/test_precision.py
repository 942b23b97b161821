import warnings
from collections.abc import Callable, Iterator

import pytest
import torch

from gradnoise.training.precision import OPERATIONS, _warned_once, exact_float32
from gradnoise.training.single import SingleRun, SingleTrainer
from gradnoise.training.stack import StackTrainer
from gradnoise.training.stacked_model import StackedModel
from gradnoise.training.trainer import Trainer
from trial_runs import curve, run, spec

Settings = tuple[object, ...]
EXACT = ("highest", False, False, *["ieee"] * len(OPERATIONS))


@pytest.fixture(autouse=True)
def _probes(probes: None) -> None:
    """Every test here uses the probe workloads."""


def settings() -> Settings:
    """Return torch's older settings, which raise where they disagree, and those that it follows."""
    return (
        torch.get_float32_matmul_precision(),
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
        *(operation.fp32_precision for operation in OPERATIONS),
    )


@pytest.fixture
def rounded() -> Iterator[Settings]:
    """Round the factors of products, as for speed, and return the settings."""
    before = [operation.fp32_precision for operation in OPERATIONS]
    torch.set_float32_matmul_precision("medium")
    yield settings()
    torch.set_float32_matmul_precision("highest")
    for operation, precision in zip(OPERATIONS, before, strict=True):
        operation.fp32_precision = precision


@pytest.mark.parametrize(
    ("opened", "step"),
    [
        pytest.param(SingleTrainer, (SingleRun, "step"), id="single"),
        pytest.param(lambda: StackTrainer(2), (StackedModel, "step"), id="stack"),
    ],
)
@pytest.mark.parametrize("fails", [False, True])
def test_trainers_multiply_exactly_and_leave_the_settings_as_they_were(
    opened: Callable[[], Trainer],
    step: tuple[type, str],
    fails: bool,
    rounded: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: set[Settings] = set()
    made = getattr(*step)

    def recorded(*arguments: object, **options: object) -> object:
        found.add(settings())
        if fails:
            raise KeyboardInterrupt
        return made(*arguments, **options)

    monkeypatch.setattr(*step, recorded)
    trainer = opened()
    trainer.admit(spec())
    if fails:
        with pytest.raises(KeyboardInterrupt):
            trainer.advance()
    else:
        trainer.advance()
    assert found == {EXACT}
    assert settings() == rounded


@pytest.fixture
def mixed() -> Iterator[list[str]]:
    """Set two operations to other values than torch's older settings, and return all."""
    before = [operation.fp32_precision for operation in OPERATIONS]
    OPERATIONS[0].fp32_precision, OPERATIONS[1].fp32_precision = "tf32", "ieee"
    yield [operation.fp32_precision for operation in OPERATIONS]
    torch.backends.cudnn.allow_tf32 = True
    for operation, precision in zip(OPERATIONS, before, strict=True):
        operation.fp32_precision = precision


def test_settings_of_single_operations_are_left_as_they_were(mixed: list[str]) -> None:
    """torch raises where its older settings are read then."""
    with pytest.raises(RuntimeError, match="mix of the legacy and new APIs"):
        settings()
    run(SingleTrainer(), spec(budget_epochs=1))
    assert [operation.fp32_precision for operation in OPERATIONS] == mixed


def test_the_warning_of_some_versions_of_torch_on_older_settings_is_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They warn at the first use in a process; here a warning is an error."""
    read, messages = torch.get_float32_matmul_precision, ["Please use the new settings."]

    def warning() -> str:
        for message in messages:
            messages.clear()
            warnings.warn(message, UserWarning, stacklevel=2)
        return read()

    monkeypatch.setattr(torch, "get_float32_matmul_precision", warning)
    _warned_once.cache_clear()
    with exact_float32():
        assert not messages


@pytest.mark.slow
def test_a_training_function_keeps_the_settings_that_it_makes() -> None:
    """It runs in a process of its own, which starts with torch's settings."""
    events = run(SingleTrainer(), spec(workload="rounding", budget_epochs=2))
    assert [values["validation_x"] for values in curve(events)] == [0.0, 1.0]
