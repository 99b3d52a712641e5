"""The Azure DevOps YAML of an accelerator project: what its names are called in the pipelines that edgeferry
writes. Pure; read line by line, since templates' expressions are no plain YAML."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from edgeferry.domain.accelerator import Origin, Placed
from edgeferry.domain.accelerator_config import KEYS

_CONNECTION = re.compile(r"\s*(azureSubscription|azureServiceConnection|serviceConnection)\s*:\s*(\S.*)")
_VARIABLE = re.compile(r"\s*-\s*name\s*:\s*([\w.]+)\s*$")
_GROUP = re.compile(r"\s*-\s*group\s*:\s*(\S+)")
_ARGUMENT = re.compile(r"--build-arg\s+(\w+)=[\"']?([^\s\"'\\]+)")
_PRIORITY = re.compile(r"--priority\s+(\d+)")


@dataclass
class Pipelines:
    """What was found."""

    connections: list[str] = field(default_factory=list)
    """Names of service connections that stand there, none that come from variables."""
    arguments: dict[str, str] = field(default_factory=dict)
    """Build arguments of the image with literal values."""
    placed: list[Placed] = field(default_factory=list)


def read_pipelines(texts: dict[str, str]) -> Pipelines:
    """The files' facts, by path."""
    made = Pipelines()
    for file, text in sorted(texts.items()):
        for number, line in enumerate(text.splitlines(), 1):
            _read_line(made, line, Origin(file, number))
    return made


def _read_line(made: Pipelines, line: str, origin: Origin) -> None:
    def keep(what: str, value: str, place: str, reason: str) -> None:
        made.placed.append(Placed(what, value, place, reason, origin))

    if match := _CONNECTION.match(line):
        name = match[2].partition(" #")[0].strip().strip("\"'")
        if "$" not in name and name not in made.connections:
            made.connections.append(name)
            keep(match[1], name, "environments/ENV.toml: ci.service_connection", "the pipelines log in by it")
    elif match := _GROUP.match(line):
        reason = "the pipelines name a group edgeferry-ENV, and only when a secret is not in Key Vault"
        keep("variable group", match[1], "", reason)
    elif match := _VARIABLE.match(line):
        reason = (
            "a key of model_config.json"
            if match[1] in KEYS
            else "add it at `your variables` of the pipelines"
        )
        keep(f"variable {match[1]}", "", ".azure-pipelines/" if match[1] not in KEYS else "", reason)
    for name, value in _ARGUMENT.findall(line):
        if "$" not in value:
            made.arguments.setdefault(name, value)
    for priority in _PRIORITY.findall(line):
        keep("deployment priority", priority, "", "the base has 0, and layers rise with each release")
