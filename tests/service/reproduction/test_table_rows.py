"""The page's tables have the paper's figures beside ours."""

import re

from gradnoise_service.compare.intervals import mean_interval


def test_tables_have_the_figures_of_the_paper_beside_ours(page: str) -> None:
    """They have best values, means and shares with intervals, runs and device time."""
    assert (
        "| Row \\| A | best accuracy | baseline 0.899<br>noisy 0.967 | baseline 0.502<br>noisy "
        "0.702<br>noisy-1.0 0.502 |" in page
    )
    noisy = [0.7 + 0.001 * (i % 3) for i in range(12)]
    interval = mean_interval(noisy, level=0.95, seed=1)
    ours = f"<br>noisy 0.701 ({round(interval.low, 4):.4g} to {round(interval.high, 4):.4g})<br>"
    (line,) = [
        line
        for line in page.splitlines()
        if line.startswith("| Row \\| A | mean accuracy | baseline 0.431<br>noisy 0.527 |")
    ]
    assert ours in line
    assert (
        "noisy 5 %<br>(100 runs, Section \\| 4) | baseline 0 %, 0 of 8 (0 % to 32.4 %)<br>noisy "
        "100 %, 8 of 8 (67.6 % to 100 %)" in page
    )
    seconds = 12 * 8 * 2
    assert (
        f"| helps | full | baseline {seconds // 60} min {seconds % 60} s<br>noisy {seconds // 60} "
        f"min {seconds % 60} s |" in page
    )
    assert "A table with \\*marks\\* of Markdown \\| and a bar." in page
    for block in re.findall(r"(?:^\|.*\|$\n?)+", page, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
