from gradnoise.parameters import Parameter
from gradnoise.techniques.base import Technique


def test_what_has_a_default_need_not_be_given() -> None:
    def effect(a: float, b: float = 2.0) -> float:
        return a * b

    parameters = (
        Parameter(name="b", description="B; 2 by default."),
        Parameter(name="a", description="A."),
    )
    technique = Technique(
        name="x",
        description="X.",
        formula="a b",
        source="here",
        parameters=parameters,
        effect=effect,
    )
    assert technique.required == ("a",)
