"""Reads or checks a user's file for the command line: `python -P -m gradnoise_workers.source`.

Reads a request as JSON from the standard input, and writes lines of JSON: results, or a `fault`
with its sentence, its hint and the user's part of the traceback.
"""

import faulthandler
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from gradnoise.training import device
from gradnoise.workloads.catalogue import document
from gradnoise_service.domain.source import Source
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.settings import Settings
from gradnoise_workers.source.checking import checked
from gradnoise_workers.source.faults import SourceError
from gradnoise_workers.source.opening import opened
from gradnoise_workers.source.reading import read


def main() -> None:
    request = json.load(sys.stdin)
    # ends also an import that never returns to the interpreter, and prints where it is
    faulthandler.dump_traceback_later(Settings().import_seconds, exit=True)
    if device().type == "cpu":
        torch.set_num_threads(1)  # as in a worker
    answer = sys.stdout
    with redirect_stdout(sys.stderr):  # what the user's code prints is no part of the answer
        for line in answered(request):
            faulthandler.cancel_dump_traceback_later()  # the first line follows the import
            print(json.dumps(line), file=answer, flush=True)


def answered(request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the answer to a request, or the fault of the file.

    Args:
        request: Either `path` and `choice`: read the file; answers with `source`, `workload` and
            the `catalogue` of what is installed.
            Or `source` and `spec`: train a short trial of each arm; answers with `imported`, then
            as `checked`.
    """
    try:
        if "path" in request:
            with read(Path(request["path"]), request["choice"]) as found:
                read_file = {"source": asdict(found.source), "workload": found.workload}
            yield {**read_file, "catalogue": document()}
        else:
            source = Source(**request["source"])
            with opened(source):
                yield {"imported": source.name}
                yield from checked(StudySpec.model_validate(request["spec"]), source)
    except SourceError as error:
        yield {"fault": {"message": error.message, "hint": error.hint, "trace": error.trace}}


if __name__ == "__main__":
    main()
