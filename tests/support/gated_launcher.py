"""A launcher that reports no event until a test lets it."""

import threading
from collections.abc import Sequence

from formula_launcher import FormulaLauncher
from gradnoise_workers.launcher import LauncherEvent


class GatedLauncher(FormulaLauncher):
    """Reports no event until its gate opens; `polled` is set at the first poll."""

    def __init__(self, gate: threading.Event, polled: threading.Event) -> None:
        super().__init__()
        self.gate, self.polled = gate, polled

    def events(self, timeout_seconds: float) -> Sequence[LauncherEvent]:
        self.polled.set()
        return super().events(timeout_seconds) if self.gate.wait(0.01) else []
