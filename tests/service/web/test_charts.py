"""Charts span the values of their curves."""

import re

from gradnoise_service.web.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    SPARK_HEIGHT,
    SPARK_WIDTH,
    TOP,
    WIDTH,
    Series,
    chart,
    sparks,
)


def points(text: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"(\S+),(\S+)", text)]


def test_curves_share_the_axes_and_stay_inside() -> None:
    drawn = chart(
        "Loss",
        "epochs",
        [
            Series(name="a", mark="arm0", points=[(1, 0.0), (3, 1.0)], is_step=True),
            Series(name="b", mark="arm1", points=[(2, 2.0)]),
            Series(name="c", mark="arm2", points=[]),
        ],
    )
    assert drawn is not None
    steps, single = (points(line.points) for line in drawn.lines)
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    assert [x for x, _ in steps] == [LEFT, right, right]
    assert steps[0][1] == steps[1][1] > steps[2][1] > single[0][1]
    assert single[0][0] == (LEFT + right) / 2
    assert all(TOP <= y <= bottom for y in [y for _, y in (*steps, *single)])
    assert [label for _, label in drawn.x_ticks] == ["1", "2", "3"]
    assert [label for _, label in drawn.y_ticks] == ["0", "0.5", "1", "1.5", "2"]
    assert drawn.text == "Loss, over epochs. At the end: a 1; b 2."


def test_a_constant_curve_is_in_the_middle_and_nothing_has_no_chart() -> None:
    drawn = chart("x", "epochs", [Series(name="a", mark="arm0", points=[(1, 3.0)])])
    assert drawn is not None
    [(_, y)] = points(drawn.lines[0].points)
    assert y == TOP + (HEIGHT - TOP - BOTTOM) / 2
    assert chart("x", "epochs", [Series(name="a", mark="arm0", points=[])]) is None


def test_small_pictures_have_one_scale() -> None:
    first, second, third = sparks([[(1, 0.0), (2, 4.0)], [(2, 2.0)], []])
    assert points(first) == [(0.0, SPARK_HEIGHT), (SPARK_WIDTH, 0.0)]
    assert points(second) == [(SPARK_WIDTH, SPARK_HEIGHT / 2)]
    assert (third, sparks([[]])) == ("", [""])
