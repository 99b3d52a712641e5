"""The one place that knows every adapter: settings in, services out."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

from uv import find_uv_bin

from edgeferry.adapters.azure_devops import AzureDevOpsApprovals
from edgeferry.adapters.base import DebianBase
from edgeferry.adapters.build import EngineBuilder
from edgeferry.adapters.converter import SklearnConverter
from edgeferry.adapters.hub import HubClient
from edgeferry.adapters.images import LayeredImages
from edgeferry.adapters.layers import LayerStore
from edgeferry.adapters.ledger import GitLedger
from edgeferry.adapters.project import ProjectFolder
from edgeferry.adapters.registry import RegistryClient
from edgeferry.adapters.runner import LocalRunner
from edgeferry.adapters.signer import KeyFolder
from edgeferry.adapters.stage import EngineStage
from edgeferry.adapters.text_folder import LocalTextFolder
from edgeferry.adapters.tracking import MlflowTracking
from edgeferry.engine import Engine
from edgeferry.ports import Approvals, Hub, Images, Ledger, Registry, Runner, Services, TextFolder
from edgeferry.sandbox.engine import DEFAULT_SOCKET
from edgeferry.settings import Settings, default_engine_host, read_pipeline_run
from edgeferry.wire.connection import parse_connection_string


@contextmanager
def open_services(settings: Settings, say: Callable[[str], None]) -> Iterator[Services]:
    """All services of a project. Each adapter is built when it is first used, so a command needs only the
    settings of what it touches; connections are closed at the end."""
    with ExitStack() as stack:
        tracking = MlflowTracking(
            settings["tracking.uri"], settings.state / "mlflow" / "artifacts", settings.state / "downloads"
        )
        yield Services(
            project=ProjectFolder(settings.root),
            runner=cast(Runner, _Later(lambda: LocalRunner(settings.state, tracking, find_uv_bin(), say))),
            tracking=tracking,
            converter=SklearnConverter(),
            images=cast(Images, _Later(lambda: _images(settings, say))),
            builder=EngineBuilder(
                lambda: _connect_engine(settings),
                LayerStore(settings.state / "images"),
                settings.state / "images" / "builds",
                settings.state / "scratch",
            ),
            stage=EngineStage(lambda: _connect_engine(settings), settings.state / "scratch"),
            registry=cast(Registry, _Later(lambda: _registry(settings, stack))),
            ledger=cast(Ledger, _Later(lambda: _ledger(settings))),
            hub=cast(Hub, _Later(lambda: stack.enter_context(open_hub(settings)))),
            now=time.time,
            sleep=time.sleep,
            new_id=lambda: uuid.uuid4().hex,
            say=say,
        )


def _images(settings: Settings, say: Callable[[str], None]) -> Images:
    store = LayerStore(settings.state / "images")
    base = DebianBase(store, settings["images.mirror"], say)
    return LayeredImages(store, base, find_uv_bin(), settings["images.architecture"])


def _connect_engine(settings: Settings) -> Engine:
    return Engine(settings["engine.url"] or default_engine_host() or f"unix://{DEFAULT_SOCKET}")


def _registry(settings: Settings, stack: ExitStack) -> Registry:
    registry = RegistryClient(
        settings.need("registry.host"),
        settings["registry.prefix"],
        settings["registry.username"],
        settings["registry.password"],
        settings["registry.ca_file"],
    )
    stack.callback(registry.close)
    return registry


def _ledger(settings: Settings) -> Ledger:
    trusted = Path(settings["ledger.trusted_keys"])
    signing_key = settings["ledger.signing_key"]
    keys = KeyFolder(
        settings.state / "keys",
        trusted,
        may_trust=trusted == settings.state / "trust",
        given={settings["user"]: signing_key} if signing_key else {},
    )
    cache = settings.state / "ledger"
    return GitLedger(settings["ledger.url"], settings["ledger.branch"], cache, keys, time.time)


@contextmanager
def open_hub(settings: Settings) -> Iterator[Hub]:
    """The hub's service API."""
    connection = parse_connection_string(settings.need("hub.connection_string"))
    hub = HubClient(connection, settings["hub.ca_file"])
    try:
        yield hub
    finally:
        hub.close()


def open_approvals() -> Approvals:
    """The platform that this pipeline runs on."""
    return AzureDevOpsApprovals(read_pipeline_run)


def open_folder(root: Path) -> TextFolder:
    """A folder of text files."""
    return LocalTextFolder(root)


class _Later:
    """Stands in for an adapter until its first use."""

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build
        self._built: Any = None

    def __getattr__(self, name: str) -> Any:
        if self._built is None:
            self._built = self._build()
        return getattr(self._built, name)
