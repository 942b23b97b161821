"""Known errors: printed as one block, with an exit code that scripts can use.

Exit codes: 0 success; 1 failed, or refused by the service; 2 invalid command line, setting or file;
3 no service answers; 130 interrupted.
"""

import json
from typing import Any

import typer
from typer.core import TyperGroup

FAILED, INVALID, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130


class CommandGroup(TyperGroup):
    """A group of commands that reports known errors and exits with their codes."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands with their whole summaries, which by default end at a line's end."""
        named = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        shown = [(name, of.get_short_help_str(999)) for name, of in named if of and not of.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(shown)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.Exit:
            raise
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            code = _report(error, as_json=ctx.meta.get("json", False))
            if code is None:
                raise
            raise typer.Exit(code) from None


def _report(error: Exception, *, as_json: bool) -> int | None:
    """Print a known error and return its exit code; return None for an unknown error."""
    from gradnoise_service.client import ApiError
    from gradnoise_service.terminal.console import err
    from gradnoise_service.terminal.errors import error_block, problem_block

    explained = _explained(error)
    if explained is None:
        return None
    code, message, details = explained
    problem: dict[str, Any] = {"title": type(error).__name__, "detail": message}
    block = error_block(message, *details)
    if isinstance(error, ApiError):
        problem = error.problem
        block = block if error.status == 401 else problem_block(error)
    if as_json:
        err.print(json.dumps(problem), markup=False)
    else:
        err.print(block, soft_wrap=not err.is_terminal)
    return code


def _explained(error: Exception) -> tuple[int, str, tuple[str, ...]] | None:
    """Return exit code, message and further lines of a known error."""
    from gradnoise_service.client import ApiError, ClientError, UnreachableError
    from gradnoise_service.local.errors import LocalServiceError, SettingsError
    from gradnoise_service.local.study_options import OptionError
    from gradnoise_service.study_text import MalformedStudyError

    match error:
        case ApiError(status=401):
            hint = "Set the token with --token or GRADNOISE_TOKEN."
            return FAILED, f"{error.title}: {error.detail}", (hint,)
        case UnreachableError():
            hint = (
                "Start a service with `gradnoise up`, or set another address with --url or "
                "GRADNOISE_URL."
            )
            return UNREACHABLE, str(error), (hint,)
        case ClientError():
            return FAILED, str(error), ()
        case MalformedStudyError():
            return INVALID, str(error), ()
        case OptionError():
            return INVALID, str(error), ("`gradnoise run --help` shows the form of each option.",)
        case SettingsError():
            return INVALID, str(error), tuple(error.details)
        case LocalServiceError():
            return FAILED, str(error), tuple(error.details)
        case OSError(filename=str() as file):
            return INVALID, f"{file}: {(error.strerror or '').lower()}", ()
    return None
