"""The bodies of requests and responses that are not values of the domain."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Generic, Self, TypeVar
from urllib.parse import quote, urlencode

from pydantic import BaseModel, Field, model_validator

from gradnoise_service.domain.catalogue import (
    BrokenEntry,
    ParameterizedEntry,
    ParameterRange,
    WorkloadEntry,
)
from gradnoise_service.domain.devices import DeviceChoice
from gradnoise_service.domain.hashes import spec_hash
from gradnoise_service.domain.plan import Plan
from gradnoise_service.domain.progress import QueuePlace
from gradnoise_service.domain.rules import Rule
from gradnoise_service.domain.sequential import Extension
from gradnoise_service.domain.space import Value
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.stop import Stop
from gradnoise_service.domain.study import Metric, Study, StudyState
from gradnoise_service.domain.suite import SuiteCount
from gradnoise_service.domain.trial_errors import ArmError
from gradnoise_service.report.words.rehearsal import known_limits

T = TypeVar("T")


class Items(BaseModel, Generic[T]):
    """A whole list."""

    items: Sequence[T]


class Page(BaseModel, Generic[T]):
    """A page of a list; `next` is the address of the next page, null after the last page."""

    items: Sequence[T]
    next: str | None


class Links(BaseModel):
    """Addresses of a study, its report, its HTML page, and the Optuna Dashboard."""

    self: str
    report: str
    page: str
    dashboard: str


class StudyOut(BaseModel):
    """A study as submitted, with its state; `verdict` is about the first compared arm."""

    id: int
    name: str
    owner: str
    state: StudyState
    workload: str
    priority: int = Field(description="Studies of higher priority start first.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None
    spec: StudySpec
    spec_hash: str = Field(description="SHA-256 of the spec, fixed before the first trial.")
    metric: Metric
    verdict: str | None
    stops: Sequence[Stop] = Field(description="What stops on request have cut.")
    is_settling: bool = Field(
        description="Whether the study has ended and its trials are still to be ended."
    )
    devices: DeviceChoice = Field(
        description="Where its trials train; not auto once the study has started."
    )
    tags: Sequence[str] = Field(description="The owner's tags, by name.")
    note: str = Field(description="The owner's note.")
    pruned_at: datetime | None = Field(
        description="When its logs, files and checkpoints were removed because of their age."
    )
    n_seeds: int = Field(description="Confirm seeds, including those of extensions.")
    extensions: Sequence[Extension] = Field(
        description="Added seeds or epochs, with the earlier verdict; each look adds to the error."
    )
    warnings: Sequence[str] = Field(
        description=(
            "What the study cannot show, as declared (searches that are too small, fewer seeds "
            "than a verdict requires) and as a trial of each arm showed before the first (noise "
            "that drowns the gradient, parameters that nothing reads); in the answer to a "
            "submission also names that several packages declare."
        )
    )
    false_verdict_chance: float = Field(
        description=(
            "Probability that equal arms are called different at any look, the verdicts before "
            "each extension included; 5 % without an extension."
        )
    )
    errors: Sequence[ArmError] = Field(
        description="The first error of each arm that had one, with the number of failed trials."
    )
    queue: QueuePlace | None = Field(
        description="Where a queued study stands; null in any other state."
    )
    plan: Plan | None = Field(
        description="What the study runs, costs and can detect; in the answer to a submission only."
    )
    links: Links

    @classmethod
    def of(
        cls,
        study: Study,
        dashboard_url: str,
        *,
        queue: QueuePlace | None = None,
        plan: Plan | None = None,
        warnings: Sequence[str] = (),
        errors: Sequence[ArmError] = (),
    ) -> "StudyOut":
        path, design = f"/v1/studies/{study.id}", study.design
        return cls(
            id=study.id,
            name=study.spec.name,
            owner=study.owner,
            state=study.state,
            workload=study.spec.workload,
            priority=study.priority,
            created_at=study.created_at,
            started_at=study.started_at,
            finished_at=study.finished_at,
            error=study.error,
            spec=study.spec,
            spec_hash=spec_hash(study.spec),
            metric=study.metric,
            verdict=study.verdict,
            is_settling=study.is_settling,
            stops=study.stops,
            devices=study.devices,
            tags=study.tags,
            note=study.note,
            pruned_at=study.pruned_at,
            n_seeds=design.n_seeds,
            extensions=study.extensions,
            warnings=(*known_limits(study), *warnings),
            false_verdict_chance=design.false_verdict_chance,
            errors=errors,
            queue=queue if study.state == "queued" else None,
            plan=plan,
            links=Links(
                self=path,
                report=f"{path}/report",
                page=f"/studies/{study.id}",
                dashboard=f"{dashboard_url}/studies/{study.id}",
            ),
        )


class SuiteOut(BaseModel):
    """A suite, with the numbers of its studies and of those that have ended."""

    name: str
    owner: str
    n_studies: int
    n_ended: int
    links: dict[str, str]

    @classmethod
    def of(cls, suite: SuiteCount) -> "SuiteOut":
        place = f"{quote(suite.name)}?{urlencode({'owner': suite.owner})}"
        links = {"self": f"/v1/suites/{place}", "page": f"/suites/{place}"}
        return cls(**asdict(suite), links=links)


class ExtensionIn(BaseModel, extra="forbid", strict=True):
    """Further confirm seeds for a complete study, or epochs of its confirm runs: one of the two."""

    seeds: int = Field(
        default=0,
        ge=1,
        le=1_000_000,
        description="Number of further seeds; each arm runs once on each seed.",
    )
    epochs: int = Field(
        default=0,
        strict=True,
        ge=1,
        le=1_000_000,
        description=(
            "Epochs by which each confirm run is trained on, from its kept state; with a budget in "
            "steps, measurements."
        ),
    )
    accept_changed_code: bool = Field(
        default=False,
        description="Whether the further runs may be of other code; the report then says so.",
    )

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if bool(self.seeds) == bool(self.epochs):
            raise ValueError("either seeds or epochs")
        return self


class StopIn(BaseModel, extra="forbid"):
    """How a study is stopped."""

    confirm: bool = Field(
        default=False,
        strict=True,
        description="Stop only the search, and confirm the settings that it found.",
    )


class RetryIn(BaseModel, extra="forbid"):
    """How a study is retried."""

    accept_changed_code: bool = Field(
        default=False,
        strict=True,
        description="Whether the trials may be run by other code; the report then says so.",
    )


class PriorityIn(BaseModel, extra="forbid"):
    """The priority of a study that waits."""

    priority: int = Field(strict=True, ge=-100, le=100, description="Higher starts first.")


class ParameterOut(BaseModel):
    """The legal values of a hyperparameter: numbers from low to high, or the values of `choices`.

    With `any_json`, every JSON value is legal. A bound is null where the range is unbounded.
    `low_open` excludes low, and `integer` restricts to whole numbers.
    """

    name: str
    description: str
    low: float | None
    high: float | None
    low_open: bool
    integer: bool
    choices: list[Value]
    any_json: bool

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
            any_json=parameter.any_json,
        )


class WorkloadOut(BaseModel):
    """A workload: its options as a JSON Schema, and its metrics, the default objective first.

    The keyword `rules` of the schema holds rules across options.
    """

    name: str
    description: str
    options_schema: dict[str, Any]
    metrics: list[Metric]
    parameters: list[ParameterOut]
    rules: list[Rule] = Field(description="Rules across these parameters.")
    package: str = Field(description="Name and version of the package that declares it.")
    stacks: bool = Field(description="Whether several trials can train as one model.")
    techniques: list[str] | None = Field(
        description="The techniques that it supports, null for all."
    )

    @classmethod
    def of(cls, workload: WorkloadEntry) -> "WorkloadOut":
        return cls(
            name=workload.name,
            description=workload.description,
            options_schema=dict(workload.options_schema),
            metrics=list(workload.metrics),
            parameters=list(map(ParameterOut.of, workload.parameters)),
            rules=list(workload.rules),
            package=workload.package,
            stacks=workload.stacks,
            techniques=None if workload.techniques is None else list(workload.techniques),
        )


class NamedOut(BaseModel):
    """A technique or an optimizer: its effect on an update as a formula, its hyperparameters and
    those that are required.
    """

    name: str
    description: str
    formula: str = Field(
        description="The effect on gradient, weights, activations or loss of an update."
    )
    source: str = Field(description="The publication.")
    parameters: list[ParameterOut]
    required: list[str]
    rules: list[Rule] = Field(description="Rules across these parameters.")
    package: str = Field(description="Name and version of the package that declares it.")

    @classmethod
    def of(cls, named: ParameterizedEntry) -> "NamedOut":
        parameters = list(map(ParameterOut.of, named.parameters))
        return cls(
            name=named.name,
            description=named.description,
            formula=named.formula,
            source=named.source,
            parameters=parameters,
            required=list(named.required),
            rules=list(named.rules),
            package=named.package,
        )


class Workloads(Items[WorkloadOut]):
    """The workloads, and the installed declarations of every kind that cannot be used."""

    broken: list[BrokenEntry]


class Techniques(Items[NamedOut]):
    """The techniques and the optimizers."""

    optimizers: list[NamedOut]


class PresetOut(BaseModel):
    """A study that is ready to submit, or a table of the paper with a study for each row."""

    name: str
    description: str
    n_studies: int
    scales: list[str] = Field(
        description="The scales of a paper table, smallest first; empty for any other preset."
    )


class PresetWithStudies(PresetOut):
    """A preset with its studies at a scale, each of which can be submitted."""

    studies: list[StudySpec]
