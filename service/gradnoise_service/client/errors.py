"""Errors of the client.

ClientError
├── UnreachableError   no service answers at the address
└── ApiError           the service answered with a problem
"""

from collections.abc import Mapping
from typing import Any


class ClientError(Exception):
    """The service did not do what was requested."""


class UnreachableError(ClientError):
    """No service answers at `url`; `reason` is the message of the network layer."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(f"No service answers at {url}: {reason}.")


class ApiError(ClientError):
    """The service refused the request; the attributes hold the fields of its problem+json.

    Attributes:
        status: The HTTP status.
        title: The kind of problem.
        detail: The cause in this case.
        hint: The suggested remedy, or "".
        errors: For each fault of the request its `field`, `value`, `message` and `legal`.
        free_name: A free name, if the requested name is taken.
        study_id: The study that has the name then.
        problem: The whole problem as plain values.
    """

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.title = str(problem.get("title") or f"HTTP {status}")
        self.detail = str(problem.get("detail") or "")
        self.hint = str(problem.get("hint") or "")
        self.errors: list[dict[str, Any]] = list(problem.get("errors") or [])
        self.free_name: str | None = problem.get("free_name")
        self.study_id: int | None = problem.get("study_id")
        self.problem = dict(problem)
        super().__init__(f"{self.title}: {self.detail}" if self.detail else self.title)
