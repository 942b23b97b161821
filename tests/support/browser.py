"""A headless Chromium, controlled by its DevTools protocol through pipes."""

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

SWITCHES = """
    --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-dev-shm-usage
    --disable-background-networking --disable-component-update --disable-sync
    --remote-debugging-pipe
"""


class Page:
    """A tab; `errors` collects the exceptions and the log entries of its pages."""

    def __init__(
        self, commands: BinaryIO, answers: BinaryIO, numbers: Iterator[int] | None = None
    ) -> None:
        self._commands = commands
        self._answers = answers
        self._numbers = numbers or itertools.count(1)
        self._session: dict[str, str] = {}
        self.errors: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = {
            "sessionId": self._call("Target.attachToTarget", targetId=target, flatten=True)[
                "sessionId"
            ]
        }
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")
        self._call("Emulation.setFocusEmulationEnabled", enabled=True)  # visible behind others

    def another(self) -> "Page":
        """Return another tab of the same browser."""
        return Page(self._commands, self._answers, self._numbers)

    def open(self, url: str) -> None:
        """Load a page and wait until it is loaded."""
        self._call("Page.navigate", url=url)
        self.await_load()

    def await_load(self) -> None:
        """Wait until the next page is loaded."""
        while self._receive().get("method") != "Page.loadEventFired":
            pass

    def run(self, script: str) -> Any:
        """Evaluate a script, wait for its promise, and return the value."""
        answer = self._call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def await_text(self, selector: str, text: str) -> None:
        """Wait until an element contains a text."""
        element = f"document.querySelector({json.dumps(selector)})"
        is_shown = f"{element}?.innerText.includes({json.dumps(text)})"
        self.run(
            f"new Promise(done => {{ const look = () => {is_shown} ? done() : setTimeout(look, 20);"
            " look(); })"
        )

    def await_value(self, selector: str, text: str) -> None:
        """Wait until the value of a control contains a text."""
        control = f"document.querySelector({json.dumps(selector)})"
        self.run(
            f"new Promise(done => {{ const look = () => {control}?.value.includes("
            f"{json.dumps(text)}) ? done() : setTimeout(look, 20); look(); }})"
        )

    def press(self, key: str) -> None:
        """Press and release a key: a character, Tab or Enter."""
        codes = {"Tab": 9, "Enter": 13}
        typed = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        event = {"key": key, "windowsVirtualKeyCode": codes.get(key, 0)}
        self._call("Input.dispatchKeyEvent", type="keyDown", text=typed, **event)
        self._call("Input.dispatchKeyEvent", type="keyUp", **event)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters, **self._session}
        self._commands.write(json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != number:
            pass
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _receive(self) -> dict[str, Any]:
        received = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            assert byte, "Chromium ended"
            received += byte
        message: dict[str, Any] = json.loads(received)
        if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
            self.errors.append(json.dumps(message["params"]))
        return message


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """Run Chromium with its profile in a folder; skip the test if it is not installed."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium (Debian: apt-get install chromium)")
    (child_in, parent_out), (parent_in, child_out) = os.pipe(), os.pipe()
    # the protocol's pipes are the descriptors 3 and 4
    script = f'exec "$0" "$@" 3</dev/fd/{child_in} 4>/dev/fd/{child_out}'
    command = ["sh", "-c", script, program, *SWITCHES.split(), f"--user-data-dir={folder}"]
    with (
        subprocess.Popen(
            command,
            pass_fds=(child_in, child_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process,
        os.fdopen(parent_out, "wb", buffering=0) as commands,
        os.fdopen(parent_in, "rb") as answers,
    ):
        os.close(child_in)
        os.close(child_out)
        try:
            yield Page(commands, answers)
        finally:
            process.kill()
