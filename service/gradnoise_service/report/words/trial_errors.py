"""The first error of an arm, as a text."""

from gradnoise_service.domain.trial_errors import ArmError
from gradnoise_service.report.words.numbers import count


def arm_error(found: ArmError) -> str:
    """Return how many trials of an arm failed, and the first error in one line.

    >>> place = {"arm": "noisy", "phase": "search", "number": 4, "trial_id": 9}
    >>> arm_error(ArmError(**place, n_failed=0, error="KeyError: 1"))
    'A trial of noisy is repeated after an error. Search trial 4: KeyError: 1'
    """
    failed = (
        f"{count(found.n_failed, 'trial')} of {found.arm} failed. The first error, of "
        f"{found.phase} trial {found.number}"
        if found.n_failed
        else f"A trial of {found.arm} is repeated after an error. {found.phase.capitalize()} trial "
        f"{found.number}"
    )
    return f"{failed}: {found.summary}"
