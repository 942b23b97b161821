"""Checkpoints of trials under way: a file per trial, written aside and then renamed."""

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from gradnoise.training.shared_files import delete, located, replacing
from gradnoise.training.trial import TrialSpec

log = logging.getLogger(__name__)

FORMAT = 3


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """Checkpoints that every worker can reach.

    A checkpoint has the state of a trial, not of the stack that it trained in: a trainer with any
    number of slots can resume it.

    Args:
        url: The folder where they are kept, created when the first one is written, or a URL of
            fsspec, such as `s3://bucket/folder`, whose package the operator has installed.
        every_seconds: Seconds from one writing of a trial's state to the next; at least 0.

    Raises:
        ValueError: If every_seconds is negative.
    """

    url: str
    every_seconds: float = 30.0

    def __post_init__(self) -> None:
        if not self.every_seconds >= 0:
            raise ValueError(
                f"every_seconds must be at least 0, but got every_seconds={self.every_seconds}."
            )

    def save(self, spec: TrialSpec, state: Mapping[str, Any]) -> None:
        """Replace a trial's checkpoint; if it cannot be written, log a warning."""
        stored = {"format": FORMAT, "trial": _identity(spec, spec.budget_epochs), **state}
        try:
            with replacing(self.url, _path(spec)) as file:
                torch.save(stored, file)
        except Exception as error:  # torch and the packages of fsspec raise many kinds
            log.warning(
                "The checkpoint %s cannot be written, the trial continues without it: %s",
                f"{self.url}/{_path(spec)}",
                error,
            )

    def load(self, spec: TrialSpec) -> dict[str, Any] | None:
        """Return the trial's last state; None if there is none, or it cannot be read.

        A state that cannot be read is logged as a warning.
        """
        system, path = located(self.url, _path(spec))
        try:
            with system.open(path, "rb") as file:
                state: dict[str, Any] = torch.load(file, weights_only=True, map_location="cpu")
            budgets = (spec.budget_epochs, *spec.earlier_budgets)
            identities = [_identity(spec, budget) for budget in budgets]
            if state["format"] != FORMAT or state["trial"] not in identities:
                raise ValueError("it belongs to another trial or was written by another version")
        except FileNotFoundError:
            return None
        except Exception as error:  # so does a torn file
            log.warning("The checkpoint %s cannot be used, the trial starts over: %s", path, error)
            return None
        return state

    def delete(self, spec: TrialSpec) -> None:
        """Delete the trial's checkpoint, if there is one."""
        delete(self.url, _path(spec))


def _path(spec: TrialSpec) -> str:
    return f"{spec.checkpoint}.pt"


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
