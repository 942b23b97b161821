import pytest

from gradnoise.parameters import Parameter
from gradnoise.signatures import first_sentence, hyperparameters


def documented(lr: float, steps: int, k=5, *, beta: float = 0.9) -> None:
    """Train for a while, at 0.5 of the rate. Then stop.

    Args: none of interest.
    """


def test_a_description_is_the_first_sentence_of_a_docstring() -> None:
    assert first_sentence(documented) == "Train for a while, at 0.5 of the rate."


def test_a_function_without_a_docstring_is_described_by_its_name() -> None:
    def bare() -> None: ...

    assert first_sentence(bare) == "bare"


def test_arguments_are_hyperparameters_and_declarations_replace_them() -> None:
    beta = Parameter(name="beta", description="Decay.", low=0, high=1)
    found = hyperparameters(documented, [beta], n_leading=1)
    assert [(each.name, each.integer) for each in found] == [
        ("steps", True),
        ("k", True),
        ("beta", False),
    ]
    assert found[2] is beta
    assert found[1].description == "5 by default."


def test_an_argument_without_a_name_is_refused() -> None:
    def loose(*values: float) -> None: ...

    with pytest.raises(TypeError, match=r"must be a hyperparameter with a name, but got \*values"):
        hyperparameters(loose)
