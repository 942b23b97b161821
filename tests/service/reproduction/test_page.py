"""The page on the reproduction of the paper."""


def test_every_row_has_its_command(page: str) -> None:
    """The scale is that of the complete study, else full."""
    commands = [line for line in page.splitlines() if line.startswith("gradnoise submit")]
    scales = {"a": "full", "b": "quick", "c": "full", "d": "full", "e": "full"}
    assert commands == [
        f"gradnoise submit --preset paper-table-9 --scale {scale} --row {row} --watch"
        for row, scale in scales.items()
    ]


def test_cost_of_a_table_is_the_sum_of_its_known_rows(page: str) -> None:
    """It names how many rows were measured, extrapolated or unknown."""
    assert "| paper-table-9 | 180 | 0.16 h | 1 measured, 4 unknown |" in page
