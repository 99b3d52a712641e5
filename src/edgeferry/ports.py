"""What workflows ask of the outside world. Adapters implement these; `wiring*.py` join them.

What they ask for to make an image of a model is in `ports_models`, to begin projects and take over others in
`ports_projects`.

Every method raises a child of `OutsideError` when the outside does not do its part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from edgeferry.domain.affected import Changes
    from edgeferry.domain.anchor import AnchorState
    from edgeferry.domain.approval import Record
    from edgeferry.domain.image import Image
    from edgeferry.domain.ledger_chain import LedgerCheck
    from edgeferry.domain.machine import ContainerReach, EngineFacts, MachineFacts
    from edgeferry.domain.manifest import RegistryLogin
    from edgeferry.domain.message import MessagePage
    from edgeferry.domain.release import Entry
    from edgeferry.domain.several import Ended
    from edgeferry.ports_models import (
        Builder,
        Converter,
        Images,
        Place,
        Project,
        Runner,
        Runs,
        Stage,
        Tracking,
    )
    from edgeferry.wire.capture_table import Cell

Json = dict[str, Any]


class History(Protocol):
    """The git repository that the project is in."""

    def changes_since(self, revision: str) -> Changes:
        """What is not as it was where this work left `revision`, uncommitted and untracked files too.

        UsageError when there is no repository, it does not have the revision, or is too shallow to tell.
        """

    def find_mainline(self) -> str:
        """The branch that work leaves and comes back to; UsageError when it cannot be told."""


class Commands(Protocol):
    """Our own commands, several at once."""

    def run_each(
        self, calls: Mapping[str, Sequence[str]], at_once: int, tell: Callable[[str, str], None]
    ) -> Mapping[str, Ended]:
        """How each call ended, by its name, `at_once` of them at a time; `tell` hears the lines of their
        stderr. When this process is interrupted, all of them are, and have cleared up."""


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

    def push(self, image: Image, on_bytes: Callable[[int], None] = lambda _: None) -> int:
        """The bytes uploaded (0 when all was there); the manifest goes last. `on_bytes` hears how many bytes
        of the layers are there."""

    def remove(self, name: str, digest: str) -> None:
        """The image, its tags and what is attached to it are gone, unless the registry forbids deletion."""

    def check_push(self, name: str) -> None:
        """The login may push images of that name; nothing stays there. RegistryError when it may not."""

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

    def trusted(self) -> Mapping[str, Sequence[str]]:
        """Fingerprints of the keys that count here, by author."""

    def require_keys(self, entries: Sequence[Entry]) -> None:
        """RefusedError when one of these entries, which do not count, is signed with a key that the hub
        remembers as one that counts, and that is not trusted here."""

    def verify(self) -> LedgerCheck:
        """The ledger, and all that is wrong with it: entries, their order and signatures, its history, its
        anchor at the hub and the keys pinned there."""

    def check_push(self) -> None:
        """The repository would take a push of ours; nothing is pushed. LedgerError when it would not."""

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
    def skew_s(self) -> float | None:
        """How far this machine's clock was ahead of the hub's at its last answer, seconds; None where that is
        not known."""

    @property
    def queries_per_minute(self) -> float:
        """How many pages of queries it answers in a row of minutes; infinity where it does not count."""

    def query(self, text: str, rows: int = 1000) -> Iterator[Sequence[Json]]:
        """The rows of a query in IoT Hub's query language, page by page, at most `rows` on one."""

    def devices(self, condition: str = "") -> Sequence[Json]:
        """Device twins matching the target condition (all edge devices when empty)."""

    def device_ids(self, condition: str = "") -> Iterator[Sequence[str]]:
        """The ids of the same devices, page by page."""

    def generations(self, condition: str = "") -> Iterator[Mapping[str, str]]:
        """The same with what tells each from one that had its name before and was deleted; "" where the hub
        does not say."""

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

    def delete_configuration(self, name: str, etag: str = "*") -> None:
        """The configuration is gone, or was not there; HubError 412 when its etag is another than `etag`."""

    def call_module(self, device: str, module: str, method: str, payload: Json, timeout_s: int = 30) -> Json:
        """`{"status": int, "payload": …}`; HubError with status 404 when the module is not connected."""


class Messages(Protocol):
    """What devices said: telemetry, kept for a while by the hub or beside it."""

    def read(self, after: str = "", limit: int = 100, wait_s: float = 0, device: str = "") -> MessagePage:
        """At most `limit` messages behind the cursor `after` (empty: all that are kept; `end`: new ones),
        of one device if it is named; when there are none, waits for one, up to 60 s."""


class Machine(Protocol):
    """This machine, and what its container engine can do."""

    def look(self) -> MachineFacts: ...

    def ask_engine(self) -> EngineFacts:
        """EngineError when none answers."""

    def ask_mirror(self) -> str:
        """Where Debian's packages come from, or that none are needed any more; OutsideError when it does not
        answer."""

    def reach_hub(self) -> ContainerReach:
        """A container tried to reach the hub's ports; it is gone again."""


class Work(Protocol):
    """Lets a person see how far something is that may take long."""

    def __call__(
        self, what: str, total: float = 0.0, unit: str = ""
    ) -> AbstractContextManager[Callable[[float], None]]:
        """While it goes on. `total` is how many of `unit` (bytes, devices …) it takes, and what the context
        gives hears how many are done; 0 where nobody knows: then how long it took last time is what counts,
        by its name."""


def show_nobody(
    what: str, total: float = 0.0, unit: str = ""
) -> AbstractContextManager[Callable[[float], None]]:
    """Work that nobody looks at."""
    return nullcontext(lambda _: None)


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
    work: Work = show_nobody
    alarm: Callable[[Json], None] = lambda _: None
    """Tells whoever is to know that a rollout is held, has failed, or needs an approval; never fails."""
