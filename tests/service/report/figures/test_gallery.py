"""Figures are drawn as elements of the page, SVG or PNG, with a text alternative."""

import dataclasses
import struct
from collections.abc import Callable
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy.stats import kruskal  # type: ignore[import-untyped]

from gradnoise_service.compare.assembly import compare
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.study import EpochMean, Metric, Trial
from gradnoise_service.report.figures import FIGURES, pictures, png, svg

MakeTrials = Callable[..., tuple[Design, list[Trial]]]
N_SEARCH = 24
VALUES = {"baseline": [0.1, 0.2, 0.15], "noisy": [0.8, "failed", 0.9]}
EPOCHS = [
    EpochMean(arm=arm, epoch=epoch, n=3, value=0.04 * epoch, noise_to_gradient=ratio)
    for arm, ratio in (("baseline", None), ("noisy", 0.5))
    for epoch in range(1, 21)
]


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_drawn_as_png(make_trials: MakeTrials, accuracy: Metric, name: str) -> None:
    design, trials = make_trials(VALUES, n_search=N_SEARCH)
    image = png(
        name, compare(design, accuracy, trials, protocol={}, epochs=EPOCHS), dots_per_inch=144
    )
    assert image.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", image[16:24])
    assert width == 860
    assert height > 200


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_drawn_as_svg_with_a_description(
    make_trials: MakeTrials, accuracy: Metric, name: str
) -> None:
    design, trials = make_trials(VALUES, n_search=N_SEARCH)
    image = svg(name, compare(design, accuracy, trials, protocol={}, epochs=EPOCHS)).decode()
    root = ElementTree.fromstring(image)
    assert root.tag.endswith("svg")
    description = next(root.iter("{http://purl.org/dc/elements/1.1/}description"))
    assert len(description.text or "") > 40
    assert "var(--" not in image
    assert (
        image == svg(name, compare(design, accuracy, trials, protocol={}, epochs=EPOCHS)).decode()
    )


def test_an_unknown_or_empty_figure_is_rejected(make_trials: MakeTrials, accuracy: Metric) -> None:
    design, trials = make_trials(VALUES)
    with pytest.raises(
        ValueError,
        match=r"name must be one of confirm, difference, best_so_far, .* but got name='scatter'",
    ):
        png("scatter", compare(design, accuracy, trials, protocol={}))
    with pytest.raises(ValueError, match="'confirm' has nothing to show"):
        png("confirm", compare(design, accuracy, [], protocol={}))


@pytest.mark.slow
def test_only_figures_with_data_are_drawn(make_trials: MakeTrials, accuracy: Metric) -> None:
    design, trials = make_trials(VALUES, n_search=N_SEARCH)
    search = [t for t in trials if t.phase == "search"]
    every_figure = list(FIGURES)
    assert (
        list(pictures(compare(design, accuracy, trials, protocol={}, epochs=EPOCHS)))
        == every_figure
    )
    quiet = [dataclasses.replace(mean, noise_to_gradient=None) for mean in EPOCHS]
    assert (
        list(pictures(compare(design, accuracy, trials, protocol={}, epochs=quiet)))
        == every_figure[:-1]
    )
    assert (
        list(pictures(compare(design, accuracy, trials, protocol={}, epochs=EPOCHS[:1])))
        == every_figure[:-2]
    )
    assert list(pictures(compare(design, accuracy, search, protocol={}))) == [
        "best_so_far",
        "tuning_curves",
        "learning_rate",
        "noise_map",
        "importance",
    ]
    assert pictures(compare(design, accuracy, [], protocol={})) == {}


def test_the_text_alternative_of_a_figure_has_its_numbers(
    make_trials: MakeTrials, accuracy: Metric
) -> None:
    design, trials = make_trials(VALUES)
    drawn = pictures(compare(design, accuracy, trials, protocol={}, epochs=EPOCHS))
    assert "At the end: baseline 0.8 after epoch 20, noisy 0.8 after epoch 20." in drawn["course"]
    assert "above 0 better: baseline +0.16, noisy +0.16." in drawn["course"]
    assert (
        "at the last update of each epoch: noisy from 0.5 to 0.5. Shaded: below 0.01 and above 10."
        in drawn["noise_course"]
    )
    assert (
        "Test accuracy of every arm on 3 confirm seeds. Means of all, a lost run as 0: baseline "
        "0.15, noisy 0.5667." in drawn["confirm"]
    )
    assert (
        "At the end: baseline 0.4 after 4 trials, noisy 0.4 after 4 trials." in drawn["best_so_far"]
    )
    assert (
        "with 95 % bands for all k and arms together. Estimates: baseline 0.2 with 1 trial and 0.4 "
        "with 4, noisy 0.2 with 1 trial and 0.4 with 4. Largest number of trials with a band that "
        "is bounded on the better side: baseline 0 trials, noisy 0 trials."
        in drawn["tuning_curves"]
    )
    assert "Chosen, ringed: baseline 0.04, noisy 0.04." in drawn["learning_rate"]
    assert "Chosen, ringed: eta 0.3, gamma 0.3." in drawn["noise_map"]


def test_the_text_alternative_of_the_importances_has_shares_and_trials(
    make_trials: MakeTrials, accuracy: Metric
) -> None:
    """The share is (H - 3) / 20 of the ranks 1 to 24 in quarters.

    The values of the 24 trials rise with the learning rate, in the noisy arm also with gamma.
    """
    design, trials = make_trials(VALUES, n_search=N_SEARCH)
    drawn = pictures(compare(design, accuracy, trials, protocol={}))["importance"]
    share = round(100 * (kruskal(*np.arange(24).reshape(4, 6)).statistic - 3) / 20)
    assert (
        f"beyond that: baseline lr {share} %, noisy lr {share} %, noisy gamma {share} %; trials: "
        "24 of baseline, 24 of noisy." in drawn
    )


@pytest.mark.slow
def test_of_thousands_of_pairs_an_even_choice_is_drawn(
    make_trials: MakeTrials, accuracy: Metric
) -> None:
    """Figure and page have a limited size."""
    n = 3_001
    values = {
        "baseline": [0.4 + 0.01 * (i % 9) for i in range(n)],
        "noisy": [0.6 + 0.01 * (i % 7) for i in range(n)],
    }
    design, trials = make_trials(values)
    comparison = compare(design, accuracy, trials, protocol={})
    drawn = pictures(comparison)["confirm"]
    assert "Confirm runs, 250 of 3,001 pairs, evenly chosen" in drawn
    assert "on 3,001 confirm seeds, of which 250, evenly spaced, are drawn. Means of all" in drawn
    assert len(drawn) < 200_000
    _, height = struct.unpack(">II", png("confirm", comparison, dots_per_inch=72)[16:24])
    assert height < 900
