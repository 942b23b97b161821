from gradnoise.techniques.contribution import Contribution
from gradnoise.techniques.dropout import dropout
from gradnoise.techniques.masks import DropoutMasks


def test_dropout_contributes_masks_of_its_rate_to_activations_alone() -> None:
    assert dropout(rate=0.5) == Contribution(activations=DropoutMasks(rate=0.5))
