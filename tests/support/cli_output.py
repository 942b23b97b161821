"""The output of a command as rows of cells."""

from typer.testing import Result


def rows(result: Result) -> list[list[str]]:
    """Return the tab-separated cells of each line."""
    return [line.split("\t") for line in result.stdout.splitlines()]
