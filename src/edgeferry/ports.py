"""What workflows ask of the outside world. Adapters implement these; `wiring.py` joins them.

Every method raises a child of `OutsideError` when the outside does not do its part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edgeferry.domain.anchor import AnchorState
from edgeferry.domain.approval import Record
from edgeferry.domain.device_class import DeviceClass
from edgeferry.domain.finding import Finding
from edgeferry.domain.heldout import HeldOut, Row
from edgeferry.domain.image import ONNX, Image, Serving
from edgeferry.domain.ledger_chain import LedgerCheck
from edgeferry.domain.manifest import RegistryLogin
from edgeferry.domain.message import MessagePage
from edgeferry.domain.model import ModelDefinition, ModelVersion
from edgeferry.domain.pipeline import Pipeline
from edgeferry.domain.release import Entry
from edgeferry.domain.run import Capabilities, Preview, RunRecord, RunState
from edgeferry.wire.capture_table import Cell

Json = dict[str, Any]


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

    def find_parts(self, model: ModelDefinition) -> Sequence[Path]:
        """Absolute paths of all files and folders that the model is made of, its own folder first."""


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
        when its signature says that it does not answer with one number a row."""


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


class Registry(Protocol):
    """An OCI registry (distribution-spec 1.1)."""

    @property
    def host(self) -> str:
        """`host:port`, as it stands in image references."""

    def reference(self, name: str, digest: str) -> str:
        """The image reference devices are told: `host:port/prefix/name@digest`."""

    def has(self, name: str, digest: str) -> bool: ...

    def find_tag(self, name: str, tag: str) -> str:
        """The digest that the tag points at; "" when there is no such tag."""

    def blob_sizes(self, reference: str) -> Mapping[str, int] | None:
        """The bytes of each blob, by digest, that a first pull of the image transfers; None when that cannot
        be told: it is in another registry, not there, or an index of several."""

    def push(self, image: Image) -> int:
        """The bytes uploaded (0 when all was there); the manifest goes last."""

    def remove(self, name: str, digest: str) -> None:
        """The image, its tags and what is attached to it are gone, unless the registry forbids deletion."""

    def attach(self, name: str, digest: str, artifact_type: str, body: bytes) -> str:
        """The digest of `body`'s own manifest, attached to the image: by `subject`, and by the
        referrers tag scheme where the registry has no referrers."""

    def attached(self, name: str, digest: str, artifact_type: str) -> Sequence[bytes]:
        """The bodies attached to the image under `artifact_type`, oldest first."""


class Signer(Protocol):
    """One ECDSA P-256 key that signs, wherever it is kept."""

    def public_der(self) -> bytes:
        """Its public half (SubjectPublicKeyInfo)."""

    def sign(self, message: bytes) -> bytes:
        """The DER signature over SHA-256 of `message`."""


class Ledger(Protocol):
    """The git repository of signed decisions; append only, in order.

    RefusedError from every method but `verify` when the branch no longer holds what the hub remembers of it.
    """

    def entries(self, kind: str, subject: str = "") -> Sequence[Entry]:
        """Entries of that kind (`release`, `plan`, `approval`, `rollout`, `wave`, `order`, `end`), oldest
        first."""

    def all_entries(self) -> Sequence[Entry]:
        """Entries of every kind, oldest first."""

    def append(self, kind: str, subject: str, body: Json, author: str) -> Entry:
        """The signed entry, pushed; a refused push is re-read and tried again."""

    def append_unless(
        self,
        kind: str,
        subject: str,
        body: Json,
        author: str,
        found: Callable[[Sequence[Entry]], Entry | None],
    ) -> tuple[Entry, bool]:
        """The entry and whether it is new: `found` is given all entries, oldest first, and when it returns
        one, nothing is appended. After a refused push it is asked anew, so of two writers one appends."""

    def distrust(self, entry: Entry) -> str:
        """Why the entry's signature does not count, or "" when it does."""

    def verify(self) -> LedgerCheck:
        """The ledger, and all that is wrong with it: entries, their order and signatures, its history, its
        anchor at the hub and the keys pinned there."""

    def accept(self) -> AnchorState:
        """What the hub remembers from now on: the ledger as it is, and the keys that count here."""


class Anchor(Protocol):
    """What the hub remembers of the ledger, and the leases that are kept beside it."""

    def read(self) -> AnchorState:
        """As it is now; empty when there is none yet."""

    def move(self, head: str, count: int, fingerprints: Mapping[str, Sequence[str]]) -> None:
        """The hub remembers that head, unless it knows of more entries already; fingerprints of authors that
        it does not know yet are added. Made when it is missing."""

    def replace(self, head: str, count: int, fingerprints: Mapping[str, Sequence[str]]) -> AnchorState:
        """The hub remembers that and nothing else of this ledger."""

    def take_lease(self, name: str, holder: str, until_s: float, now_s: float) -> bool:
        """Whether `holder` has the lease until `until_s` (Unix seconds), for the first time or for longer:
        nobody else had it at `now_s`."""

    def drop(self, name: str, holder: str) -> None:
        """The lease is not `holder`'s."""


class Approvals(Protocol):
    """The platform that a pipeline runs on, asked which people approved this very stage of this very run."""

    def fetch(self) -> Record:
        """What it recorded; UsageError where no such pipeline is around us."""


class TextFolder(Protocol):
    """A folder of text files that people edit too."""

    def names(self) -> Sequence[str]: ...

    def read(self, name: str) -> str | None:
        """The file's text, line ends as they are; None when there is none."""

    def write(self, name: str, text: str) -> None:
        """The file holds the text, all of it or none of it whenever anybody looks."""


class Sheet(Protocol):
    """A table that is being written."""

    def add(self, lines: Sequence[Sequence[Cell]]) -> None:
        """More lines, a cell for each name of the table."""

    def end(self) -> None:
        """It is whole."""


class Hub(Protocol):
    """IoT Hub's service API (2021-04-12): Azure's or ours."""

    @property
    def host(self) -> str:
        """Its host name, with a port where it is not 443."""

    @property
    def queries_per_minute(self) -> float:
        """How many pages of queries it answers in a row of minutes; infinity where it does not count."""

    def query(self, text: str, rows: int = 1000) -> Iterator[Sequence[Json]]:
        """The rows of a query in IoT Hub's query language, page by page, at most `rows` on one."""

    def devices(self, condition: str = "") -> Sequence[Json]:
        """Device twins matching the target condition (all edge devices when empty)."""

    def device_ids(self, condition: str = "") -> Iterator[Sequence[str]]:
        """The ids of the same devices, page by page."""

    def device_twin(self, device: str) -> Json: ...

    def module_twin(self, device: str, module: str) -> Json | None: ...

    def patch_tags(self, device: str, tags: Json) -> Json: ...

    def create_device(self, device: str, tags: Json) -> Json:
        """The device identity with its keys; an existing one is returned as it is."""

    def device(self, device: str) -> Json:
        """The device identity, keys included; HubError with status 404 when there is none."""

    def modules(self, device: str) -> Sequence[Json]:
        """The identities of the device's modules, keys included."""

    def save_identity(self, identity: Json) -> Json:
        """The device or module identity after the write; HubError 412 when it changed since it was read."""

    def create_devices(self, devices: Sequence[str], edge: bool, tags: Json) -> Mapping[str, str]:
        """For each device "created", "existed" (and left as it is), or why the hub did not create it."""

    def delete_devices(self, devices: Sequence[str]) -> Mapping[str, str]:
        """For each device "deleted", "missing", or why the hub did not delete it."""

    def patch_twin(self, device: str, module: str, patch: Json, etag: str = "*") -> Json:
        """The twin of the device, or with a name of its module, after a merge patch of `tags` and
        `properties.desired`; HubError 412 when its etag is another than `etag`."""

    def configurations(self) -> Sequence[Json]: ...

    def configuration(self, name: str) -> Json | None: ...

    def create_configuration(self, configuration: Json) -> Json: ...

    def update_configuration(self, configuration: Json) -> Json:
        """The configuration with its labels, priority and target condition changed; content is immutable.
        HubError 412 when its etag is another than the one in `configuration` (`*`: any)."""

    def delete_configuration(self, name: str) -> None: ...

    def call_module(self, device: str, module: str, method: str, payload: Json, timeout_s: int = 30) -> Json:
        """`{"status": int, "payload": …}`; HubError with status 404 when the module is not connected."""


class Messages(Protocol):
    """What devices said: telemetry, kept for a while by the hub or beside it."""

    def read(self, after: str = "", limit: int = 100, wait_s: float = 0, device: str = "") -> MessagePage:
        """At most `limit` messages behind the cursor `after` (empty: all that are kept; `end`: new ones),
        of one device if it is named; when there are none, waits for one, up to 60 s."""


@dataclass(frozen=True)
class Services:
    """Everything workflows may touch."""

    project: Project
    runner: Runner
    place: Place
    runs: Runs
    tracking: Tracking
    converter: Converter
    images: Images
    builder: Builder
    stage: Stage
    registry: Registry
    ledger: Ledger
    anchor: Anchor
    hub: Hub
    now: Callable[[], float]
    """Unix seconds."""
    sleep: Callable[[float], None]
    new_id: Callable[[], str]
    pull_login: Callable[[], RegistryLogin | None]
    """What IoT Edge's devices pull images with; None when there is none."""
    say: Callable[[str], None]
    """One line of progress for a person."""
    alarm: Callable[[Json], None] = lambda _: None
    """Tells whoever is to know that a rollout is held, has failed, or needs an approval; never fails."""
