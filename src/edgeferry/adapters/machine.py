"""This machine as `edgeferry doctor` looks at it: its programs, its disk, its engine. Nothing is changed."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import resource
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from edgeferry.domain.machine import ContainerReach, EngineFacts, MachineFacts
from edgeferry.engine import Engine
from edgeferry.errors import GitError, OutsideError
from edgeferry.git import Git

_PROGRAMS = ("git", "mmdebstrap", "docker-registry")
_MODULES = ("mlflow", "sqlalchemy", "uv", "starlette", "azure.ai.ml", "azure.identity")
_PRIVATE = ("keys/*.pem", "**/*.key", "sandbox.json", "devices/*/device.json")
_OTHERS = 0o077
_RELEASE = "/debian/dists/bookworm/InRelease"
_MIRROR_S = 10.0
_CONNECT_S = 5
_GIT_S = 10.0
_LABELS = {"io.edgeferry.kind": "companion"}
"""An image that we know to have a Python."""
_SOCKETS = """
import json, socket, sys
host, said = sys.argv[1], {}
for port in sys.argv[2:]:
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
        said[port] = ""
    except OSError as error:
        said[port] = str(error)
print(json.dumps(said))
"""


@dataclass(frozen=True)
class HubFromContainers:
    """How modules on this machine's engine would reach the hub."""

    host: str
    ports: tuple[int, ...]
    network: str
    """The engine's network that they are in."""


class LocalMachine:
    """Implements the `Machine` port."""

    def __init__(
        self,
        root: Path,
        state: Path,
        mirror: str,
        chosen: str,
        connect: Callable[[], Engine],
        hub: Callable[[], HubFromContainers | None],
    ) -> None:
        self._root = root
        self._state = state
        self._mirror = mirror.rstrip("/")
        self._chosen = chosen
        """The engine's address, where somebody set one."""
        self._connect = connect
        self._hub = hub

    def look(self) -> MachineFacts:
        """What is here, as far as it can be seen without changing anything."""
        release = _read_release()
        there = _nearest(self._state)
        disk = os.statvfs(there)
        return MachineFacts(
            system=release.get("PRETTY_NAME", platform.system()),
            system_id=release.get("ID", ""),
            system_version=release.get("VERSION_ID", ""),
            python=platform.python_version(),
            missing_programs=tuple(name for name in _PROGRAMS if not _find_program(name)),
            missing_modules=tuple(name for name in _MODULES if not _is_there(name)),
            free_bytes=disk.f_bavail * disk.f_frsize,
            memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            state=str(self._state),
            state_problem=_problem_of(self._state, there),
            may_execute=not disk.f_flag & os.ST_NOEXEC,
            loose_keys=tuple(_find_loose(self._state)),
            exposed_state=self._find_exposed(),
            may_unshare=os.geteuid() == 0 or _may_unshare(),
            may_start_engine=os.geteuid() == 0 and self._chosen == "" and bool(_find_program("dockerd")),
        )

    def ask_engine(self) -> EngineFacts:
        """What the engine says of itself."""
        engine = self._connect()
        try:
            info = engine.ping()
            root = engine.root()
            free = (
                shutil.disk_usage(root).free if engine.url.startswith("unix://") and root.is_dir() else None
            )
            return EngineFacts(info.version, info.api_version, engine.limits_memory(), free)
        finally:
            engine.close()

    def ask_mirror(self) -> str:
        """Whether packages for the base can be had, where no base was made yet."""
        if any((self._state / "images" / "layers").glob("*.json")):
            return "layers of images are here already"
        try:
            answer = httpx.head(self._mirror + _RELEASE, timeout=_MIRROR_S, follow_redirects=True)
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise OutsideError(
                f"Debian's packages cannot be had from {self._mirror}: {str(error) or type(error).__name__}",
                fix="correct images.mirror, or set http_proxy if there is a proxy",
                retryable=True,
            ) from error
        return self._mirror

    def reach_hub(self) -> ContainerReach:
        """Tried from the companion's image, where the engine has one; the container is gone again."""
        hub = self._hub()
        if hub is None:
            return ContainerReach("", {}, "the hub listens on this machine's own addresses only")
        engine = self._connect()
        try:
            images = engine.images(_LABELS)
            if not images:
                return ContainerReach(
                    hub.host, {}, "no image to try it from yet; the first edgeferry ship brings one"
                )
            return ContainerReach(hub.host, _try_from(engine, images[0], hub))
        finally:
            engine.close()

    def _find_exposed(self) -> str:
        """Nothing where there is no git repository or no git."""
        if not self._state.is_relative_to(self._root):
            return ""
        git = Git(self._root, timeout_s=_GIT_S)
        try:
            done = git.run("check-ignore", "--quiet", str(self._state / "keys"))
        except GitError:
            return ""
        return self._state.relative_to(self._root).as_posix() if done.returncode == 1 else ""


def _try_from(engine: Engine, image: str, hub: HubFromContainers) -> dict[int, str]:
    name = f"edgeferry.doctor-{secrets.token_hex(4)}"
    body = {
        "Image": image,
        "Entrypoint": ["/usr/bin/python3", "-c", _SOCKETS, hub.host, *map(str, hub.ports)],
        "Cmd": [],
        "HostConfig": {"NetworkMode": hub.network},
    }
    try:
        engine.create(name, body)
        engine.start(name)
        deadline = time.monotonic() + _CONNECT_S * len(hub.ports) + 10
        while (facts := engine.inspect(name)) and facts.running and time.monotonic() < deadline:
            time.sleep(0.05)
        lines = engine.logs(name).splitlines()
        with suppress(ValueError, IndexError):
            return {int(port): str(why) for port, why in json.loads(lines[-1]).items()}
        return {port: f"the container said: {' '.join(lines[-3:]) or 'nothing'}" for port in hub.ports}
    finally:
        engine.remove(name)


def _read_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _find_program(name: str) -> str | None:
    paths = [os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]
    alternatives = (name, "registry") if name == "docker-registry" else (name,)
    return next(
        (found for each in alternatives if (found := shutil.which(each, path=os.pathsep.join(paths)))), None
    )


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _nearest(folder: Path) -> Path:
    return next(each for each in (folder, *folder.parents) if each.is_dir())


def _problem_of(state: Path, there: Path) -> str:
    if state.exists() and not state.is_dir():
        return "it is a file"
    if os.statvfs(there).f_flag & os.ST_RDONLY:
        return "its file system is mounted read-only"
    return "" if os.access(there, os.W_OK | os.X_OK) else f"{there} belongs to somebody else"


def _find_loose(state: Path) -> Sequence[str]:
    found = {
        path for pattern in _PRIVATE for path in state.glob(pattern) if not path.name.endswith(".pub.pem")
    }
    return sorted(str(path) for path in found if path.is_file() and path.stat().st_mode & _OTHERS)


def _may_unshare() -> bool:
    allowed = {"unprivileged_userns_clone": "1", "apparmor_restrict_unprivileged_userns": "0"}
    for name, wanted in allowed.items():
        with suppress(OSError):
            if Path("/proc/sys/kernel", name).read_text().strip() != wanted:
                return False
    return True
