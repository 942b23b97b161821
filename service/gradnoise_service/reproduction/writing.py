"""Writes the page on the reproduction of the paper, its pictures and the results it is made of."""

from pathlib import Path

from gradnoise_service.client import Client
from gradnoise_service.reproduction.page import page
from gradnoise_service.reproduction.reading import table_results

PICTURES = "pictures"
KEPT = "reproduction"


def write(client: Client, file: Path) -> tuple[int, int]:
    """Write the page into a file, and its pictures into the folder `pictures` beside it.

    The results of complete studies are kept in the folder `reproduction` beside it; those kept from
    other services are on the page too.

    Returns:
        The number of rows of all tables, and how many of them have a complete study.
    """
    results = table_results(client, file.parent / KEPT)
    folder = file.parent / PICTURES
    for result in results:
        images = {result.table.name: result.picture}
        images[f"{result.table.name}-lengths"] = result.length_picture
        for name, image in images.items():
            if image is not None:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{name}.svg").write_bytes(image)
    file.write_text(page(results, pictures=PICTURES), encoding="utf-8")
    rows = [row for result in results for row in result.rows]
    return len(rows), sum(row.study is not None for row in rows)
