"""Labels of the forest plot."""

import pytest

from gradnoise_service.report.figures.forest import _labels


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["small deep digits", "small digits"], ["deep digits", "digits"]),
        (["small digits"], ["small digits"]),
        (["small", "small digits"], ["small", "digits"]),
        (["digits", "diagonal"], ["digits", "diagonal"]),
        (["small " + "long " * 9, "small digits"], ["long long long long…", "digits"]),
    ],
)
def test_labels_leave_out_the_words_that_all_names_begin_with(
    names: list[str], labels: list[str]
) -> None:
    assert _labels(names) == labels
