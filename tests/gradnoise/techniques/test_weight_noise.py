import pytest

from gradnoise.techniques.weight_noise import weight_noise


@pytest.mark.parametrize("t", [0, 99, 10_000])
def test_weight_noise_contributes_annealed_noise_to_weights_alone(t: int) -> None:
    contribution = weight_noise(eta=0.3, gamma=0.55)
    assert contribution.places == ("weights",)
    assert contribution.weights is not None
    [(drawn, std)] = contribution.weights.terms(t)
    assert drawn == t
    assert std**2 == pytest.approx(0.3 / (1 + t) ** 0.55, rel=1e-12)
