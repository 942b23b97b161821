"""The two streams of the command line, and JSON output."""

import dataclasses
import json
import sys
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from gradnoise_service.domain.plain_text import plain

ASCII_DASHES = str.maketrans("−–", "--")


class PlainConsole(Console):
    """A console on which texts cannot write escape sequences: only its own styles do."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=plain(segment.text))


out = PlainConsole(highlight=False, soft_wrap=True)
err = PlainConsole(highlight=False, soft_wrap=True, stderr=True)


def is_interactive() -> bool:
    """Return whether a person can answer a question: input and output are terminals."""
    return out.is_terminal and sys.stdin.isatty()


def show_json(value: Any) -> None:
    """Print a value as one JSON document: indented on a terminal, else on one line."""
    text = json.dumps(value, default=_to_json)
    if out.is_terminal:
        out.print_json(text)
    else:
        show_line(text)


def show_line(line: str) -> None:
    """Print a line for other programs: without formatting, minus signs and dashes in ASCII."""
    sys.stdout.write(plain(line.translate(ASCII_DASHES)) + "\n")
    sys.stdout.flush()


def _to_json(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value)
