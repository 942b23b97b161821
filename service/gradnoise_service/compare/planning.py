"""The declarations of a study, completed before its first trial: repeats, seeds, sound looks."""

import bisect
import math
from collections.abc import Sequence

from gradnoise_service.compare.power import chances_of_searches, fewest, pairs_for
from gradnoise_service.domain.confirm import Power
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.errors import FieldFault, InvalidSpecError
from gradnoise_service.domain.looks import LEAST_LEVEL, NORMAL, SHAPES, two_sided_bound
from gradnoise_service.domain.repeats import with_repeats
from gradnoise_service.domain.sequential import fewest_pairs
from gradnoise_service.domain.spec import StudySpec

N_TRIED = 3
"""Numbers of seeds from an estimate on that are tried, besides the one before it."""


def planned(spec: StudySpec) -> StudySpec:
    """Return the spec with its numbers of searches and seeds; every look can give a verdict.

    Raises:
        InvalidSpecError: If no number of seeds reaches the power, it contradicts the given number,
            a search would have no confirm seed, or a look is too early for any verdict.
    """
    spec = with_seeds(with_repeats(spec))
    design = Design.of(spec)
    for i, n_seeds in enumerate(spec.confirm.looks):
        level, n_needed = design.level_at(n_seeds), design.fewest_pairs_at(n_seeds)
        if n_seeds * design.n_settings < n_needed:
            message = (
                f"no verdict is possible at {n_seeds} seeds: the level of this look is {level:.2g},"
                f" which requires at least {n_needed} pairs"
            )
            raise _fault("confirm.looks", spec.confirm.looks, message, _legal_look(design, i))
    return spec


def with_seeds(spec: StudySpec) -> StudySpec:
    """Return the spec with the confirm seeds that its declared power requires; without one as is.

    They are the fewest with which a technique that gains the smallest difference is detected with
    that probability, at the level of each comparison. With declared looks it is the last look's
    level, which is lower, because the others use part of the error probability.

    Raises:
        InvalidSpecError: If no number of seeds reaches the power, or the spec gives another number.
    """
    declared = spec.confirm.power
    if declared is None:
        return spec
    n_seeds = _seeds(spec, declared)
    if spec.confirm.n_seeds not in (0, n_seeds):
        message = (
            f"n_seeds and power are both given and disagree: this power requires {n_seeds} seeds"
        )
        raise _fault("confirm.n_seeds", spec.confirm.n_seeds, message, "one of the two")
    if not _precede(spec.confirm.looks, n_seeds):
        message = f"looks must be below n_seeds: this power requires {n_seeds} seeds"
        raise _fault("confirm.looks", spec.confirm.looks, message, f"looks below {n_seeds}")
    return _with(spec, n_seeds=n_seeds)


def sd_of_search_mean(declared: Power, n: int, n_seeds: int) -> float:
    """Return the standard deviation of the mean of one of n searches that share the seeds.

    Its square is search_sd^2 + n sd^2 / (2 n_seeds), where sd^2 / 2 is the part of one arm.
    """
    return math.hypot(declared.search_sd or 0.0, declared.sd * math.sqrt(n / (2 * n_seeds)))


def _seeds(spec: StudySpec, declared: Power) -> int:
    """Return the seeds of a power; with looks the level depends on them, so it is iterated."""
    level, n_seeds = 1 - Design.of(spec).alpha, 0
    try:
        while (n := _seeds_at(spec, declared, level)) > n_seeds:
            n_seeds = n
            if not _precede(spec.confirm.looks, n):
                break
            level = 1 - Design.of(_with(spec, n_seeds=n)).level_at(n)
    except ValueError as error:
        legal = f"a power below {(1 + level) / 2:.4g}, and an sd that a million seeds can resolve"
        raise _fault("confirm.power", declared.model_dump(), str(error), legal) from None
    return n_seeds


def _seeds_at(spec: StudySpec, declared: Power, level: float) -> int:
    n_repeats = Design.of(spec).n_repeats
    if n_repeats > 1:
        return _seeds_of_searches(spec, n_repeats, declared, level)
    n_pairs = pairs_for(spec.smallest_difference, declared.sd, declared.power, level)
    return max(2, -(-n_pairs // Design.of(spec).n_settings))


def _seeds_of_searches(spec: StudySpec, n: int, declared: Power, level: float) -> int:
    """Return the fewest seeds with which n searches of each arm reach the power."""
    delta, search_sd = spec.smallest_difference, declared.search_sd
    if search_sd is None:
        message = f"{n} searches of each arm differ from each other, and search_sd is missing"
        raise _fault("confirm.power.search_sd", None, message, "a number above 0; or repeats: 1")

    def reaches(n_seeds: int) -> bool:
        sd = sd_of_search_mean(declared, n, n_seeds)
        found = chances_of_searches(n, delta, sd, smallest_difference=delta, level=level)
        return found["helps"] >= declared.power

    found = fewest(reaches, n)
    if found is None:
        raise ValueError(
            f"no number of seeds reaches this power with {n} searches of each arm, because their "
            f"means differ by search_sd = {search_sd:g}: give more repeats or a larger "
            "smallest_difference"
        )
    return found


def _precede(looks: Sequence[int], n_seeds: int) -> bool:
    return not looks or looks[-1] < n_seeds


def _legal_look(design: Design, i: int) -> str:
    """Return what is legal for a look while the others stay: the fewest sound seeds."""
    looks = design.looks
    later = range(looks[i] + 1, looks[i + 1])
    # the levels of all looks depend little on this one, so few numbers are tried
    first = bisect.bisect_left(later, True, key=lambda n_seeds: _seems_sound(design, n_seeds))
    tried = later[max(0, first - 1) : first + N_TRIED]
    sound = next((n_seeds for n_seeds in tried if _is_sound(design, i, n_seeds)), None)
    found = (
        f"no look so early before {looks[i + 1]} seeds"
        if sound is None
        else f"at least {sound} seeds at this look"
    )
    evenly = Design.of(_with(design.spec, boundary="pocock"))
    return f"{found}, or the boundary pocock" if _is_sound(evenly, i, looks[i]) else found


def _seems_sound(design: Design, n_seeds: int) -> bool:
    """Return whether a verdict is possible at a look, if it has the shared c of the levels."""
    looks = design.looks
    c = two_sided_bound(design.levels[-1])
    shape = SHAPES[design.spec.confirm.boundary]
    bound = c * (n_seeds / looks[-1]) ** (shape - 0.5)
    level = max(LEAST_LEVEL, 2 * NORMAL.cdf(-bound))
    n_needed = design.n_repeats if design.n_repeats > 1 else fewest_pairs(level)
    return n_needed <= n_seeds * design.n_settings


def _is_sound(design: Design, i: int, n_seeds: int) -> bool:
    """Return whether a verdict is possible with look i moved to a number of seeds."""
    looks = [*design.looks[:i], n_seeds, *design.looks[i + 1 : -1]]
    moved = Design.of(_with(design.spec, looks=looks))
    return moved.fewest_pairs_at(n_seeds) <= n_seeds * design.n_settings


def _with(spec: StudySpec, **confirm: object) -> StudySpec:
    changed = spec.confirm.model_copy(update=confirm)
    return spec.model_copy(update={"confirm": changed})


def _fault(field: str, value: object, message: str, legal: str) -> InvalidSpecError:
    fault = FieldFault(field=field, value=value, message=message, legal=legal)
    return InvalidSpecError([fault])
