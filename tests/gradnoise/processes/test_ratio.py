import math

import pytest

from gradnoise import NoiseProcess, annealed, preconditioned
from gradnoise._processes import noise_to_gradient


def test_the_ratio_of_noise_to_gradient_is_that_of_the_expected_norms() -> None:
    """sigma_3 sqrt(n) / ||g|| with sigma_3^2 = 0.3 / 4^0.5."""
    found = noise_to_gradient(annealed(0.3, 0.5), t=3, n_weights=50, gradient_norm=2.0)
    assert found == {"noise_to_gradient": pytest.approx(math.sqrt(0.3 / 2 * 50) / 2, rel=1e-12)}


@pytest.mark.parametrize(
    ("process", "norm"),
    [
        (None, 1.0),
        (preconditioned(0.3, 0.5), 1.0),
        (annealed(0.3, 0.5), 0.0),
        (annealed(0.3, 0.5), math.inf),
        (annealed(0.3, 0.5), math.nan),
    ],
)
def test_there_is_no_ratio_without_both_norms(process: NoiseProcess | None, norm: float) -> None:
    assert noise_to_gradient(process, t=0, n_weights=50, gradient_norm=norm) == {}
