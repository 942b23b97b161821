"""SearchKey: which Optuna study records a trial."""

from dataclasses import dataclass

from gradnoise_service.domain.spec import Phase


@dataclass(frozen=True, kw_only=True)
class SearchKey:
    """Identifies an Optuna study: a search of one arm, or a later phase of all arms.

    `epochs` is the length to which an extension trained the confirm runs on; 0 without one.
    """

    phase: Phase
    arm: str | None = None
    repeat: int = 0
    epochs: int = 0

    @property
    def label(self) -> str:
        """A name that is unique within the study: no arm's name has a space."""
        if self.arm is None:
            return f"{self.phase} phase" + (f" to {self.epochs} epochs" if self.epochs else "")
        return f"{self.arm} search {self.repeat + 1}" if self.repeat else self.arm
