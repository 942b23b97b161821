import pytest

from gradnoise.techniques.annealed import annealed


@pytest.mark.parametrize(("eta", "gamma"), [(0.01, 0.55), (1.0, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize("t", [0, 1, 99, 10_000])
def test_the_noise_of_an_update_is_one_draw_whose_variance_is_the_formulas(
    eta: float, gamma: float, t: int
) -> None:
    injection = annealed(eta=eta, gamma=gamma)
    [(drawn, std)] = injection.terms(t)
    assert drawn == t
    assert std**2 == pytest.approx(eta / (1 + t) ** gamma, rel=1e-12)
    assert injection.preconditioner is None
