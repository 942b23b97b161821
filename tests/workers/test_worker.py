"""A worker as its launcher sees it."""

from ray.exceptions import OutOfMemoryError, RayError

from gradnoise_workers.worker import reason_of


def test_the_reason_of_a_loss_names_no_other_processes() -> None:
    killed = OutOfMemoryError("1 worker(s) were killed.\nTop 10 memory users: 1 0.5 GB /bin/theirs")
    assert reason_of(killed) == "OutOfMemoryError: 1 worker(s) were killed."
    assert reason_of(RayError("first\nsecond")) == "RayError: first\nsecond"
