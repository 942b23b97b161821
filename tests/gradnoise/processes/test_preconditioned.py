import math

import numpy as np
import pytest
import torch

from gradnoise import attach
from gradnoise._processes.preconditioned import RootMeanSquare, preconditioned
from gradnoise._streams import normal

ETA, GAMMA, DECAY, DAMPING = 0.3, 0.55, 0.9, 0.01


def test_the_noise_follows_its_formula() -> None:
    """At learning rate 1 the step is the noisy gradient. The state is float32, so each coordinate
    has a relative error of a few 2^-24.
    """
    sizes = torch.tensor([0.0, 1e-3, 1.0, 30.0])
    weight = torch.nn.Parameter(torch.zeros(4))
    optimizer = torch.optim.SGD([("w", weight)], lr=1.0)
    process = preconditioned(eta=ETA, gamma=GAMMA, decay=DECAY, damping=DAMPING)
    attach(optimizer, process, seed=5)
    mean_square = np.zeros(4)
    for t in range(10):
        gradient = sizes * normal(9, "gradient", t, "w", (4,))
        weight.data.zero_()
        weight.grad = gradient.clone()
        optimizer.step()
        g = gradient.double().numpy()
        mean_square = DECAY * mean_square + (1 - DECAY) * g**2
        scale = 1 / (DAMPING + np.sqrt(mean_square))
        sigma = math.sqrt(ETA / (1 + t) ** GAMMA)
        expected = g + sigma * np.sqrt(scale) * normal(5, "noise", t, "w", (4,)).double().numpy()
        np.testing.assert_allclose(
            -weight.detach().double().numpy(), expected, rtol=1e-5, atol=1e-6
        )


def test_a_coordinate_with_gradient_zero_gets_the_largest_noise() -> None:
    preconditioner = RootMeanSquare(decay=DECAY, damping=DAMPING)
    state = torch.zeros(3)
    preconditioner.update_(state, torch.tensor([0.0, 0.1, 10.0]))
    scale = preconditioner.scale(state)
    assert float(scale[0]) == pytest.approx(1 / math.sqrt(DAMPING))
    assert scale.tolist() == sorted(scale.tolist(), reverse=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_state_stays_float32_whatever_the_gradients_type(dtype: torch.dtype) -> None:
    preconditioner = RootMeanSquare(decay=0.5, damping=DAMPING)
    state = torch.zeros(2)
    preconditioner.update_(state, torch.tensor([0.5, 2.0], dtype=dtype))
    assert state.tolist() == [0.125, 2.0]
    assert preconditioner.scale(state).dtype == torch.float32
    assert state.tolist() == [0.125, 2.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decay": 1.0}, r"decay must be in \[0, 1\), but got decay=1.0"),
        ({"decay": float("nan")}, "decay must be in"),
        ({"damping": 0.0}, "damping must be above 0 and finite, but got damping=0.0"),
        ({"damping": float("inf")}, "damping must be above 0"),
        ({"eta": -1.0}, "eta must be at least 0"),
    ],
)
def test_values_out_of_range_raise_an_error(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        preconditioned(**{"eta": ETA, "gamma": GAMMA} | changes)
