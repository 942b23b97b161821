"""The standard streams of every process."""

import io
import sys


def replace_unencodable() -> None:
    """Let stdout and stderr replace characters that their encoding lacks, in place of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
