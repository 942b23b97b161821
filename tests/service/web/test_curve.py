"""The picture of a trial's course spans its values and epochs."""

from gradnoise_service.domain.study import Measurement
from gradnoise_service.web.curve import HEIGHT, MOST_POINTS, WIDTH, curve


def measured(**columns: list[float | None]) -> list[Measurement]:
    rows = zip(*columns.values(), strict=True)
    return [
        Measurement(trial_id=1, epoch=i, values=dict(zip(columns, row, strict=True)), seconds=1.0)
        for i, row in enumerate(rows, start=1)
    ]


def test_points_span_the_values_of_all_splits() -> None:
    found = curve(measured(validation_x=[0.0, None, 1.0], test_x=[None, 2.0, 0.5]), "x")
    assert found is not None
    assert (found.low, found.high, found.last_epoch) == (0.0, 2.0, 3)
    validation, test = found.lines
    assert validation.points == f"0.0,{HEIGHT:.1f} {WIDTH:.1f},{HEIGHT / 2:.1f}"
    assert test.points == f"{WIDTH / 2:.1f},0.0 {WIDTH:.1f},{0.75 * HEIGHT:.1f}"
    assert (validation.last, test.last) == (1.0, 0.5)


def test_a_single_or_constant_value_is_in_the_middle() -> None:
    found = curve(measured(validation_x=[3.0]), "x")
    assert found is not None
    assert [line.points for line in found.lines] == [f"{WIDTH:.1f},{HEIGHT / 2:.1f}"]


def test_many_epochs_are_thinned_and_none_has_no_picture() -> None:
    found = curve(measured(validation_x=[float(i) for i in range(10_001)]), "x")
    assert found is not None
    [line] = found.lines
    assert len(line.points.split()) <= MOST_POINTS + 1
    assert line.points.endswith(f"{WIDTH:.1f},0.0")
    assert curve([], "x") is None
    assert curve(measured(train_loss=[1.0]), "x") is None
