"""The last trials are spread over the workers."""

from gradnoise.training.trial import Measurement, TrialSpec
from gradnoise_workers.placement import Held, Load, n_startable


def test_waiting_trials_start_where_least_is_left() -> None:
    free, nearly_free, busy = Load(0.0, 4, 4), Load(0.1, 0, 4), Load(0.9, 0, 4)
    assert n_startable([free, nearly_free], 4) == 2
    assert n_startable([free, busy], 4) == 4
    assert n_startable([free, nearly_free], None) == n_startable([free, nearly_free], 99) == 4
    assert n_startable([free, Load(0.0, 0, 0)], 1) == 1  # a worker without slots gets none
    assert n_startable([Load(0.5, 2, 4) for _ in range(16)], 8) == 8
    assert n_startable([], 5) == 0


def test_a_trial_counts_by_the_epochs_that_are_left() -> None:
    spec = TrialSpec(key="a", workload="mlp", params={}, seed=0, budget_epochs=10, rungs=(5,))
    trial = Held(spec=spec)
    assert trial.measured(Measurement(key="a", epoch=5, values={}, seconds=0.1))
    assert not trial.measured(Measurement(key="a", epoch=6, values={}, seconds=0.1))
    assert trial.share_left == 0.4
