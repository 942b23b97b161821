"""Use cases on studies: submit, list, show, progress, remark, extend."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gradnoise_service.domain import legal
from gradnoise_service.domain.access import Caller
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.errors import InvalidSpecError
from gradnoise_service.domain.plan import Plan
from gradnoise_service.domain.progress import Progress, QueuePlace
from gradnoise_service.domain.remarks import Remarks, StudyFilter
from gradnoise_service.domain.repeats import with_repeats
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Study
from gradnoise_service.domain.suite import check_membership
from gradnoise_service.domain.trial_errors import ArmError
from gradnoise_service.domain.webhook import check_urls
from gradnoise_service.store import (
    catalogues,
    costs,
    deletion,
    queue,
    sources,
    studies,
    study_names,
    trials,
)
from gradnoise_service.store.prepared import Transaction
from gradnoise_service.usecases.changed_code import check_code
from gradnoise_service.usecases.service import Service
from gradnoise_service.usecases.slices import Slice, sliced


@dataclass(frozen=True, kw_only=True)
class ShownStudy:
    """A study with its place in the queue, None if it is not queued, and the arms' first errors."""

    study: Study
    queue: QueuePlace | None
    errors: tuple[ArmError, ...]

    @property
    def id(self) -> int:
        return self.study.id


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A submitted study.

    Args:
        is_new: False if the same idempotency key submitted it before.
        plan: What it runs, costs and can detect.
        warnings: What the installed packages leave unclear.
    """

    shown: ShownStudy
    is_new: bool
    plan: Plan
    warnings: tuple[str, ...]


def submit(
    service: Service,
    caller: Caller,
    spec: StudySpec,
    key: str | None,
    *,
    is_dry_run: bool = False,
) -> Submission:
    """Check a study against the announced workloads, store it and queue it.

    A dry run returns the study as it would be, and stores nothing.

    Raises:
        InvalidSpecError: If the study cannot run as described.
        CatalogueEmptyError: If no worker has announced its workloads.
        NameTakenError: If the caller has another study of this name.
        IdempotencyMismatchError: If the key was used for another study.
    """
    # loads numpy, which no other request needs
    from gradnoise_service.compare.planning import planned
    from gradnoise_service.report.words.broken import shadowed
    from gradnoise_service.report.words.power import power

    # the levels of looks take long to compute, so a study of a million seeds is refused before
    excess = legal.too_many_trials(Design.of(with_repeats(spec)), service.settings.max_trials)
    if excess is not None:
        raise InvalidSpecError([excess])
    spec = planned(spec)
    check_urls(spec.notify, service.settings.notify_urls)
    now = service.clock()
    with service.database.transaction(write=True) as session:
        catalogue, source = catalogues.read(session), None
        if spec.source is not None:
            source = sources.find(session, spec.source, caller.owner)
            catalogue = catalogue.including(source.source.announced)
        metric = legal.check(catalogue, spec, service.settings.max_trials)
        if spec.suite is not None:
            check_membership(spec, studies.first_of_suite(session, spec.suite, caller.owner))
        study = studies.submit(
            session,
            spec,
            metric,
            owner=caller.owner,
            now=now,
            idempotency_key=key,
            source=source,
        )
        seconds = costs.seconds_per_epoch(session, study.spec)
        [found] = _shown(session, [study], now)
        if is_dry_run:
            session.rollback()
    n_epochs = study.design.n_epochs_total
    plan = Plan(
        n_trials=study.design.n_trials_total,
        n_epochs=n_epochs,
        device_seconds=None if seconds is None else seconds * n_epochs,
        power=power(study.design),
    )
    return Submission(
        shown=found,
        is_new=study.created_at == now,
        plan=plan,
        warnings=tuple(map(shadowed, catalogue.shadowed(spec))),
    )


def shown(service: Service, study: Study) -> ShownStudy:
    """Return a study with its place in the queue and its first errors."""
    with service.database.transaction() as session:
        [found] = _shown(session, [study], service.clock())
        return found


def _shown(session: Transaction, found: Sequence[Study], now: datetime) -> list[ShownStudy]:
    queued = [study.id for study in found if study.state == "queued"]
    places = queue.places(session, now, queued) if queued else {}
    errors = trials.first_errors(session, [study.id for study in found if study.has_errors])
    return [
        ShownStudy(study=study, queue=places.get(study.id), errors=errors.get(study.id, ()))
        for study in found
    ]


def page(
    service: Service,
    caller: Caller,
    *,
    before: int | None,
    limit: int,
    only: StudyFilter = studies.EVERY,
) -> Slice[ShownStudy]:
    """Return up to `limit` visible studies with ids below `before`, newest first."""
    with service.database.transaction() as session:
        found = studies.page(
            session, owner=caller.visible_owner, before=before, limit=limit + 1, only=only
        )
        return sliced(_shown(session, found, service.clock()), limit)


def show(service: Service, caller: Caller, study_id: int) -> Study:
    """Return a study, without its comparison.

    Raises:
        NotFoundError: If there is no visible study with this id.
    """
    with service.database.transaction() as session:
        return studies.describe(session, study_id, caller.visible_owner)


def show_with_place(service: Service, caller: Caller, study_id: int) -> ShownStudy:
    """Return a study with its place in the queue and its first errors; raises as `show`."""
    with service.database.transaction() as session:
        study = studies.describe(session, study_id, caller.visible_owner)
        [found] = _shown(session, [study], service.clock())
        return found


def progress(service: Service, caller: Caller, study_id: int) -> Progress:
    """Return the progress of a study; raises as `show`."""
    with service.database.transaction() as session:
        return studies.progress(session, study_id, service.clock(), caller.visible_owner)


def remark(service: Service, caller: Caller, study_id: int, remarks: Remarks) -> Study:
    """Replace the tags of a study, its note, or both; raises as `show`."""
    with service.database.session(write=True) as session:
        return studies.remark(session, study_id, caller.visible_owner, remarks)


def delete(service: Service, caller: Caller, study_id: int) -> None:
    """Delete a study for good; a dispatcher then removes what it has left.

    Raises:
        NotFoundError: As `show`.
        StudyRunningError: If it runs.
    """
    with service.database.session(write=True) as session:
        deletion.mark(session, study_id, caller.visible_owner, service.clock())


def clone(service: Service, caller: Caller, study_id: int) -> dict[str, object]:
    """Return the plain values of a study, under a free name, to be changed and submitted.

    What equals a default is left out, and a number of seeds that follows from the power; arms are
    always given. Extensions are not part of it. Raises as `show`.
    """
    with service.database.session() as session:
        study = studies.get(session, study_id, caller.visible_owner)
        name = study_names.free_name(session, caller.owner, study.spec.name)
    values = study.spec.model_dump(mode="json", exclude_defaults=True)
    arms = [arm.model_dump(mode="json", exclude_defaults=True) for arm in study.spec.arms]
    if study.spec.confirm.power is not None:
        del values["confirm"]["n_seeds"]
    return values | {"name": name, "arms": arms}


def extend(
    service: Service,
    caller: Caller,
    study_id: int,
    n_seeds: int,
    key: str | None = None,
    *,
    n_epochs: int = 0,
    is_dry_run: bool = False,
    accepts_changed_code: bool = False,
) -> Study:
    """Queue a complete study again with further confirm seeds, or epochs of each confirm run.

    A dry run returns the study as it would be, and stores nothing.

    Raises:
        NotFoundError: As `show`.
        StudyNotCompleteError: If the study is not complete.
        CodeChangedError: If it ran other code than is installed now, and this is not accepted.
        InvalidSpecError: If the study would have too many trials, or its runs cannot be trained on.
        IdempotencyMismatchError: If the key was used for another number of seeds or epochs.
    """
    with service.database.session(write=True) as session:
        extended = studies.extend(
            session,
            study_id,
            caller.visible_owner,
            n_seeds,
            n_epochs=n_epochs,
            max_trials=service.settings.max_trials,
            now=service.clock(),
            idempotency_key=key,
            accepts_changed_code=accepts_changed_code,
        )
        if not accepts_changed_code:
            check_code(session, extended)
        if is_dry_run:
            session.rollback()
        return extended
