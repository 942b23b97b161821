"""Response surfaces: features of settings, and surfaces that the trials determine."""

import numpy as np
import pytest

from gradnoise_service.compare.response_surface import Coding, surfaces
from gradnoise_service.domain.space import Choices, Range

SPACE = {
    "lr": Range(low=0.01, high=1.0, log=True),
    "depth": Range(low=1, high=5, integer=True),
    "init": Choices(choices=["he", "simple", "zero"]),
}


def test_settings_are_coded_on_their_sampling_scale() -> None:
    settings = [
        {"lr": 0.1, "depth": 1, "init": "he"},
        {"lr": 1.0, "depth": 4, "init": "zero"},
    ]
    assert Coding(SPACE).of(settings) == pytest.approx(
        np.array(
            [
                [0.0, -1.0, 0.0, 0.0, 1.0, 0.0, 0.0],
                [1.0, 0.5, 1.0, 0.5, 0.25, 0.0, 1.0],
            ]
        )
    )
    assert Coding(SPACE).n_features == 7


def test_drawn_settings_are_uniform_on_their_sampling_scale() -> None:
    """Each within five standard errors; a stepped range has its points only."""
    n = 10_000
    drawn = Coding(SPACE).drawn(np.random.default_rng(1), n)
    assert drawn[:, 0].mean() == pytest.approx(0, abs=5 * np.sqrt(1 / 3 / n))
    assert drawn[:, 2].mean() == pytest.approx(1 / 3, abs=5 * np.sqrt(4 / 45 / n))
    assert set(drawn[:, 1]) == {-1.0, -0.5, 0.0, 0.5, 1.0}
    assert drawn[:, 5:].mean(axis=0) == pytest.approx([1 / 3, 1 / 3], abs=5 * np.sqrt(2 / 9 / n))


def test_values_without_noise_determine_a_quadratic_surface() -> None:
    """The prior shrinks a coefficient by about the noise over the values, squared: 1e-6."""
    rng = np.random.default_rng(2)
    coding = Coding(SPACE)
    coefficients = np.array([0.3, -0.2, -0.5, 0.1, -0.4, 0.2, -0.1])
    tried, others = coding.drawn(rng, 60), coding.drawn(rng, 200)
    found = surfaces(rng, tried, 0.7 + tried @ coefficients, seed_sd=0.0, n=20)
    expected = np.tile(0.7 + others @ coefficients, (20, 1))
    assert found.values(others) == pytest.approx(expected, abs=0.01)


def test_a_parameter_that_was_not_varied_stays_uncertain() -> None:
    """The trials determine the surface where they lie, and nothing about the other choice."""
    rng = np.random.default_rng(3)
    coding = Coding({"lr": Range(low=0.0, high=1.0), "init": Choices(choices=["a", "b"])})
    tried = coding.of([{"lr": i / 30, "init": "a"} for i in range(31)])
    found = surfaces(rng, tried, tried[:, 0] + rng.normal(0, 0.01, 31), seed_sd=0.01, n=200)
    same, other = (
        found.values(coding.of([{"lr": 0.5, "init": init}]))[:, 0].std() for init in ("a", "b")
    )
    assert same < 0.01
    assert other > 0.1


def test_surfaces_vary_with_the_noise_as_the_least_squares_line_does() -> None:
    """With many trials the slope's standard deviation is sigma / sqrt(sum of squares).

    200 draws give it within five relative standard errors, sqrt(1 / 400).
    """
    rng = np.random.default_rng(4)
    x = np.linspace(-1, 1, 101)[:, None]
    found = surfaces(rng, x, x[:, 0] + rng.normal(0, 0.1, 101), seed_sd=0.1, n=200)
    slopes = found.coefficients[:, 0]
    expected = 0.1 / np.sqrt((x**2).sum())
    assert slopes.std() == pytest.approx(expected, rel=5 / 20)
    assert slopes.mean() == pytest.approx(1, abs=5 * expected)


@pytest.mark.parametrize("scale", [1e-200, 1e90])
def test_surfaces_have_the_scale_of_their_values(scale: float) -> None:
    rng = np.random.default_rng(5)
    x = np.linspace(-1, 1, 31)[:, None]
    y = x[:, 0] + rng.normal(0, 0.1, 31)
    one, scaled = (
        surfaces(np.random.default_rng(6), x, factor * y, seed_sd=factor * 0.1, n=5)
        for factor in (1.0, scale)
    )
    assert scaled.coefficients / scale == pytest.approx(one.coefficients)


def test_trials_of_a_single_setting_leave_the_surface_to_its_prior() -> None:
    x = np.zeros((12, 2))
    found = surfaces(
        np.random.default_rng(7), x, np.arange(12) / 12, seed_sd=0.1, n=200
    ).coefficients
    assert np.all(np.isfinite(found))
    assert found.std() > 0.01
