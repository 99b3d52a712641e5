"""Deployments as `az iot edge deployment create` takes them: a file, and the command line.

Follows the Azure CLI's extension azure-iot 0.25. Its `--content` takes a JSON file with `modulesContent`,
alone or below `content`; its `--metrics` one with `queries`, alone or below `metrics`: so one file serves
both. With `--layered` it asks for nothing but `modulesContent`; without, it validates `$edgeAgent` and
`$edgeHub` by the schema of their own `schemaVersion`.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from edgeferry.domain.layering import is_base
from edgeferry.wire.pull_login import PASSWORD_PLACEHOLDER, USERNAME_PLACEHOLDER

Json = dict[str, Any]


def render_file(configuration: Mapping[str, Any]) -> str:
    """The file's text: content and metrics; id, condition, priority and labels go on the command line."""
    said = {
        "content": configuration["content"],
        "metrics": {"queries": configuration["metrics"]["queries"]},
    }
    return json.dumps(said, indent=2) + "\n"


def render_command(configuration: Mapping[str, Any], file: str, hub_name: str = "") -> str:
    """The command that creates the deployment from `file` (for bash); without `hub_name` the hub is
    `$IOTHUB_NAME`. A file with placeholders is filled in on its way to `az`, never on disk."""
    content = shlex.quote(file)
    if PASSWORD_PLACEHOLDER in json.dumps(configuration["content"]):
        content = f"<(envsubst '{USERNAME_PLACEHOLDER} {PASSWORD_PLACEHOLDER}' < {content})"
    hub = shlex.quote(hub_name) if hub_name else '"$IOTHUB_NAME"'
    words = [
        "az iot edge deployment create",
        f"--hub-name {hub}",
        f"--deployment-id {shlex.quote(configuration['id'])}",
        *([] if is_base(configuration["content"]["modulesContent"]) else ["--layered"]),
        f"--content {content}",
        f"--target-condition {shlex.quote(configuration['targetCondition'])}",
        f"--priority {configuration['priority']}",
        f"--labels {shlex.quote(json.dumps(configuration['labels'], separators=(',', ':')))}",
        *([f"--metrics {shlex.quote(file)}"] if configuration["metrics"]["queries"] else []),
    ]
    return " \\\n  ".join(words)
