"""A proposal is a function of the seed, the number and the visible trials."""

import numpy as np
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from scipy.stats import qmc

from gradnoise_service.domain.search import LEARNING_SAMPLERS, SamplerName
from gradnoise_service.search.proposals import propose, thinned

SPACE: dict[str, BaseDistribution] = {
    "lr": FloatDistribution(0.003, 0.3, log=True),
    "eta": FloatDistribution(0.0, 1.0),
    "lr_schedule": CategoricalDistribution(["constant", "cosine"]),
}


def proposal(
    sampler: SamplerName, number: int, visible: list[FrozenTrial], seed: int = 5
) -> FrozenTrial:
    return propose(sampler, SPACE, "maximize", seed=seed, number=number, visible=visible)


def ended(sampler: SamplerName, n: int, peak: float) -> list[FrozenTrial]:
    """Return trials of a sequential search whose value is highest at `eta` = peak."""
    trials: list[FrozenTrial] = []
    for number in range(n):
        trial = proposal(sampler, number, list(trials))
        trial.state, trial.value = TrialState.COMPLETE, -abs(trial.params["eta"] - peak)
        trials.append(trial)
    return trials


@pytest.mark.parametrize(
    "sampler",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name == "gp"))  # seconds
        for name in LEARNING_SAMPLERS
    ],
)
def test_equal_arguments_give_equal_proposals(sampler: SamplerName) -> None:
    visible = ended(sampler, 12, peak=0.8)
    again = ended(sampler, 12, peak=0.8)
    assert [t.params for t in again] == [t.params for t in visible]
    trial = proposal(sampler, 14, visible)
    assert proposal(sampler, 14, visible).params == trial.params
    others = [
        proposal(sampler, 15, visible),
        proposal(sampler, 14, visible, seed=6),
        proposal(sampler, 14, ended(sampler, 12, peak=0.1)),
    ]
    assert all(other.params != trial.params for other in others)


@pytest.mark.parametrize(
    ("sampler", "n"), [("tpe", 50), ("cmaes", 80), pytest.param("gp", 20, marks=pytest.mark.slow)]
)
def test_a_sampler_that_learns_nears_the_peak(sampler: SamplerName, n: int) -> None:
    """Of 10 uniform draws, 9 or more lie within 0.25 of 0.7 with probability 0.011."""
    last = ended(sampler, n, peak=0.7)[-10:]
    assert sum(abs(trial.params["eta"] - 0.7) < 0.25 for trial in last) >= 9


def test_a_random_proposal_sees_no_trial() -> None:
    visible = ended("tpe", 12, peak=0.8)
    assert proposal("random", 20, visible).params == proposal("random", 20, []).params
    settings = [str(proposal("random", number, []).params) for number in range(50)]
    assert len(set(settings)) == 50


def test_random_proposals_of_a_shared_parameter_are_the_same_in_every_arm() -> None:
    shared = {"lr": SPACE["lr"]}
    for number in range(5):
        alone = propose("random", shared, "maximize", seed=5, number=number, visible=[])
        assert alone.params["lr"] == proposal("random", number, []).params["lr"]


def test_the_index_of_a_sobol_point_is_the_number_of_the_trial() -> None:
    """The points are those of scipy's scrambled sequence, in whatever order they are proposed."""
    points = qmc.Sobol(3, scramble=True, seed=5).random(8)
    trials = {number: proposal("qmc", number, []) for number in (3, 0, 7, 5, 1, 6, 2, 4)}
    for number, (lr, eta, schedule) in enumerate(points):
        assert trials[number].params == {
            "lr": pytest.approx(0.003 * 100**lr),
            "eta": pytest.approx(eta),
            "lr_schedule": ["constant", "cosine"][int(2 * schedule)],
        }


def test_tpe_sees_the_best_and_an_even_sample_of_a_long_search() -> None:
    """Values fall with the number, and every tenth trial was pruned: the first 25 others are best.

    Up to 250 trials are seen as they are.
    """
    trials = []
    for number in range(1000):
        is_pruned = number % 10 == 0
        trial = create_trial(
            state=TrialState.PRUNED if is_pruned else TrialState.COMPLETE,
            value=9.0 if is_pruned else -float(number),
        )
        trial.number = number
        trials.append(trial)
    numbers = [trial.number for trial in thinned(trials, "maximize")]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 250
    best = [number for number in range(28) if number % 10]
    assert set(best) <= set(numbers)
    others = [number for number in numbers if number not in best]
    assert others[-1] == 999
    gaps = np.diff(others)
    assert (gaps.min(), gaps.max()) == (4, 5)
    seen = {trial.number for trial in thinned(trials, "minimize")}
    assert {number for number in range(973, 1000) if number % 10} <= seen
    assert thinned(trials[:250], "maximize") == trials[:250]
