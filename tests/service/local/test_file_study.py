"""What short trials of a file show, in words."""

from typing import Any

import pytest

from gradnoise_service.local.file_study import Check, NoiseAt, drowns


def at(where: str, ratio: float) -> dict[str, Any]:
    """Return the noise of an arm at values of its space, as the checking process answers."""
    return {"at": where, "setting": {"eta": ratio}, "ratio": float(ratio)}


@pytest.mark.parametrize(
    ("noise", "sentence"),
    [
        ([], ""),
        ([at("lowest", 1), at("middle", 9)], ""),
        (
            [at("lowest", 11), at("middle", 200)],
            "even with the lowest values of its space (eta 11) the noise is 11 times the gradient, "
            "and with the middle ones (eta 200) 200 times",
        ),
        (
            [at("lowest", 2), at("middle", 40)],
            "with the middle values of its space (eta 40) the noise is 40 times the gradient; with "
            "the lowest values of its space (eta 2) it is 2 times: much of the space is mostly "
            "noise",
        ),
        ([at("middle", 40)], "with its values (eta 40) the noise is 40 times the gradient"),
    ],
)
def test_noise_that_drowns_the_gradient_is_told_with_the_values_at_which_it_does(
    noise: list[dict[str, Any]], sentence: str
) -> None:
    assert drowns([NoiseAt(**found) for found in noise]) == sentence


def test_warnings_name_the_arm_and_suggest_a_remedy() -> None:
    """Noise far above the gradient, parameters that nothing reads, and values that differ."""
    check = Check()
    quiet = {
        "values": {},
        "seconds": 1.0,
        "diverged": False,
        "unread": [],
        "noise": [at("middle", 2)],
    }
    check.add({"arm": "baseline", **quiet})
    check.add({"repeats": True})
    check.add({"arm": "quiet", **quiet})
    assert check.warnings() == []
    loud = {**quiet, "noise": [at("lowest", 2), at("middle", 40)], "unread": ["lr"]}
    check.add({"arm": "noisy", **loud})
    drowned, unread = check.warnings()
    assert drowned.startswith(
        "arm noisy: with the middle values of its space (eta 40) the noise is"
    )
    assert "--arm quiet:wide" in drowned
    assert unread.startswith("arm noisy: the function does not read lr.")
    check.add({"repeats": False})
    assert "randomness" in check.warnings()[-1]
