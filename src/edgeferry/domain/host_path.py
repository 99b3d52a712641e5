"""Paths of the machine, as they stand in createOptions: what they mean, and what they lead to. Pure.

Only names are looked at, as the engine itself does before it asks the machine: `.`, `..` and `//` are
resolved, and `/var/run` is `/run`, as on every Linux. Other symbolic links cannot be seen from here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_SOCKETS = (
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/docker/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/crio/crio.sock",
    "/run/buildkit/buildkitd.sock",
    "/run/balena-engine.sock",
    "/run/edgeferry/docker.sock",
)
_SOCKET_FOLDERS = ("/run/docker", "/run/containerd", "/run/podman", "/run/crio", "/run/buildkit")
"""All that is in them belongs to an engine."""
_SOCKET_NAMES = tuple(socket.rpartition("/")[2] for socket in _SOCKETS)
_USERS = re.compile(r"/run/user(/[0-9]+)?")
"""Where engines that run for a user have theirs."""
_OTHER_ROOTS = ("/proc", "/dev/fd", "/dev/stdin", "/dev/stdout", "/dev/stderr")
"""As what is mounted, they and what is in them stand for any process's open files and root folder."""
_LINKS = (("/var/run", "/run"),)


def is_host_path(path: str) -> bool:
    """Whether it is a path from the machine's root; others are names of volumes, or nothing."""
    return path.startswith("/")


def normalise_path(path: str) -> str:
    """The absolute path without `.`, `..`, double or trailing slashes, and with `/run` for `/var/run`."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    plain = "/" + "/".join(parts)
    for link, target in _LINKS:
        if is_below(plain, link):
            return target + plain[len(link) :]
    return plain


def is_below(path: str, folder: str) -> bool:
    """Whether a normalised path is that folder or in it."""
    return folder in ("/", path) or path.startswith(f"{folder}/")


def is_allowed(path: str, allowed: Iterable[str]) -> bool:
    """Whether a path is one of the allowed ones or below one; relative ones allow nothing."""
    plain = normalise_path(path)
    return any(is_below(plain, normalise_path(each)) for each in allowed if is_host_path(each))


def is_engine_socket(path: str) -> bool:
    """Whether the path is a container engine's socket, by its name or place."""
    plain = normalise_path(path)
    return plain in _SOCKETS or plain.rpartition("/")[2] in _SOCKET_NAMES


def leads_to_engine(path: str) -> bool:
    """Whether a container engine's socket is at the path or can be reached through it."""
    plain = normalise_path(path)
    return (
        is_engine_socket(plain)
        or any(is_below(socket, plain) for socket in _SOCKETS)
        or any(is_below(plain, folder) for folder in (*_SOCKET_FOLDERS, *_OTHER_ROOTS))
        or _USERS.fullmatch(plain) is not None
    )
