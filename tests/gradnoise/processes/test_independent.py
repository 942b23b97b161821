import pytest

from gradnoise._processes.independent import annealed, constant


@pytest.mark.parametrize(("eta", "gamma"), [(0.01, 0.55), (1.0, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize("t", [0, 1, 99, 10_000])
def test_annealed_noise_has_a_single_term_with_the_variance_of_the_formula(
    eta: float, gamma: float, t: int
) -> None:
    process = annealed(eta=eta, gamma=gamma)
    [(t_of_draws, std)] = process.terms(t)
    assert t_of_draws == t
    assert std**2 == pytest.approx(eta / (1 + t) ** gamma, rel=1e-12)
    assert process.std(t) == std
    assert process.preconditioner is None


def test_constant_noise_has_a_new_draw_of_the_same_std_at_every_update() -> None:
    process = constant(std=0.2)
    terms = [list(process.terms(t)) for t in (0, 1, 1_000)]
    assert terms == [[(0, 0.2)], [(1, 0.2)], [(1_000, 0.2)]]
    assert process.preconditioner is None
