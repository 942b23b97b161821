import pytest

from gradnoise._keys import key


def test_keys_stay_unchanged() -> None:
    """Stored seeds must keep their meaning: these values are the definition."""
    assert key(1, "init", "weight").tolist() == [
        6_879_245_541_262_530_279,
        1_617_419_673_692_847_550,
    ]


def test_triples_that_differ_have_different_keys() -> None:
    keys = {
        tuple(key(*of))
        for of in [
            (1, "a", "w"),
            (2, "a", "w"),
            (1, "b", "w"),
            (1, "a", "v"),
            (1 + 2**32, "a", "w"),
            (1 + 2**64, "a", "w"),
        ]
    }
    assert len(keys) == 6


def test_illegal_seeds_and_purposes_raise_an_error() -> None:
    with pytest.raises(ValueError, match=r"seed must be at least 0, but got seed=-1"):
        key(-1, "init", "w")
    with pytest.raises(
        ValueError, match=r"purpose must not contain a slash, but got purpose='a/b'"
    ):
        key(1, "a/b", "w")
