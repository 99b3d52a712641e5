"""Azure ML as a place to run pipelines: the same pipeline.yml, submitted through SDK v2 (azure-ai-ml 1.35).

The SDK has no public way to a step's log before its run has ended, nor to a run's children without asking
for the run again: both come from its client of the run history service (`jobs._runs_operations`), private,
and used here only.
The SDK repeats requests that were throttled (429, honouring Retry-After) or failed (5xx) by itself.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from edgeferry.adapters.azureml_errors import clean, translated
from edgeferry.adapters.azureml_job import make_job
from edgeferry.adapters.azureml_sdk import load_sdk
from edgeferry.domain.model import ModelDefinition
from edgeferry.domain.pipeline import (
    REGISTERED,
    Pipeline,
    Registration,
    parse_registration,
)
from edgeferry.domain.run import (
    Capabilities,
    Preview,
    RunState,
    State,
    StepState,
    StepWord,
    refuse_keys,
)
from edgeferry.errors import PlaceError, UsageError

Asked = TypeVar("Asked")

_STATES: Mapping[str, State] = {
    "Running": "running",
    "Finalizing": "running",
    "CancelRequested": "running",
    "Completed": "completed",
    "Failed": "failed",
    "NotResponding": "failed",
    "Canceled": "canceled",
}
"""Statuses of Azure ML's run history; all others come before a run's start."""
_LOG = "user_logs/std_log"
_PATIENCE = {"retry_total": 6, "retry_backoff_factor": 0.5, "retry_backoff_max": 30}


class Login(Protocol):
    """An azure-core `TokenCredential`."""

    def get_token(self, *scopes: str, **options: Any) -> Any:
        """An access token for the scopes, with `token` and `expires_on`."""


@dataclass(frozen=True)
class Workspace:
    """An Azure ML workspace."""

    subscription_id: str
    resource_group: str
    name: str

    def __str__(self) -> str:
        return f"{self.subscription_id}/{self.resource_group}/{self.name}"


@dataclass(frozen=True)
class Cluster:
    """The compute of pipelines that name none, and how it is made when it is missing."""

    name: str
    size: str
    most_nodes: int


class AzureMlPlace:
    """Implements the `Place` port. `say`: a line for a person, before what takes long or differs. `check`
    raises UsageError when the workspace is not named; a preview asks nobody, so it does without one."""

    def __init__(
        self,
        login: Login,
        workspace: Workspace,
        cluster: Cluster,
        say: Callable[[str], None],
        poll_s: float = 10.0,
        check: Callable[[], object] = bool,
    ) -> None:
        self._check = check
        self._login = login
        self._workspace = workspace
        self._cluster = cluster
        self._say = say
        self._poll_s = poll_s
        self._opened: Any = None
        self._children: dict[tuple[str, str], str] = {}

    def capabilities(self) -> Capabilities:
        """A run goes on without this process."""
        return Capabilities("azureml", True, self._poll_s, str(self._workspace))

    def tracking_uri(self) -> str:
        """Where MLflow finds the workspace's runs and models: `azureml://…`."""
        return str(self._ask(lambda: self._client().workspaces.get(self._workspace.name).mlflow_tracking_uri))

    def preview(
        self, run_id: str, model: ModelDefinition, pipeline: Pipeline, inputs: Mapping[str, str]
    ) -> Preview:
        """The job, its components in it, and the files of its code folders and local inputs."""
        with translated(self._workspace.name):
            return make_job(self._cluster.name, run_id, model, pipeline, inputs)[1]

    def submit(
        self, run_id: str, model: ModelDefinition, pipeline: Pipeline, inputs: Mapping[str, str]
    ) -> None:
        """Uploads the code, makes the compute when it is missing, and puts the job, named `run_id`."""
        with translated(self._workspace.name):
            job, preview = make_job(self._cluster.name, run_id, model, pipeline, inputs)
        refuse_keys(preview)
        for note in preview.notes:
            self._say(note)
        self._settle_compute(job)
        self._say(f"submitting {run_id}: {preview.size_bytes / 1e6:.2f} MB of code and data at most")
        with contextlib.redirect_stderr(io.StringIO()):  # its bars of progress
            self._ask(lambda: self._client().jobs.create_or_update(job))

    def poll(self, run_id: str) -> RunState:
        """The run's and its steps' states; when it is completed, what it registered."""
        job = self._ask(lambda: self._client().jobs.get(run_id), run_id)
        children = {_step_name(run): run for run in self._ask(lambda: list(self._list_children(run_id)))}
        names = dict.fromkeys([*(getattr(job, "jobs", None) or {}), *children])
        self._children |= {(run_id, name): run.run_id for name, run in children.items()}
        page = str(getattr(job, "studio_url", "") or "")
        steps = tuple(
            _step_state(name, children[name]) if name in children else StepState(name, "queued")
            for name in names
        )
        state = _STATES.get(job.status, "queued")
        registered = self._fetch_registration(run_id) if state == "completed" else None
        reason = self._reason(run_id) if state == "failed" else ""
        return RunState(run_id, state, steps, registered, reason, page)

    def logs(self, run_id: str, step: str, after: int) -> bytes:
        """The step's `user_logs/std_log.txt` (of several nodes: one after the other) from byte `after` on."""
        if (run_id, step) not in self._children:
            self.poll(run_id)
        child = self._children.get((run_id, step))
        if child is None:
            return b""
        details = self._ask(lambda: self._history().get_run_details(child))
        urls = {name: url for name, url in (details.log_files or {}).items() if name.startswith(_LOG)}
        return b"".join(self._read(urls[name]) for name in sorted(urls))[after:]

    def cancel(self, run_id: str) -> None:
        """Asks Azure to end the run; whether it has, `poll` says."""
        if self.poll(run_id).ended:
            return
        self._ask(lambda: self._client().jobs.begin_cancel(run_id), run_id)

    def _client(self) -> Any:
        if self._opened is None:
            self._check()
            self._opened = load_sdk().MLClient(
                self._login,
                self._workspace.subscription_id,
                self._workspace.resource_group,
                self._workspace.name,
                enable_telemetry=False,
                show_progress=True,  # without it the SDK waits for ever for a file that could not be uploaded
                **_PATIENCE,
            )
        return self._opened

    def _history(self) -> Any:
        return self._client().jobs._runs_operations

    def _list_children(self, run_id: str) -> Iterator[Any]:
        workspace = self._workspace
        yield from self._history()._operation.get_child(
            workspace.subscription_id, workspace.resource_group, workspace.name, run_id
        )

    def _read(self, url: str) -> bytes:
        def fetch() -> bytes:
            answer = self._client()._requests_pipeline.get(url)
            if answer.status_code == 404:  # named before it is there
                return b""
            answer.raise_for_status()
            return bytes(answer.content)

        return self._ask(fetch)

    def _ask(self, question: Callable[[], Asked], run_id: str = "") -> Asked:
        """Its answer; a token that expired too early is fetched anew, once.

        UsageError when there is no run `run_id`; else PlaceError.
        """
        load_sdk()
        from azure.core.exceptions import ClientAuthenticationError, ResourceNotFoundError

        with translated(self._workspace.name):
            try:
                try:
                    return question()
                except ClientAuthenticationError as error:
                    if error.status_code != 401:
                        raise
                    return question()  # the SDK forgot the token when it was refused
            except ResourceNotFoundError as error:
                if not run_id:
                    raise
                raise UsageError(
                    f"the workspace {self._workspace.name} has no run {run_id}",
                    fix="edgeferry runs list; or choose the run's environment with --env",
                ) from error

    def _settle_compute(self, job: Any) -> None:
        """Every compute that the job or a step names is there, else ours in its place, made when missing."""
        ours = self._cluster
        named: dict[str, list[tuple[Any, str]]] = {}
        steps = [(step, "compute") for step in job.jobs.values()]
        for owner, field in [(job.settings, "default_compute"), (job, "compute"), *steps]:
            name = str(getattr(owner, field, None) or "").removeprefix("azureml:")
            named.setdefault(name, []).append((owner, field))
        missing = [name for name in named if name not in ("", "serverless") and not self._has_compute(name)]
        for name in missing:
            if name != ours.name:
                self._say(f"the workspace has no compute {name}: using {ours.name}, from azureml.compute")
            for owner, field in named[name]:
                setattr(owner, field, ours.name)
        if not missing or (ours.name not in missing and self._has_compute(ours.name)):
            return
        self._say(f"making the compute cluster {ours.name}: {ours.size}, 0 to {ours.most_nodes} nodes")
        cluster = load_sdk().entities.AmlCompute(
            name=ours.name,
            size=ours.size,
            min_instances=0,
            max_instances=ours.most_nodes,
            idle_time_before_scale_down=300,
        )
        self._ask(lambda: self._client().compute.begin_create_or_update(cluster).result())

    def _has_compute(self, name: str) -> bool:
        from azure.core.exceptions import ResourceNotFoundError

        def look() -> bool:
            try:
                self._client().compute.get(name)
            except ResourceNotFoundError:
                return False
            return True

        return self._ask(look)

    def _reason(self, run_id: str) -> str:
        run = self._ask(lambda: self._history().get_run(run_id))
        return _said(run)

    def _fetch_registration(self, run_id: str) -> Registration | None:
        """What the run wrote to its output `registered`; None when it has none."""
        with tempfile.TemporaryDirectory() as folder:
            self._ask(
                lambda: self._client().jobs.download(run_id, download_path=folder, output_name=REGISTERED)
            )
            files = [path for path in Path(folder).rglob("*") if path.is_file()]
            if len(files) != 1:
                return None
            try:
                return parse_registration(json.loads(files[0].read_text("utf-8")))
            except ValueError as error:
                raise PlaceError(
                    f"the output `{REGISTERED}` of the run {run_id} cannot be read: {error}",
                    fix="let the register step write name, version and run_id as JSON",
                ) from error


def _step_name(run: Any) -> str:
    return str(run.display_name or (run.properties or {}).get("azureml.moduleName") or run.run_id)


def _step_state(name: str, run: Any) -> StepState:
    word: StepWord
    match _STATES.get(run.status, "queued"):
        case "completed":
            reused = str((run.properties or {}).get("azureml.isreused", "")).lower() == "true"
            word = "reused" if reused else "ran"
        case other:
            word = other
    seconds = 0.0
    if run.start_time_utc and run.end_time_utc:
        seconds = max(0.0, (run.end_time_utc - run.start_time_utc).total_seconds())
    reason = (_said(run) or "failed; Azure does not say why") if word == "failed" else ""
    return StepState(name, word, seconds, f"ended: {reason}" if reason else "", "")


def _said(run: Any) -> str:
    """What Azure says of why a run failed, on one line."""
    answer = getattr(run, "error", None)
    error = getattr(answer, "error", None)
    return clean(str(getattr(error, "message", "") or ""))
