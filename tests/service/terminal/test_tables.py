"""80 columns suffice for every table: no line is longer, and no word of a short column breaks."""

import io
from collections.abc import Callable, Sequence
from types import ModuleType

import pytest
from rich.console import Console

from gradnoise_service import presets
from gradnoise_service.terminal import tables
from gradnoise_service.terminal.tables import show_facts, show_table

TABLES: dict[str, tuple[tuple[str, ...], list[Sequence[object]]]] = {
    "studies": (
        ("id", "name", "state", "verdict", "workload", "submitted", "place"),
        [
            (
                1234,
                "Does noise help a deep network on digits",
                "running",
                "no_difference",
                "neural-programmer",
                "2026-11-30 01:39",
                None,
            ),
            (2, "a", "cancelled", None, "mlp", "2026-11-30 01:39", 12),
        ],
    ),
    "differences": (
        ("compared", "difference", "95 % interval", "P(better)", "95 % interval", "p", "verdict"),
        [
            (
                "noisy against baseline",
                "+0.7616",
                "+0.6498 to +0.8733",
                "100 %",
                "75.7 to 100 %",
                "0.00049",
                "no_difference",
            )
        ],
    ),
    "arms": (
        ("arm", "chosen setting", "mean accuracy", "confirm runs", "device time"),
        [
            (
                "label_smoothing",
                "lr 0.1234, eta 0.3, gamma 0.5512, momentum 0.9",
                "0.9512",
                "12 of 12, 3 lost",
                "12 min 3 s",
            )
        ],
    ),
    "presets": (
        ("preset", "studies", "scales", "description"),
        [
            (name, 12, " ".join(presets.scales(name)), presets.describe(name))
            for name in presets.names()
        ],
    ),
    "tokens": (
        ("name", "owner", "scopes", "expires"),
        [
            (
                "ci-of-the-laboratory",
                "someone@example.org",
                "read submit admin",
                "2026-11-30T01:39:00+00:00",
            )
        ],
    ),
    "suites": (("name", "studies", "ended", "owner"), [("noise on small data", 12, 3, "local")]),
}


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[ModuleType], io.StringIO]:
    """A function that gives a module a terminal of 80 columns and returns its screen."""

    def use(module: ModuleType) -> io.StringIO:
        screen = io.StringIO()
        console = Console(
            file=screen, width=80, force_terminal=True, color_system=None, soft_wrap=True
        )
        monkeypatch.setattr(module, "out", console)
        return screen

    return use


@pytest.mark.parametrize("name", TABLES)
def test_tables_fit_80_columns(name: str, terminal: Callable[[ModuleType], io.StringIO]) -> None:
    screen = terminal(tables)
    columns, rows = TABLES[name]
    show_table(columns, rows)
    printed = screen.getvalue()
    assert max(map(len, printed.splitlines())) <= 80
    words = {word for row in rows for cell in row for word in str(cell or "").split()}
    assert {word for word in words if len(word) <= 12} <= set(printed.split())
    verdicts = {"no_difference", "running", "cancelled"} & words
    assert verdicts <= set(printed.split())


def test_facts_fit_80_columns(terminal: Callable[[ModuleType], io.StringIO]) -> None:
    screen = terminal(tables)
    show_facts({"description": presets.describe("demo"), "page": "http://127.0.0.1:8000/studies/1"})
    assert max(map(len, screen.getvalue().splitlines())) <= 80
