import math

import pytest
import torch

from gradnoise._streams import normal
from gradnoise.techniques.dropout import (
    Dropout,
    DropoutMasks,
    activation_shapes,
    adopt,
    dropout,
    dropped,
    places,
)

N = 100_000


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9])
def test_the_kept_share_and_the_mean_are_those_of_inverted_dropout(rate: float) -> None:
    """Of n draws the share kept has the standard error sqrt(rate (1 - rate) / n); the mean is the
    share / (1 - rate).
    """
    mask = dropout(rate=rate).draw(1, 0, "place", torch.ones(N, dtype=torch.float64))
    kept = float((mask > 0).double().mean())
    assert abs(kept - (1 - rate)) <= 5 * math.sqrt(rate * (1 - rate) / N)
    assert abs(float(mask.mean()) - 1) <= 5 * math.sqrt(rate / (1 - rate) / N)
    assert mask.unique().tolist() == [0.0, 1 / (1 - rate)]


def test_a_rate_of_zero_keeps_everything() -> None:
    assert dropout(rate=0.0).draw(1, 0, "place", torch.ones(N)).eq(1).all()


def test_an_element_is_kept_where_its_normal_exceeds_the_rates_quantile() -> None:
    """Phi(-0.6744897501960817) = 0.25."""
    mask = dropout(rate=0.25).draw(3, 4, "place", torch.ones(5, 7))
    assert torch.equal(mask > 0, normal(3, "dropout", 4, "place", (5, 7)) > -0.6744897501960817)


def test_a_mask_depends_on_seed_update_and_place_alone() -> None:
    masks = dropout(rate=0.5)
    activations = torch.ones(8, 50)
    torch.manual_seed(1)
    one = masks.draw(1, 2, "a", activations)
    torch.manual_seed(2)
    assert torch.equal(one, masks.draw(1, 2, "a", -activations))
    for other in (
        masks.draw(2, 2, "a", activations),
        masks.draw(1, 3, "a", activations),
        masks.draw(1, 2, "b", activations),
    ):
        # two independent masks of 400 agree in half the places, within five standard errors of
        # sqrt(1/4/400)
        assert abs(float((one == other).double().mean()) - 0.5) <= 5 * math.sqrt(0.25 / 400)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_mask_has_the_type_of_the_activations(dtype: torch.dtype) -> None:
    assert dropout(rate=0.5).draw(1, 0, "a", torch.ones(3, dtype=dtype)).dtype == dtype


def test_a_place_multiplies_in_training_alone_and_is_no_part_of_a_checkpoint() -> None:
    place = Dropout()
    activations = torch.arange(4.0)
    assert place(activations) is activations
    place.mask = torch.tensor([2.0, 0.0, 2.0, 0.0])
    assert place(activations).tolist() == [0.0, 0.0, 4.0, 0.0]
    assert place.eval()(activations) is activations
    assert not place.state_dict()


@pytest.mark.parametrize("rate", [1.0, -0.1, math.nan])
def test_a_rate_out_of_range_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match=r"rate must be in \[0, 1\), but got rate="):
        DropoutMasks(rate=rate)


class Model(torch.nn.Module):
    """Passes one place of two; `twice` passes it again with half of the activations."""

    def __init__(self, twice: bool = False) -> None:
        super().__init__()
        self.twice = twice
        self.inner = torch.nn.Sequential(torch.nn.Linear(3, 5), Dropout())
        self.unused = Dropout()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.inner(inputs)
        return self.inner[1](hidden[:, :2]) if self.twice else hidden


def test_places_are_found_by_the_modules_name_and_their_shapes_by_a_forward() -> None:
    model = Model()
    assert list(places(model)) == ["inner.1", "unused"]
    assert activation_shapes(model, lambda: model(torch.ones(7, 3))) == {"inner.1": (7, 5)}
    assert model.training
    assert not model.inner[1]._forward_pre_hooks


def test_what_is_dropped_is_the_techniques_or_the_places_own() -> None:
    """A `torch.nn.Dropout` becomes a place with a rate of its own, under every technique."""
    model = adopt(
        torch.nn.Sequential(
            torch.nn.Linear(3, 5), torch.nn.Dropout(0.25), torch.nn.Sequential(Dropout())
        )
    )

    def forward() -> object:
        return model(torch.ones(7, 3))

    assert isinstance(model[1], Dropout)
    assert dropped(model, None, forward) == {"1": (0.25, (7, 5))}
    assert dropped(model, dropout(rate=0.5), forward) == {"1": (0.25, (7, 5)), "2.0": (0.5, (7, 5))}
    assert isinstance(adopt(torch.nn.Dropout(0.5)), Dropout)
    with pytest.raises(ValueError, match=r"rate must be in \[0, 1\), but got rate=1"):
        Dropout(1.0)


def test_a_model_that_dropout_cannot_reach_is_refused_with_what_to_do() -> None:
    with pytest.raises(
        ValueError,
        match=(
            r"dropout needs a place in the model, but it has none: put "
            r"gradnoise\.workloads\.Dropout\(\) where"
        ),
    ):
        dropped(torch.nn.Linear(2, 2), dropout(rate=0.5), lambda: None)
    with pytest.raises(ValueError, match="the loss passes none of the places"):
        dropped(Model(), dropout(rate=0.5), lambda: None)
    with pytest.raises(
        ValueError, match=r"must see one shape, but inner\.1 sees \(7, 5\) and \(7, 2\)"
    ):
        activation_shapes(model := Model(twice=True), lambda: model(torch.ones(7, 3)))
