"""Operations under vmap and autocast have the gradients of separate models."""

from collections.abc import Callable, Mapping

import pytest
import torch
from torch.func import grad_and_value, vmap
from torch.nn import functional

from gradnoise.training.decomposed import decomposed
from gradnoise.workloads import normal

N, BATCH, LENGTH, WIDTH = 3, 4, 6, 8
ROUNDING = 2**-8  # of bfloat16

Layer = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
LAYERS: Mapping[str, Layer] = {
    "attention": lambda x, scale: functional.scaled_dot_product_attention(
        x, x * scale, value=x, is_causal=True
    ),
    "attention with a mask": lambda x, scale: functional.scaled_dot_product_attention(
        x, x, x, attn_mask=scale[:LENGTH].expand(LENGTH, LENGTH)
    ),
    "linear on transposed inputs": lambda x, scale: functional.linear(
        x.transpose(0, 1), torch.outer(scale, scale), bias=scale
    ),
    "LayerNorm": lambda x, scale: functional.layer_norm(x, (WIDTH,), scale, scale),
    "BatchNorm": lambda x, scale: functional.batch_norm(
        x.mT, None, None, weight=scale, bias=scale, training=True
    ),
    "InstanceNorm": lambda x, scale: functional.instance_norm(x.mT, weight=scale, bias=scale),
}


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_under_autocast_are_those_of_separate_models(name: str) -> None:
    def loss(weights: torch.Tensor, scale: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result = LAYERS[name](functional.linear(x, weights), scale)
            assert result.dtype == torch.bfloat16
        return (result.float() * direction.view_as(result)).sum()

    direction = normal(1, "direction", 0, "", (BATCH, LENGTH, WIDTH))
    weights = normal(1, "weights", 0, "", (N, WIDTH, WIDTH))
    scale = normal(1, "scale", 0, "", (N, WIDTH))
    x = normal(1, "x", 0, "", (N, BATCH, LENGTH, WIDTH))
    with decomposed():
        gradients, losses = vmap(grad_and_value(loss, argnums=(0, 1)))(weights, scale, x)
    for k in range(N):
        leaves = weights[k].requires_grad_(), scale[k].requires_grad_()
        alone = loss(*leaves, x[k])
        for found, expected in zip(
            (losses[k], gradients[0][k], gradients[1][k]),
            (alone, *torch.autograd.grad(alone, leaves)),
            strict=True,
        ):
            # sums of a few dozen products, each rounded
            atol = 8 * ROUNDING * float(expected.detach().abs().max())
            torch.testing.assert_close(found, expected, rtol=0, atol=atol)


def test_torch_is_as_before_at_the_end_also_after_an_exception() -> None:
    def present() -> tuple[object, ...]:
        return (
            torch.backends.cuda.flash_sdp_enabled(),
            functional.scaled_dot_product_attention,
            torch.layer_norm,
        )

    def failing() -> None:
        with decomposed():
            assert all(now != then for now, then in zip(present(), before, strict=True))
            raise ZeroDivisionError

    before = present()
    with pytest.raises(ZeroDivisionError):
        failing()
    assert present() == before
