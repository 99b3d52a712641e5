"""What of a module's createOptions the device's owner does not allow. Pure.

Each refusal is one text: the member, why it is refused, and the line of `agent.toml` that would allow it.
The engine reads names of members in any case; the agent reads the usual spelling only, so any other spelling
of a member that counts is refused. What is of the wrong kind is refused as well. Members that the engine does
not know have no effect and are let through.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator, Mapping
from typing import Any, TypeVar

from edgeferry.domain.device_rules import Policy
from edgeferry.domain.host_path import (
    is_allowed,
    is_engine_socket,
    is_host_path,
    leads_to_engine,
    normalise_path,
)
from edgeferry.domain.manifest import ModuleSpec
from edgeferry.domain.printable import escape_unprintable

T = TypeVar("T")
Json = Mapping[str, Any]
Texts = Iterator[str]
Read = Generator[str, None, T]
"""Yields a refusal for what is of the wrong kind, and returns the rest."""

_PRIVILEGED = "privileged = true"
_NAMESPACES = "host_namespaces = true"
_NETWORK = "host_network = true"
_SHOWN = 60
_VOLUME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_SAFE_SECURITY = re.compile(
    r"no-new-privileges([:=](true|false))?|apparmor[:=]docker-default|seccomp[:=]builtin", re.IGNORECASE
)
_LOCAL_LOGS = ("", "json-file", "local", "journald", "none")
_USUAL_RUNTIMES = ("", "runc", "io.containerd.runc.v2")
_OWN_NAMESPACES = {
    "PidMode": ("", "private"),
    "UTSMode": ("",),
    "UsernsMode": ("",),
    "CgroupnsMode": ("", "private"),
    "IpcMode": ("", "none", "private", "shareable"),
    "Cgroup": ("",),
}
"""Values by which a namespace is the module's own."""
_KINDS = {bool: "true or false", str: "a text", int: "a whole number", list: "a list", dict: "an object"}

_CONFIG = ("Image", "Env", "Labels", "ExposedPorts", "HostConfig", "NetworkingConfig")
_HOST = (
    *("Privileged", "CapAdd", "Devices", "DeviceRequests", "DeviceCgroupRules", "Binds", "Mounts"),
    *("VolumesFrom", "VolumeDriver", "NetworkMode", *_OWN_NAMESPACES, "SecurityOpt", "Sysctls"),
    *("CgroupParent", "Runtime", "OomScoreAdj", "MaskedPaths", "ReadonlyPaths", "LogConfig"),
    *("PortBindings", "ExtraHosts", "Init", "RestartPolicy"),
)


def find_refusals(spec: ModuleSpec, policy: Policy) -> tuple[str, ...]:
    """Why this device does not run the module, one text for each member; empty when it may run."""
    return tuple(dict.fromkeys(_in_options(spec.create_options, policy)))


def _in_options(options: Json, policy: Policy) -> Texts:
    yield from _spelling("", options, _CONFIG)
    host = yield from _read(options, "HostConfig", dict, {}, where="")
    yield from _spelling("HostConfig.", host, _HOST)
    yield from _in_privileges(host, policy)
    yield from _in_confinement(host, policy)
    yield from _in_devices(host, policy)
    yield from _in_namespaces(host, policy)
    yield from _in_network(options, host, policy)
    yield from _in_binds(host, policy)
    yield from _in_mounts(host, policy)
    yield from _in_runtime(host, policy)


def _in_privileges(host: Json, policy: Policy) -> Texts:
    privileged = yield from _read(host, "Privileged", bool, False)
    if privileged and not policy.privileged:
        yield _refused("HostConfig.Privileged", True, "the module could do anything here", _PRIVILEGED)
    allowed = {_capability(name) for name in policy.capabilities}
    for name in (yield from _read_texts(host, "CapAdd")):
        right = _capability(name)
        if not (policy.privileged or allowed & {right, "ALL"}):
            yield _refused(
                "HostConfig.CapAdd", name, "a right over the machine", _line("capabilities", right)
            )


def _in_confinement(host: Json, policy: Policy) -> Texts:
    """What keeps a module in its container, and its neighbours out of its way."""
    found: list[tuple[str, object, str]] = [
        ("SecurityOpt", each, "it changes what confines the module")
        for each in (yield from _read_texts(host, "SecurityOpt"))
        if not _SAFE_SECURITY.fullmatch(each)
    ]
    for name in ("MaskedPaths", "ReadonlyPaths"):
        if host.get(name) is not None:
            paths = yield from _read_texts(host, name)
            found.append((name, list(paths), "paths of the machine's kernel are no longer covered"))
    parent = yield from _read(host, "CgroupParent", str, "")
    if parent:
        found.append(("CgroupParent", parent, "the module leaves the engine's resource group"))
    score = yield from _read(host, "OomScoreAdj", int, 0)
    if score < 0:
        found.append(("OomScoreAdj", score, "other programs would be killed before it"))
    if not policy.privileged:
        yield from (_refused(f"HostConfig.{name}", value, why, _PRIVILEGED) for name, value, why in found)
    sysctls = yield from _read(host, "Sysctls", dict, {})
    for name in sysctls:
        if not (policy.privileged or name in policy.sysctls):
            yield _refused("HostConfig.Sysctls", name, "a setting of the kernel", _line("sysctls", name))


def _in_devices(host: Json, policy: Policy) -> Texts:
    for number, device in enumerate((yield from _read_objects(host, "Devices"))):
        where = f"HostConfig.Devices[{number}]."
        yield from _spelling(where, device, ("PathOnHost",))
        path = yield from _read(device, "PathOnHost", str, "", where=where)
        if not (policy.privileged or is_allowed(path, policy.devices)):
            yield _refused(
                "HostConfig.Devices", path, "a device of the machine", _line("devices", normalise_path(path))
            )
    for number, request in enumerate((yield from _read_objects(host, "DeviceRequests"))):
        where = f"HostConfig.DeviceRequests[{number}]."
        yield from _spelling(where, request, ("Driver", "DeviceIDs", "Capabilities"))
        for name in (yield from _requested(where, request)):
            if not (policy.privileged or name in policy.devices):
                why = "a device of the machine"
                yield _refused("HostConfig.DeviceRequests", name, why, _line("devices", name))
    for rule in (yield from _read_texts(host, "DeviceCgroupRules")):
        if not policy.privileged:
            yield _refused("HostConfig.DeviceCgroupRules", rule, "it opens devices by number", _PRIVILEGED)


def _requested(where: str, request: Json) -> Read[tuple[str, ...]]:
    """The names by which an owner allows the devices that are asked for: CDI names, else the first capability
    of each choice, such as gpu."""
    driver = yield from _read(request, "Driver", str, "", where=where)
    ids = yield from _read_texts(request, "DeviceIDs", where=where)
    if driver == "cdi":
        return ids or (driver,)
    choices = yield from _read(request, "Capabilities", list, [], where=where)
    names = []
    for choice in choices:
        if not isinstance(choice, list) or not all(isinstance(each, str) for each in choice):
            yield _wrong(f"{where}Capabilities", choice, "a list of texts")
        elif choice:
            names.append("gpu" if "gpu" in choice else choice[0])
    return tuple(names) or (driver or "any",)


def _in_namespaces(host: Json, policy: Policy) -> Texts:
    for name, own in _OWN_NAMESPACES.items():
        mode = yield from _read(host, name, str, "")
        if mode not in own and not policy.host_namespaces:
            why = "it shares what belongs to the machine or to another container"
            yield _refused(f"HostConfig.{name}", mode, why, _NAMESPACES)
    for other in (yield from _read_texts(host, "VolumesFrom")):
        if not policy.host_namespaces:
            yield _refused("HostConfig.VolumesFrom", other, "another container's volumes", _NAMESPACES)


def _in_network(options: Json, host: Json, policy: Policy) -> Texts:
    mode = yield from _read(host, "NetworkMode", str, "")
    if mode == "host" and not policy.host_network:
        yield _refused("HostConfig.NetworkMode", mode, "it has the machine's network", _NETWORK)
    if mode.startswith(("container:", "ns:")) and not policy.host_namespaces:
        yield _refused("HostConfig.NetworkMode", mode, "another container's network", _NAMESPACES)
    networking = yield from _read(options, "NetworkingConfig", dict, {}, where="")
    yield from _spelling("NetworkingConfig.", networking, ("EndpointsConfig",))
    endpoints = yield from _read(networking, "EndpointsConfig", dict, {}, where="NetworkingConfig.")
    for name in endpoints:
        stays = mode in ("host", "none")  # elsewhere the device's own network takes their place
        if (name == "host" or stays) and not policy.host_network:
            why = "a network of the machine"
            yield _refused("NetworkingConfig.EndpointsConfig", name, why, _NETWORK)


def _in_binds(host: Json, policy: Policy) -> Texts:
    for bind in (yield from _read_texts(host, "Binds")):
        source, colon, _ = bind.partition(":")
        if colon and (is_host_path(source) or not _VOLUME.fullmatch(source)):
            yield from _in_path("HostConfig.Binds", source, policy)


def _in_mounts(host: Json, policy: Policy) -> Texts:
    for number, mount in enumerate((yield from _read_objects(host, "Mounts"))):
        where = f"HostConfig.Mounts[{number}]."
        yield from _spelling(where, mount, ("Type", "Source", "VolumeOptions"))
        kind = yield from _read(mount, "Type", str, "", where=where)
        source = yield from _read(mount, "Source", str, "", where=where)
        if kind == "bind":
            yield from _in_path("HostConfig.Mounts", source, policy)
        elif kind not in ("volume", "tmpfs", "image"):
            yield _wrong(f"{where}Type", kind, "bind, volume, tmpfs or image")
        elif kind == "volume" and source and not _VOLUME.fullmatch(source):
            yield _wrong(f"{where}Source", source, "the name of a volume")
        yield from _in_volume_options(where, mount, policy)
    driver = yield from _read(host, "VolumeDriver", str, "")
    if driver not in ("", "local") and not policy.privileged:
        yield _refused("HostConfig.VolumeDriver", driver, "what it mounts is not known", _PRIVILEGED)


def _in_volume_options(where: str, mount: Json, policy: Policy) -> Texts:
    """A volume can be made of a folder of the machine, or of anything that can be mounted."""
    options = yield from _read(mount, "VolumeOptions", dict, {}, where=where)
    where = f"{where}VolumeOptions."
    yield from _spelling(where, options, ("DriverConfig",))
    driver = yield from _read(options, "DriverConfig", dict, {}, where=where)
    where = f"{where}DriverConfig."
    yield from _spelling(where, driver, ("Name", "Options"))
    name = yield from _read(driver, "Name", str, "", where=where)
    said = yield from _read(driver, "Options", dict, {}, where=where)
    how = yield from _read(said, "o", str, "", where=f"{where}Options.")
    device = yield from _read(said, "device", str, "", where=f"{where}Options.")
    is_bind = {"bind", "rbind"} & {each.strip().lower() for each in how.split(",")}
    if name in ("", "local") and is_bind:
        yield from _in_path("HostConfig.Mounts volume of", device, policy)
    elif (name not in ("", "local") or said) and not policy.privileged:
        shown = dict(said) if name in ("", "local") else name
        yield _refused("HostConfig.Mounts volume driver", shown, "what it mounts is not known", _PRIVILEGED)


def _in_path(where: str, path: str, policy: Policy) -> Texts:
    if not is_host_path(path):
        yield _wrong(where, path, "an absolute path, or the name of a volume")
        return
    if leads_to_engine(path) and not policy.docker_socket:
        why = "by it the module could command the container engine"
        yield _refused(where, path, why, "docker_socket = true")
    if not is_engine_socket(path) and not is_allowed(path, policy.mounts):
        yield _refused(where, path, "a path of the machine", _line("mounts", normalise_path(path)))


def _in_runtime(host: Json, policy: Policy) -> Texts:
    runtime = yield from _read(host, "Runtime", str, "")
    if not (policy.privileged or runtime in (*_USUAL_RUNTIMES, *policy.runtimes)):
        yield _refused("HostConfig.Runtime", runtime, "not the usual runtime", _line("runtimes", runtime))
    log = yield from _read(host, "LogConfig", dict, {})
    yield from _spelling("HostConfig.LogConfig.", log, ("Type", "Config"))
    driver = yield from _read(log, "Type", str, "", where="HostConfig.LogConfig.")
    if not (policy.privileged or driver in (*_LOCAL_LOGS, *policy.log_drivers)):
        line = _line("log_drivers", driver)
        yield _refused("HostConfig.LogConfig.Type", driver, "it sends the log elsewhere", line)


def _capability(name: str) -> str:
    return name.upper().removeprefix("CAP_")


def _spelling(where: str, said: Json, known: tuple[str, ...]) -> Texts:
    """Refusals of known names that are spelled otherwise; folded as the engine's JSON reader folds them."""
    usual = {name.casefold(): name for name in known}
    for name in said:
        meant = usual.get(name.casefold(), name)
        if meant != name:
            yield f"{where}{name} is refused: write {meant}"


def _read(said: Json, name: str, kind: type[T], default: T, *, where: str = "HostConfig.") -> Read[T]:
    """The member, or the default when it is absent or not of that kind."""
    value = said.get(name)
    if value is None:
        return default
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        yield _wrong(f"{where}{name}", value, _KINDS[kind])
        return default
    return value


def _read_texts(said: Json, name: str, *, where: str = "HostConfig.") -> Read[tuple[str, ...]]:
    values: list[Any] = yield from _read(said, name, list, [], where=where)
    for value in values:
        if not isinstance(value, str):
            yield _wrong(f"{where}{name}", value, "a list of texts")
    return tuple(value for value in values if isinstance(value, str))


def _read_objects(said: Json, name: str) -> Read[tuple[Json, ...]]:
    values: list[Any] = yield from _read(said, name, list, [])
    for value in values:
        if not isinstance(value, dict):
            yield _wrong(f"HostConfig.{name}", value, "a list of objects")
    return tuple(value for value in values if isinstance(value, dict))


def _line(setting: str, value: str) -> str:
    return f"{setting} = [{_quote(value)}]"


def _refused(member: str, value: object, why: str, line: str) -> str:
    return f"{member} {_show(value)} is refused: {why}; agent.toml would allow it by policy.{line}"


def _wrong(member: str, value: object, wanted: str) -> str:
    return f"{member} {_show(value)} is refused: it is not {wanted}"


def _show(value: object) -> str:
    text = _quote(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _quote(value: object) -> str:
    """The value as JSON and as TOML write it, with nothing in it that a terminal would obey."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return escape_unprintable(text)
