"""What the shell offers for an unfinished argument."""

from collections.abc import Iterator
from itertools import islice

import typer

N_STUDIES = 100


def studies(context: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield ids and names of the newest studies that begin so; nothing without a service.

    Each has a hint: the name of an id, the state of a name.
    """
    from gradnoise_service.client import ClientError
    from gradnoise_service.local.connection import connect
    from gradnoise_service.local.errors import SettingsError

    try:
        with connect(context.params.get("url"), context.params.get("token")) as client:
            found = list(islice(client.studies(), N_STUDIES))
    except (ClientError, SettingsError):
        return
    for study in found:
        if str(study.id).startswith(incomplete):
            yield str(study.id), study.name
        if incomplete and study.name.startswith(incomplete):
            yield study.name, study.state


def presets(incomplete: str) -> Iterator[str]:
    """Yield the names of presets that begin so."""
    from gradnoise_service.presets import names

    yield from (name for name in names() if name.startswith(incomplete))
