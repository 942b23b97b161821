"""Every error of the domain has a kind of problem."""

from collections.abc import Iterator

from gradnoise_service.api.problem_kinds import KINDS_BY_ERROR, KINDS_BY_STATUS, kind_of_status
from gradnoise_service.domain.errors import StudyError


def subclasses(error: type[Exception]) -> Iterator[type[Exception]]:
    for child in error.__subclasses__():
        yield child
        yield from subclasses(child)


def test_every_error_of_the_domain_has_a_kind() -> None:
    assert [
        error.__name__
        for error in subclasses(StudyError)
        if error.__module__.startswith("gradnoise_service.") and error not in KINDS_BY_ERROR
    ] == []


def test_every_kind_has_a_unique_slug_and_a_hint() -> None:
    kinds = [*KINDS_BY_ERROR.values(), *KINDS_BY_STATUS.values()]
    assert len({kind.slug for kind in kinds}) == len(kinds)
    assert all(kind.hint.endswith(".") and not kind.title.endswith(".") for kind in kinds)


def test_status_without_a_kind_has_its_detail_as_title() -> None:
    kind = kind_of_status(418, "I am a teapot")
    assert (kind.status, kind.title) == (418, "I am a teapot")
