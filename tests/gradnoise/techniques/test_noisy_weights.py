import math

import pytest
import torch

from gradnoise import NoiseProcess, annealed
from gradnoise.techniques.noisy_weights import NoisyWeights
from gradnoise.workloads import normal

ETA, GAMMA = 0.3, 0.55


def weights(n: int = 4, *names: str) -> dict[str, torch.nn.Parameter]:
    return {
        name: torch.nn.Parameter(normal(0, "init", 0, name, (n,)).double())
        for name in names or ("w",)
    }


@pytest.mark.parametrize("t", [0, 99])
def test_the_perturbation_has_the_scheduled_variance(t: int) -> None:
    """The mean square of n draws lies within five of its standard errors, sqrt(2/n) of the
    variance.
    """
    n = 50_000
    parameters = weights(n)
    clean = parameters["w"].detach().clone()
    with NoisyWeights(parameters.items(), annealed(eta=ETA, gamma=GAMMA), seed=1).at(t):
        added = parameters["w"].detach() - clean
    variance = ETA / (1 + t) ** GAMMA
    assert abs(float(added.square().mean()) - variance) <= 5 * variance * math.sqrt(2 / n)
    assert abs(float(added.mean())) <= 5 * math.sqrt(variance / n)


def test_the_gradient_is_taken_at_the_noisy_weights_and_applied_to_the_clean_ones() -> None:
    """Of |w|^2 / 2 the gradient is w itself, so an update at rate lr gives w - lr (w + noise)."""
    parameters = weights()
    clean = parameters["w"].detach().clone()
    optimizer = torch.optim.SGD(parameters.values(), lr=0.1)
    with NoisyWeights(parameters.items(), annealed(eta=ETA, gamma=GAMMA), seed=1).at(3):
        (parameters["w"].square().sum() / 2).backward()
    optimizer.step()
    noise = math.sqrt(ETA / 4**GAMMA) * normal(1, "weight_noise", 3, "w", (4,))
    torch.testing.assert_close(
        parameters["w"].detach(), clean - 0.1 * (clean + noise), rtol=1e-6, atol=1e-7
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_weights_are_restored_to_the_bit(dtype: torch.dtype) -> None:
    """Subtracting the noise would not suffice: large noise rounds off the last digits of small
    weights.
    """
    weight = torch.nn.Parameter(normal(0, "init", 0, "w", (1_000,)).mul(1e-6).to(dtype))
    clean = weight.detach().clone()
    noisy = NoisyWeights([("w", weight)], annealed(eta=100.0, gamma=0.0), seed=1)
    with noisy.at(0):
        assert not torch.equal(weight, clean)
    assert torch.equal(weight, clean)
    with pytest.raises(RuntimeError, match="in the middle"), noisy.at(1):
        raise RuntimeError("in the middle")
    assert torch.equal(weight, clean)


def test_the_noise_depends_on_seed_update_and_name_alone() -> None:
    def added(seed: int, t: int, *names: str) -> torch.Tensor:
        parameters = weights(4, *names)
        clean = parameters["w"].detach().clone()
        with NoisyWeights(parameters.items(), annealed(eta=ETA, gamma=0.0), seed=seed).at(t):
            return parameters["w"].detach() - clean

    assert torch.equal(added(1, 5, "w"), added(1, 5, "v", "w"))
    assert not torch.equal(added(1, 5, "w"), added(2, 5, "w"))
    assert not torch.equal(added(1, 5, "w"), added(1, 6, "w"))


def test_it_is_independent_of_the_gradient_noise() -> None:
    """The correlation of n independent draws lies within 5 / sqrt(n)."""
    n = 10_000
    parameters = weights(n)
    clean = parameters["w"].detach().clone()
    with NoisyWeights(parameters.items(), annealed(eta=1.0, gamma=0.0), seed=1).at(0):
        added = parameters["w"].detach() - clean
    assert abs(float((added * normal(1, "noise", 0, "w", (n,))).mean())) <= 5 / math.sqrt(n)


def test_a_backward_after_the_weights_are_restored_is_refused_by_torch() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 1))
    with NoisyWeights(model.named_parameters(), annealed(eta=ETA, gamma=GAMMA), seed=1).at(0):
        loss = model(torch.ones(2, 3)).sum()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_the_terms_of_an_update_add_up() -> None:
    """Two draws of standard deviation 0.3 and -0.1, rounded to float64 after each sum."""
    process = NoiseProcess(terms=lambda t: ((t, 0.3), (t - 1, -0.1)))
    parameters = weights()
    clean = parameters["w"].detach().clone()
    with NoisyWeights(parameters.items(), process, seed=1).at(4):
        added = parameters["w"].detach() - clean
    expected = 0.3 * normal(1, "weight_noise", 4, "w", (4,)).double()
    expected -= 0.1 * normal(1, "weight_noise", 3, "w", (4,)).double()
    torch.testing.assert_close(added, expected, rtol=1e-6, atol=1e-7)
