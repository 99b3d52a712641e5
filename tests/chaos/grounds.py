"""What devices under chaos share: one hub, registry and engine, and a bridge for machines of their own."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import ssl
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from edgeferry.sandbox.engine import close_idle_engine, is_own_engine, using_engine
from tests.chaos import lab
from tests.chaos.pictures import Picture, base_layer, push_picture
from tests.engines import LOGIN, RunningRegistry, find_engine
from tests.hub.clients import Service, key_of
from tests.hubs import RunningHub, free_address
from tests.registries import free_port


class InterruptedRun(Exception):  # noqa: N818 - nothing is wrong
    """Somebody wants the run to end."""


@dataclass
class Grounds:
    """Used by several threads, one a device."""

    folder: Path
    hub: RunningHub
    registry: RunningRegistry
    engine_url: str
    base: bytes
    bridge: lab.Bridge | None = None
    steps: dict[str, int] = field(default_factory=dict)
    """How many steps an update has, by kind."""
    counting: threading.Lock = field(default_factory=threading.Lock)
    interrupted: threading.Event = field(default_factory=threading.Event)
    _local: threading.local = field(default_factory=threading.local)
    _numbers: Any = field(default_factory=itertools.count)
    _clients: list[httpx.Client] = field(default_factory=list)
    _ending: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def server_files(self) -> tuple[str, str]:
        """The hub's certificate and key."""
        return str(self.hub.state / "server.pem"), str(self.hub.state / "server.key")

    def host(self, machine: lab.Machine | None) -> str:
        """Where servers listen for such a device."""
        return machine.bridge.address if machine else self.hub.address

    def free_port(self, host: str) -> int:
        return free_port(host)

    def place(self) -> Path:
        """A folder of its own."""
        folder = self.folder / f"d{next(self._numbers)}"
        folder.mkdir()
        return folder

    def push(self, note: bytes) -> Picture:
        return push_picture(self.registry.address, self.base, note)

    def pause(self, seconds: float) -> None:
        """So long nothing is done; InterruptedRun at once when the run is."""
        if self.interrupted.wait(seconds):
            raise InterruptedRun

    # the hub, as its owner

    def service(self) -> Service:
        """The hub's REST, by a client of this thread's own."""
        if not hasattr(self._local, "service"):
            context = ssl.create_default_context(cafile=str(self.hub.ca_file))
            client = httpx.Client(verify=context, trust_env=False, timeout=60)
            self._clients.append(client)
            self._local.service = Service(self.hub, client)
        return self._local.service

    def configure(self, name: str, device: str, modules: dict[str, Any], priority: int) -> None:
        self.service().deploy(name, f"deviceId='{device}'", modules, priority)

    def remove_configuration(self, name: str) -> None:
        self.service().done("DELETE", f"/configurations/{name}", headers={"If-Match": "*"})

    def twin(self, device: str, module: str) -> dict:
        """The module's twin; {} when there is none."""
        response = self.service().ask("GET", f"/twins/{device}/modules/{quote(module)}")
        if response.status_code == 404:
            return {}
        assert response.status_code == 200, response.text
        return response.json()

    def module_key(self, device: str, module: str) -> str:
        """The module's key; "" when there is no such module."""
        response = self.service().ask("GET", f"/devices/{device}/modules/{quote(module)}")
        if response.status_code == 404:
            return ""
        return key_of(response.json())

    def close(self) -> None:
        """Nothing is left."""
        self._ending.close()
        for client in self._clients:
            client.close()
        self.hub.stop()
        self.registry.stop()
        if self.bridge is not None:
            self.bridge.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        if is_own_engine(self.engine_url):
            close_idle_engine()


def open_grounds(cache: Path, *, with_bridge: bool) -> Grounds:
    """Hub, registry and engine serve; so does a bridge, if asked for."""
    folder = Path(tempfile.mkdtemp(prefix="ef-chaos-"))
    ending = contextlib.ExitStack()
    ending.enter_context(using_engine())
    bridge = lab.open_bridge() if with_bridge else None
    (folder / "hub").mkdir()
    (folder / "registry").mkdir()
    also = (bridge.address,) if bridge else ()
    hub = RunningHub(folder / "hub", free_address(), 8443, 8883, also=also)
    registry = RunningRegistry(folder / "registry", login=LOGIN)
    grounds = Grounds(folder, hub, registry, "", b"", bridge, _ending=ending)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        grounds.engine_url = os.environ.get("DOCKER_HOST", "") or find_engine()
        grounds.base = base_layer(cache)
        hub.start()
        registry.start()
    except BaseException:
        grounds.close()
        raise
    return grounds
