"""Finding: the result of a check of `gradnoise doctor`."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of a check. `fail` means that the service cannot work, `warn` that it can."""

    name: str
    state: Literal["ok", "warn", "fail"]
    detail: str
    hint: str = ""
