"""A place is set aside where trials fail that would not elsewhere."""

from gradnoise_workers.health import Health

BAD, GOOD = ("a", "0"), ("b", "")


def failing(n: int, health: Health) -> str:
    for _ in range(n):
        health.add(BAD, failed=True)
    return health.fault(BAD)


def test_trials_that_fail_everywhere_set_nothing_aside() -> None:
    """Half of them fail elsewhere: nine in a row have a probability of 2^-9 = 0.002."""
    health = Health()
    assert failing(20, health) == ""  # no other place
    health = Health()
    for _ in range(50):
        health.add(GOOD, failed=True)
        health.add(GOOD, failed=False)
    assert failing(9, health) == ""
    assert failing(1, health) == "10 trials in a row failed there, but elsewhere 50 of 100"


def test_three_failures_in_a_row_suffice_where_none_fails_elsewhere() -> None:
    """(1 / 12)^3 = 0.0006."""
    health = Health()
    for _ in range(10):
        health.add(GOOD, failed=False)
    assert failing(2, health) == ""
    health.add(BAD, failed=False)
    assert failing(2, health) == ""
    assert failing(1, health) == "3 trials in a row failed there, but elsewhere 0 of 10"
    assert health.fault(GOOD) == ""
    assert (health.failures_in_a_row(BAD), health.failures_in_a_row(GOOD)) == (3, 0)
