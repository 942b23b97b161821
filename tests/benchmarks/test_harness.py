"""Figures and their bars, and the results as JSON."""

import json
from pathlib import Path

import pytest

from benchmarks import harness
from benchmarks.harness import Figure, ratios, report


@pytest.mark.parametrize(
    ("values", "bar", "holds"),
    [
        ([1.4, 1.5, 9.0], {"at_least": 1.5}, True),
        ([1.4, 1.49, 9.0], {"at_least": 1.5}, False),
        ([0.1, 1.5, 1.6], {"at_most": 1.5}, True),
        ([0.1, 1.51, 1.6], {"at_most": 1.5}, False),
        ([0.1], {}, True),
    ],
)
def test_a_bar_holds_for_the_median_of_the_rounds(
    values: list[float], bar: dict[str, float], holds: bool
) -> None:
    """A median equal to the bar meets it."""
    assert Figure(name="speed", unit="x", values=values, **bar).holds is holds


def test_a_missed_bar_is_printed_and_returned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A single missed bar makes `report` return False; the JSON has the values of all figures."""
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    good = Figure(name="good", unit="x", values=[2.0], at_least=1.5)
    bad = Figure(name="bad", unit="x", values=[1.0, 1.2], at_least=1.5)
    assert report("bench_x", [good])
    assert not report("bench_x", [good, bad], "bench_x_cuda")
    figures = json.loads((tmp_path / "bench_x_cuda.json").read_text())["figures"]
    assert [(figure["name"], figure["values"], figure["holds"]) for figure in figures] == [
        ("good", [2.0], True),
        ("bad", [1.0, 1.2], False),
    ]
    assert capsys.readouterr().out.count("MISSED") == 1


def test_there_is_a_ratio_for_each_round() -> None:
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
