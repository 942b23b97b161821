import math

import pytest
import torch

from gradnoise.techniques.masks import DropoutMasks
from gradnoise.workloads import normal

N = 100_000


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9])
def test_the_kept_share_and_the_mean_are_those_of_inverted_dropout(rate: float) -> None:
    """Of n draws the share kept has the standard error sqrt(rate (1 - rate) / n); the mean is the
    share / (1 - rate).
    """
    mask = DropoutMasks(rate=rate).draw(1, 0, "layer", torch.ones(N, dtype=torch.float64))
    kept = float((mask > 0).double().mean())
    assert abs(kept - (1 - rate)) <= 5 * math.sqrt(rate * (1 - rate) / N)
    assert abs(float(mask.mean()) - 1) <= 5 * math.sqrt(rate / (1 - rate) / N)
    assert mask.unique().tolist() == [0.0, 1 / (1 - rate)]


def test_a_rate_of_zero_keeps_everything() -> None:
    assert DropoutMasks(rate=0.0).draw(1, 0, "layer", torch.ones(N)).eq(1).all()


def test_an_element_is_kept_where_its_normal_exceeds_the_rates_quantile() -> None:
    """Phi(-0.6744897501960817) = 0.25."""
    mask = DropoutMasks(rate=0.25).draw(3, 4, "layer", torch.ones(5, 7))
    assert torch.equal(mask > 0, normal(3, "dropout", 4, "layer", (5, 7)) > -0.6744897501960817)


def test_a_mask_depends_on_seed_update_and_layer_alone() -> None:
    masks = DropoutMasks(rate=0.5)
    activations = torch.ones(8, 50)
    torch.manual_seed(1)
    mask = masks.draw(1, 2, "a", activations)
    torch.manual_seed(2)
    assert torch.equal(mask, masks.draw(1, 2, "a", -activations))
    for other in (
        masks.draw(2, 2, "a", activations),
        masks.draw(1, 3, "a", activations),
        masks.draw(1, 2, "b", activations),
    ):
        # two independent masks of 400 agree in half of the elements, within five standard errors of
        # sqrt(1/4/400)
        assert abs(float((mask == other).double().mean()) - 0.5) <= 5 * math.sqrt(0.25 / 400)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_mask_has_the_type_of_the_activations(dtype: torch.dtype) -> None:
    assert DropoutMasks(rate=0.5).draw(1, 0, "a", torch.ones(3, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("rate", [1.0, -0.1, math.nan])
def test_a_rate_out_of_range_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match=r"rate must be in \[0, 1\), but got rate="):
        DropoutMasks(rate=rate)
