from gradnoise.techniques import effect


def test_plain_training_applies_nothing_whatever_the_other_parameters_are() -> None:
    assert effect("none", {"lr": 0.1, "eta": 0.3}) is None
