"""The kinds of problems: status, slug, title and hint for each error and each HTTP status."""

from collections.abc import Mapping
from dataclasses import dataclass

from gradnoise_service.domain.errors import (
    AmbiguousNameError,
    CatalogueEmptyError,
    CodeChangedError,
    CodeNotAllowedError,
    ConflictError,
    DatabaseUnavailableError,
    ForbiddenError,
    IdempotencyMismatchError,
    InvalidSpecError,
    LeaseLostError,
    NameTakenError,
    NotFoundError,
    NothingToRetryError,
    NothingToStopError,
    ReportNotReadyError,
    StudyNotCompleteError,
    StudyRunningError,
    UnauthenticatedError,
    VerbNotAllowedError,
)
from gradnoise_service.study_text import MalformedStudyError


@dataclass(frozen=True)
class ProblemKind:
    """A kind of problem; `slug` is its anchor in the API reference."""

    status: int
    slug: str
    title: str
    hint: str


KINDS_BY_ERROR: Mapping[type[Exception], ProblemKind] = {
    NotFoundError: ProblemKind(
        404,
        "not-found",
        "Not found",
        "Check the id or name; studies of other owners are not visible.",
    ),
    InvalidSpecError: ProblemKind(
        422,
        "invalid-study",
        "The study cannot be run as described",
        "Correct the listed fields; nothing was stored.",
    ),
    MalformedStudyError: ProblemKind(
        400,
        "malformed",
        "The body cannot be parsed",
        "Send one JSON object, or YAML with Content-Type: application/yaml.",
    ),
    UnauthenticatedError: ProblemKind(
        401,
        "unauthenticated",
        "A token is required",
        "Log in at /login, or send Authorization: Bearer TOKEN.",
    ),
    ForbiddenError: ProblemKind(
        403,
        "forbidden",
        "The token does not permit this",
        "Get a token with the required scope from an administrator.",
    ),
    CodeNotAllowedError: ProblemKind(
        403,
        "code-not-allowed",
        "This service takes no code",
        "Run the file on your machine with `gradnoise run`; an operator allows code with "
        "GRADNOISE_ALLOW_CODE=submitters.",
    ),
    CatalogueEmptyError: ProblemKind(
        503,
        "no-workers",
        "No worker has started",
        "Wait until a worker has started; /readyz lists what is missing.",
    ),
    DatabaseUnavailableError: ProblemKind(
        503,
        "database-unavailable",
        "The database does not answer",
        "Repeat the request after the number of seconds in Retry-After; /readyz shows whether the "
        "database answers.",
    ),
    ConflictError: ProblemKind(
        409,
        "conflict",
        "The current state does not allow this",
        "Read the current state, then decide whether to send another request.",
    ),
    NameTakenError: ProblemKind(
        409,
        "name-taken",
        "The name is taken",
        "Submit the study under the name in free_name, or under another name.",
    ),
    AmbiguousNameError: ProblemKind(
        409, "ambiguous-name", "Several owners have this name", "Add the owner, as owner=NAME."
    ),
    StudyRunningError: ProblemKind(
        409, "study-running", "The study runs", "Cancel it, or wait until it has ended."
    ),
    VerbNotAllowedError: ProblemKind(
        409,
        "not-allowed",
        "The state of the study does not allow this",
        "The detail names the states that do; what the study has measured is kept.",
    ),
    NothingToStopError: ProblemKind(
        409,
        "nothing-to-stop",
        "The study cannot be stopped now",
        "Wait until every arm has started a trial, cancel the study, or stop it without confirm.",
    ),
    NothingToRetryError: ProblemKind(
        409,
        "nothing-to-retry",
        "No trial can be retried",
        "Extend the study by seeds, or clone it.",
    ),
    StudyNotCompleteError: ProblemKind(
        409,
        "not-complete",
        "The study is not complete",
        "Wait until the study is complete; submit a failed or cancelled study again.",
    ),
    CodeChangedError: ProblemKind(
        409,
        "code-changed",
        "The study ran other code",
        "Restore the code and restart the workers, or extend or retry with accept_changed_code "
        "(--accept-changed-code), which marks the report.",
    ),
    IdempotencyMismatchError: ProblemKind(
        409,
        "key-reused",
        "The Idempotency-Key was used for another request",
        "Use a new key for each study and each extension.",
    ),
    ReportNotReadyError: ProblemKind(
        409,
        "report-not-ready",
        "There is nothing to report",
        "A report is available after the first trial has ended; /progress shows when, or why the "
        "study failed.",
    ),
    LeaseLostError: ProblemKind(
        409,
        "lease-lost",
        "Another dispatcher holds the study",
        "Read the study again, then decide whether to send another request.",
    ),
}
"""A kind for each class of the domain's error tree; a test finds classes without a kind."""

KINDS_BY_STATUS: Mapping[int, ProblemKind] = {
    400: ProblemKind(
        400,
        "bad-request",
        "The request cannot be read",
        "Send HTTP/1.1, and a body in chunks of at least 64 bytes or with a Content-Length.",
    ),
    403: ProblemKind(
        403,
        "cross-site",
        "The request came from another site",
        "Send it from a page of this service, or from a program.",
    ),
    404: ProblemKind(
        404, "no-such-page", "There is nothing at this address", "/docs lists every address."
    ),
    405: ProblemKind(
        405,
        "method",
        "The method is not supported at this address",
        "/docs lists the methods of every address.",
    ),
    406: ProblemKind(
        406,
        "not-acceptable",
        "The format is not supported",
        "Request application/json, text/html or text/markdown.",
    ),
    408: ProblemKind(
        408,
        "timeout",
        "The request took too long",
        "Send header and body without pauses: the limits are 10 s and 30 s.",
    ),
    413: ProblemKind(
        413,
        "too-large",
        "The body is too large",
        "Send a smaller study, or increase GRADNOISE_MAX_BODY_BYTES.",
    ),
    415: ProblemKind(
        415,
        "media-type",
        "The type of the body is not supported",
        "Send Content-Type: application/json or application/yaml.",
    ),
    421: ProblemKind(
        421,
        "unknown-host",
        "The Host name is unknown",
        "Add the name to GRADNOISE_ALLOWED_HOSTS, or use the IP address.",
    ),
    422: ProblemKind(
        422, "invalid-request", "The request is invalid", "Correct the listed fields."
    ),
    429: ProblemKind(
        429,
        "too-many-requests",
        "Too many requests",
        "Wait for the number of seconds in Retry-After.",
    ),
    500: ProblemKind(
        500,
        "internal",
        "Internal error",
        "Try again; if the error persists, see the log of the service.",
    ),
}


def kind_of_error(error: Exception) -> ProblemKind:
    """Return the kind of an error of the domain by its nearest base class; 500 for any other."""
    kinds = (KINDS_BY_ERROR[cls] for cls in type(error).__mro__ if cls in KINDS_BY_ERROR)
    return next(kinds, KINDS_BY_STATUS[500])


def kind_of_status(status: int, detail: str) -> ProblemKind:
    """Return the kind of an HTTP status; a status without a kind has the detail as its title."""
    unknown = ProblemKind(status, "http", detail, "/docs describes every address.")
    return KINDS_BY_STATUS.get(status, unknown)
