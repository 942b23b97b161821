"""What short trials of a file show, in words."""

from gradnoise_service.local.file_study import Check


def test_warnings_name_the_arm_and_suggest_a_remedy() -> None:
    """Noise far above the gradient, parameters that nothing reads, and values that differ."""
    check = Check()
    quiet = {"values": {"noise_to_gradient": 2.0}, "seconds": 1.0, "diverged": False, "unread": []}
    check.add({"arm": "baseline", **quiet})
    check.add({"repeats": True})
    check.add({"arm": "quiet", **quiet})
    assert check.warnings() == []
    loud = {**quiet, "values": {"noise_to_gradient": 40.0}, "unread": ["lr"]}
    check.add({"arm": "noisy", **loud})
    drowned, unread = check.warnings()
    assert drowned.startswith(
        "arm noisy: the noise at the middle of its space is 40 x the gradient."
    )
    assert "--arm quiet:wide" in drowned
    assert unread.startswith("arm noisy: the function does not read lr.")
    check.add({"repeats": False})
    assert "randomness" in check.warnings()[-1]
