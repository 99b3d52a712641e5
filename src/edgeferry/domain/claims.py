"""What modules claim of their device: ports, mounts, device files; and which two claim the same. Pure.

Claims stand in the engine's create body (Docker API ContainerCreate): `HostConfig.PortBindings`, `Binds`,
`Mounts`, `Devices`. What of it has not the shape that the engine wants claims nothing: the engine refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from edgeferry.domain.manifest import ModuleSpec

_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_ANY_ADDRESS = frozenset({"", "0.0.0.0", "::"})


@dataclass(frozen=True)
class Claims:
    """What one module claims."""

    ports: frozenset[tuple[str, int, str]] = frozenset()
    """Protocol, port of the device, its address; "" for every address."""
    mounts: Mapping[str, bool] | None = None
    """Path of the device, or volume, to whether the module may write there."""
    paths: frozenset[str] = frozenset()
    """Device files."""


@dataclass(frozen=True)
class Clash:
    """Two modules that claim the same."""

    kind: str
    """`host-port`, `mount` or `device-path`."""
    what: str
    modules: tuple[str, str]


NOTHING = Claims()


def find_claims(spec: ModuleSpec) -> Claims:
    """What a module that is to run claims."""
    host = spec.create_options.get("HostConfig")
    if not isinstance(host, Mapping) or spec.status != "running":
        return NOTHING
    return Claims(
        frozenset(_ports(host.get("PortBindings"))),
        dict(_mounts(host.get("Binds"), host.get("Mounts"))),
        frozenset(_paths(host.get("Devices"))),
    )


def find_clashes(claims: Mapping[str, Claims]) -> frozenset[Clash]:
    """Where modules of one device claim the same port, file, or a place that one of them writes to."""
    clashes: set[Clash] = set()
    ports: dict[str, dict[str, None]] = {}
    mounts: dict[str, dict[str, bool]] = {}
    paths: dict[str, dict[str, None]] = {}
    for name in sorted(claims):
        claim = claims[name]
        if claim is NOTHING:
            continue
        for protocol, port, _ in sorted(claim.ports):
            ports.setdefault(f"{port}/{protocol}", {})[name] = None
        for source, writes in (claim.mounts or {}).items():
            mounts.setdefault(source, {})[name] = writes
        for path in claim.paths:
            paths.setdefault(path, {})[name] = None
    for what, names in ports.items():
        for one, other in combinations(names, 2):
            if _share_address(claims[one], claims[other], what):
                clashes.add(Clash("host-port", what, (one, other)))
    for what, writers in mounts.items():
        for one, other in combinations(writers, 2):
            if writers[one] or writers[other]:
                clashes.add(Clash("mount", what, (one, other)))
    for what, names in paths.items():
        clashes.update(Clash("device-path", what, pair) for pair in combinations(names, 2))
    return frozenset(clashes)


def _share_address(one: Claims, other: Claims, what: str) -> bool:
    mine = {address for protocol, port, address in one.ports if f"{port}/{protocol}" == what}
    theirs = {address for protocol, port, address in other.ports if f"{port}/{protocol}" == what}
    return "" in mine or "" in theirs or bool(mine & theirs)


def _ports(bindings: object) -> Iterator[tuple[str, int, str]]:
    for key, bound in _items(bindings):
        protocol = key.partition("/")[2] or "tcp"
        for one in _maps(bound):
            found = _PORTS.fullmatch(str(one.get("HostPort") or ""))
            if found is None or int(found[1]) == 0:  # of the engine's choice
                continue
            address = str(one.get("HostIp") or "")
            for port in range(int(found[1]), min(int(found[2] or found[1]), 65535) + 1):
                yield protocol, port, "" if address in _ANY_ADDRESS else address


def _mounts(binds: object, mounts: object) -> Iterator[tuple[str, bool]]:
    for bind in binds if isinstance(binds, list) else ():
        source, _, rest = str(bind).partition(":")
        if rest:
            yield _place(source), "ro" not in rest.partition(":")[2].split(",")
    for mount in _maps(mounts):
        if mount.get("Type") in ("bind", "volume") and mount.get("Source"):
            yield _place(str(mount["Source"])), mount.get("ReadOnly") is not True


def _paths(devices: object) -> Iterator[str]:
    for device in _maps(devices):
        if device.get("PathOnHost"):
            yield str(device["PathOnHost"])


def _place(source: str) -> str:
    return source.rstrip("/") or source


def _items(said: object) -> Iterable[tuple[str, Any]]:
    return said.items() if isinstance(said, Mapping) else ()


def _maps(said: object) -> Iterator[Mapping[str, Any]]:
    yield from (one for one in said if isinstance(one, Mapping)) if isinstance(said, list) else ()
