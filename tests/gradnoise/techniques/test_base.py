from typing import Any

import pytest

from gradnoise.parameters import Parameter
from gradnoise.techniques.base import Technique
from gradnoise.techniques.contribution import NOTHING, Contribution
from gradnoise.techniques.masks import DropoutMasks

B, A = Parameter(name="b", description="B; 0.25 by default."), Parameter(name="a", description="A.")


def contribute(a: float, b: float = 0.25) -> Contribution:
    return Contribution(activations=DropoutMasks(rate=a * b))


def technique(**changes: Any) -> Technique:
    declared = {
        "name": "x",
        "description": "X.",
        "formula": "a b",
        "source": "here",
        "places": ("activations",),
        "parameters": (B, A),
        "contribute": contribute,
    }
    return Technique(**declared | changes)


def test_a_parameter_without_a_default_is_required() -> None:
    assert technique().required == ("a",)


def test_a_technique_uses_the_parameters_that_it_declares() -> None:
    assert technique().contribution({"lr": 0.1, "a": 2.0}).activations == DropoutMasks(rate=0.5)
    with pytest.raises(ValueError, match=r"the technique 'x' needs a: a finite number in \(-inf"):
        technique().contribution({"b": 0.1})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"places": ("optimizer",)},
            "places must be among gradient, weights, activations, loss, but got",
        ),
        ({"parameters": (A,)}, r"parameters must be the arguments of contribute, \['a', 'b'\]"),
        ({"contribute": lambda: NOTHING}, r"the arguments of contribute, \[\], but they are"),
    ],
)
def test_a_contradictory_declaration_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        technique(**changes)
