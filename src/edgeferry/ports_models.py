"""What workflows ask for on the way from a model's folder to its image: files, places, MLflow, an engine.

The rest is in `ports`. Here as there, every method raises a child of `OutsideError` when the outside does not
do its part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edgeferry.domain.image import ONNX, Image, Serving

if TYPE_CHECKING:
    from edgeferry.domain.device_class import DeviceClass
    from edgeferry.domain.finding import Finding
    from edgeferry.domain.heldout import HeldOut, Row
    from edgeferry.domain.model import ModelDefinition, ModelVersion
    from edgeferry.domain.pipeline import Pipeline
    from edgeferry.domain.reading import ModelReading
    from edgeferry.domain.run import Capabilities, Preview, RunRecord, RunState


@dataclass(frozen=True)
class Script:
    """A model's own `score.py` with the files that go with it, by relative path."""

    entry: str
    files: Mapping[str, bytes]
    requirements: str | None
    """Lines of its requirements file; None when it has none."""


class Project(Protocol):
    """The folder with `edgeferry.toml` and one folder per model."""

    def model_names(self) -> Sequence[str]: ...

    def load_model(self, name: str) -> ModelDefinition:
        """The model's definition; DefinitionError with file:line and fix when its files are wrong."""

    def load_pipeline(self, model: ModelDefinition) -> Pipeline:
        """The model's pipeline with its components resolved; DefinitionError likewise."""

    def find_faults(self, name: str) -> Sequence[Finding]:
        """All that is wrong with the model's files, by file and line; UsageError when there is none."""

    def load_script(self, model: ModelDefinition) -> Script:
        """The model's own `score.py`, alone or with its folder, and its requirements."""

    def find_reading(self, model: ModelDefinition) -> ModelReading:
        """What the model reads; UsageError when one of these files cannot be read."""


class Place(Protocol):
    """Where pipelines run: this machine, Azure ML. An id that the place does not know is a UsageError."""

    def capabilities(self) -> Capabilities: ...

    def preview(
        self, run_id: str, model: ModelDefinition, pipeline: Pipeline, inputs: Mapping[str, str]
    ) -> Preview:
        """What `submit` would send with the same arguments; nothing leaves the machine."""

    def submit(
        self, run_id: str, model: ModelDefinition, pipeline: Pipeline, inputs: Mapping[str, str]
    ) -> None:
        """The run is on its way under `run_id`, which the caller chose; `inputs` override the pipeline's own.

        UsageError, and nothing done, when an input is unknown, missing or not there, or a file looks like a
        key.
        """

    def poll(self, run_id: str) -> RunState:
        """Where the run stands; `registered` once it is completed. OutsideError, retryable, while the place
        does not answer."""

    def logs(self, run_id: str, step: str, after: int) -> bytes:
        """The step's log from byte `after` on; empty when there is no more yet. Whole once the step has
        ended."""

    def cancel(self, run_id: str) -> None:
        """The run is asked to end, all its processes with it; nothing, when it has ended already."""


class Runs(Protocol):
    """The runs that outlive the process that submitted them, as this project's state remembers them."""

    def add(self, record: RunRecord) -> None: ...

    def forget(self, run_id: str) -> None:
        """No run of that id is remembered."""

    def find(self, run_id: str) -> RunRecord | None: ...

    def list_all(self) -> Sequence[RunRecord]:
        """Oldest first."""


class Runner(Protocol):
    """The step environments on this machine."""

    def python_of(self, pipeline: Pipeline) -> Path:
        """The Python interpreter of the step environment that trained the model."""

    def versions_of(self, pipeline: Pipeline) -> Sequence[str]:
        """What that step environment holds, as `name==version`."""

    def trained_version(self, pipeline: Pipeline) -> str | None:
        """The version that a run on this machine registered from the files as they are, by the pipeline's own
        inputs; "" when none did, None where nothing was trained on this machine. Nothing is made or run."""


class Tracking(Protocol):
    """The registry of models (MLflow)."""

    def find_version(self, model: str, version: str | None = None) -> ModelVersion | None:
        """That version, or the newest by number; None when there is none."""

    def download(self, version: ModelVersion, artifact: str) -> Path:
        """A local path of the file or folder `artifact` of the run that registered `version`."""


@dataclass(frozen=True)
class Converted:
    """A trained model as a graph, and the hardest questions to ask of it."""

    graph: bytes
    edges: HeldOut
    """Rows at, just above and just below splits of its trees, with the answers of the library that trained
    it; no rows when it has no trees."""


@dataclass(frozen=True)
class Library:
    """The library that trained a model, and the file in which the model was saved for it."""

    name: str
    """E.g. `scikit-learn 1.9.1`."""
    file: str
    """Below the MLflow model's folder."""
    trusted_types: tuple[str, ...]
    """What the pipeline said may be loaded from that file."""
    plain: bool = False
    """Whether nothing in the file asks for columns by name, so that it needs no pandas."""


class Converter(Protocol):
    """Turns a trained model into the graph that devices run."""

    def to_onnx(self, model_folder: Path, python: Path, rows: Sequence[Row]) -> Converted:
        """The MLflow model in `model_folder` as an ONNX graph in doubles, made with the libraries of the
        interpreter `python`, and edge rows made from `rows`; RefusedError, with the reason, when it does
        not convert."""

    def find_library(self, model_folder: Path) -> Library:
        """What runs the MLflow model in `model_folder` as it is; RefusedError when none of ours does."""

    def find_pyfunc(self, model_folder: Path) -> Library:
        """What MLflow's own `python_function` runs in `model_folder`; RefusedError when there is none, or
        when its signature says that it does not answer with one number or one text a row."""


class Images(Protocol):
    """Assembles images without a build daemon; the same inputs give the same bytes."""

    def assemble_model(
        self,
        definition: ModelDefinition,
        version: ModelVersion,
        files: Mapping[str, bytes],
        serving: Serving = ONNX,
    ) -> Image:
        """The image of one model version; `files` is the model layer's content by relative path."""

    def assemble_companion(self) -> Image:
        """The image of the companion module."""

    def assemble_agent(self) -> Image:
        """The image of the device agent."""


class Builder(Protocol):
    """Runs a model folder's own Dockerfile."""

    def build(self, definition: ModelDefinition, image: Image) -> Image:
        """What the Dockerfile makes, as `BASE` of everything in `image` but its model layer, which goes on
        top again with our labels. The same folder and base give the same bytes on this machine."""


@dataclass(frozen=True)
class Reply:
    """What a running module answered, and how long it took."""

    status: int
    body: bytes
    latency_ms: float


class RunningModule(Protocol):
    """A container started to look at, reachable on this machine."""

    def ask(self, method: str, path: str, body: bytes = b"", media_type: str = "application/json") -> Reply:
        """Its answer over HTTP; OutsideError, retryable, while there is none."""

    @property
    def image_id(self) -> str:
        """What the engine says ran: the image's config digest (or manifest digest on newer engines)."""

    def logs(self) -> str: ...

    def state(self) -> str:
        """The container's own word: `running`, or `exited (1)` and the like."""


class Stage(Protocol):
    """Runs an image under a device's limits on this machine, before it may be pushed."""

    def run(
        self, image: Image, env: Mapping[str, str], limits: DeviceClass, port: int
    ) -> AbstractContextManager[RunningModule]:
        """The running module, asked on its `port`; it and all traces of it are gone when the context ends."""
