import pytest
import torch
from torch.nn import functional

from gradnoise.workloads import cross_entropy
from gradnoise.workloads.losses import check_is_used, replaced_by

LOGITS = torch.tensor([[1.0, 2.0, 4.0], [0.0, 0.5, -1.0]])
TARGETS = torch.tensor([2, 0])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_it_is_torchs_cross_entropy_to_the_bit(reduction: str) -> None:
    found = cross_entropy(LOGITS, TARGETS, reduction)  # type: ignore[arg-type]
    assert torch.equal(found, functional.cross_entropy(LOGITS, TARGETS, reduction=reduction))


@pytest.mark.parametrize(("reduction", "expected"), [("mean", 5.0), ("sum", 10.0)])
def test_a_replacement_counts_within_the_context_alone(reduction: str, expected: float) -> None:
    with replaced_by(lambda logits, _targets: logits.new_tensor([3.0, 7.0])):
        assert float(cross_entropy(LOGITS, TARGETS, reduction)) == expected  # type: ignore[arg-type]
        with replaced_by(None):
            inner = cross_entropy(LOGITS, TARGETS)
    assert torch.equal(inner, cross_entropy(LOGITS, TARGETS))
    assert torch.equal(inner, functional.cross_entropy(LOGITS, TARGETS))


def test_a_loss_that_does_not_call_it_is_refused() -> None:
    check_is_used(lambda: cross_entropy(LOGITS, TARGETS))
    with pytest.raises(ValueError, match=r"loss does not call gradnoise\.workloads\.cross_entropy"):
        check_is_used(lambda: functional.cross_entropy(LOGITS, TARGETS))
