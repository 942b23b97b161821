"""Which confirm runs can be trained on after their verdict was given."""

from collections.abc import Iterator, Sequence

from gradnoise_service.domain.design import Design
from gradnoise_service.domain.errors import FieldFault, InvalidSpecError
from gradnoise_service.domain.study import Trial

MOST_EPOCHS = 1_000_000
SCHEDULES_OF_BUDGET = ("cosine",)
"""Schedules of the learning rate whose every value depends on the length of the training."""
CLONE = "a clone of the study with longer confirm runs, `gradnoise clone --set confirm.epochs=N`"


def check_lengthening(design: Design, n_epochs: int, runs: Sequence[Trial]) -> None:
    """Check that confirm runs can be trained on.

    Args:
        design: The design at its verdict.
        n_epochs: The epochs to add to each run.
        runs: The confirm runs that have finished without diverging.

    Raises:
        InvalidSpecError: If they cannot: another training from the start would differ from them.
    """
    faults = [
        FieldFault(field="epochs", value=n_epochs, message=message, legal=legal)
        for message, legal in _faults(design, n_epochs, runs)
    ]
    if faults:
        raise InvalidSpecError(faults)


def _faults(design: Design, n_epochs: int, runs: Sequence[Trial]) -> Iterator[tuple[str, str]]:
    if design.is_sequential:
        yield "the declared looks have decided by the shorter runs", CLONE
    if not runs:
        yield "no confirm run has finished that could be trained on", "seeds; or a clone"
    arms = dict.fromkeys(
        run.arm for run in runs if (run.params or {}).get("lr_schedule") in SCHEDULES_OF_BUDGET
    )
    if arms:
        message = (
            f"the learning rate of {', '.join(arms)} follows a schedule that has ended with the "
            "declared budget (cosine)"
        )
        yield message, CLONE
    length = design.epochs("confirm") + n_epochs
    if length > MOST_EPOCHS:
        most = MOST_EPOCHS - design.epochs("confirm")
        yield f"each run would have {length} epochs", f"at most {most}"
