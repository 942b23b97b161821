"""Structured logs on stderr, as text or as one JSON object a line."""

import contextlib
import logging
import sys

import structlog

from gradnoise_service.domain.errors import DatabaseUnavailableError
from gradnoise_service.domain.plain_text import plain
from gradnoise_service.settings import Settings
from gradnoise_service.streams import replace_unencodable


def configure(settings: Settings, process: str) -> None:
    """Send the records of structlog and of `logging` to stderr in the configured format.

    Args:
        settings: Provide `log_format` and `log_level`.
        process: The name of this process, added to every record.
    """
    replace_unencodable()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _database_in_one_line,
        # rich tracebacks print local variables, which may hold tokens
        structlog.processors.format_exc_info,
        _as_plain,
    ]
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if settings.log_format == "console":
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            exception_formatter=structlog.dev.plain_traceback,
        )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    root.setLevel(level)
    for chatty in ("optuna", "alembic", "httpx2", "matplotlib"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # past `logging`, which takes two thirds of the time of a line of the access log
    structlog.configure(
        processors=[*shared, renderer],
        logger_factory=structlog.WriteLoggerFactory(_Stderr()),  # type: ignore[arg-type]  # writes
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)


class _Stderr:
    """The stderr of the process, whose failures end no request."""

    def write(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(line)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


def _database_in_one_line(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Replace the trace of a database that does not answer, which each retry logs, by its error."""
    given = event.get("exc_info")
    error = given if isinstance(given, BaseException) else sys.exception() if given else None
    if isinstance(error, DatabaseUnavailableError):
        del event["exc_info"]
        event["error"] = str(error.__cause__ or error).partition("\n")[0]
    return event


def _as_plain(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Let no value write escape sequences to a terminal, such as the path of a request."""
    return {
        name: plain(value) if isinstance(value, str) else value for name, value in event.items()
    }
