"""`$edgeAgent`'s reported properties: edgeAgent 1.5's, and `hostPorts` and `layers`, which are ours.

A hub takes at most 32 KB of them and refuses a report that is larger as a whole. One that would be is made
to fit: createOptions and environments go first, the largest before others, then texts and what can be asked
for elsewhere, and only then whole entries. What is missing is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgeferry.domain.manifest import NEVER, DeviceReport, LayerState, ModuleSpec, ModuleState
from edgeferry.domain.twin import SECTION_BYTES, is_same, size_of
from edgeferry.wire.edge import render_create_options

Json = dict[str, Any]

REPORT_BYTES = SECTION_BYTES - 512
"""A little below the hub's limit, so that another way of counting does not cost the whole report."""
NO_LAYER = "_"
"""The name under `layers` of the modules that no deployment gave: a twin has no empty names."""

_AGENT = "edgeAgent"
_DESCRIPTION_LENGTH = 1000
_SHORT_LENGTHS = (200, 60)
_NOTE = "{} left out, too large to report; "
_COUNT_NOTE = "{} entries left out, too large to report; "
_COUNT_LENGTH = len(_COUNT_NOTE) + 4
_LISTS = ("systemModules", "modules")
_DULL = {
    "modules": (
        "type",
        "version",
        "imagePullPolicy",
        "restartPolicy",
        "startupOrder",
        "lastExitTimeUtc",
        "lastRestartTimeUtc",
    ),
    "layers": ("specHash", "since"),
}
"""Members that the desired properties tell as well, or that a method does."""


def render_reported(report: DeviceReport) -> Json:
    """The whole of `$edgeAgent`'s reported properties, no larger than a hub takes them; passwords are never
    among them."""
    return fit_reported(
        {
            "schemaVersion": report.schema_version,
            "version": {
                "version": report.agent_version,
                "build": report.agent_build,
                "commit": report.agent_commit,
            },
            "lastDesiredVersion": report.last_desired_version,
            "lastDesiredStatus": {
                "code": report.status_code,
                "description": report.status_description[:_DESCRIPTION_LENGTH],
            },
            "runtime": {
                "type": "docker",
                "settings": dict(report.runtime_settings),
                "platform": {
                    "os": "linux",
                    "architecture": report.architecture,
                    "version": report.engine_version,
                },
            },
            "systemModules": {
                name: _render_core(state) if name == _AGENT else _render_state(state)
                for name, state in report.system_modules.items()
            },
            "modules": {
                name: {
                    **_render_state(state),
                    "version": state.spec.version,
                    "hostPorts": dict(state.host_ports),
                }
                for name, state in report.modules.items()
            },
            "layers": {name or NO_LAYER: _render_layer(state) for name, state in report.layers.items()},
        }
    )


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


def fit_reported(said: Json, limit_bytes: int = REPORT_BYTES) -> Json:
    """The report in at most that many bytes, as a hub counts them: itself where it is not larger."""
    fitted = _without_largest(said, tuple(_options_and_env(said)), limit_bytes)
    for length in _SHORT_LENGTHS:
        if size_of(fitted) > limit_bytes:
            fitted = _with_short_texts(fitted, length)
    if size_of(fitted) > limit_bytes:
        fitted = _without_dull_members(fitted)
    if size_of(fitted) > limit_bytes:
        fitted = _without_largest(fitted, tuple(_entries(fitted)), limit_bytes - _COUNT_LENGTH)
    return fitted


def _render_core(state: ModuleState) -> Json:
    """What edgeAgent has too, which nobody starts or restarts."""
    return {
        "type": "docker",
        "imagePullPolicy": state.spec.image_pull_policy,
        "env": {name: {"value": value} for name, value in state.spec.env.items()},
        "settings": {**_render_settings(state.spec), "imageHash": state.image_hash},
        "runtimeStatus": state.runtime_status,
        "exitCode": state.exit_code,
        "statusDescription": state.description[:_DESCRIPTION_LENGTH],
        "lastStartTimeUtc": state.started_at,
        "lastExitTimeUtc": state.exited_at,
    }


def _render_state(state: ModuleState) -> Json:
    return {
        **_render_core(state),
        "status": state.spec.status,
        "restartPolicy": state.spec.restart_policy,
        "startupOrder": state.spec.startup_order,
        "restartCount": state.restart_count,
        "lastRestartTimeUtc": state.restarted_at,
    }


def _render_settings(spec: ModuleSpec) -> Json:
    """Image and createOptions of any length."""
    return {"image": spec.image, **render_create_options(spec.create_options)}


def _render_layer(state: LayerState) -> Json:
    said: Json = {
        "outcome": state.outcome,
        "reason": state.reason[:_DESCRIPTION_LENGTH],
        "specHash": state.spec_hash,
        "desiredVersion": state.desired_version,
    }
    if state.since not in ("", NEVER):
        said["since"] = state.since
    if state.progress:
        said["progress"] = state.progress[:_DESCRIPTION_LENGTH]
    return said


@dataclass(frozen=True)
class _Part:
    """Members that are left out together, and whose note says so ("" where nothing can)."""

    what: str
    entry: tuple[str, str]
    members: tuple[tuple[str, ...], ...]
    size: int


def _options_and_env(said: Json) -> Iterator[_Part]:
    for kind in _LISTS:
        for name, module in said[kind].items():
            settings = module["settings"]
            chunks = {key: text for key, text in settings.items() if key.startswith("createOptions")}
            paths = tuple(("settings", key) for key in chunks)
            yield _Part("createOptions", (kind, name), paths, size_of(chunks))
            yield _Part("env", (kind, name), (("env",),), size_of({"env": module["env"]}))


def _entries(said: Json) -> Iterator[_Part]:
    for kind in (*_LISTS, "layers"):
        for name, entry in said[kind].items():
            yield _Part("", (kind, name), ((),), size_of({name: entry}))
    settings = said["runtime"]["settings"]
    yield _Part("", ("runtime", "settings"), ((),), size_of({"settings": settings}))


def _without_largest(said: Json, parts: tuple[_Part, ...], limit_bytes: int) -> Json:
    """The report without as many of the parts as it takes, the largest first."""
    size = size_of(said)
    gone = 0
    for part in sorted(parts, key=lambda part: (-part.size, part.entry, part.what)):
        if size <= limit_bytes:
            break
        note = _NOTE.format(part.what) if part.what else ""
        if part.size <= len(note):
            continue
        for path in part.members:
            said = _without(said, (*part.entry, *path))
        size -= part.size - len(note)
        if note:
            path = (*part.entry, "statusDescription")
            said = _with(said, path, note + said[part.entry[0]][part.entry[1]]["statusDescription"])
        else:
            gone += 1
    return _with_count(said, gone) if gone else said


def _with_count(said: Json, gone: int) -> Json:
    note = _COUNT_NOTE.format(gone)
    path = ("lastDesiredStatus", "description")
    return _with(said, path, (note + said[path[0]][path[1]])[:_DESCRIPTION_LENGTH])


def _with_short_texts(said: Json, length: int) -> Json:
    for kind, members in (
        *((kind, ("statusDescription",)) for kind in _LISTS),
        ("layers", ("reason", "progress")),
    ):
        for name, entry in said[kind].items():
            short = {key: text[:length] for key, text in entry.items() if key in members}
            said = _with(said, (kind, name), {**entry, **short})
    return said


def _without_dull_members(said: Json) -> Json:
    for kind, members in _DULL.items():
        for name, entry in said[kind].items():
            kept = {key: value for key, value in entry.items() if key not in members}
            said = _with(said, (kind, name), kept)
    return said


def _with(said: Json, path: tuple[str, ...], value: object) -> Json:
    head, *rest = path
    return {**said, head: _with(said[head], tuple(rest), value) if rest else value}


def _without(said: Json, path: tuple[str, ...]) -> Json:
    head, *rest = path
    if rest:
        return {**said, head: _without(said[head], tuple(rest))}
    return {key: value for key, value in said.items() if key != head}
