"""Real places that several rooms' tests need: an OCI registry, a container engine, image layers."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import uv
from xdist.remote import Producer
from xdist.workermanage import WorkerController

from edgeferry.adapters.base import DebianBase
from edgeferry.adapters.images import LayeredImages
from edgeferry.adapters.layers import LayerStore
from edgeferry.adapters.registry import RegistryClient
from edgeferry.sandbox.engine import OWN_SOCKET, close_idle_engine, using_engine
from tests.engines import find_engine
from tests.needs import lack
from tests.parallel import Groups, end_workers, heed_one_interrupt, is_worker, rank_of
from tests.registries import REGISTRY_ADDRESS, RegistryServer, free_port

# Read when onnxruntime is imported: tests talk to nobody outside, and some look who is talked to.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# How long an example takes says more of the machine than of what is tested.
hypothesis.settings.register_profile("patient", parent=hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("patient")

_ENGINE_WAS_THERE = pytest.StashKey[bool]()
_HOLD = pytest.StashKey[contextlib.ExitStack]()
_WORKERS = pytest.StashKey[list[WorkerController]]()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Groups:
    return Groups(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if is_worker(config):
        items.sort(key=lambda item: rank_of(item.nodeid))


def pytest_sessionstart(session: pytest.Session) -> None:
    """From now on nobody ends an engine that workers share."""
    if is_worker(session.config):
        heed_one_interrupt()
        return
    stash = session.config.stash
    stash[_ENGINE_WAS_THERE] = OWN_SOCKET.exists()
    stash[_HOLD], stash[_WORKERS] = contextlib.ExitStack(), []
    if session.config.getoption("dist", "no") != "no":
        stash[_HOLD].enter_context(using_engine())


@pytest.hookimpl(optionalhook=True)
def pytest_testnodeready(node: WorkerController) -> None:
    node.config.stash[_WORKERS].append(node)


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """An engine that these tests started ends with them, unless somebody uses it by now."""
    if is_worker(session.config):
        return (yield)
    stash = session.config.stash
    end_workers(stash[_WORKERS])
    try:
        return (yield)
    finally:
        stash[_HOLD].close()
        if not stash[_ENGINE_WAS_THERE]:
            close_idle_engine()


@pytest.fixture(scope="session")
def registry_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """A registry that runs for the whole session; use a prefix or names of your own."""
    server = RegistryServer(tmp_path_factory.mktemp("registry"), free_port(REGISTRY_ADDRESS))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def registry(registry_server: RegistryServer, tmp_path: Path) -> Iterator[RegistryClient]:
    """A client logged in to it, with a prefix that no other test uses."""
    prefix = "t" + str(abs(hash(str(tmp_path))))
    client = RegistryClient(
        registry_server.host, prefix, "pusher", registry_server.password, registry_server.ca_file
    )
    yield client
    client.close()


@pytest.fixture(scope="session")
def engine_url() -> str:
    """An engine that answers."""
    return find_engine()


@pytest.fixture(scope="session")
def store(pytestconfig: pytest.Config) -> LayerStore:
    """Layers, kept in pytest's cache: only the first session on a machine makes base and dependencies."""
    assert pytestconfig.cache is not None
    return LayerStore(pytestconfig.cache.mkdir("images"))


@pytest.fixture(scope="session")
def images(store: LayerStore) -> LayeredImages:
    """The assembler over those layers."""
    if not shutil.which("mmdebstrap"):
        lack("no mmdebstrap is installed")
    return LayeredImages(store, DebianBase(store, "http://deb.debian.org", print), uv.find_uv_bin())
