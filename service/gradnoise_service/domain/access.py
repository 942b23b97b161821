"""Who sends a request, and what it may do."""

from dataclasses import dataclass
from typing import Literal, get_args

Scope = Literal["read", "submit", "code", "metrics", "admin"]
"""What a token permits; `admin` includes the others and shows the studies of every owner.

`code` is to send code that workers run, where the operator allows it; `metrics` to read the metrics
of the service.
"""

ALL_SCOPES: tuple[Scope, ...] = get_args(Scope)


@dataclass(frozen=True, kw_only=True)
class Caller:
    """The sender of a request."""

    owner: str
    scopes: tuple[Scope, ...]

    @property
    def visible_owner(self) -> str | None:
        """The owner whose studies the caller sees, None for every owner."""
        return None if "admin" in self.scopes else self.owner

    def may(self, scope: Scope) -> bool:
        """True if the caller has the scope."""
        return scope in self.scopes or "admin" in self.scopes
