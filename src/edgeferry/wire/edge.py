"""`$edgeAgent`'s desired properties: IoT Edge's deployment schema 1.1, and 1.0 when read.

createOptions travel as JSON text in chunks of at most 512 characters: `createOptions`, `createOptions01`, …
As IoT Edge does, it reads names of members and fixed words in any case, and passes over what it does not
know, members that begin with `$` (they are the hub's), and null.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from edgeferry.domain.manifest import LAST, DeviceManifest, ModuleSpec, RegistryLogin
from edgeferry.errors import DesiredError
from edgeferry.wire.canonical import render_canonical

Json = dict[str, Any]

_CHUNK = 512
_MOST_CHUNKS = 100
_MODULE_NAME = re.compile(r"[a-zA-Z0-9_-]+")
_STATUSES = ("running", "stopped")
_RESTART_POLICIES = ("never", "on-failure", "on-unhealthy", "always")
_PULL_POLICIES = ("on-create", "never")
_CREATE_OPTIONS = re.compile(r"createoptions([0-9]{0,4})")
_RUNTIME_TEXTS = ("minDockerVersion", "loggingOptions")


def render_module(spec: ModuleSpec, *, with_layer: bool = False) -> Json:
    """The value of `modules.<name>` in desired properties; DesiredError when createOptions are too long.

    Who gave the module is the hub's to say, so it is in it only `with_layer`.
    """
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
    if with_layer and spec.layer:
        said["configuration"] = {"id": spec.layer}
    return said


def render_settings(spec: ModuleSpec) -> Json:
    """Image and createOptions; DesiredError when those are longer than a device reads."""
    chunks = render_create_options(spec.create_options)
    if len(chunks) > _MOST_CHUNKS:
        raise DesiredError(
            f"the createOptions of {spec.name} have {sum(map(len, chunks.values()))} characters",
            fix=f"IoT Edge takes at most {_CHUNK * _MOST_CHUNKS}",
        )
    return {"image": spec.image, **chunks}


def render_create_options(options: Mapping[str, Any]) -> dict[str, str]:
    """The members that hold createOptions as JSON text, by name, in order."""
    text = json.dumps(options, separators=(",", ":"), sort_keys=True)
    chunks = [text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK)]
    names = ["createOptions", *(f"createOptions{number:02}" for number in range(1, len(chunks)))]
    return dict(zip(names, chunks, strict=True))


def parse_module(name: str, said: object) -> ModuleSpec:
    """The module below `modules.<name>`; DesiredError naming the member that is wrong."""
    where = f"modules.{name}"
    if not _MODULE_NAME.fullmatch(name):
        raise _malformed(where, "the name may have letters, digits, _ and - only")
    return _parse_spec(where, name, said)


def parse_desired(said: Mapping[str, Any]) -> DeviceManifest:
    """The manifest in `$edgeAgent`'s desired properties.

    DesiredError with code 417 when they are empty, 412 for an unknown schema version, 400 when malformed.
    """
    body = _members("desired properties", said)
    if not body:
        raise DesiredError(
            "no deployment has been applied to this device",
            fix="create a base deployment whose target condition it matches",
            code=417,
        )
    version = str(body.get("schemaversion", ""))
    if not re.fullmatch(r"1\.[01](\.[0-9]+)?", version):
        raise DesiredError(
            f"schemaVersion {version!r} is not understood", fix="use schemaVersion 1.0 or 1.1", code=412
        )
    _must_be_text("desired properties", body)
    system = {
        name: _parse_spec(f"systemModules.{name}", name, value)
        for name, value in _named("systemModules", body.get("systemmodules", {})).items()
    }
    modules = {
        name: parse_module(name, value) for name, value in _named("modules", body.get("modules", {})).items()
    }
    runtime = _members("runtime", body.get("runtime", {}))
    _must_be_docker("runtime", runtime)
    settings = _members("runtime.settings", runtime.get("settings", {}))
    logins = _parse_logins(settings)
    return DeviceManifest(
        modules, system, tuple(logins.values()), version, _reportable_settings(settings, logins)
    )


def module_hash(said: Mapping[str, Any]) -> str:
    """The sha256 (hex) of a JSON document's canonical form; equal for equal documents."""
    return hashlib.sha256(render_canonical(said)).hexdigest()


def _parse_spec(where: str, name: str, said: object) -> ModuleSpec:
    body = _members(where, said)
    _must_be_docker(where, body)
    settings = _members(f"{where}.settings", body.get("settings"))
    image = settings.get("image")
    if not isinstance(image, str) or not image.strip():
        raise _malformed(f"{where}.settings.image", "it is missing")
    return ModuleSpec(
        name=name,
        image=_with_tag(image.strip()),
        create_options=_parse_create_options(f"{where}.settings.createOptions", settings),
        env={
            key: _parse_text(f"{where}.env.{key}", value)
            for key, value in _named(f"{where}.env", body.get("env", {})).items()
        },
        status=_one_of(where, body, "status", _STATUSES),
        restart_policy=_one_of(where, body, "restartPolicy", _RESTART_POLICIES[::-1]),
        startup_order=_parse_order(f"{where}.startupOrder", body.get("startuporder", LAST)),
        image_pull_policy=_one_of(where, body, "imagePullPolicy", _PULL_POLICIES),
        version=_parse_text(f"{where}.version", body.get("version", "")),
        layer=_parse_layer(body.get("configuration")),
    )


def _with_tag(image: str) -> str:
    """The reference with `:latest` where it has neither tag nor digest."""
    if "@" in image or ":" in image.rpartition("/")[2]:
        return image
    return f"{image}:latest"


def _parse_create_options(where: str, settings: Mapping[str, Any]) -> Json:
    whole = settings.get("createoptions", "")
    options = whole if isinstance(whole, Mapping) else _parse_chunks(where, settings)
    _must_be_text(where, options)
    return dict(options)


def _parse_chunks(where: str, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    found = {match[1]: value for key, value in settings.items() if (match := _CREATE_OPTIONS.fullmatch(key))}
    chunks = []
    for number, digits in enumerate(sorted(found, key=lambda digits: int(digits or -1))):
        if (int(digits) != number if number else digits) or not isinstance(found[digits], str):
            wanted = f"{number:02}" if number else ""
            raise _malformed(where, f"its chunk createOptions{wanted} is missing or no text")
        chunks.append(found[digits])
    if len(chunks) > _MOST_CHUNKS:
        raise _malformed(where, f"{len(chunks)} chunks are more than {_MOST_CHUNKS}")
    try:
        said = json.loads("".join(chunks).strip() or "{}")
    except (ValueError, RecursionError) as error:
        raise _malformed(where, f"not JSON: {error}") from error
    if said is None:
        return {}
    if not isinstance(said, Mapping):
        raise _malformed(where, "it is not an object")
    return said


def _parse_order(where: str, said: object) -> int:
    order = int(said) if isinstance(said, float) and said.is_integer() else said
    if isinstance(order, bool) or not isinstance(order, int) or not 0 <= order <= LAST:
        raise _malformed(where, f"{said!r} is not a whole number from 0 to {LAST}")
    return order


def _parse_layer(said: object) -> str:
    """The id in the `configuration` that a hub adds; "" when nobody says who gave the module."""
    layer = _members("configuration", said).get("id") if isinstance(said, Mapping) else ""
    return layer if isinstance(layer, str) else ""


def _parse_text(where: str, said: object) -> str:
    """A text, number or bool, or an object with such a `value`, as text."""
    value = _members(where, said).get("value") if isinstance(said, Mapping) else said
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise _malformed(where, 'write {"value": text, number or bool}')


def _parse_logins(settings: Mapping[str, Any]) -> dict[str, RegistryLogin]:
    where = "runtime.settings.registryCredentials"
    logins = {}
    for name, value in _named(where, settings.get("registrycredentials", {})).items():
        login = _members(f"{where}.{name}", value)
        parts = [login.get(part) for part in ("address", "username", "password")]
        if not all(isinstance(part, str) for part in parts):
            raise _malformed(f"{where}.{name}", "it needs address, username and password; its name, no dots")
        logins[name] = RegistryLogin(*(str(part) for part in parts))
    return logins


def _reportable_settings(settings: Mapping[str, Any], logins: Mapping[str, RegistryLogin]) -> Json:
    """What of `runtime.settings` may be told: known members only, no password."""
    said: Json = {
        name: settings[name.lower()] for name in _RUNTIME_TEXTS if isinstance(settings.get(name.lower()), str)
    }
    if logins:
        said["registryCredentials"] = {
            name: {"address": login.address, "username": login.username} for name, login in logins.items()
        }
    return said


def _one_of(where: str, body: Mapping[str, Any], key: str, choices: tuple[str, ...]) -> str:
    """The member's value; the first choice when it is absent or empty."""
    value = body.get(key.lower()) or choices[0]
    if not isinstance(value, str) or value.lower() not in choices:
        raise _malformed(f"{where}.{key}", f"{value!r} is none of {', '.join(choices)}")
    return value.lower()


def _must_be_docker(where: str, body: Mapping[str, Any]) -> None:
    _one_of(where, body, "type", ("docker",))


def _must_be_text(where: str, said: object) -> None:
    """Refuses what cannot be hashed or sent on: NaN, halves of characters."""
    try:
        render_canonical(said)
    except (TypeError, ValueError, RecursionError) as error:
        raise _malformed(where, f"it is no JSON in UTF-8: {error}") from error


def _named(where: str, said: object) -> Mapping[str, Any]:
    """An object whose names are its author's, without what is the hub's and what is null."""
    if not isinstance(said, Mapping):
        raise _malformed(where, "it is not an object")
    return {key: value for key, value in said.items() if value is not None and not key.startswith("$")}


def _members(where: str, said: object) -> Mapping[str, Any]:
    """The same for an object whose names are fixed, in lower case. Sorted, so that of two spellings the same
    one counts each time."""
    return {key.lower(): value for key, value in sorted(_named(where, said).items(), key=_by_name)}


def _by_name(item: tuple[str, Any]) -> str:
    return item[0]


def _malformed(where: str, why: str) -> DesiredError:
    return DesiredError(f"{where}: {why}", fix="correct the deployment that sets it")
