"""The pruners decide as Optuna's do on a study that holds the visible trials alone."""

import itertools
import random

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from gradnoise_service.domain.search import Pruner
from gradnoise_service.domain.study import Direction
from gradnoise_service.search.pruners import prunes

EPOCHS = 12


def trial(state: TrialState, values: list[float]) -> FrozenTrial:
    """Return a trial with its values after epochs 1, 2, ..."""
    return create_trial(
        state=state,
        value=values[-1] if state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
        intermediate_values=dict(enumerate(values, start=1)),
    )


def random_trials(seed: int, n: int) -> list[FrozenTrial]:
    draw = random.Random(seed)
    states = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
    chosen = draw.choices(states, [0.6, 0.3, 0.1], k=n)
    lengths = [EPOCHS if s == TrialState.COMPLETE else draw.randint(1, EPOCHS) for s in chosen]
    return [
        trial(state, [draw.random() for _ in range(length)])
        for state, length in zip(chosen, lengths, strict=True)
    ]


def by_optuna(
    pruner: optuna.pruners.BasePruner,
    direction: Direction,
    running: FrozenTrial,
    epoch: int,
    visible: list[FrozenTrial],
) -> bool:
    study = optuna.create_study(direction=direction, pruner=pruner)
    study.add_trials(visible)
    own = study.ask()
    for rung, value in running.intermediate_values.items():
        if rung <= epoch:
            own.report(value, rung)
    return own.should_prune()


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize("n", [0, 1, 2, 4, 9, 30])
def test_median_decides_as_optuna_does(direction: Direction, n: int) -> None:
    pruner = Pruner(name="median", startup_trials=3, warmup_epochs=2)
    reference = optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=1)
    decisions = set()
    for seed, epoch in itertools.product(range(10), (2, 3, 7)):
        visible, [running] = random_trials(seed, n), random_trials(100 + seed, 1)
        running.intermediate_values = {e: random.Random(e + seed).random() for e in range(2, 8)}
        decision = prunes(pruner, direction, running, epoch, visible)
        assert decision == by_optuna(reference, direction, running, epoch, visible)
        decisions.add(decision)
    assert decisions == ({False} if n < 3 else {False, True})


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize("n", [0, 1, 2, 4, 9, 30])
def test_asha_decides_as_optuna_does_at_each_rung(direction: Direction, n: int) -> None:
    pruner = Pruner(name="asha", warmup_epochs=1, reduction_factor=3)
    decisions = set()
    for seed, (rung, epoch) in itertools.product(range(10), enumerate((1, 3, 9))):
        visible, [running] = random_trials(seed, n), random_trials(100 + seed, 1)
        running.intermediate_values = {epoch: random.Random(seed).random()}
        for shown in visible:
            value = shown.intermediate_values.get(epoch)
            shown.system_attrs = {} if value is None else {"completed_rung_0": value}
        reference = optuna.pruners.SuccessiveHalvingPruner(
            min_resource=1, reduction_factor=3, min_early_stopping_rate=rung
        )
        decision = prunes(pruner, direction, running, epoch, visible)
        assert decision == by_optuna(reference, direction, running, epoch, visible)
        decisions.add(decision)
    assert decisions == ({False} if n == 0 else {False, True})
