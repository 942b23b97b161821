"""The output of rich without a terminal."""

import io

from rich.console import Console, RenderableType


def rendered(renderable: RenderableType, width: int = 100) -> str:
    """Return the text of a renderable on a page of this width."""
    output = io.StringIO()
    Console(file=output, width=width, force_terminal=False).print(renderable)
    return output.getvalue()
