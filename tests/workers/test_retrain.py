"""A trial that is trained again measures what it measured before."""

from collections.abc import Callable

import pytest

from gradnoise.training.stack import StackTrainer
from gradnoise.training.trial import Measurement, TrialSpec
from gradnoise_service.domain.spec import StudySpec
from gradnoise_workers.retrain import retrained

OPTIONS = {"dataset": "digits", "depth": 1, "width": 8, "init": "he"}


@pytest.mark.parametrize("together", [0, 1])
def test_values_are_those_of_the_stack_that_trained_the_trial(
    make_spec: Callable[..., StudySpec], together: int
) -> None:
    """Two of three trials share a stack; one of them was pruned after its second epoch.

    If the trials of the arm train alone, some values differ from those of a stack in the last bit.
    """
    params = {"lr": 0.1, "eta": 0.3, "gamma": 0.55}
    trainer = StackTrainer(3)
    for seed in range(3):
        trainer.admit(
            TrialSpec(
                key=str(seed),
                workload="mlp",
                options=OPTIONS,
                techniques=("annealed",),
                params=params,
                seed=seed,
                budget_epochs=3,
                with_test=True,
                together=together,
            )
        )
    stored = [e for _ in range(3) for e in trainer.advance() if isinstance(e, Measurement)]
    common = {"phase": "confirm", "arm": "noisy", "number": 0, "params": params, "budget_epochs": 3}
    trials = [{**common, "id": seed, "seed": seed, "epochs": 2 + seed % 2} for seed in range(3)]
    spec = make_spec(options=OPTIONS).model_dump(mode="json")
    of_arms = {"confirm": {"noisy": together}}
    request = {"spec": spec, "source": None, "slots": 2, "together": of_arms, "trials": trials}
    code, *lines = retrained(request)
    assert set(code) == {"code"}
    expected = [
        {"trial": int(e.key), "epoch": e.epoch, "values": dict(e.values)}
        for e in stored
        if e.epoch <= 2 + int(e.key) % 2
    ]
    by_place = lambda line: (line["trial"], line["epoch"])  # noqa: E731
    assert sorted(lines, key=by_place) == sorted(expected, key=by_place)


def test_an_error_of_a_trial_is_reported(make_spec: Callable[..., StudySpec]) -> None:
    trial = {
        "id": 7,
        "phase": "search",
        "arm": "baseline",
        "number": 0,
        "seed": 1,
        "budget_epochs": 1,
    }
    spec = make_spec(options=OPTIONS).model_dump(mode="json")
    request = {
        "spec": spec,
        "source": None,
        "slots": 1,
        "together": {},
        "trials": [{**trial, "params": {}, "epochs": 1}],
    }
    _, line = retrained(request)
    assert line["trial"] == 7
    assert "lr" in str(line["error"])
