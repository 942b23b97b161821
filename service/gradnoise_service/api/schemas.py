"""What the API answers with, where it is not a value of the domain as it stands."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, Field

from gradnoise_service.domain.catalogue import (
    ParameterizedEntry,
    ParameterRange,
    TechniqueEntry,
    WorkloadEntry,
)
from gradnoise_service.domain.design import Extension
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, Study, StudyState
from gradnoise_service.store.tokens import Scope

T = TypeVar("T")
MAX_ID = 2**63 - 1


class Items(BaseModel, Generic[T]):
    """A whole list."""

    items: Sequence[T]


class Page(BaseModel, Generic[T]):
    """A part of a list; `next` is the address of the part that follows, null after the last."""

    items: Sequence[T]
    next: str | None


class Links(BaseModel):
    """Where more is to be found: the study, its report, its page for people, and the Optuna
    Dashboard.
    """

    self: str
    report: str
    page: str
    dashboard: str


class StudyOut(BaseModel):
    """A study as submitted, and what has become of it; `verdict` is the first compared arm's, once
    there is one.
    """

    id: int
    name: str
    owner: str
    state: StudyState
    workload: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None
    spec: StudySpec
    metric: Metric
    verdict: str | None
    n_seeds: int = Field(description="Confirm seeds, those of extensions included.")
    extensions: Sequence[Extension] = Field(
        description="Seeds added after a verdict, with that verdict; each look is one more chance to err."
    )
    links: Links

    @classmethod
    def of(cls, study: Study, dashboard_url: str) -> "StudyOut":
        here = f"/v1/studies/{study.id}"
        page = f"/studies/{study.id}"
        return cls(
            id=study.id,
            name=study.spec.name,
            owner=study.owner,
            state=study.state,
            workload=study.spec.workload,
            created_at=study.created_at,
            started_at=study.started_at,
            finished_at=study.finished_at,
            error=study.error,
            spec=study.spec,
            metric=study.metric,
            verdict=study.verdict,
            n_seeds=study.design.n_seeds,
            extensions=study.extensions,
            links=Links(
                self=here,
                report=f"{here}/report",
                page=page,
                dashboard=f"{dashboard_url}/dashboard/",
            ),
        )


class ExtensionIn(BaseModel, extra="forbid"):
    """More confirm seeds for a complete study."""

    seeds: int = Field(
        strict=True, ge=1, le=1_000_000, description="How many more; each arm runs once on each."
    )


class ParameterOut(BaseModel):
    """The legal values of a hyperparameter: numbers, null where it is unbounded (`low_open`:
    without low itself; `integer`: whole ones), or the words of `choices`, of which some need other
    hyperparameters to be given (`needs`).
    """

    name: str
    description: str
    low: float | None
    high: float | None
    low_open: bool
    integer: bool
    choices: list[str]
    needs: dict[str, list[str]]

    @classmethod
    def of(cls, parameter: ParameterRange) -> "ParameterOut":
        low, high = (
            bound if abs(bound) != float("inf") else None
            for bound in (parameter.low, parameter.high)
        )
        return cls(
            name=parameter.name,
            description=parameter.description,
            low=low,
            high=high,
            low_open=parameter.low_open,
            integer=parameter.integer,
            choices=list(parameter.choices),
            needs={word: list(names) for word, names in parameter.needs.items()},
        )


class WorkloadOut(BaseModel):
    """What can be trained: its options as a JSON Schema, the metrics it measures (the first decides
    unless the study says otherwise).
    """

    name: str
    description: str
    options_schema: dict[str, Any]
    metrics: list[Metric]
    parameters: list[ParameterOut]
    stacks: bool = Field(description="Whether several trials can train as one model.")
    techniques: list[str] | None = Field(
        description="The techniques it can be trained with, null for all."
    )

    @classmethod
    def of(cls, workload: WorkloadEntry) -> "WorkloadOut":
        return cls(
            name=workload.name,
            description=workload.description,
            options_schema=dict(workload.options_schema),
            metrics=list(workload.metrics),
            parameters=list(map(ParameterOut.of, workload.parameters)),
            stacks=workload.stacks,
            techniques=None if workload.techniques is None else list(workload.techniques),
        )


class NamedOut(BaseModel):
    """A technique or an optimizer, with the hyperparameters it takes and those it needs."""

    name: str
    description: str
    parameters: list[ParameterOut]
    required: list[str]

    @classmethod
    def of(cls, named: ParameterizedEntry) -> "NamedOut":
        parameters = list(map(ParameterOut.of, named.parameters))
        return cls(
            name=named.name,
            description=named.description,
            parameters=parameters,
            required=list(named.required),
        )


class TechniqueOut(NamedOut):
    """A technique: what it does to an update, as a formula, and the hyperparameters it takes and
    those it needs.
    """

    formula: str = Field(
        description="What it does to the gradient, the weights or the activations of an update."
    )
    source: str = Field(description="Where it was published.")

    @classmethod
    def of_technique(cls, technique: TechniqueEntry) -> "TechniqueOut":
        return cls(
            **dict(NamedOut.of(technique)), formula=technique.formula, source=technique.source
        )


class Techniques(Items[TechniqueOut]):
    """The techniques, and the optimizers beside them."""

    optimizers: list[NamedOut]


class PresetOut(BaseModel):
    """A ready study, or a table of the paper with a study for each row."""

    name: str
    description: str
    n_studies: int
    scales: list[str] = Field(
        description="The scales at which a table can be run, the smallest first; none for a single study."
    )


class PresetWithStudies(PresetOut):
    """A preset with its studies at a scale, to be submitted one by one as they stand or changed
    first.
    """

    studies: list[StudySpec]


class TokenIn(BaseModel, extra="forbid"):
    """A token to be made."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$", description="What the token is for; unique."
    )
    owner: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,79}$",
        description="Whose studies it submits and sees.",
    )
    scopes: list[Scope] = Field(
        default=["read", "submit"],
        min_length=1,
        max_length=3,
        description="`admin` includes the others.",
    )
    days: int | None = Field(
        default=90, ge=1, le=3650, description="Days until it expires; null for never."
    )


class TokenOut(BaseModel):
    """A token, without the token."""

    name: str
    owner: str
    scopes: list[Scope]
    expires_at: datetime | None


class NewToken(TokenOut):
    """A token, shown this one time."""

    token: str


class Check(BaseModel):
    """One thing that the service needs, whether it is there, and what to do if it is not."""

    name: Literal["database", "schema", "catalogue"]
    ok: bool
    detail: str
    hint: str


class DispatcherOut(BaseModel):
    """A dispatcher that has given a sign of life in time."""

    id: str
    device: str
    n_slots: int
    acquired_until: datetime


class Readiness(BaseModel):
    """Whether studies can be submitted, and who would run them."""

    ready: bool
    checks: list[Check]
    dispatchers: list[DispatcherOut]
