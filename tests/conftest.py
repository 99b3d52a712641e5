"""Real places that several rooms' tests need: an OCI registry, a container engine, image layers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import uv

from edgeferry.adapters.base import DebianBase
from edgeferry.adapters.images import LayeredImages
from edgeferry.adapters.layers import LayerStore
from edgeferry.adapters.registry import RegistryClient
from edgeferry.engine import Engine
from edgeferry.errors import EngineError
from edgeferry.sandbox.engine import OWN_SOCKET, close_engine, is_idle
from tests.engines import find_engine
from tests.needs import lack
from tests.registries import REGISTRY_ADDRESS, RegistryServer, free_port

# Read when onnxruntime is imported: tests talk to nobody outside, and some look who is talked to.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

_ENGINE_WAS_THERE = pytest.StashKey[bool]()


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[_ENGINE_WAS_THERE] = OWN_SOCKET.exists()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """An engine that these tests started ends with them, unless somebody uses it by now."""
    if session.config.stash[_ENGINE_WAS_THERE] or not OWN_SOCKET.exists():
        return
    engine = Engine(f"unix://{OWN_SOCKET}")
    try:
        idle = is_idle(engine)
    except EngineError:
        return
    finally:
        engine.close()
    if idle:
        close_engine()


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
