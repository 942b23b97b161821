"""Checkpoints of trials under way: a file per trial, written atomically."""

import dataclasses
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gradnoise.training.trial import TrialSpec

log = logging.getLogger(__name__)

FORMAT = 3


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """A folder of checkpoints that every worker can reach.

    A checkpoint has the state of a trial, not of the stack that it trained in: a trainer with any
    number of slots can resume it.

    Args:
        folder: Where they are kept; created when the first one is written.
        every_seconds: Seconds from one writing of a trial's state to the next; at least 0.

    Raises:
        ValueError: If every_seconds is negative.
    """

    folder: Path
    every_seconds: float = 30.0

    def __post_init__(self) -> None:
        if not self.every_seconds >= 0:
            raise ValueError(
                f"every_seconds must be at least 0, but got every_seconds={self.every_seconds}."
            )

    def save(self, spec: TrialSpec, state: Mapping[str, Any]) -> None:
        """Replace a trial's checkpoint atomically; if it cannot be written, log a warning."""
        path = self._path(spec)
        unfinished = path.with_suffix(f".{secrets.token_hex(8)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(
                {"format": FORMAT, "trial": _identity(spec, spec.budget_epochs), **state},
                unfinished,
            )
            unfinished.replace(path)
        # torch's writer raises RuntimeError when the disk is full
        except (OSError, RuntimeError) as error:
            unfinished.unlink(missing_ok=True)
            log.warning(
                "The checkpoint %s cannot be written, the trial continues without it: %s",
                path,
                error,
            )

    def load(self, spec: TrialSpec) -> dict[str, Any] | None:
        """Return the trial's last state; None if there is none, or it cannot be read.

        A state that cannot be read is logged as a warning.
        """
        path = self._path(spec)
        try:
            state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
            budgets = (spec.budget_epochs, *spec.earlier_budgets)
            identities = [_identity(spec, budget) for budget in budgets]
            if state["format"] != FORMAT or state["trial"] not in identities:
                raise ValueError("it belongs to another trial or was written by another version")
        except FileNotFoundError:
            return None
        except Exception as error:  # torch raises many kinds of exceptions on a torn file
            log.warning("The checkpoint %s cannot be used, the trial starts over: %s", path, error)
            return None
        return state

    def delete(self, spec: TrialSpec) -> None:
        """Delete the trial's checkpoint, if there is one."""
        self._path(spec).unlink(missing_ok=True)

    def _path(self, spec: TrialSpec) -> Path:
        return self.folder / f"{spec.checkpoint}.pt"


def _identity(spec: TrialSpec, budget_epochs: int) -> str:
    """Return everything that the results of a trial with this budget depend on, as text."""
    return repr(
        dataclasses.replace(
            spec,
            budget_epochs=budget_epochs,
            earlier_budgets=(),
            keep_checkpoint=False,
            key="",
            time_limit_seconds=None,
            stall_seconds=None,
            apart=False,
            keep_weights=False,
            checkpoint="",
            rungs=(),
            options=_sorted(spec.options),
            params=_sorted(spec.params),
        )
    )


def _sorted(values: Mapping[str, Any]) -> dict[str, Any]:
    return dict(sorted(values.items()))
