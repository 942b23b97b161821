"""RestartPolicy doubles the pause with each death."""

from datetime import timedelta

from gradnoise_service.local.restart_policy import RestartPolicy


def test_pause_doubles_up_to_the_longest() -> None:
    policy = RestartPolicy(first_pause=timedelta(seconds=1), longest_pause=timedelta(seconds=5))
    pauses = [policy.pause(n_deaths).total_seconds() for n_deaths in (1, 2, 3, 4, 50)]
    assert pauses == [1, 2, 4, 5, 5]
