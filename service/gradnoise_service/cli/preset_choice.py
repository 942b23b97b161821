"""Reading a preset that the command line names."""

from typing import Any

import typer


def load_preset(
    name: str, scale: str = "full", row: str | None = None, *, param_hint: str
) -> list[dict[str, Any]]:
    """Return the studies of a preset as plain values.

    Args:
        name: The preset.
        scale: Its scale.
        row: Its row, None for all rows.
        param_hint: The parameter of the command line that holds the name.

    Raises:
        typer.BadParameter: If there is no such preset, scale or row.
    """
    from gradnoise_service import presets
    from gradnoise_service.domain.errors import InvalidSpecError

    try:
        return presets.load(name, scale, row)
    except KeyError as error:
        raise typer.BadParameter(error.args[0], param_hint=param_hint) from None
    except InvalidSpecError as error:
        [fault] = error.errors
        raise typer.BadParameter(
            f"{fault.message}: {fault.value!r}; legal: {fault.legal}",
            param_hint=f"--{fault.field}",
        ) from None
