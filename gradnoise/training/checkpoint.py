"""Checkpoints of trials under way: a file a trial, whole or not there."""

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

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """A folder of checkpoints that every worker can reach.

    A checkpoint holds a trial, not the stack that it trained in, so whoever takes it up may hold
    any number of slots.

    Args:
        folder: Where they are kept; made when it is needed.
        every_seconds: How long a trial trains, in seconds, before its state is written again; at
            least 0.

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
        """Write a trial's state in place of its last one, at once or not at all; where it cannot be
        written, that is told of.
        """
        path = self._path(spec)
        unfinished = path.with_suffix(f".{secrets.token_hex(8)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save({"format": FORMAT, "trial": _identity(spec), **state}, unfinished)
            unfinished.replace(path)
        # torch's own writer raises the latter when the disk is full
        except (OSError, RuntimeError) as error:
            unfinished.unlink(missing_ok=True)
            log.warning(
                "The checkpoint %s cannot be written, the trial trains on without it: %s",
                path,
                error,
            )

    def load(self, spec: TrialSpec) -> dict[str, Any] | None:
        """Return the trial's last state, or None if there is none that can be read; what cannot be
        read is told of and left behind.
        """
        path = self._path(spec)
        try:
            state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
            if (state["format"], state["trial"]) != (FORMAT, _identity(spec)):
                raise ValueError("it is of another trial, or written by another version")
        except FileNotFoundError:
            return None
        except Exception as error:  # whatever a torn file makes torch raise
            log.warning("The checkpoint %s cannot be used, the trial starts over: %s", path, error)
            return None
        return state

    def delete(self, spec: TrialSpec) -> None:
        """Remove the trial's checkpoint, if there is one."""
        self._path(spec).unlink(missing_ok=True)

    def _path(self, spec: TrialSpec) -> Path:
        return self.folder / f"{spec.checkpoint}.pt"


def _identity(spec: TrialSpec) -> str:
    """Return all that a trial's course depends on."""
    return repr(
        dataclasses.replace(
            spec,
            key="",
            checkpoint="",
            rungs=(),
            options=_sorted(spec.options),
            params=_sorted(spec.params),
        )
    )


def _sorted(values: Mapping[str, Any]) -> dict[str, Any]:
    return dict(sorted(values.items()))
