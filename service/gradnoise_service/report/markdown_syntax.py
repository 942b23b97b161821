"""Markdown's syntax: tables, code blocks, escaped text."""

import re
from collections.abc import Iterable, Iterator, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table of plain text."""
    yield from raw_table([*map(escaped, header)], ([*map(escaped, row)] for row in rows))


def raw_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table whose cells are Markdown."""
    yield f"| {' | '.join(header)} |"
    yield "|" + " --- |" * len(header)
    for row in rows:
        yield f"| {' | '.join(row)} |"


def fenced(text: str, language: str = "") -> list[str]:
    """Return the lines of a code block; its fence is longer than any in the text."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return [f"{fence}{language}", text.rstrip(), fence]


def escaped(text: str) -> str:
    r"""Return text on one line that Markdown shows unchanged.

    >>> escaped("a|b <i> *c*")
    'a\\|b \\<i\\> \\*c\\*'
    >>> escaped("1. a &lt; b"), escaped("- a"), escaped("-0.5")
    ('1\\. a \\&lt; b', '\\- a', '-0.5')
    """
    text = re.sub(r"([\\`*_\[\]<>|#$~&])", r"\\\1", " ".join(text.split()))
    # at the start of a line these would make a list or a heading
    return re.sub(r"^(\d*)([-+=.)])(?=[\s=-]|$)", r"\1\\\2", text)
