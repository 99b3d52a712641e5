"""`$edgeAgent`'s desired and reported properties. Follows IoT Edge's deployment schema 1.1 (and reads 1.0)
and the reported properties of edgeAgent 1.5, plus `hostPorts`, which is ours.

createOptions travel as JSON text in chunks of at most 512 characters: `createOptions`, `createOptions01`, …
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from edgeferry.domain.manifest import (
    LAST,
    DeviceManifest,
    DeviceReport,
    LayerState,
    ModuleSpec,
    ModuleState,
    RegistryLogin,
)
from edgeferry.domain.twin import is_same
from edgeferry.errors import DesiredError
from edgeferry.wire.canonical import render_canonical

Json = dict[str, Any]

_CHUNK = 512
_MOST_CHUNKS = 100
_MODULE_NAME = re.compile(r"[a-zA-Z0-9_-]+")
_STATUSES = ("running", "stopped")
_RESTART_POLICIES = ("never", "on-failure", "on-unhealthy", "always")
_PULL_POLICIES = ("on-create", "never")
_DESCRIPTION_LENGTH = 1000


def render_module(spec: ModuleSpec) -> Json:
    """The value of `modules.<name>` in desired properties; DesiredError when createOptions are too long."""
    said: Json = {
        "type": "docker",
        "status": spec.status,
        "restartPolicy": spec.restart_policy,
        "imagePullPolicy": spec.image_pull_policy,
        "settings": render_settings(spec),
    }
    if spec.startup_order != LAST:
        said["startupOrder"] = spec.startup_order
    if spec.version:
        said["version"] = spec.version
    if spec.env:
        said["env"] = {name: {"value": value} for name, value in spec.env.items()}
    return said


def render_settings(spec: ModuleSpec) -> Json:
    """Image and createOptions; DesiredError when those are longer than a device reads."""
    text = json.dumps(spec.create_options, separators=(",", ":"), sort_keys=True)
    chunks = [text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK)]
    if len(chunks) > _MOST_CHUNKS:
        raise DesiredError(
            f"the createOptions of {spec.name} have {len(text)} characters",
            fix=f"IoT Edge takes at most {_CHUNK * _MOST_CHUNKS}",
        )
    names = ["createOptions", *(f"createOptions{number:02}" for number in range(1, len(chunks)))]
    return {"image": spec.image, **dict(zip(names, chunks, strict=True))}


def parse_module(name: str, said: object) -> ModuleSpec:
    """The module below `modules.<name>`; DesiredError naming the member that is wrong."""
    where = f"modules.{name}"
    if not _MODULE_NAME.fullmatch(name):
        raise _malformed(where, "the name may have letters, digits, _ and - only")
    body = _object(where, said)
    if body.get("type", "docker") != "docker":
        raise _malformed(f"{where}.type", f"{body.get('type')!r} is not docker")
    order = body.get("startupOrder", LAST)
    if isinstance(order, bool) or not isinstance(order, int) or not 0 <= order <= LAST:
        raise _malformed(f"{where}.startupOrder", f"{order!r} is not a whole number from 0 to {LAST}")
    return ModuleSpec(
        name=name,
        **_parse_core(where, body),
        status=_one_of(where, body, "status", _STATUSES),
        restart_policy=_one_of(where, body, "restartPolicy", _RESTART_POLICIES[::-1]),
        startup_order=order,
        image_pull_policy=_one_of(where, body, "imagePullPolicy", _PULL_POLICIES),
        version=str(body.get("version") or ""),
        layer=_layer(body),
    )


def parse_desired(said: Mapping[str, Any]) -> DeviceManifest:
    """The manifest in `$edgeAgent`'s desired properties (members that begin with `$` are passed over).

    DesiredError with code 417 when they are empty, 412 for an unknown schema version, 400 when malformed.
    """
    body = {key: value for key, value in said.items() if not key.startswith("$")}
    if not body:
        raise DesiredError(
            "no deployment has been applied to this device",
            fix="create a base deployment whose target condition it matches",
            code=417,
        )
    version = str(body.get("schemaVersion", ""))
    if not re.fullmatch(r"1\.[01](\.\d+)?", version):
        raise DesiredError(
            f"schemaVersion {version!r} is not understood", fix="use schemaVersion 1.0 or 1.1", code=412
        )
    system = {
        name: ModuleSpec(name=name, **_parse_core(f"systemModules.{name}", _object(name, value)))
        for name, value in _object("systemModules", body.get("systemModules", {})).items()
    }
    modules = {
        name: parse_module(name, value) for name, value in _object("modules", body.get("modules", {})).items()
    }
    return DeviceManifest(modules, system, _parse_logins(body), version)


def module_hash(said: Mapping[str, Any]) -> str:
    """The sha256 (hex) of a JSON document's canonical form; equal for equal documents."""
    return hashlib.sha256(render_canonical(said)).hexdigest()


def render_reported(report: DeviceReport) -> Json:
    """The whole of `$edgeAgent`'s reported properties; logins and passwords are never among them."""
    return {
        "schemaVersion": report.schema_version,
        "version": {"version": report.agent_version},
        "lastDesiredVersion": report.last_desired_version,
        "lastDesiredStatus": {
            "code": report.status_code,
            "description": report.status_description[:_DESCRIPTION_LENGTH],
        },
        "runtime": {
            "type": "docker",
            "platform": {
                "os": "linux",
                "architecture": report.architecture,
                "version": report.engine_version,
            },
        },
        "systemModules": {name: _render_state(state) for name, state in report.system_modules.items()},
        "modules": {
            name: {
                **_render_state(state),
                "status": state.spec.status,
                "restartPolicy": state.spec.restart_policy,
                "startupOrder": state.spec.startup_order,
                "version": state.spec.version,
                "restartCount": state.restart_count,
                "lastRestartTimeUtc": state.restarted_at,
                "hostPorts": dict(state.host_ports),
            }
            for name, state in report.modules.items()
        },
        "layers": {name: _render_layer(state) for name, state in report.layers.items()},
    }


def diff_reported(old: Mapping[str, Any], new: Mapping[str, Any]) -> Json:
    """The patch that turns `old` into `new`: changed members only, null for those that are gone."""
    patch: Json = {key: None for key in old if key not in new and not key.startswith("$")}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            inner = diff_reported(before, value)
            if inner:
                patch[key] = inner
        elif key not in old or not is_same(before, value):
            patch[key] = value
    return patch


def _render_layer(state: LayerState) -> Json:
    said: Json = {
        "outcome": state.outcome,
        "reason": state.reason[:_DESCRIPTION_LENGTH],
        "specHash": state.spec_hash,
        "desiredVersion": state.desired_version,
        "since": state.since,
    }
    return {**said, "progress": state.progress} if state.progress else said


def _render_state(state: ModuleState) -> Json:
    return {
        "type": "docker",
        "imagePullPolicy": state.spec.image_pull_policy,
        "env": {name: {"value": value} for name, value in state.spec.env.items()},
        "settings": {**render_settings(state.spec), "imageHash": state.image_hash},
        "runtimeStatus": state.runtime_status,
        "exitCode": state.exit_code,
        "statusDescription": state.description[:_DESCRIPTION_LENGTH],
        "lastStartTimeUtc": state.started_at,
        "lastExitTimeUtc": state.exited_at,
    }


def _layer(body: Mapping[str, Any]) -> str:
    """The deployment that the hub names as the giver of the module."""
    giver = body.get("configuration")
    name = giver.get("id") if isinstance(giver, Mapping) else None
    return name if isinstance(name, str) else ""


def _parse_core(where: str, body: Mapping[str, Any]) -> Json:
    """image, create_options and env: what all modules have."""
    settings = {
        key.lower(): value for key, value in _object(f"{where}.settings", body.get("settings")).items()
    }
    image = settings.get("image")
    if not isinstance(image, str) or not image.strip():
        raise _malformed(f"{where}.settings.image", "it is missing")
    return {
        "image": _with_tag(image.strip()),
        "create_options": _parse_create_options(where, settings),
        "env": {
            name: _env_text(f"{where}.env.{name}", value)
            for name, value in _object(f"{where}.env", body.get("env", {})).items()
        },
    }


def _with_tag(image: str) -> str:
    """The reference with `:latest` where it has neither tag nor digest."""
    if "@" in image or ":" in image.rpartition("/")[2]:
        return image
    return f"{image}:latest"


def _parse_create_options(where: str, settings: Mapping[str, Any]) -> Json:
    text = settings.get("createoptions")
    chunks = [text if isinstance(text, str) else ""]
    for number in range(1, _MOST_CHUNKS):
        chunk = settings.get(f"createoptions{number:02}")
        if not isinstance(chunk, str):
            break
        chunks.append(chunk)
    if isinstance(text, Mapping):
        return dict(text)
    try:
        said = json.loads("".join(chunks) or "{}")
    except (ValueError, RecursionError) as error:
        raise _malformed(f"{where}.settings.createOptions", f"not JSON: {error}") from error
    return dict(_object(f"{where}.settings.createOptions", {} if said is None else said))


def _env_text(where: str, said: object) -> str:
    value = said.get("value") if isinstance(said, Mapping) else said
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise _malformed(where, 'write {"value": text, number or bool}')


def _parse_logins(body: Mapping[str, Any]) -> tuple[RegistryLogin, ...]:
    runtime = _object("runtime", body.get("runtime", {}))
    settings = _object("runtime.settings", runtime.get("settings", {}))
    where = "runtime.settings.registryCredentials"
    logins = []
    for name, value in _object(where, settings.get("registryCredentials", {})).items():
        login = _object(f"{where}.{name}", value)
        parts = [login.get(part) for part in ("address", "username", "password")]
        if not all(isinstance(part, str) for part in parts):
            raise _malformed(f"{where}.{name}", "it needs address, username and password; its name, no dots")
        logins.append(RegistryLogin(*(str(part) for part in parts)))
    return tuple(logins)


def _one_of(where: str, body: Mapping[str, Any], key: str, choices: tuple[str, ...]) -> str:
    """The member's value; the first choice when it is absent."""
    value = body.get(key) or choices[0]
    if value not in choices:
        raise _malformed(f"{where}.{key}", f"{value!r} is none of {', '.join(choices)}")
    return str(value)


def _object(where: str, said: object) -> Mapping[str, Any]:
    if not isinstance(said, Mapping):
        raise _malformed(where, "it is not an object")
    return said


def _malformed(where: str, why: str) -> DesiredError:
    return DesiredError(f"{where}: {why}", fix="correct the deployment that sets it")
