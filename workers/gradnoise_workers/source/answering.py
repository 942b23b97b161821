"""A process that answers one request of the command line and runs a user's code for it.

It reads the request as JSON from the standard input, and writes lines of JSON: results, or a
`fault` with its sentence, its hint and the user's part of the traceback.
"""

import faulthandler
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from typing import Any

import torch

from gradnoise.training import device
from gradnoise_service.settings import Settings
from gradnoise_workers.source.faults import SourceError


def answer_request(answered: Callable[[Mapping[str, Any]], Iterator[Mapping[str, Any]]]) -> None:
    """Answer the request on the standard input; end the process if the import does not end in time.

    Args:
        answered: Yields the lines of the answer to a request, the first after the import.
    """
    request = json.load(sys.stdin)
    # ends also an import that never returns to the interpreter, and prints where it is
    faulthandler.dump_traceback_later(Settings().import_seconds, exit=True)
    if device().type == "cpu":
        torch.set_num_threads(1)  # as in a worker
    answer = sys.stdout
    with redirect_stdout(sys.stderr):  # what the user's code prints is no part of the answer
        for line in _or_fault(answered(request)):
            faulthandler.cancel_dump_traceback_later()
            print(json.dumps(line), file=answer, flush=True)


def _or_fault(lines: Iterator[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    try:
        yield from lines
    except SourceError as error:
        yield {"fault": {"message": error.message, "hint": error.hint, "trace": error.trace}}
