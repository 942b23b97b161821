"""Submitting the studies of a file or of a preset."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gradnoise_service.client import Client, StudyInfo, read_studies


def load(
    client: Client, file: Path | None, preset: str | None, scale: str, row: str | None
) -> list[dict[str, Any]]:
    """Return the studies of a file, or without a file those of a preset, as plain values."""
    return read_studies(file) if file else client.preset(str(preset), scale, row)


def submit(
    client: Client,
    studies: Sequence[dict[str, Any]],
    *,
    preset: str | None,
    name: str | None,
    key: str | None,
    dry_run: bool,
) -> Iterator[tuple[StudyInfo, bool]]:
    """Submit studies in turn; yield each, and True if it is new.

    Studies of a file, or with an idempotency key, are submitted as they are. A preset of one study
    takes the next free name. Studies of a paper table are submitted once.

    Args:
        client: The service.
        studies: The studies as plain values.
        preset: The preset that contains them, None for a file.
        name: Replaces the name of the study.
        key: The idempotency key.
        dry_run: Whether nothing is stored.
    """
    for study in studies:
        named = study | ({"name": name} if name else {})
        if preset is None or key:
            yield client.submit(named, dry_run=dry_run, idempotency_key=key), True
        elif study["name"] == preset:
            yield client.submit_preset(preset, name, dry_run=dry_run), True
        else:
            yield client.submit_once(named, dry_run=dry_run)
