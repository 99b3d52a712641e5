"""What an engine says when it refuses, as an error: it answers 500 for nearly every cause, so the cause is
read from its text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeferry.errors import EngineError


@dataclass(frozen=True)
class _Cause:
    needles: tuple[str, ...]
    problem: str
    fix: str
    retryable: bool


_CAUSES = (
    _Cause(
        ("no basic auth credentials", "unauthorized", "authentication required", "denied: ", "access denied"),
        "the registry refused the login",
        "check user name and password of this registry where the device or command gets them",
        False,
    ),
    _Cause(
        ("manifest unknown", "manifest for", "repository does not exist", "name unknown"),
        "the registry has no such image",
        "push it, or correct the image reference",
        False,
    ),
    _Cause(
        ("no such host", "server misbehaving"),
        "the registry's name does not resolve",
        "correct the registry's address or the name server",
        True,
    ),
    _Cause(
        ("x509:", "certificate"),
        "the engine does not trust the registry's certificate",
        "put the registry's CA into /etc/docker/certs.d/HOST:PORT/ca.crt on the engine's machine",
        False,
    ),
    _Cause(
        ("connection refused", "no route to host", "network is unreachable", "connection reset"),
        "the registry does not answer",
        "start the registry, or correct its address",
        True,
    ),
    _Cause(
        ("i/o timeout", "context deadline exceeded", "client.timeout", "tls handshake timeout"),
        "the registry answers too slowly",
        "try again; look at the network between the engine and the registry",
        True,
    ),
    _Cause(
        (
            "toomanyrequests",
            "received unexpected http status",
            "unexpected eof",
            "unexpected end of json input",
            "filesystem layer verif",
            "manifest verification failed",
        ),
        "the registry did not deliver the image",
        "try again; look at the registry's log",
        True,
    ),
    _Cause(
        ("no space left on device",),
        "the engine's disk is full",
        "free space, for example with `docker image prune`",
        True,
    ),
    _Cause(
        ("port is already allocated", "address already in use"),
        "a host port is taken",
        "leave HostPort empty in createOptions, or stop what holds the port",
        True,
    ),
    _Cause(
        ("non-overlapping ipv4 address pool",),
        "the engine has no address range left for another network",
        "remove unused networks with `docker network prune`, or give this one a subnet",
        False,
    ),
    _Cause(
        ("pool overlaps with other one",),
        "the network's address range is taken",
        "choose another subnet, or remove the network that holds it",
        False,
    ),
    _Cause(
        ("is already in use by container",),
        "the container's name is taken",
        "remove the container of that name",
        False,
    ),
    _Cause(
        ("no such image",),
        "the engine does not have the image",
        "pull or load it before creating containers",
        False,
    ),
    _Cause(
        ("no such container", "no such network"),
        "the engine does not have it",
        "look with `docker ps -a`",
        False,
    ),
    _Cause(
        ("oci runtime create failed", "failed to create shim", "executable file not found"),
        "the container cannot start",
        "correct the image's entry point or the module's createOptions",
        False,
    ),
)


def explain(doing: str, text: str, status: int = 0) -> EngineError:
    """The error for what the engine said (`text`, HTTP `status`) while `doing` something."""
    said = " ".join(text.split())
    for cause in _CAUSES:
        if any(needle in said.lower() for needle in cause.needles):
            return EngineError(f"{doing}: {cause.problem}: {said}", fix=cause.fix, retryable=cause.retryable)
    return EngineError(
        f"{doing}: the engine answered {status or 'with an error'}: {said}",
        fix="look at the engine's log",
        retryable=status in (0, 503),
    )


def problem_of(line: Mapping[str, Any]) -> str:
    """What a line of the engine's answer says is wrong; "" for nothing."""
    return str(line.get("error") or line.get("message") or "")
