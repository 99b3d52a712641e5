"""`edge/deployment.template.json` of an accelerator project: what of it edgeferry's own layers do, and
what is the team's. Pure; the format is a layered deployment of IoT Edge with ${TOKENS}."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeferry.domain.accelerator import Edit, Origin, Placed
from edgeferry.domain.fields import members
from edgeferry.domain.finding import At

EXTRA = "deployments/extra.json"
_MODEL, _SMOKE = "ML_MODEL_DOCKER_IMAGE_NAME", "SMOKE_TEST_DOCKER"
_PREFIX = "properties.desired."
_HOST_KEYS = ("Devices", "Privileged", "CapAdd", "Binds", "NetworkMode", "PidMode", "DeviceRequests")


@dataclass
class Template:
    """What the template says, placed."""

    environment: dict[str, str] = field(default_factory=dict)
    """Environment variables of the model's module."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What is the team's own: `modulesContent` of a layer, empty when there is nothing."""
    placed: list[Placed] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)


def read_template(document: Mapping[str, Any], file: str, line: Callable[[At], int]) -> Template:
    """The template's modules, routes and logins, each placed."""
    made = Template()
    at: At = ("content", "modulesContent") if "content" in document else ("modulesContent",)
    content: Any = document
    for part in at:
        content = members(content).get(str(part))
    for owner, values in members(content).items():
        for path, value in members(values).items():
            origin = Origin(file, line((*at, owner, path)))
            _place(made, str(owner), str(path), value, origin)
    if made.extra:
        tokens = sorted(set(re.findall(r"\$\{(\w+)\}", json.dumps(made.extra))))
        filled = f"fill in {', '.join(tokens)} in {EXTRA}, then " if tokens else ""
        fix = f"{filled}edgeferry deployments create extra --modules {EXTRA} --condition '*' --priority 500"
        made.edits.append(Edit(Origin(file), "modules and routes of your own are in the template", fix))
    return made


def _place(made: Template, owner: str, path: str, value: Any, origin: Origin) -> None:
    def keep(place: str, reason: str) -> None:
        made.placed.append(Placed(f"{owner} {path}", "", place, reason, origin))

    if "registryCredentials" in path:
        keep("registry.pull_username, registry.pull_password", "a small layer of its own holds the login")
    elif owner == "$edgeAgent" and path.startswith(f"{_PREFIX}modules."):
        name = path.removeprefix(f"{_PREFIX}modules.")
        image = str(members(members(value).get("settings")).get("image", ""))
        if _SMOKE in name or _SMOKE in image:
            keep("", "the companion asks the models, and has a layer of its own")
        elif _MODEL in name or _MODEL in image:
            keep("", "a rollout makes one layer for each release, and removes it again")
            _place_model(made, members(value), origin)
        else:
            keep(EXTRA, "a module of yours, in a layer that is created by hand")
            made.extra.setdefault(owner, {})[path] = value
    else:
        keep(EXTRA, "yours, in a layer that is created by hand")
        made.extra.setdefault(owner, {})[path] = value


def _place_model(made: Template, module: Mapping[str, Any], origin: Origin) -> None:
    """The model's module: its environment is kept; what a layer of edgeferry has no place for is named."""
    for name, given in members(module.get("env")).items():
        value = str(members(given).get("value", ""))
        if "${" not in value:
            made.environment[str(name)] = value
            reason = "set before the team's score.py is imported"
            made.placed.append(Placed(f"env {name}", value, "models/MODEL/serve/score.py", reason, origin))
    options = members(module.get("settings")).get("createOptions")
    if isinstance(options, str):
        try:
            options = json.loads(options)
        except ValueError:
            options = {}
    host = members(members(options).get("HostConfig"))
    for key, reason in (
        ("PortBindings", "the device chooses the host's port and reports it"),
        ("Mounts", "each model has a volume for its captures"),
    ):
        if key in host:
            made.placed.append(Placed(f"HostConfig.{key}", "", "", reason, origin))
    wanted = [key for key in _HOST_KEYS if host.get(key)]
    if wanted:
        problem = (
            f"the model's module asks for {', '.join(wanted)} of its device, which a layer here cannot say"
        )
        fix = "serve the model without, or create a module by hand: edgeferry deployments create"
        made.edits.append(Edit(origin, problem, fix))
