"""Dropout layers: the modules at which a model lets a trainer drop activations."""

from collections.abc import Callable
from contextlib import ExitStack

import torch

from gradnoise.techniques.masks import DropoutMasks


class Dropout(torch.nn.Module):
    """A layer that multiplies activations by `mask` in training mode, and passes them on unchanged
    in evaluation mode or without a mask.

    The layer never draws: the trainer sets a mask of the activations' shape before each update. A
    layer that one forward passes twice uses the same mask twice.

    Args:
        rate: Share of the activations that this layer drops in every arm; in [0, 1). At 0 the layer
            drops activations only where the technique `dropout` does. The trainers replace each
            `torch.nn.Dropout` of a model by such a layer of the same rate.

    Raises:
        ValueError: If the rate is out of range.

    >>> layer = Dropout()
    >>> layer(torch.ones(2))
    tensor([1., 1.])
    >>> layer.mask = torch.tensor([0.0, 2.0])
    >>> layer(torch.ones(2)), layer.eval()(torch.ones(2))
    (tensor([0., 2.]), tensor([1., 1.]))
    """

    mask: torch.Tensor | None

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = DropoutMasks(rate=rate).rate
        self.register_buffer("mask", None, persistent=False)

    def forward(self, activations: torch.Tensor) -> torch.Tensor:
        # `self.mask` goes through Module.__getattr__, which costs as much as the rest of the call
        mask = self._buffers["mask"]
        return activations if mask is None or not self.training else activations * mask


def dropout_layers(model: torch.nn.Module) -> dict[str, Dropout]:
    """Return the Dropout layers of a model by the module's name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Dropout)}


def adopt(model: torch.nn.Module) -> torch.nn.Module:
    """Return the model with each `torch.nn.Dropout`, which draws from the global generator,
    replaced by a Dropout layer of the same rate.
    """
    if type(model) is torch.nn.Dropout:
        return Dropout(model.p)
    for name, module in model.named_children():
        setattr(model, name, adopt(module))
    return model


def dropped(
    model: torch.nn.Module, masks: DropoutMasks | None, forward: Callable[[], object]
) -> dict[str, tuple[float, torch.Size]]:
    """Return the rate and the activations' shape at each layer that drops activations.

    Args:
        model: The model.
        masks: What the trial's techniques contribute to activations; None: nothing.
        forward: Runs the model once.

    Raises:
        ValueError: If there are masks and the forward passes no layer of rate 0, or a layer sees
            several shapes.
    """
    layers = dropout_layers(model)
    free = [name for name, layer in layers.items() if layer.rate == 0]
    rates = {name: layer.rate for name, layer in layers.items() if layer.rate > 0}
    if masks is not None:
        if not free and rates:
            raise ValueError(
                "dropout needs a Dropout layer of rate 0 in the model, but each layer has a fixed "
                "rate: leave 'dropout' out of the arm's techniques, or set the option that fixes "
                "the rate to 0."
            )
        if not free:
            raise ValueError(
                "dropout needs a Dropout layer in the model, but it has none: put "
                "gradnoise.workloads.Dropout() where activations may be dropped, "
                "or leave 'dropout' out of the workload's techniques."
            )
        rates |= dict.fromkeys(free, masks.rate)
    shapes = activation_shapes(model, forward) if rates else {}
    if masks is not None and not shapes.keys() & set(free):
        raise ValueError(
            "dropout would have no effect: the loss passes none of the model's Dropout layers of "
            "rate 0."
        )
    return {name: (rates[name], shape) for name, shape in shapes.items() if name in rates}


def activation_shapes(
    model: torch.nn.Module, forward: Callable[[], object]
) -> dict[str, torch.Size]:
    """Return the shape of the activations at each Dropout layer that a forward of the model passes;
    it runs in evaluation mode, without gradients.

    Raises:
        ValueError: If a layer sees several shapes.
    """
    shapes: dict[str, torch.Size] = {}

    def record(name: str, shape: torch.Size) -> None:
        if shapes.setdefault(name, shape) != shape:
            raise ValueError(
                f"each Dropout layer must see one shape, but {name} sees {tuple(shapes[name])} "
                f"and {tuple(shape)}."
            )

    was_training = model.training
    with ExitStack() as hooks, torch.no_grad():
        for name, layer in dropout_layers(model).items():
            hooks.enter_context(
                layer.register_forward_pre_hook(
                    lambda _layer, inputs, name=name: record(name, inputs[0].shape)
                )
            )
        model.eval()
        forward()
        model.train(was_training)
    return shapes
