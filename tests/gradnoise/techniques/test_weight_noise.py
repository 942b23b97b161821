import math

import pytest
import torch

from gradnoise._streams import normal
from gradnoise.techniques.weight_noise import NoisyWeights, weight_noise

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
    own = weights(n)
    clean = own["w"].detach().clone()
    with NoisyWeights(own.items(), weight_noise(eta=ETA, gamma=GAMMA), seed=1).at(t):
        added = own["w"].detach() - clean
    variance = ETA / (1 + t) ** GAMMA
    assert abs(float(added.square().mean()) - variance) <= 5 * variance * math.sqrt(2 / n)
    assert abs(float(added.mean())) <= 5 * math.sqrt(variance / n)


def test_the_gradient_is_taken_at_the_noisy_weights_and_applied_to_the_clean_ones() -> None:
    """Of |w|^2 / 2 the gradient is w itself, so an update at rate lr gives w - lr (w + noise)."""
    own = weights()
    clean = own["w"].detach().clone()
    optimizer = torch.optim.SGD(own.values(), lr=0.1)
    with NoisyWeights(own.items(), weight_noise(eta=ETA, gamma=GAMMA), seed=1).at(3):
        (own["w"].square().sum() / 2).backward()
    optimizer.step()
    noise = math.sqrt(ETA / 4**GAMMA) * normal(1, "weight_noise", 3, "w", (4,))
    torch.testing.assert_close(
        own["w"].detach(), clean - 0.1 * (clean + noise), rtol=1e-6, atol=1e-7
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_weights_come_back_to_the_bit(dtype: torch.dtype) -> None:
    """Subtracting the noise would not do: added to small weights, large noise drops their last
    digits.
    """
    weight = torch.nn.Parameter(normal(0, "init", 0, "w", (1_000,)).mul(1e-6).to(dtype))
    clean = weight.detach().clone()
    noisy = NoisyWeights([("w", weight)], weight_noise(eta=100.0, gamma=0.0), seed=1)
    with noisy.at(0):
        assert not torch.equal(weight, clean)
    assert torch.equal(weight, clean)
    with pytest.raises(RuntimeError, match="in the middle"), noisy.at(1):
        raise RuntimeError("in the middle")
    assert torch.equal(weight, clean)


def test_the_noise_depends_on_seed_update_and_name_alone() -> None:
    def added(seed: int, t: int, *names: str) -> torch.Tensor:
        own = weights(4, *names)
        clean = own["w"].detach().clone()
        with NoisyWeights(own.items(), weight_noise(eta=ETA, gamma=0.0), seed=seed).at(t):
            return own["w"].detach() - clean

    assert torch.equal(added(1, 5, "w"), added(1, 5, "v", "w"))
    assert not torch.equal(added(1, 5, "w"), added(2, 5, "w"))
    assert not torch.equal(added(1, 5, "w"), added(1, 6, "w"))


def test_it_is_never_the_gradient_noise() -> None:
    """Correlated draws of n numbers would show: uncorrelated ones have a correlation within 5 /
    sqrt(n).
    """
    n = 10_000
    own = weights(n)
    clean = own["w"].detach().clone()
    with NoisyWeights(own.items(), weight_noise(eta=1.0, gamma=0.0), seed=1).at(0):
        added = own["w"].detach() - clean
    assert abs(float((added * normal(1, "noise", 0, "w", (n,))).mean())) <= 5 / math.sqrt(n)


def test_a_backward_after_the_weights_are_back_is_refused_by_torch() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 1))
    with NoisyWeights(model.named_parameters(), weight_noise(eta=ETA, gamma=GAMMA), seed=1).at(0):
        loss = model(torch.ones(2, 3)).sum()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
