"""Reads or checks a user's file for the command line: `python -P -m gradnoise_workers.source`."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gradnoise.workloads.catalogue import document
from gradnoise_service.domain.source import Source
from gradnoise_service.domain.spec import StudySpec
from gradnoise_workers.source.answering import answer_request
from gradnoise_workers.source.checking import checked
from gradnoise_workers.source.opening import opened
from gradnoise_workers.source.reading import read


def answered(request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the answer to a request.

    Args:
        request: Either `path` and `choice`: read the file; answers with `source`, `workload` and
            the `catalogue` of what is installed.
            Or `source` and `spec`: train a short trial of each arm; answers with `imported`, then
            as `checked`.

    Raises:
        SourceError: If the file cannot be imported, or does not declare one workload.
    """
    if "path" in request:
        with read(Path(request["path"]), request["choice"]) as found:
            read_file = {"source": asdict(found.source), "workload": found.workload}
        yield {**read_file, "catalogue": document()}
    else:
        source = Source(**request["source"])
        with opened(source):
            yield {"imported": source.name}
            yield from checked(StudySpec.model_validate(request["spec"]), source)


if __name__ == "__main__":
    answer_request(answered)
