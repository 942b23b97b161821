"""The same command on several studies."""

from collections.abc import Callable, Sequence

import typer

from gradnoise_service.cli.errors import FAILED
from gradnoise_service.client import ApiError, Client, StudyInfo
from gradnoise_service.terminal.console import err
from gradnoise_service.terminal.errors import problem_block


def for_each(client: Client, studies: Sequence[str], act: Callable[[StudyInfo], object]) -> None:
    """Call a function with each study; all must exist before the first call.

    A refusal by the service is raised for a single study. Of several it is printed, and the others
    follow; the exit code is then 1.

    Args:
        client: The service.
        studies: Ids or names.
        act: The function.
    """
    found = [client.study(study) for study in studies]
    n_refused = 0
    for study in found:
        try:
            act(study)
        except ApiError as error:
            if len(found) == 1:
                raise
            n_refused += 1
            err.print(f"{study.name} (id {study.id}):", problem_block(error))
    if n_refused:
        raise typer.Exit(FAILED)
