import math
import re

import pytest
import torch

from gradnoise import NoiseProcess, anticorrelated, constant, preconditioned
from gradnoise.techniques.contribution import NOTHING, Contribution, combine, on_gradient
from gradnoise.techniques.masks import DropoutMasks
from gradnoise.techniques.noisy_weights import NoisyWeights
from gradnoise.workloads import normal

N = 10_000


def on(**places: object) -> Contribution:
    return Contribution(**places)  # type: ignore[arg-type]


def test_a_contribution_names_its_places() -> None:
    assert NOTHING.places == ()
    whole = on(gradient=constant(0.1), weights=constant(0.2), activations=DropoutMasks(rate=0.5))
    assert whole.places == ("gradient", "weights", "activations")


def test_a_function_that_makes_a_process_contributes_it_with_the_same_arguments() -> None:
    contribute = on_gradient(preconditioned)
    assert contribute.__name__ == "preconditioned"
    process = contribute(eta=0.01, gamma=0.5, damping=0.1).gradient
    assert process is not None
    assert "damping=0.1" in repr(process.preconditioner)


def test_a_single_contribution_is_unchanged_beside_nothing() -> None:
    process, masks = constant(0.1), DropoutMasks(rate=0.5)
    both = combine([NOTHING, on(gradient=process), NOTHING, on(activations=masks)])
    assert both.gradient is process
    assert both == Contribution(gradient=process, activations=masks)
    assert combine([]) == NOTHING


def test_the_noises_of_one_place_add_up_with_draws_of_their_own() -> None:
    """The first keeps its draws; the others draw 2^48 further on each, more than a trial trains."""
    summed = combine(on(gradient=each) for each in (constant(0.3), anticorrelated(0.4))).gradient
    assert summed is not None
    assert list(summed.terms(7)) == [(7, 0.3), (7 + 2**48, 0.4), (6 + 2**48, -0.4)]
    assert combine([on(weights=constant(0.3)), on(weights=constant(0.4))]).weights is not None


def test_summed_noises_are_independent() -> None:
    """Of n products of independent N(0, 1) the mean lies within 5 / sqrt(n) of 0; the variance of
    n draws within five of its standard errors, sqrt(2 / n).
    """
    process = combine(on(weights=constant(std)) for std in (3.0, 4.0)).weights
    assert process is not None
    weight = torch.zeros(N, dtype=torch.float64)
    with NoisyWeights([("w", weight)], process, seed=1).at(5):
        noise = weight.clone()
    first = 3 * normal(1, "weight_noise", 5, "w", (N,)).double()
    second = noise - first
    assert abs(float((first * second).mean())) <= 5 * 12 / math.sqrt(N)
    for part, variance in ((second, 16.0), (noise, 25.0)):
        assert abs(float(part.square().mean()) - variance) <= 5 * variance * math.sqrt(2 / N)


def test_processes_with_an_equal_preconditioner_share_it() -> None:
    processes = [preconditioned(eta=eta, gamma=0.5) for eta in (0.01, 0.04)]
    summed = combine(on(gradient=process) for process in processes).gradient
    assert summed is not None
    assert summed.preconditioner == processes[0].preconditioner


@pytest.mark.parametrize(
    ("contributions", "message"),
    [
        (
            [on(gradient=preconditioned(0.01, 0.5)), on(gradient=constant(0.1))],
            "only with gradient noise of the same preconditioner",
        ),
        (
            [on(activations=DropoutMasks(rate=rate)) for rate in (0.5, 0.25)],
            "dropout at the rates 0.5 and 0.25 cannot be combined",
        ),
    ],
)
def test_what_does_not_combine_is_refused(contributions: list[Contribution], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        combine(contributions)


def test_weight_noise_takes_no_preconditioner() -> None:
    with pytest.raises(ValueError, match="weights must have no preconditioner"):
        on(weights=preconditioned(0.01, 0.5))


def test_a_process_of_a_schedule_is_added_like_any_other() -> None:
    summed = combine([on(weights=NoiseProcess.of(lambda t: t + 1.0)), on(weights=constant(2.0))])
    assert summed.weights is not None
    assert list(summed.weights.terms(3)) == [(3, 4.0), (3 + 2**48, 2.0)]
