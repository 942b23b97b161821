"""Errors as blocks of text."""

import json

from rich.console import Group, RenderableType
from rich.text import Text

from gradnoise_service.client import ApiError


def problem_block(error: ApiError) -> RenderableType:
    """Return a refusal: its title, each faulty field with value and legal values, the hint."""
    lines = [Text.assemble(("✗ ", "bold red"), (error.title, "bold"))]
    if not error.errors and error.detail:
        lines.append(Text(f"  {error.detail}"))
    for fault in error.errors:
        value = fault.get("value")
        assigned = "" if value is None else f" = {json.dumps(value, ensure_ascii=False)}"
        lines.append(Text.assemble("\n  ", (f"{fault.get('field')}", "bold cyan"), assigned))
        lines.append(Text(f"    {fault.get('message')}"))
        lines.append(Text.assemble(("    legal: ", "dim"), f"{fault.get('legal')}"))
    if error.hint:
        lines.append(Text(f"\n  {error.hint}" if error.errors else f"  {error.hint}", style="dim"))
    return Group(*lines)


def error_block(message: str, *details: str) -> RenderableType:
    """Return an error: its message, then further lines."""
    return Group(
        Text.assemble(("✗ ", "bold red"), message),
        *(Text(f"  {line}", style="dim") for line in details if line),
    )
