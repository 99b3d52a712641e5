"""One execution of a pipeline as its place reports it, on this machine or elsewhere. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from edgeferry.domain.pipeline import Registration
from edgeferry.domain.snapshot import Upload
from edgeferry.errors import UsageError

State = Literal["queued", "running", "completed", "failed", "canceled"]
StepWord = Literal["queued", "running", "ran", "reused", "failed", "canceled"]


@dataclass(frozen=True)
class Capabilities:
    """What a place can do, and how it wants to be asked."""

    name: str
    """As in the setting `train.place`."""
    outlives_process: bool
    """Whether a run goes on when the process that submitted it ends."""
    poll_s: float
    """Seconds between two looks at a run."""
    workspace: str = ""
    """Whose runs these are, where a place has several; "" else."""


@dataclass(frozen=True)
class StepState:
    """Where one step of a run stands."""

    name: str
    state: StepWord
    seconds: float = 0.0
    reason: str = ""
    """Why it failed, after "it "; empty otherwise."""
    log: str = ""
    """Where a person finds its whole log; empty while there is none."""

    @property
    def ended(self) -> bool:
        """Whether it will not change any more."""
        return self.state not in ("queued", "running")


@dataclass(frozen=True)
class RunState:
    """Where a run stands; steps in the pipeline's order, as far as they are known."""

    id: str
    state: State
    steps: tuple[StepState, ...]
    registered: Registration | None = None
    """What this very run registered, once it is completed."""
    reason: str = ""
    """Why the run failed when no step did."""
    page: str = ""
    """Where a person can look at it."""

    @property
    def ended(self) -> bool:
        """Whether it will not change any more."""
        return self.state in ("completed", "failed", "canceled")

    @property
    def failed_step(self) -> StepState | None:
        """The step that failed, if one did."""
        return next((step for step in self.steps if step.state == "failed"), None)


@dataclass(frozen=True)
class Preview:
    """What a submit would send, and where it would go."""

    document: str
    """The job as YAML, its components in it."""
    uploads: Mapping[str, Upload]
    """What would leave the machine, by folder."""
    notes: tuple[str, ...] = ()
    """What differs from pipeline.yml, in words."""

    @property
    def size_bytes(self) -> int:
        """Of all that would leave."""
        return sum(upload.size_bytes for upload in self.uploads.values())

    @property
    def refused(self) -> Sequence[str]:
        """Files that look like keys, each with the reason; with one, nothing is sent."""
        return [
            f"{folder}/{file.path}: {file.reason}"
            for folder, upload in self.uploads.items()
            for file in upload.refused
        ]


def refuse_keys(preview: Preview) -> None:
    """UsageError when a file that would leave looks like a key."""
    if preview.refused:
        raise UsageError(
            "these files look like keys, so nothing was sent: " + "; ".join(preview.refused),
            fix="move them elsewhere, or name them in .amlignore in that folder",
        )


@dataclass(frozen=True)
class RunRecord:
    """What is kept of a run that outlives its process: enough to wait for it from another one."""

    id: str
    model: str
    place: str
    workspace: str
    submitted_at: float
    """Unix seconds."""
    inputs: Mapping[str, str] = field(default_factory=dict)


def render_record(record: RunRecord) -> dict[str, Any]:
    """The record as JSON."""
    return {
        "id": record.id,
        "model": record.model,
        "place": record.place,
        "workspace": record.workspace,
        "submitted_at": record.submitted_at,
        "inputs": dict(record.inputs),
    }


def parse_record(document: Mapping[str, Any]) -> RunRecord:
    """The record; KeyError, TypeError or ValueError when it is none."""
    return RunRecord(
        id=str(document["id"]),
        model=str(document["model"]),
        place=str(document["place"]),
        workspace=str(document["workspace"]),
        submitted_at=float(document["submitted_at"]),
        inputs={str(name): str(value) for name, value in dict(document["inputs"]).items()},
    )


def changes(before: RunState | None, after: RunState) -> tuple[StepState, ...]:
    """The steps whose state is another one than before, queued ones left out."""
    known = {step.name: step.state for step in before.steps} if before else {}
    return tuple(step for step in after.steps if step.state not in ("queued", known.get(step.name)))


def pause_after(failures: int, poll_s: float) -> float:
    """Seconds to wait after so many failed looks in a row: doubled each time, a minute at most."""
    return min(poll_s * float(2 ** min(failures, 10)), max(60.0, poll_s))
