import pytest

from gradnoise.workloads.base import Metric
from gradnoise.workloads.function import function
from gradnoise.workloads.function_trial import Trial
from open_trial import ERROR, open_trial


def test_a_declared_function_stays_a_function() -> None:
    seen: list[Trial] = []

    @function(name="f", description="Sees.", metrics=[ERROR])
    def train(trial: Trial) -> None:
        seen.append(trial)

    opened = open_trial()
    train(opened)
    assert seen == [opened]
    assert (train.name, train.metrics, train.stacks) == ("f", (ERROR,), False)
    assert (train.places, train.has_test, train.early_stopping) == (("gradient",), True, False)


def test_name_description_and_metrics_may_be_given_in_short() -> None:
    @function(metrics={"accuracy": "maximize", "loss": "minimize"})
    def digits(trial: Trial) -> None:
        """Classify digits. Slowly."""

    assert (digits.name, digits.description) == ("digits", "Classify digits.")
    assert digits.metrics == (
        Metric(name="accuracy", direction="maximize", worst=-1e6),
        Metric(name="loss", direction="minimize", worst=1e6),
    )


def test_an_unknown_direction_is_refused() -> None:
    with pytest.raises(ValueError, match="maximize or minimize, but got accuracy='up'"):
        function(metrics={"accuracy": "up"})  # type: ignore[dict-item]


def test_a_function_without_metrics_is_refused() -> None:
    metrics: list[Metric] = []
    with pytest.raises(ValueError, match="metrics must name at least one metric"):
        function(name="f", description="Blind.", metrics=metrics)
