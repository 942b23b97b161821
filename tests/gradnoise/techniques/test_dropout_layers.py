import pytest
import torch

from gradnoise.techniques.dropout_layers import (
    Dropout,
    activation_shapes,
    adopt,
    dropout_layers,
    dropped,
)
from gradnoise.techniques.masks import DropoutMasks


def test_a_layer_multiplies_in_training_alone_and_is_no_part_of_a_checkpoint() -> None:
    layer = Dropout()
    activations = torch.arange(4.0)
    assert layer(activations) is activations
    layer.mask = torch.tensor([2.0, 0.0, 2.0, 0.0])
    assert layer(activations).tolist() == [0.0, 0.0, 4.0, 0.0]
    assert layer.eval()(activations) is activations
    assert not layer.state_dict()


class Model(torch.nn.Module):
    """Passes one of two layers; `twice` passes it again with half of the activations."""

    def __init__(self, twice: bool = False) -> None:
        super().__init__()
        self.twice = twice
        self.inner = torch.nn.Sequential(torch.nn.Linear(3, 5), Dropout())
        self.unused = Dropout()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.inner(inputs)
        return self.inner[1](hidden[:, :2]) if self.twice else hidden


def test_layers_are_found_by_the_modules_name_and_their_shapes_by_a_forward() -> None:
    model = Model()
    assert list(dropout_layers(model)) == ["inner.1", "unused"]
    assert activation_shapes(model, lambda: model(torch.ones(7, 3))) == {"inner.1": (7, 5)}
    assert model.training
    model(torch.ones(2, 3))  # a hook that was left behind would refuse a second shape


def test_the_rate_is_the_layers_or_the_techniques() -> None:
    """A `torch.nn.Dropout` becomes a layer with a rate of its own, which no technique changes."""
    model = adopt(
        torch.nn.Sequential(
            torch.nn.Linear(3, 5), torch.nn.Dropout(0.25), torch.nn.Sequential(Dropout())
        )
    )

    def forward() -> object:
        return model(torch.ones(7, 3))

    assert isinstance(model[1], Dropout)
    assert dropped(model, None, forward) == {"1": (0.25, (7, 5))}
    masks = DropoutMasks(rate=0.5)
    assert dropped(model, masks, forward) == {"1": (0.25, (7, 5)), "2.0": (0.5, (7, 5))}
    assert isinstance(adopt(torch.nn.Dropout(0.5)), Dropout)
    with pytest.raises(ValueError, match=r"rate must be in \[0, 1\), but got rate=1"):
        Dropout(1.0)


def test_a_model_without_an_effective_layer_is_refused_with_a_hint() -> None:
    masks = DropoutMasks(rate=0.5)
    with pytest.raises(
        ValueError,
        match=(
            r"dropout needs a Dropout layer in the model, but it has none: put "
            r"gradnoise\.workloads\.Dropout\(\) where"
        ),
    ):
        dropped(torch.nn.Linear(2, 2), masks, lambda: None)
    with pytest.raises(ValueError, match="each layer has a fixed rate"):
        dropped(Dropout(0.5), masks, lambda: None)
    with pytest.raises(ValueError, match="the loss passes none of the model's Dropout layers"):
        dropped(Model(), masks, lambda: None)
    with pytest.raises(
        ValueError, match=r"must see one shape, but inner\.1 sees \(7, 5\) and \(7, 2\)"
    ):
        activation_shapes(model := Model(twice=True), lambda: model(torch.ones(7, 3)))
