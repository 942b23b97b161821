"""The code of a study: verbatim for a pipe, without control characters on a terminal."""

import re

from gradnoise_service.domain.source import Source
from gradnoise_service.terminal.console import err, out

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def show_source(source: Source) -> None:
    """Print the files of a source; several follow each other under a comment with the name."""
    err.print(f"{', '.join(source.files)} (SHA-256 {source.hash})", style="dim", markup=False)
    for name, text in source.files.items():
        shown = CONTROL.sub("\N{REPLACEMENT CHARACTER}", text) if out.is_terminal else text
        heading = f"# {name}\n" if len(source.files) > 1 else ""
        out.out(heading + shown, end="" if shown.endswith("\n") else "\n", highlight=False)
