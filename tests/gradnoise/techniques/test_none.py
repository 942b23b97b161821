from gradnoise.techniques.contribution import NOTHING
from gradnoise.techniques.registry import TECHNIQUES


def test_plain_training_contributes_nothing_whatever_the_other_parameters_are() -> None:
    assert TECHNIQUES.find("none").contribution({"lr": 0.1, "eta": 0.3}) == NOTHING
