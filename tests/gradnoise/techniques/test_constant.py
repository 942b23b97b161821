from gradnoise.techniques.constant import constant


def test_every_update_has_its_own_draw_of_the_same_size() -> None:
    injection = constant(std=0.2)
    assert [list(injection.terms(t)) for t in (0, 1, 1_000)] == [
        [(0, 0.2)],
        [(1, 0.2)],
        [(1_000, 0.2)],
    ]
    assert injection.preconditioner is None
