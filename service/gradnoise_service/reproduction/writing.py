"""Writes the page on the reproduction of the paper and its pictures."""

from pathlib import Path

from gradnoise_service.client import Client
from gradnoise_service.reproduction.page import page
from gradnoise_service.reproduction.reading import table_results

PICTURES = "pictures"


def write(client: Client, file: Path) -> tuple[int, int]:
    """Write the page into a file and its pictures into the folder `pictures` beside it.

    Returns:
        The number of rows of all tables, and how many of them have a complete study.
    """
    results = table_results(client)
    folder = file.parent / PICTURES
    for result in results:
        if picture := result.picture:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{result.table.name}.svg").write_bytes(picture)
    file.write_text(page(results, pictures=PICTURES), encoding="utf-8")
    rows = [row for result in results for row in result.rows]
    return len(rows), sum(row.study is not None for row in rows)
