"""Sentences on the error that an extension adds; those on verdicts are tested with the verdicts."""

from gradnoise_service.report.words.anytime import extension_cost


def test_an_extension_states_the_error_over_all_verdicts() -> None:
    assert extension_cost(32, 0.0873) == (
        "With 32 seeds, equal arms are called different in about 8.73 % of such studies, not in "
        "5 %: each earlier verdict adds to the error probability."
    )
    assert extension_cost(32, 0.05) == (
        "With 32 seeds, the error probability stays at 5 %: no earlier verdict adds to it."
    )
