"""How often each arm is searched: the default, and the confirm seeds that it needs."""

from gradnoise_service.domain.errors import FieldFault, InvalidSpecError
from gradnoise_service.domain.spec import StudySpec

DEFAULT_REPEATS = 3


def with_repeats(spec: StudySpec) -> StudySpec:
    """Return the spec with its number of searches; a spec without a search as it is.

    By default it is 3 if each search then has two confirm seeds, at the first look too, else 1.
    Where seeds follow from a power, it is 3 if `search_sd` is given; an always-valid verdict is on
    pairs, so it has 1.

    Raises:
        InvalidSpecError: If a search would have no confirm seed.
    """
    if spec.search is None:
        return spec
    n_seeds = [*spec.confirm.looks, spec.confirm.n_seeds][0]
    repeats = spec.search.repeats
    if repeats is None:
        power = spec.confirm.power
        is_enough = n_seeds >= 2 * DEFAULT_REPEATS if power is None else power.search_sd is not None
        repeats = DEFAULT_REPEATS if is_enough and not spec.confirm.anytime else 1
    if n_seeds and repeats > n_seeds:
        at = "at the first look" if spec.confirm.looks else "in the confirm phase"
        fault = FieldFault(
            field="search.repeats",
            value=repeats,
            message=f"{repeats} searches of each arm share {n_seeds} seeds {at}",
            legal=f"1 to {n_seeds}, a seed for each search",
        )
        raise InvalidSpecError([fault])
    return spec.model_copy(update={"search": spec.search.model_copy(update={"repeats": repeats})})
