"""What a study's declarations come to before its first trial."""

import bisect

from gradnoise_service.compare.intervals import fewest_pairs
from gradnoise_service.compare.power import pairs_for
from gradnoise_service.compare.verdict import alpha_each, level_at
from gradnoise_service.domain.errors import FieldFault, InvalidSpecError
from gradnoise_service.domain.spec import Power, StudySpec


def planned(spec: StudySpec) -> StudySpec:
    """Return the study as it will run: with as many confirm seeds as its power takes, and looks
    that can each give a verdict.

    Raises:
        InvalidSpecError: If no number of seeds reaches the power, it disagrees with the number that the
            study gives, or a look comes too early.
    """
    spec = with_seeds(spec)
    for look, n_seeds in enumerate(spec.confirm.looks):
        level = level_at(spec, n_seeds)
        fewest = fewest_pairs(level)
        if n_seeds * spec.n_points < fewest:
            message = (
                f"no verdict is possible at {n_seeds} seeds: this look is held to {level:.2g}, "
                f"which takes {fewest} pairs at least"
            )
            raise InvalidSpecError(
                [
                    FieldFault(
                        field="confirm.looks",
                        value=spec.confirm.looks,
                        message=message,
                        legal=_legal(spec, look),
                    )
                ]
            )
    return spec


def with_seeds(spec: StudySpec) -> StudySpec:
    """Return the study with as many confirm seeds as the power that it declares takes; one that
    declares none as it is.

    They are the fewest with which a technique that gains the smallest difference is found with that
    chance, at the level of each of the study's comparisons; where looks are declared, at that of
    the last one, which has to keep some of the chance to err for the others.

    Raises:
        InvalidSpecError: If no number of seeds reaches the power, or the study gives another number
            itself.
    """
    declared = spec.confirm.power
    if declared is None:
        return spec
    level, n_seeds, taken = 1 - alpha_each(spec), 0, spec
    try:
        while (n := _seeds_for(spec, declared, level)) > n_seeds:
            n_seeds, taken = n, _with(spec, n)
            if any(look >= n for look in spec.confirm.looks):
                break
            level = 1 - level_at(taken, n)
    except ValueError as error:
        legal = f"a power below {(1 + level) / 2:.4g}, and an sd that a million seeds can resolve"
        raise InvalidSpecError(
            [
                FieldFault(
                    field="confirm.power",
                    value=declared.model_dump(),
                    message=str(error),
                    legal=legal,
                )
            ]
        ) from None
    if spec.confirm.n_seeds not in (0, n_seeds):
        message = f"n_seeds and power are both given and disagree: this power takes {n_seeds} seeds"
        raise InvalidSpecError(
            [
                FieldFault(
                    field="confirm.n_seeds",
                    value=spec.confirm.n_seeds,
                    message=message,
                    legal="one of the two",
                )
            ]
        )
    if any(look >= n_seeds for look in spec.confirm.looks):
        message = f"the last look must come before the last seed: this power takes {n_seeds} seeds"
        raise InvalidSpecError(
            [
                FieldFault(
                    field="confirm.looks",
                    value=spec.confirm.looks,
                    message=message,
                    legal=f"looks below {n_seeds}",
                )
            ]
        )
    return taken


def _seeds_for(spec: StudySpec, declared: Power, level: float) -> int:
    """Return the seeds that the pairs of a power take: each gives one, without a search as many as
    there are settings.
    """
    return max(
        2,
        -(
            -pairs_for(spec.smallest_difference, declared.sd, declared.power, level)
            // spec.n_points
        ),
    )


def _with(spec: StudySpec, n_seeds: int) -> StudySpec:
    return spec.model_copy(update={"confirm": spec.confirm.model_copy(update={"n_seeds": n_seeds})})


def _legal(spec: StudySpec, look: int) -> str:
    """Return what may stand in a look's place, in words: the fewest seeds that can give a verdict
    there, the other looks as they are.
    """
    confirm = spec.confirm
    later = range(confirm.looks[look] + 1, confirm.plan[look + 1])

    def is_sound(n_seeds: int, **changes: object) -> bool:
        looks = [*confirm.looks[:look], n_seeds, *confirm.looks[look + 1 :]]
        other = spec.model_copy(
            update={"confirm": confirm.model_copy(update={"looks": looks} | changes)}
        )
        return fewest_pairs(level_at(other, n_seeds)) <= n_seeds * spec.n_points

    i = bisect.bisect_left(later, True, key=is_sound)
    found = (
        f"at least {later[i]} seeds at this look"
        if i < len(later)
        else f"no look so early before {confirm.plan[look + 1]} seeds"
    )
    return (
        f"{found}, or the boundary pocock"
        if is_sound(confirm.looks[look], boundary="pocock")
        else found
    )
