"""How a command's help is laid out, and which page of the documentation goes on where it ends."""

from __future__ import annotations

import inspect
import re

import typer

PAGES = {
    "affected": "affected.md",
    "agent": "agent.md",
    "agent enrol": "device.md",
    "agent install": "device.md",
    "agent uninstall": "device.md",
    "approve": "gate.md",
    "audit": "ledger.md",
    "captures": "captures.md",
    "ci": "ci.md",
    "config": "settings.md",
    "demo": "architecture.md",
    "deployments": "devices.md",
    "deployments login": "iot-edge.md",
    "deployments render": "iot-edge.md",
    "devices": "devices.md",
    "devices adopt": "device.md",
    "devices decommission": "device.md",
    "devices enrol": "device.md",
    "doctor": "doctor.md",
    "down": "new-project.md",
    "hub": "hub.md",
    "import-accelerator": "from-the-accelerator.md",
    "init": "new-project.md",
    "logs": "device.md",
    "package": "serving.md",
    "plan": "plan.md",
    "push": "registry.md",
    "registry": "registry.md",
    "release": "ledger.md",
    "releases": "ledger.md",
    "rollback": "rollouts.md",
    "rollout": "rollouts.md",
    "rollouts": "rollouts.md",
    "runs": "azure-ml.md",
    "ship": "new-project.md",
    "sim": "sim.md",
    "smoke": "smoke.md",
    "status": "device.md",
    "train": "azure-ml.md",
    "up": "new-project.md",
    "validate": "validate.md",
    "verify": "serving.md",
}
"""By a command's words; a group's page is that of its commands too."""


_BREAK = re.compile(r"\n\s*\n|\n(?=E\.g\.|or edgeferry )")


def finish_help(app: typer.Typer, *words: str) -> None:
    """The help of each command and group of `app` fits any terminal, and ends with its page below docs/."""
    for command in app.registered_commands:
        name = str(command.name or getattr(command.callback, "__name__", ""))
        command.help = _reflow(inspect.getdoc(command.callback) or "")
        command.epilog = _render(*words, name.replace("_", "-"))
    for group in app.registered_groups:
        if group.typer_instance:
            group.epilog = _render(*words, str(group.name))
            finish_help(group.typer_instance, *words, str(group.name))


def find_page(*words: str) -> str:
    """The page that says most of the command; "" for none."""
    ends = range(len(words), 0, -1)
    return next((PAGES[name] for end in ends if (name := " ".join(words[:end])) in PAGES), "")


def _reflow(text: str) -> str:
    """Paragraphs of one line each, which the terminal breaks; an example is one."""
    return "\n\n".join(" ".join(part.split()) for part in _BREAK.split(text))


def _render(*words: str) -> str:
    return f"More: docs/{find_page(*words)}"
